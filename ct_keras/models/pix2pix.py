"""pix2pix: a U-Net trained with a conditional GAN and an L1 term.

Isola P, Zhu JY, Zhou T, Efros AA. Image-to-Image Translation with Conditional
Adversarial Networks. CVPR 2017. https://doi.org/10.1109/CVPR.2017.632

The generator halves the image down to one pixel per 2**depth and comes back, each level
joined to the one of the same size. Its loss is the opinion of a discriminator that
judges patches of the image beside its low-dose input, plus lambda times the mean
absolute error. It works on 2u - 1 and ends in tanh, so its output is u in (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from ct_keras import hu
from ct_keras.errors import CtKerasError
from ct_keras.losses import discriminator_cross_entropy, generator_cross_entropy
from ct_keras.models.patchgan import LEAK, PatchGAN, gaussian, normalisation
from ct_keras.models.recipes import Recipe, make_optimizer
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TrainingSystem
from ct_keras.settings import Settings

#: Blocks of the decoder with dropout, counted from the bottleneck.
DROPOUT_BLOCKS = 3
LEVELS = (3, 8)
#: Where the identity start follows arctanh exactly; see `_start_as_identity`.
IDENTITY_HU = (-1000.0, -800.0, -160.0, 20.0, 400.0)


def Pix2PixGenerator(
    width: int = 64,
    *,
    depth: int = 8,
    norm: str = "batch",
    bias_before_norm: bool = True,
    dropout: float = 0.5,
    initializer: str = "gaussian",
    name: str = "pix2pix",
) -> keras.Model:
    """Builds the U-Net generator.

    Called with ``training=False`` it is deterministic: dropout is off and batch
    normalisation uses its moving statistics. The original paper draws its noise from
    dropout and normalises with the statistics of the test image; ``network(x,
    training=True)`` does so (and moves the moving statistics).

    Args:
        width: Feature maps of the first level, doubled per level up to eight times
            this; 64 in the paper (54,413,313 parameters).
        depth: How often the image is halved; 8 in the paper. Names of layers count
            from the outside (`e1`, `d7`, `out`), so 7 leaves out `e7` and `d1`.
        norm: "batch" or "instance".
        bias_before_norm: False leaves a bias in the last layer only, as in the
            authors' PyTorch code.
        dropout: Rate in the three blocks after the bottleneck.
        initializer: "gaussian" (standard deviation 0.02, as the paper), or "identity":
            the same, but the path over the first level alone gives the input back.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units, rows and columns multiples of
        2**depth.

    Raises:
        CtKerasError: CTK-E000 for a depth out of range, an unknown `norm` or
            `initializer`, or an identity start without the maps and biases it needs.

    Example:
        >>> Pix2PixGenerator(width=64).count_params()
        54423169
    """
    _check(width, depth, bias_before_norm, initializer)
    outer = LEVELS[1] - depth  # blocks of the full decoder that are left out

    def down(x, level):
        bottleneck = level == depth
        label = "bottleneck" if bottleneck else f"e{level}"
        x = layers.Conv2D(
            width * min(2 ** (level - 1), 8),
            4,
            strides=2,
            padding="same",
            use_bias=bias_before_norm,
            kernel_initializer=gaussian(),
            name=label,
        )(x)
        if bottleneck:
            return layers.ReLU(name="bottleneck_relu")(x)
        if level > 1:
            x = normalisation(norm, f"{label}_norm")(x)
        return layers.LeakyReLU(LEAK, name=f"{label}_leaky_relu")(x)

    def up(x, block, skip):
        label = f"d{block}"
        x = layers.Conv2DTranspose(
            skip.shape[-1],
            4,
            strides=2,
            padding="same",
            use_bias=bias_before_norm,
            kernel_initializer=gaussian(),
            name=label,
        )(x)
        x = normalisation(norm, f"{label}_norm")(x)
        if block - outer <= DROPOUT_BLOCKS:
            x = layers.Dropout(dropout, name=f"{label}_dropout")(x)
        x = layers.Concatenate(name=f"{label}_concat")([x, skip])
        return layers.ReLU(name=f"{label}_relu")(x)

    low_dose = keras.Input((None, None, 1), name="low_dose")
    x = layers.Rescaling(2.0, -1.0, dtype="float32", name="rescale_in")(low_dose)
    skips = []
    for level in range(1, depth):
        x = down(x, level)
        skips.append(x)
    x = down(x, depth)
    for block, skip in enumerate(reversed(skips), start=outer + 1):
        x = up(x, block, skip)
    x = layers.Conv2DTranspose(
        1,
        4,
        strides=2,
        padding="same",
        activation="tanh",
        kernel_initializer=gaussian(),
        # Half precision has steps of 2 HU: the output is always float32.
        dtype="float32",
        name="out",
    )(x)
    denoised = layers.Rescaling(0.5, 0.5, dtype="float32", name="denoised")(x)
    network = keras.Model(low_dose, denoised, name=name)
    if initializer == "identity":
        _start_as_identity(network, width)
    return network


def _check(width: int, depth: int, bias_before_norm: bool, initializer: str) -> None:
    """Refuses options that do not fit together; see `Pix2PixGenerator`."""
    maps = 4 * (len(IDENTITY_HU) - 1)
    identity = initializer == "identity"
    for wrong, received, expected in (
        (not LEVELS[0] <= depth <= LEVELS[1], f"depth {depth}", "3 to 8"),
        (
            initializer not in ("gaussian", "identity"),
            f"initializer {initializer}",
            "gaussian or identity",
        ),
        (identity and width < maps, f"width {width}", f"{maps} or more"),
        (
            identity and not bias_before_norm,
            "bias_before_norm False",
            "True for an identity start",
        ),
    ):
        if wrong:
            raise CtKerasError(
                "CTK-E000",
                "pix2pix cannot be built so",
                received=received,
                expected=expected,
            )


def _start_as_identity(network: keras.Model, width: int) -> None:
    """Lets the path e1 -> out start as (nearly) the identity, the rest adding nothing.

    `e1` copies the four pixels of each 2x2 block, `out` puts them back. In between are
    only (leaky) ReLUs, and tanh comes after; so for each pixel there is one map per
    knot t, with the bias -t, and the sum of its ReLUs follows arctanh as a polygon
    that is exact at the knots.
    """
    knots = 2 * hu.to_network(np.array(IDENTITY_HU)) - 1
    values = np.arctanh(knots)
    slopes = np.diff(values) / np.diff(knots)
    bends = np.diff(slopes, prepend=0.0)
    first, last = network.get_layer("e1"), network.get_layer("out")
    copy, bias = (weights.copy() for weights in first.get_weights())
    paste = np.zeros(last.kernel.shape)
    for index, bend in enumerate(bends):
        for phase in range(4):
            row, column, own = 1 + phase // 2, 1 + phase % 2, 4 * index + phase
            copy[..., own] = 0.0
            copy[row, column, 0, own] = 1.0
            bias[own] = -knots[index]
            paste[row, column, 0, width + own] = bend
    first.set_weights([copy, bias])
    last.set_weights([paste, values[:1]])


class Pix2Pix(TrainingSystem):
    """The U-Net with the discriminator that trains it.

    One step is one update of the discriminator, then one of the generator by the
    updated discriminator, both on the same batch and the same generated images.

    Args:
        network: The generator.
        discriminator: From (`low_dose`, `candidate`) to logits, e.g. `PatchGAN()`.
        lambda_l1: Weight of the mean absolute error, which is taken in the network's
            native range (-1, 1) and so is twice that of network units.

    Example:
        >>> system = Pix2Pix(Pix2PixGenerator(), PatchGAN())
        >>> adam = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
        >>> system.compile(generator_optimizer=adam[0], discriminator_optimizer=adam[1])
    """

    def __init__(
        self,
        network: keras.Model,
        discriminator: keras.Model,
        *,
        lambda_l1: float = 100.0,
    ):
        super().__init__(network)
        self.discriminator = discriminator
        self.lambda_l1 = lambda_l1
        names = ("loss", "adversarial_loss", "l1_loss", "discriminator_loss")
        self._means = {name: keras.metrics.Mean(name) for name in names}

    def compile(
        self,
        *,
        generator_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
        jit_compile: bool = False,
    ) -> None:
        """Takes the two optimisers and builds both, so that a checkpoint holds both."""
        super().compile(optimizer=generator_optimizer, jit_compile=jit_compile)
        self.discriminator_optimizer = discriminator_optimizer
        generator_optimizer.build(self.network.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over an epoch of the generator's loss, its terms, and the other's."""
        return list(self._means.values())

    def train_step(self, data):
        """One discriminator and one generator update."""
        import tensorflow as tf

        low_dose, full_dose = data
        with tf.GradientTape() as tape:
            denoised = self.network(low_dose, training=True)
            with tape.stop_recording():
                discriminator_loss = self._update_discriminator(
                    low_dose, full_dose, denoised
                )
            logits = self.discriminator([low_dose, denoised], training=True)
            adversarial = generator_cross_entropy(fake_logits=logits)
            l1 = 2.0 * keras.ops.mean(keras.ops.abs(full_dose - denoised))
            loss = adversarial + self.lambda_l1 * l1
        weights = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        values = (loss, adversarial, l1, discriminator_loss)
        for mean, value in zip(self.metrics, values, strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.metrics}

    def _update_discriminator(self, low_dose, full_dose, denoised):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = discriminator_cross_entropy(
                real_logits=self.discriminator([low_dose, full_dose], training=True),
                fake_logits=self.discriminator([low_dose, denoised], training=True),
            )
        weights = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(loss, weights), weights)
        return loss


