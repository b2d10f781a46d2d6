"""Seo's convolutional ResNet, trained by dilated back-propagation or exactly.

Seo JD. Denoising Lung CT Scans using Neural Networks with Interactive Code, Part 4:
Convolutional Residual Neural Networks. Article, 2018; code of the series:
https://github.com/JaeDukSeo/Only_Numpy_Basic.

Three residual blocks of two 3x3 convolutions and a 1x1 convolution on the shortcut (the
articles call it the bottleneck), without biases, with a ReLU after every convolution.
Dilated back-propagation adds gradients of later layers to what an earlier layer
receives, so its updates are not the gradient of any loss. The article compares it with
automatic differentiation of the same network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import keras
from keras import layers, ops

from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError
from ct_keras.models.identity_start import carry_through_shortcuts
from ct_keras.models.recipes import Recipe, make_loss, make_optimizer, quick_recipe
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TrainingSystem
from ct_keras.settings import Settings

#: Standard deviation of the initial weights; what lies beyond twice that is redrawn.
INITIAL_STD = 0.05
#: The layers with weights, in the order of the article.
LAYERS = ("l1_1", "l1_2", "l1_s", "l2_1", "l2_2", "l2_s", "l3_1", "l3_2", "l3_s")


def SeoResNet(
    width: int = 8,
    *,
    initializer: str = "truncated_normal",
    name: str = "seo_resnet",
) -> keras.Model:
    """Builds the network of the article.

    Args:
        width: Channels of every hidden layer; 8 in the article (2,528 parameters).
        initializer: "truncated_normal" (standard deviation 0.05, as the article), the
            name of a Keras initialiser, or "identity": the first channel carries the
            image through the three shortcuts, and the others start as features of
            differences between neighbours, so that an untrained network almost returns
            its input (see `ct_keras.models.identity_start`).
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units, never negative.

    Example:
        >>> SeoResNet(width=8).count_params()
        2528
    """
    low_dose = keras.Input((None, None, 1), name="low_dose")

    def conv(x, size, layer_name, last=False):
        return layers.Conv2D(
            1 if last else width,
            size,
            padding="same",
            activation="relu",
            use_bias=False,
            kernel_initializer=_kernel_initializer(initializer),
            # Half precision has steps of 2 HU: the output is always float32.
            dtype="float32" if last else None,
            name=layer_name,
        )(x)

    def block(x, index, last=False):
        shortcut = conv(x, 1, f"l{index}_s", last)
        x = conv(conv(x, 3, f"l{index}_1"), 3, f"l{index}_2", last)
        add_name = "denoised" if last else f"block{index}_add"
        return layers.Add(name=add_name, dtype=x.dtype)([shortcut, x])

    denoised = block(block(block(low_dose, 1), 2), 3, last=True)
    network = keras.Model(low_dose, denoised, name=name)
    if initializer == "identity":
        carry_through_shortcuts(network)
    return network


def _kernel_initializer(name: str):
    if name == "truncated_normal":
        return keras.initializers.TruncatedNormal(stddev=INITIAL_STD)
    return "glorot_uniform" if name == "identity" else name


def decay_rate(epoch: int, proportion: float = 1000.0, decay: float = 0.08) -> float:
    """Returns rho, the weight of the gradients of later layers, in an epoch from 0.

    Args:
        epoch: Counted from 0.
        proportion: rho in epoch 0. The first article of the series used 0.8.
        decay: How fast it falls. The first article of the series used 0.1.
    """
    return proportion / (1 + decay * epoch)


@keras.saving.register_keras_serializable(package="ct_keras")
class SeoAdam(keras.optimizers.Adam):
    """Adam as the article writes it: the bias correction stays that of the first step.

    The moments are divided by ``1 - beta`` in every step, not by ``1 - beta ** t``. A
    constant gradient g gives m = g (1 - 0.9^t) / 0.1 and v = g^2 (1 - 0.999^t) / 0.001,
    so steps first grow to twice the learning rate and then shrink to 0.316 of it.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable against its gradient."""
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (1 - self.beta_1) * (gradient - mean))
        self.assign_add(square, (1 - self.beta_2) * (ops.square(gradient) - square))
        step = mean / (1 - self.beta_1)
        scale = ops.sqrt(square / (1 - self.beta_2)) + self.epsilon
        self.assign_sub(variable, rate * step / scale)


class DilatedBackprop(TrainingSystem):
    """Trains `SeoResNet` with gradients of later layers added to earlier ones.

    Args:
        network: From `SeoResNet`.
        proportion: See `decay_rate`; 0 gives exact back-propagation.
        decay: See `decay_rate`.

    Raises:
        CtKerasError: CTK-E093, if the backend of Keras is not TensorFlow.
    """

    def __init__(
        self, network: keras.Model, *, proportion: float = 1000.0, decay: float = 0.08
    ):
        super().__init__(network)
        self.proportion = proportion
        self.decay = decay
        self.rho = keras.Variable(proportion, trainable=False, name="rho")
        self.loss_mean = keras.metrics.Mean(name="loss")

    def compile(self, optimizer, **options):
        """Takes the optimiser of the nine kernels and builds it."""
        # The gradients are not those of a loss that could be scaled.
        super().compile(optimizer=optimizer, auto_scale_loss=False, **options)
        self.optimizer.build(self.network.trainable_variables)

    @property
    def metrics(self):
        """The loss, mean of 0.5 (output - reference)^2."""
        return [self.loss_mean]

    def begin_epoch(self, epoch: int) -> None:
        """Sets rho."""
        self.rho.assign(decay_rate(epoch, self.proportion, self.decay))

    def train_step(self, data):
        """One update; returns the loss before it and rho."""
        low, full, _ = keras.utils.unpack_x_y_sample_weight(data)
        gradients, error = dilated_gradients(self.network, low, full, self.rho)
        kernels = [self.network.get_layer(name).kernel for name in gradients]
        self.optimizer.apply(list(gradients.values()), kernels)
        self.loss_mean.update_state(ops.mean(0.5 * ops.square(error)))
        return {"loss": self.loss_mean.result(), "rho": self.rho.value}


def dilated_gradients(network: keras.Model, low, full, rho) -> tuple[dict, object]:
    """What dilated back-propagation gives for each kernel of a `SeoResNet`.

    The forward pass is that of the network. On the way back the gradients of later
    layers, times rho, are added to what a layer receives. With rho = 0 the result is
    the gradient of 0.5 sum (output - full)^2; with another it is that of no loss.

    Args:
        network: From `SeoResNet`.
        low: (batch, rows, columns, 1), network units.
        full: The same shape; what the output should be.
        rho: A number or a scalar variable.

    Returns:
        The gradients by name of the layer, and the error (output - full). As in the
        article there is no division by the number of pixels; Adam would undo it.
    """
    run = _RecordedPass(network)
    x = ops.convert_to_tensor(low, network.get_layer("l1_1").compute_dtype)
    block1 = run.forward("l1_s", x) + run.forward("l1_2", run.forward("l1_1", x))
    block2 = run.forward("l2_s", block1) + run.forward(
        "l2_2", run.forward("l2_1", block1)
    )
    output = run.forward("l3_s", block2) + run.forward(
        "l3_2", run.forward("l3_1", block2)
    )

    error = output - ops.convert_to_tensor(full, output.dtype)
    rho = ops.cast(rho, output.dtype)
    # s3, b3 and a3 are what l3_s, l3_2 and l3_1 hand back, and so on. The error and s1
    # have one channel, which is spread over all. That only s1 of the shortcuts is
    # added, and only for l1_1, is irregular, but so in the article's code.
    s3 = run.backward("l3_s", error)
    b3 = run.backward("l3_2", error)
    a3 = run.backward("l3_1", b3)
    later = rho * (error + b3)
    gradient2 = a3 + s3 + later
    s2 = run.backward("l2_s", gradient2)
    b2 = run.backward("l2_2", gradient2)
    later += rho * a3
    a2 = run.backward("l2_1", b2 + later)
    later += rho * b2
    gradient1 = a2 + s2 + later
    s1 = run.backward("l1_s", gradient1)
    b1 = run.backward("l1_2", gradient1)
    later += rho * s1
    run.backward("l1_1", b1 + later)
    return run.gradients, error


class _RecordedPass:
    """Runs layers one by one, each on a tape of its own, and goes back through them.

    Attributes:
        gradients: Of the kernels of the layers gone back through, by name.
    """

    def __init__(self, network: keras.Model):
        self.gradients = {}
        self._network = network
        self._recorded = {}

    def forward(self, name: str, x):
        """Returns the layer's output, after its ReLU."""
        import tensorflow as tf

        layer = self._network.get_layer(name)
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x)
        self._recorded[name] = tape, (x, layer.kernel), output
        return output

    def backward(self, name: str, gradient):
        """Takes the gradient at the output, returns that at the input."""
        tape, sources, output = self._recorded.pop(name)
        to_input, self.gradients[name] = tape.gradient(
            output, sources, output_gradients=ops.cast(gradient, output.dtype)
        )
        return ops.cast(to_input, gradient.dtype)


