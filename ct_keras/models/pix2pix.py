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
from keras import layers

from ct_keras.errors import CtKerasError
from ct_keras.losses import discriminator_cross_entropy, generator_cross_entropy
from ct_keras.models.identity_start import TANH_KNOTS_HU, carry_through_tanh
from ct_keras.models.recipes import Recipe, make_optimizer, quick_recipe
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TwoPlayerSystem
from ct_keras.settings import Settings

#: Blocks of the decoder with dropout, counted from the bottleneck.
DROPOUT_BLOCKS = 3
LEVELS = (3, 8)
#: Standard deviation of initial kernels, and of normalisation scales around 1.
INITIAL_STD = 0.02
LEAK = 0.2
#: Of batch normalisation, as in the authors' code. CT varies by 1e-2 in network units;
#: the 1e-3 that Keras adds by default would not be small beside its variances.
NORM_EPSILON = 1e-5
#: Layers of stride 2 by receptive field.
_STRIDED = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
RECEPTIVE_FIELDS = (1, *_STRIDED)


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
            `initializer`, or an identity `initializer` without the maps and biases
            that it needs.

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
        carry_through_tanh(network.get_layer("e1"), network.get_layer("out"))
    return network


def _check(width: int, depth: int, bias_before_norm: bool, initializer: str) -> None:
    """Refuses options that do not fit together; see `Pix2PixGenerator`."""
    maps = 4 * (len(TANH_KNOTS_HU) - 1)
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
            "True to start as the identity",
        ),
    ):
        if wrong:
            raise CtKerasError(
                "CTK-E000",
                "pix2pix cannot be built with these options",
                received=received,
                expected=expected,
            )


def PatchGAN(
    width: int = 64,
    *,
    receptive_field: int = 70,
    norm: str = "batch",
    bias_before_norm: bool = False,
    name: str = "patchgan",
) -> keras.Model:
    """Builds the discriminator, which judges every patch of an image on its own.

    Sections 3.2.2 and 6.1.2 of the paper.

    Args:
        width: Feature maps of the first layer, doubled per layer up to eight times
            this; 64 in the paper (2,764,609 parameters at 70x70).
        receptive_field: Side of the patches in pixels: 70, 16, 34, 142 or 286, or 1 for
            the PixelGAN, which sees no neighbours.
        norm: "batch" or "instance".
        bias_before_norm: Whether layers that are normalised have a bias, too.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` and `candidate` (batch, rows, columns, 1),
        network units, to `patch_logits`, float32, one logit a patch: 30x30 for 256x256,
        62x62 for 512x512 at 70x70. Positive means real; there is no sigmoid.

    Raises:
        CtKerasError: CTK-E000 for a receptive field or `norm` that does not exist.

    Example:
        >>> PatchGAN(width=64).count_params()
        2766401
    """
    if receptive_field not in RECEPTIVE_FIELDS:
        raise CtKerasError(
            "CTK-E000",
            "there is no discriminator with this receptive field",
            received=receptive_field,
            expected=", ".join(map(str, RECEPTIVE_FIELDS)),
        )
    pixel = receptive_field == 1
    images = [
        keras.Input((None, None, 1), name=label) for label in ("low_dose", "candidate")
    ]
    x = layers.Concatenate(name="pair", dtype="float32")(images)
    x = layers.Rescaling(2.0, -1.0, dtype="float32", name="rescale_in")(x)
    strided = 1 if pixel else _STRIDED[receptive_field]

    def conv(x, filters, strides, label, use_bias=True):
        if not pixel:
            # 'same' would keep the size at stride 1; the paper's maps lose a pixel.
            x = layers.ZeroPadding2D(1, name=f"{label}_pad", dtype="float32")(x)
        return layers.Conv2D(
            filters,
            1 if pixel else 4,
            strides=1 if pixel else strides,
            use_bias=use_bias,
            kernel_initializer=gaussian(),
            dtype="float32",
            name=label,
        )(x)

    x = conv(x, width, 2, "c1")
    x = layers.LeakyReLU(LEAK, name="c1_leaky_relu", dtype="float32")(x)
    for index in range(2, strided + 2):
        filters = width * min(2 ** (index - 1), 8)
        strides = 2 if index <= strided else 1
        x = conv(x, filters, strides, f"c{index}", bias_before_norm)
        x = normalisation(norm, f"c{index}_norm", dtype="float32")(x)
        x = layers.LeakyReLU(LEAK, name=f"c{index}_leaky_relu", dtype="float32")(x)
    logits = conv(x, 1, 1, "patch_logits")
    return keras.Model(images, logits, name=name)