@dataclass(frozen=True)
class Pix2PixSettings(Settings):
    """How pix2pix is trained: `Recipe.training` holds these by name.

    Attributes:
        lambda_l1: Weight of the mean absolute error.
        receptive_field: Of the discriminator, see `PatchGAN`.
        discriminator_width: Feature maps of its first layer.
    """

    lambda_l1: float = 100.0
    receptive_field: int = 70
    discriminator_width: int = 64


def make_system(recipe: Recipe) -> Pix2Pix:
    """Builds and compiles what a recipe trains.

    Args:
        recipe: `options` of `Pix2PixGenerator`; `training` of `Pix2PixSettings`.
    """
    settings = Pix2PixSettings.from_plain(recipe.training)
    system = Pix2Pix(
        Pix2PixGenerator(**recipe.options),
        PatchGAN(
            settings.discriminator_width, receptive_field=settings.receptive_field
        ),
        lambda_l1=settings.lambda_l1,
    )
    system.compile(
        generator_optimizer=make_optimizer(recipe),
        discriminator_optimizer=make_optimizer(recipe),
        jit_compile=recipe.jit_compile,
    )
    return system


SPEC = ModelSpec(
    name="pix2pix",
    builder=Pix2PixGenerator,
    title="U-Net with a conditional GAN and L1",
    paper="Isola et al. 2017, https://doi.org/10.1109/CVPR.2017.632",
    file="ct_keras/models/pix2pix.py",
    receptive_field=None,
    make_system=make_system,
    settings=Pix2PixSettings,
    recipes=(
        Recipe(
            name="report",
            description="The comparison report: whole 512x512 slices, batch 1, 30 "
            "epochs (of 1,000 steps here), and no weight for the L1 term, so 1. It "
            "gives no values for Adam: 2e-4 (0.5, 0.999) as the original.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=30,
            steps_per_epoch=1000,
            learning_rate=2e-4,
            betas=(0.5, 0.999),
            training={
                "lambda_l1": 1.0,
                "receptive_field": 70,
                "discriminator_width": 64,
            },
            augment=False,
        ),
        Recipe(
            name="paper",
            description="Isola et al. 2017: 256x256 crops, batch 1, 200 epochs (of "
            "1,000 steps here), Adam 2e-4 (0.5, 0.999), constant, lambda 100. Flips "
            "and quarter turns stand in for its horizontal flip; its resizing from 286 "
            "to 256 pixels is left out, because it changes the noise.",
            patch_size=256,
            batch_size=1,
            epochs=200,
            steps_per_epoch=1000,
            learning_rate=2e-4,
            betas=(0.5, 0.999),
            training={
                "lambda_l1": 100.0,
                "receptive_field": 70,
                "discriminator_width": 64,
            },
        ),
        Recipe(
            name="quick",
            description="Minutes on two CPU cores: 4 levels, 16 maps in both networks, "
            "64x64 patches, batch 16, an identity start, Adam (0.5, 0.999) with a "
            "warm-up to 1e-3 and a cosine to 5e-5, lambda 100.",
            options={"width": 16, "depth": 4, "initializer": "identity"},
            patch_size=64,
            batch_size=16,
            epochs=10,
            steps_per_epoch=120,
            learning_rate=1e-3,
            final_learning_rate=5e-5,
            schedule="cosine",
            warmup_steps=50,
            betas=(0.5, 0.999),
            training={
                "lambda_l1": 100.0,
                "receptive_field": 70,
                "discriminator_width": 16,
            },
        ),
    ),
)