def _half_squared_error(reference, prediction):
    return ops.mean(0.5 * ops.square(prediction - reference), axis=-1)


@dataclass(frozen=True)
class SeoSettings(Settings):
    """How the network is trained: `Recipe.training` holds these by name.

    Attributes:
        algorithm: "dilated" back-propagation or "autodiff".
        optimizer: "seo" (`SeoAdam`) or "adam".
        proportion: See `decay_rate`; of dilated back-propagation only.
        decay: See `decay_rate`; of dilated back-propagation only.

    Raises:
        CtKerasError: CTK-E000 for another algorithm or optimiser, or values of dilated
            back-propagation for automatic differentiation.
    """

    algorithm: Literal["dilated", "autodiff"] = "dilated"
    optimizer: Literal["seo", "adam"] = "seo"
    proportion: float | None = None
    decay: float | None = None

    def check(self) -> None:
        """Refuses settings that would have no effect."""
        if self.algorithm == "autodiff" and self.dilation():
            raise CtKerasError(
                "CTK-E000",
                "automatic differentiation does not take this setting",
                received=", ".join(self.dilation()),
                fix="algorithm=dilated",
            )

    def dilation(self) -> dict[str, float]:
        """Arguments of `DilatedBackprop`."""
        values = {"proportion": self.proportion, "decay": self.decay}
        return {name: value for name, value in values.items() if value is not None}


