"""WGAN-VGG: a Wasserstein GAN with gradient penalty and a perceptual loss.

Yang Q, Yan P, Zhang Y, et al. Low-Dose CT Image Denoising Using a Generative
Adversarial Network With Wasserstein Distance and Perceptual Loss. IEEE Trans Med
Imaging 37(6), 2018. https://doi.org/10.1109/TMI.2018.2827462

Eight convolutions denoise. A critic scores patches, high for full dose, and learns
several times on fresh patches for each update of the generator, which minimises
-E[D(G(z))] + lambda_1 L_VGG. No loss compares pixels unless `pixel_weight` asks for it,
so results keep the texture of full dose and often lose to the noisy input in PSNR: the
weights to keep are chosen by validation, never by a loss of the GAN.

The losses are in `ct_keras.losses`: `wasserstein` and `perceptual`.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, fields
from typing import Literal

import keras
from keras import layers, ops

from ct_keras.errors import CtKerasError
from ct_keras.losses.perceptual import feature_network, perceptual_loss
from ct_keras.losses.wasserstein import (
    critic_loss,
    generator_loss,
    gradient_penalty,
)
from ct_keras.models.identity_start import (
    answer_to_differences,
    carry_in_first_channel,
)
from ct_keras.models.recipes import Recipe, make_optimizer, quick_recipe
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TwoPlayerSystem, own_part, replicas
from ct_keras.settings import Settings

KERNEL_SIZE = 3
DEPTH = 8
#: Pixels at each edge of the generator's output that see its padding.
BORDER = 8
CRITIC_LEAK = 0.2


def WganVggGenerator(
    width: int = 32,
    *,
    padding: str = "same",
    use_bias: bool = True,
    final_relu: bool = True,
    initializer: str = "glorot_uniform",
    name: str = "wgan_vgg",
) -> keras.Model:
    """Builds the generator, which is the network that denoises.

    Args:
        width: Feature maps of every hidden layer; 32 in the paper (56,097 parameters).
        padding: "same", or "valid" as in the paper, where the output is 16 pixels
            smaller. The same weights give the same values in both, away from the edge.
        use_bias: False as in the authors' code (55,872 parameters).
        final_relu: Ends in a ReLU, as the paper does (network units are never
            negative). Pass False for data with zero mean.
        initializer: "glorot_uniform", or "identity": Glorot, but the first channel of
            every layer carries the image and the last layer reads only this one, so
            that an untrained network returns its input. The kernels that read the
            image have no mean and eight times the amplitude, so that they answer to
            differences of a few HU. For float32: in half precision a channel that
            carries an image rounds it to several HU.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units.

    Example:
        >>> WganVggGenerator(width=32).count_params()
        56097
    """
    identity = initializer == "identity"
    low_dose = x = keras.Input((None, None, 1), name="low_dose")
    for index in range(1, DEPTH + 1):
        last = index == DEPTH
        x = layers.Conv2D(
            1 if last else width,
            KERNEL_SIZE,
            padding=padding,
            use_bias=use_bias,
            kernel_initializer="glorot_uniform" if identity else initializer,
            # Half precision has steps of 2 HU: the output is always float32.
            dtype="float32" if last else None,
            name=f"conv{index}",
        )(x)
        if not last:
            x = layers.ReLU(name=f"conv{index}_relu")(x)
    end = layers.ReLU if final_relu else layers.Identity
    denoised = end(name="denoised", dtype="float32")(x)
    network = keras.Model(low_dose, denoised, name=name)
    if identity:
        carry_in_first_channel(
            [network.get_layer(f"conv{index}") for index in range(1, DEPTH + 1)]
        )
    return network


def WganVggCritic(
    width: int = 64,
    *,
    patch_size: int = 80,
    padding: str = "same",
    initializer: str = "glorot_uniform",
    name: str = "wgan_vgg_critic",
) -> keras.Model:
    """Builds the critic: six convolutions and two dense layers, no normalisation.

    Its score is unbounded, not a probability as the comparison report says. It
    is float32 under any policy.

    Args:
        width: Feature maps of the first pair of convolutions, doubled twice; the dense
            layer has 16 times as many. 64 in the paper.
        patch_size: Rows and columns of the patches that it scores.
        padding: "same", or "valid" as in the authors' code. With 64 maps and 80 pixels
            27,360,705 and 13,991,361 parameters.
        initializer: "glorot_uniform", or "differences": Glorot, but the kernels of the
            first layer have no mean and eight times the amplitude. A critic that
            starts from the mean of the image is linear in the noise and takes
            thousands of updates to see it.
        name: Name of the model.

    Returns:
        A functional model from `image` (batch, patch_size, patch_size, 1) to `score`
        (batch, 1), float32.
    """
    differences = initializer == "differences"
    image = x = keras.Input((patch_size, patch_size, 1), name="image", dtype="float32")
    for index in range(6):
        x = layers.Conv2D(
            width * 2 ** (index // 2),
            KERNEL_SIZE,
            strides=1 + index % 2,
            padding=padding,
            kernel_initializer="glorot_uniform" if differences else initializer,
            dtype="float32",
            name=f"c{index + 1}",
        )(x)
        x = _leaky_relu(f"c{index + 1}")(x)
    x = layers.Flatten(name="flatten", dtype="float32")(x)
    x = layers.Dense(16 * width, name="fc1", dtype="float32")(x)
    x = _leaky_relu("fc1")(x)
    score = layers.Dense(1, name="score", dtype="float32")(x)
    critic = keras.Model(image, score, name=name)
    if differences:
        answer_to_differences(critic.get_layer("c1").kernel)
    return critic


def _leaky_relu(layer: str) -> layers.Layer:
    return layers.LeakyReLU(CRITIC_LEAK, name=f"{layer}_leaky_relu", dtype="float32")


@dataclass(frozen=True)
class WganVggLosses(Settings):
    """The losses that generator and critic minimise.

    Attributes:
        perceptual_weight: lambda_1. 0 trains without, and needs no extractor.
        pixel_weight: Weight of the mean squared error (lambda_2 of WGAN-MSE).
        feature_extractor: See `ct_keras.losses.perceptual.feature_network`; None is
            VGG-19 with the weights of ImageNet.
        window_hu: HU that the extractor sees as 0 and 1; None for network units.
        constraint: "penalty" for the gradient penalty, or "clip" for the weight
            clipping of the first Wasserstein GAN (which used RMSprop 5e-5 and five
            critic steps).
        gradient_penalty: lambda, the weight of the penalty.
        clip_value: With "clip", the largest absolute weight of the critic.
        critic_steps: Updates of the critic for one of the generator.

    Raises:
        CtKerasError: CTK-E000 for an unknown constraint or no critic step.
    """

    perceptual_weight: float = 0.1
    pixel_weight: float = 0.0
    feature_extractor: keras.Model | str | os.PathLike | None = None
    window_hu: tuple[float, float] | None = None
    constraint: Literal["penalty", "clip"] = "penalty"
    gradient_penalty: float = 10.0
    clip_value: float = 0.01
    critic_steps: int = 4

    def check(self) -> None:
        """Refuses a critic that never learns."""
        if self.critic_steps < 1:
            raise CtKerasError(
                "CTK-E000",
                "the critic must learn in every step",
                received=f"critic_steps {self.critic_steps}",
                expected="1 or more",
            )


@dataclass(frozen=True)
class WganVggSettings(WganVggLosses):
    """How WGAN-VGG is trained: `Recipe.training` holds these by name.

    Attributes:
        critic_width: See `WganVggCritic`.
        critic_initializer: See `WganVggCritic`.
        critic_learning_rate: Instead of the recipe's.
        padding: See `WganVgg`.
    """

    critic_width: int = 64
    critic_initializer: str = "glorot_uniform"
    critic_learning_rate: float | None = None
    padding: Literal["same", "valid"] = "same"


class WganVgg(TwoPlayerSystem):
    """The generator and its critic, trained by `fit` on batches of patches.

    One step uses `critic_steps` + 1 batches: an update of the critic on each of the
    first, and one of the generator on the last. Steps count updates of the generator.

    Args:
        network: The generator, with padding "same"; by default the paper's with biases.
        critic: By default that of the paper for patches of 80x80 pixels.
        padding: "valid" trains on the pixels that see no padding, as the paper does:
            results and targets lose 8 pixels at each edge before the losses (80x80
            patches become 64x64). The network itself goes on to work at any size.
        seed: Of the points at which the gradient penalty is taken. None draws it from
            Python's generator, which `keras.utils.set_random_seed` seeds.

    Raises:
        CtKerasError: CTK-E093, if the backend of Keras is not TensorFlow.

    Example:
        >>> gan = WganVgg()
        >>> gan.compile(perceptual_weight=0, pixel_weight=1)
        >>> gan.fit(ct_keras.data.training_patches("RECORDS", patch_size=80))
        >>> ct_keras.Denoiser(gan.network)
    """

    def __init__(
        self,
        network: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        padding: str = "same",
        seed: int | None = None,
    ):
        border = BORDER if padding == "valid" else 0
        names = ("loss", "critic_loss", "wasserstein", "gradient_norm_penalty")
        super().__init__(
            network or WganVggGenerator(),
            critic or WganVggCritic(patch_size=80 - 2 * border),
            meters=(*names, "perceptual", "mse"),
        )
        self.border = border
        self.seed_generator = keras.random.SeedGenerator(
            # A name of its own, for checkpoints: the default one counts up.
            seed,
            name="penalty_points",
        )

    def compile(
        self,
        optimizer=None,
        opponent_optimizer=None,
        *,
        jit_compile: bool = False,
        **losses,
    ):
        """Sets losses and optimisers; both optimisers are built here.

        Args:
            optimizer: Of the generator, a Keras optimiser or its name; by default
                Adam(1e-5, 0.5, 0.9), as the paper.
            opponent_optimizer: The same for the critic.
            jit_compile: XLA.
            **losses: Fields of `WganVggLosses`.

        Raises:
            CtKerasError: CTK-E000 for an unknown constraint, no critic step or one
                optimiser for both; CTK-E005, if the weights of VGG-19 are not
                available.
        """
        losses = WganVggLosses.from_plain(losses)
        super().compile(
            _optimizer(optimizer),
            _optimizer(opponent_optimizer),
            jit_compile=jit_compile,
        )
        self.settings = losses
        self.batches_per_step = losses.critic_steps + 1
        self.perceptual_loss = None
        if losses.perceptual_weight:
            # A partial, so that Keras does not count the extractor among the weights
            # of this model: checkpoints need no copy of 20 million constants.
            features = feature_network(
                losses.feature_extractor, window_hu=losses.window_hu
            )
            self.perceptual_loss = functools.partial(perceptual_loss, features=features)

    def fit(self, x, **options):
        """Runs `TwoPlayerSystem.fit`; patches must have the size of the critic's.

        Raises:
            CtKerasError: CTK-E086, if they have another.
        """
        received = tuple(x.element_spec[0].shape[1:3])
        expected = tuple(
            size + 2 * self.border for size in self.opponent.input_shape[1:3]
        )
        if received != expected:
            raise CtKerasError(
                "CTK-E086",
                "the critic was built for a different patch size",
                received="{}x{}".format(*received),
                expected="{}x{}".format(*expected),
                fix="training_patches(patch_size=...), or a critic of another "
                "patch_size",
            )
        return super().fit(x, **options)

    def train_step(self, data):
        """Updates the critic `critic_steps` times and the generator once."""
        import tensorflow as tf

        # The counters of the optimisers and the seed do not depend on the data. Without
        # this they would count a step when `fit` finds the data set at its end.
        with tf.control_dependencies(list(data)):
            low, full = (ops.split(part, self.batches_per_step) for part in data)
            for index in range(self.settings.critic_steps):
                self._update_critic(low[index], full[index])
            self._update_generator(low[-1], full[-1])
        return self.measure()

    def _update_critic(self, low, full) -> None:
        reference = self._centre(full)
        prediction = self._centre(self.network(low, training=True))
        points = reference.shape[0] * replicas()
        mix = own_part(
            keras.random.uniform((points, 1, 1, 1), seed=self.seed_generator)
        )
        settings = self.settings

        def losses(_):
            distance = critic_loss(
                reference_scores=self.opponent(reference, training=True),
                prediction_scores=self.opponent(prediction, training=True),
            )
            if settings.constraint == "clip" or not settings.gradient_penalty:
                return distance, distance, 0.0
            penalty = gradient_penalty(
                self.opponent, reference=reference, prediction=prediction, mix=mix
            )
            return distance + settings.gradient_penalty * penalty, distance, penalty

        loss, distance, penalty = self.update(
            self.opponent, self.opponent_optimizer, losses
        )
        if settings.constraint == "clip":
            limit = settings.clip_value
            for weight in self.opponent.trainable_variables:
                weight.assign(ops.clip(weight, -limit, limit))
        self.measure(
            critic_loss=loss, wasserstein=-distance, gradient_norm_penalty=penalty
        )

    def _update_generator(self, low, full) -> None:
        reference = self._centre(full)

        def losses(_):
            prediction = self._centre(self.network(low, training=True))
            scores = self.opponent(prediction, training=True)
            loss = generator_loss(prediction_scores=scores)
            perceptual = 0.0
            if self.perceptual_loss is not None:
                perceptual = self.perceptual_loss(
                    reference=reference, prediction=prediction
                )
            mse = ops.mean(ops.square(prediction - reference))
            loss += self.settings.perceptual_weight * perceptual
            loss += self.settings.pixel_weight * mse
            return loss, perceptual, mse

        loss, perceptual, mse = self.update(self.network, self.optimizer, losses)
        self.measure(loss=loss, perceptual=perceptual, mse=mse)

    def _centre(self, image):
        """Cuts off the edges that see padding, where training is without."""
        edge = self.border
        return image[:, edge:-edge, edge:-edge] if edge else image


def _optimizer(optimizer) -> keras.optimizers.Optimizer:
    if optimizer is None:
        return keras.optimizers.Adam(1e-5, beta_1=0.5, beta_2=0.9)
    return keras.optimizers.get(optimizer)


def make_system(recipe: Recipe) -> WganVgg:
    """Builds generator, critic and optimisers of a recipe, compiled.

    `recipe.options` are arguments of the generator, `recipe.training` fields of
    `WganVggSettings`.

    Raises:
        CtKerasError: CTK-E005, if the feature extractor is not available.
    """
    settings = WganVggSettings.from_plain(recipe.training)
    edge = BORDER if settings.padding == "valid" else 0
    critic = WganVggCritic(
        settings.critic_width,
        patch_size=recipe.patch_size - 2 * edge,
        initializer=settings.critic_initializer,
    )
    generator = WganVggGenerator(**recipe.options)
    system = WganVgg(generator, critic, padding=settings.padding)
    system.compile(
        make_optimizer(recipe),
        make_optimizer(
            recipe,
            learning_rate=settings.critic_learning_rate,
            updates_per_step=settings.critic_steps,
        ),
        jit_compile=recipe.jit_compile,
        **{one.name: getattr(settings, one.name) for one in fields(WganVggLosses)},
    )
    return system


SPEC = ModelSpec(
    name="wgan_vgg",
    builder=WganVggGenerator,
    title="Wasserstein GAN with perceptual loss",
    paper="Yang et al. 2018, https://doi.org/10.1109/TMI.2018.2827462",
    file="ct_keras/models/wgan_vgg.py",
    receptive_field=17,
    make_system=make_system,
    settings=WganVggSettings,
    recipes=(
        Recipe(
            name="report",
            description="The comparison report: 80x80 patches, batch 32, Adam 1e-5 "
            "(0.5, 0.9) for both networks, 9,000 updates of the generator (here 90 "
            "epochs of 100 steps) and four times as many of the critic. Needs the "
            "ImageNet weights of VGG-19.",
            patch_size=80,
            batch_size=32,
            epochs=90,
            steps_per_epoch=100,
            learning_rate=1e-5,
            betas=(0.5, 0.9),
            augment=False,
            training={
                "perceptual_weight": 0.1,
                "gradient_penalty": 10.0,
                "critic_steps": 4,
            },
        ),
        Recipe(
            name="paper",
            description="Yang et al. 2018: 80x80 patches, losses on the 64x64 in the "
            "middle, no biases, batch 128, the same Adam, VGG sees [-300, 300] HU. 100 "
            "epochs of 100,096 patches: 156 steps of 640. Needs the ImageNet "
            "weights of VGG-19.",
            options={"use_bias": False},
            patch_size=80,
            batch_size=128,
            epochs=100,
            steps_per_epoch=156,
            learning_rate=1e-5,
            betas=(0.5, 0.9),
            augment=False,
            training={
                "padding": "valid",
                "perceptual_weight": 0.1,
                "gradient_penalty": 10.0,
                "critic_steps": 4,
                "window_hu": (-300.0, 300.0),
            },
        ),
        quick_recipe(
            "Minutes on two CPU cores: 16 maps, a critic of an eighth, "
            "32x32 patches, batch 16, a start that responds to differences, Adam "
            "with a warm-up to 1e-4 and a cosine to 1e-5. A fixed filter bank replaces "
            "VGG-19, so its weight is not the paper's. There is a pixel term (lambda_2 "
            "of WGAN-MSE; squared errors are 1e-4 in network units, so 100 is little). "
            "On real slices at 10 and 25 % of the dose the best epoch was 3.0 dB above "
            "the input. With twice the learning rate single epochs fell below it; "
            "without a pixel term that rate still ended 2.2 dB above.",
            options={"width": 16, "initializer": "identity"},
            patch_size=32,
            steps_per_epoch=60,
            learning_rate=1e-4,
            final_learning_rate=1e-5,
            betas=(0.5, 0.9),
            training={
                "critic_width": 8,
                "critic_initializer": "differences",
                "critic_learning_rate": 5e-4,
                "feature_extractor": "filter_bank",
                "perceptual_weight": 1.0,
                "pixel_weight": 100.0,
                "gradient_penalty": 10.0,
                "critic_steps": 4,
            },
        ),
    ),
)