def gaussian(mean: float = 0.0) -> keras.initializers.Initializer:
    """The paper's initial values; one object per layer, since one repeats its draws."""
    return keras.initializers.RandomNormal(mean, INITIAL_STD)


def normalisation(norm: str, name: str, **options) -> keras.layers.Layer:
    """A normalisation layer with scales from N(1, 0.02^2), as the paper.

    Raises:
        CtKerasError: CTK-E000, if `norm` is neither "batch" nor "instance".
    """
    options |= {
        "epsilon": NORM_EPSILON,
        "gamma_initializer": gaussian(mean=1.0),
        "name": name,
    }
    if norm == "batch":
        return layers.BatchNormalization(**options)
    if norm == "instance":
        return layers.GroupNormalization(groups=-1, **options)
    raise CtKerasError(
        "CTK-E000", "unknown normalisation", received=norm, expected="batch, instance"
    )


class Pix2Pix(TwoPlayerSystem):
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
        >>> system.compile(
        ...     *(keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2))
        ... )
    """

    def __init__(
        self,
        network: keras.Model,
        discriminator: keras.Model,
        *,
        lambda_l1: float = 100.0,
    ):
        names = ("loss", "adversarial_loss", "l1_loss", "discriminator_loss")
        super().__init__(network, discriminator, meters=names)
        self.lambda_l1 = lambda_l1

    def train_step(self, data):
        """One discriminator and one generator update."""
        low_dose, full_dose = data

        def discrimination(denoised):
            real, fake = (
                self.opponent([low_dose, candidate], training=True)
                for candidate in (full_dose, denoised)
            )
            return [discriminator_cross_entropy(real_logits=real, fake_logits=fake)]

        def losses(tape):
            denoised = self.network(low_dose, training=True)
            with tape.stop_recording():
                (discriminator_loss,) = self.update(
                    self.opponent,
                    self.opponent_optimizer,
                    lambda _: discrimination(denoised),
                )
            logits = self.opponent([low_dose, denoised], training=True)
            adversarial = generator_cross_entropy(fake_logits=logits)
            l1 = 2.0 * keras.ops.mean(keras.ops.abs(full_dose - denoised))
            loss = adversarial + self.lambda_l1 * l1
            return loss, adversarial, l1, discriminator_loss

        values = self.update(self.network, self.optimizer, losses)
        return self.measure(**dict(zip(self._means, values, strict=True)))


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
    """Builds and compiles the system that a recipe trains.

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
        make_optimizer(recipe),
        make_optimizer(recipe),
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
            "epochs (passes over all slices), and no weight for the L1 term, so 1. It "
            "gives no values for Adam: 2e-4 (0.5, 0.999) as the original.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=30,
            steps_per_epoch=1000,
            whole_passes=True,
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
        quick_recipe(
            "Minutes on two CPU cores: 4 levels, 16 maps in both networks, "
            "64x64 patches, batch 16, starts as the identity, Adam (0.5, 0.999) with a "
            "warm-up to 1e-3 and a cosine to 5e-5, lambda 100.",
            options={"width": 16, "depth": 4, "initializer": "identity"},
            betas=(0.5, 0.999),
            training={
                "lambda_l1": 100.0,
                "receptive_field": 70,
                "discriminator_width": 16,
            },
            epsilon=1e-7,
        ),
    ),
)