def _make_system(recipe: Recipe) -> TrainingSystem:
    """The network with the algorithm and the optimiser of a recipe, compiled."""
    settings = SeoSettings.from_plain(recipe.training)
    optimizer = make_optimizer(recipe)
    if settings.optimizer == "seo":
        optimizer = SeoAdam.from_config(optimizer.get_config())
    network = SeoResNet(**recipe.options)
    if settings.algorithm == "dilated":
        system = DilatedBackprop(network, **settings.dilation())
        system.compile(optimizer, jit_compile=recipe.jit_compile)
        return system
    system = TrainingSystem(network)
    loss = make_loss(recipe) if recipe.loss == "noise_free" else _half_squared_error
    system.compile(optimizer, loss, jit_compile=recipe.jit_compile)
    optimizer.build(network.trainable_variables)
    return system


REPORT = Recipe(
    name="report",
    description="The article: whole slices of 512x512 (records of larger slices give "
    "crops; smaller ones are refused), batch 10, 22 steps or 220 slices an epoch, 100 "
    "epochs, dilated back-propagation with rho = 1000 / (1 + 0.08 epoch), its own Adam "
    "with 1e-4, noise x U(0, 2.5) as in its code, in network units.",
    patch_size=512,
    patches_per_slice=1,
    batch_size=10,
    epochs=100,
    steps_per_epoch=22,
    learning_rate=1e-4,
    epsilon=1e-8,
    augment=False,
    noise=DrawnNoise("uniform_multiplicative", high=2.5),
    training={
        "algorithm": "dilated",
        "proportion": 1000.0,
        "decay": 0.08,
        "optimizer": "seo",
    },
)
QUICK = quick_recipe(
    "A minute or two on two CPU cores: the pairs of the records, 64x64 "
    "patches, batch 16, automatic differentiation that starts as the identity, Adam "
    "with a warm-up to 3e-3 and a cosine to 1e-4.",
    options={"initializer": "identity"},
    learning_rate=3e-3,
    final_learning_rate=1e-4,
    training={"algorithm": "autodiff", "optimizer": "adam"},
)

SPEC = ModelSpec(
    name="seo_resnet",
    builder=SeoResNet,
    title="Convolutional ResNet with dilated back-propagation",
    paper="Seo 2018, https://github.com/JaeDukSeo/Only_Numpy_Basic",
    file="ct_keras/models/seo_resnet.py",
    receptive_field=13,
    recipes=(
        REPORT,
        replace(
            REPORT,
            name="paper",
            description="The same as report: the article is its own source.",
        ),
        QUICK,
        replace(
            QUICK,
            name="quick_dilated",
            description="As quick, but dilated back-propagation and the Adam of the "
            "article, with a cosine from 1e-3 to 5e-5.",
            learning_rate=1e-3,
            final_learning_rate=5e-5,
            training=REPORT.training,
        ),
        replace(
            REPORT,
            name="report_autodiff",
            description="The article's comparison: as report, but with automatic "
            "differentiation and the usual Adam (its learning rate is not stated).",
            training={"algorithm": "autodiff", "optimizer": "adam"},
        ),
        replace(
            REPORT,
            name="report_additive",
            description="As report, but the same draws U(0, 2.5) are added, as the "
            "article's text says, where its code multiplies.",
            noise=DrawnNoise("uniform_additive", high=2.5),
        ),
    ),
    make_system=_make_system,
    settings=SeoSettings,
)
