"""ADL: adversarial distortion learning, for images and for volumes.

Ghahremani M, Khateri M, Sierra A, Tohka J. Adversarial Distortion Learning for Medical
Image Denoising. 2022. https://arxiv.org/abs/2204.14100

A U-Net denoises at three scales at once; a content enhancer of large dilated kernels
shows the image to its last block again. A second U-Net tells real from denoised images.
How they are trained is in `ct_keras.models.adl_training`.

The networks are built from the figures and tables of the official repository (both
versions of its code and the layer list of its released model). No layer but batch
normalisation has a shift of its own, so zero kernels give 0.5 on every output.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import keras
from keras import layers

from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError
from ct_keras.models.adl_training import PHASES, Adl, AdlSettings, adl_optimizer
from ct_keras.models.identity_start import carry_through_sigmoid
from ct_keras.models.recipes import Recipe, quick_recipe
from ct_keras.models.registry import ModelSpec

#: Filters of the second and third level and of the bridge, relative to the first.
FILTER_RATIOS = (1, 4 / 3, 5 / 3, 2)
LEAKY_SLOPE = 0.1
#: Standard deviation of the initial transposed convolutions.
TRANSPOSED_STD = 0.02
#: Names of the three outputs, from the full scale to a quarter of it.
OUTPUT_NAMES = ("denoised", "denoised_half", "denoised_quarter")
#: Scales at which the discriminator judges.
SCALES = ("full", "half", "quarter", "eighth")

_CONVOLUTIONS = {2: layers.Conv2D, 3: layers.Conv3D}
_TRANSPOSED = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
_POOLINGS = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}


def AdlDenoiser(
    width: int = 96,
    *,
    filters: Sequence[int] | None = None,
    dimensions: int = 2,
    enhancer: str = "code",
    all_scales: bool = False,
    initializer: str = "glorot_uniform",
    name: str = "adl",
) -> keras.Model:
    """Builds the denoising U-Net with its content enhancer.

    Args:
        width: Feature maps of the first level; 96 in the paper. The next two levels and
            the bridge have 4/3, 5/3 and 2 times as many.
        filters: All four of them instead.
        dimensions: 2 for images, 3 for volumes, where every kernel is a cube.
        enhancer: The content enhancer, "code" (three dilated 7x7 convolutions side by
            side, then 7x7) or "figure" (the sum of two, then 3x3).
        all_scales: For training: also the outputs at a half and a quarter of the scale,
            which the full scale alone does not need. With them the network has
            4,725,748 trainable parameters, the published number; 4,332,672 without.
        initializer: "glorot_uniform" (and N(0, 0.02) for transposed convolutions), or
            "identity": the untrained network returns nearly its input, see
            `ct_keras.models.identity_start.carry_through_sigmoid`.
        name: Name of the model.

    Returns:
        A functional model from `low_dose`, (batch, rows, columns, 1) or
        (batch, slices, rows, columns, 1), to `denoised` and, if asked for,
        `denoised_half` and `denoised_quarter`: float32, network units, in (0, 1). Sides
        are multiples of 8.

    Raises:
        CtKerasError: CTK-E000 for filters that are not four, an unknown content
            enhancer or initializer, or dimensions other than 2 and 3.

    Example:
        >>> AdlDenoiser(width=96, all_scales=True).count_params()
        4731204
    """
    _check_choice("content enhancer", enhancer, ("code", "figure"))
    _check_choice("initializer", initializer, ("glorot_uniform", "identity"))
    filters = _four_filters(width, filters)
    low_dose = _input("low_dose", dimensions)
    decoded, _ = _unet(
        low_dose, filters, _content_enhancer(low_dose, filters[0], enhancer)
    )
    outputs = [
        # Half precision has steps of 2 HU: the outputs are always float32.
        layers.Activation("sigmoid", name=output, dtype="float32")(
            _transformer(x, level, dtype="float32")
        )
        for level, (x, output) in enumerate(zip(decoded, OUTPUT_NAMES, strict=True), 1)
    ]
    network = keras.Model(low_dose, outputs if all_scales else outputs[0], name=name)
    if initializer == "identity":
        carry_through_sigmoid(network)
    return network


def Adl3dDenoiser(
    width: int = 96, *, enhancer: str = "figure", name: str = "adl3d", **options
) -> keras.Model:
    """Builds the denoiser of volumes: `AdlDenoiser` with cubes for squares.

    Args:
        width: As for `AdlDenoiser`.
        enhancer: The content enhancer of the figure, unless "code" is asked for.
        name: Name of the model.
        **options: The others of `AdlDenoiser`.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, slices, rows, columns, 1), all sides multiples of 8.

    Example:
        >>> Adl3dDenoiser(all_scales=True).count_params()
        12018900
    """
    return AdlDenoiser(width, enhancer=enhancer, dimensions=3, name=name, **options)


def AdlDiscriminator(
    width: int = 48,
    *,
    filters: Sequence[int] | None = None,
    dimensions: int = 2,
    name: str = "adl_discriminator",
) -> keras.Model:
    """Builds the discriminator: the same U-Net, judging at four scales.

    It has no content enhancer. A mapper (1x1 convolution to one map of logits) stands
    behind each of the three transformers and behind the bridge.

    Args:
        width: Feature maps of the first level; 48 in the figures (988,753 trainable
            parameters for images). The others follow as in `AdlDenoiser`.
        filters: All four of them instead.
        dimensions: 2 for images, 3 for volumes.
        name: Name of the model.

    Returns:
        A functional model from `image` to four maps of logits, `logits_full`,
        `logits_half`, `logits_quarter` and `logits_eighth`, positive for "real".

    Raises:
        CtKerasError: CTK-E000 for filters that are not four, or dimensions other than 2
            and 3.

    Example:
        >>> AdlDiscriminator().count_params()
        991241
    """
    image = _input("image", dimensions)
    decoded, bridge = _unet(image, _four_filters(width, filters))
    maps = [_transformer(x, level) for level, x in enumerate(decoded, 1)]
    logits = [
        _conv(x, 1, 1, f"logits_{scale}", dtype="float32")
        for x, scale in zip([*maps, bridge], SCALES, strict=True)
    ]
    return keras.Model(image, logits, name=name)


def _four_filters(width: int, filters: Sequence[int] | None) -> tuple[int, ...]:
    """Feature maps of the three levels and of the bridge."""
    if filters is None:
        return tuple(max(1, round(width * ratio)) for ratio in FILTER_RATIOS)
    if len(filters) != len(FILTER_RATIOS):
        raise CtKerasError(
            "CTK-E000",
            "ADL has three levels and a bridge",
            received=f"{len(filters)} numbers of filters",
            expected="four",
        )
    return tuple(filters)


def _input(name: str, dimensions: int):
    if dimensions not in _CONVOLUTIONS:
        raise CtKerasError(
            "CTK-E000",
            "ADL denoises images or volumes",
            received=f"{dimensions} dimensions",
            expected="2 or 3",
        )
    return keras.Input((*(None,) * dimensions, 1), name=name)


def _unet(image, filters: Sequence[int], enhanced=None):
    """Returns the decoder's outputs, from fine to coarse, and the bridge's."""
    x, encoded = image, []
    for level, count in enumerate(filters[:3], 1):
        x = _residual_block(x, count, f"encoder{level}", stride=1 if level == 1 else 2)
        encoded.append(x)
    x = bridge = _residual_block(x, filters[3], "bridge", stride=2)
    decoded = []
    for index, count in enumerate(reversed(filters[:3]), 1):
        skip = [encoded[3 - index]]
        if index == 3 and enhanced is not None:
            skip.append(enhanced)
        x = _up(x, count, f"decoder{index}_up")
        x = layers.Concatenate(name=f"decoder{index}_concat")([x, *skip])
        x = _residual_block(x, count, f"decoder{index}")
        decoded.insert(0, x)
    return decoded, bridge


def _residual_block(x, filters: int, name: str, *, stride: int = 1):
    """Two 3x3 convolutions and a 1x1 shortcut; the stride is the first one's."""
    shortcut = x
    if stride > 1:
        # A strided 1x1 convolution, written so that TensorFlow's oneDNN build on CPUs
        # does not meet its gradient, which corrupts memory for 7 to 12 channels.
        pooling = _POOLINGS[len(x.shape) - 2]
        shortcut = pooling(1, strides=stride, name=f"{name}_sample")(x)
    shortcut = _conv(shortcut, filters, 1, f"{name}_shortcut")
    x = _conv(x, filters, 3, f"{name}_conv1", strides=stride)
    x = layers.BatchNormalization(name=f"{name}_bn1")(x)
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, filters, 3, f"{name}_conv2")
    x = layers.BatchNormalization(name=f"{name}_bn2")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=name)(x)


def _transformer(x, level: int, dtype=None):
    """`level` residual blocks that halve the channels, then one map."""
    for block in range(1, level + 1):
        filters = max(1, x.shape[-1] // 2)
        x = _residual_block(x, filters, f"t{level}_block{block}")
    return _conv(x, 1, 1, f"t{level}_conv", dtype=dtype)


def _content_enhancer(image, filters: int, version: str):
    """Large dilated kernels on the input, for the last residual block."""
    if version == "code":
        branches = [
            _conv(image, max(1, filters // 2), 7, f"ce_conv_d{d}", dilation_rate=d)
            for d in (1, 2, 4)
        ]
        x = layers.Concatenate(name="ce_concat")(branches)
    else:
        branches = [
            _conv(image, filters, 7, f"ce_conv_d{d}", dilation_rate=d) for d in (1, 4)
        ]
        x = layers.Add(name="ce_sum")(branches)
    x = layers.BatchNormalization(name="ce_bn1")(x)
    x = layers.ReLU(name="ce_relu1")(x)
    x = _conv(x, filters, 7 if version == "code" else 3, "ce_conv2")
    x = layers.BatchNormalization(name="ce_bn2")(x)
    x = layers.Add(name="ce_add")([x, _conv(image, filters, 1, "ce_shortcut")])
    return layers.LeakyReLU(LEAKY_SLOPE, name="ce")(x)


def _conv(x, filters: int, kernel_size: int, name: str, **options):
    convolution = _CONVOLUTIONS[len(x.shape) - 2]
    return convolution(
        filters, kernel_size, padding="same", use_bias=False, name=name, **options
    )(x)


def _up(x, filters: int, name: str):
    """A transposed convolution that doubles every side."""
    return _TRANSPOSED[len(x.shape) - 2](
        filters,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=TRANSPOSED_STD),
        name=name,
    )(x)


def _check_choice(what: str, received: str, known: Sequence[str]) -> None:
    if received not in known:
        raise CtKerasError(
            "CTK-E000",
            f"no {what} of that name",
            received=received,
            expected=" or ".join(known),
        )


def make_system(recipe: Recipe, *, dimensions: int = 2) -> Adl:
    """Builds and compiles the system that a recipe trains.

    Args:
        recipe: `options` of `AdlDenoiser`; `training` of `AdlSettings`.
        dimensions: 2 for images, 3 for volumes.
    """
    settings = AdlSettings.from_plain(recipe.training)
    builder = {2: AdlDenoiser, 3: Adl3dDenoiser}[dimensions]
    system = Adl(
        builder(**recipe.options, all_scales=True),
        AdlDiscriminator(settings.discriminator_width, dimensions=dimensions),
        epochs=recipe.epochs,
        settings=settings,
    )
    system.compile(
        adl_optimizer(recipe, settings, PHASES.index("denoiser")),
        adl_optimizer(recipe, settings, PHASES.index("discriminator")),
        jit_compile=recipe.jit_compile,
    )
    return system


SPEC = ModelSpec(
    name="adl",
    builder=AdlDenoiser,
    title="Three-scale U-Net with content enhancer and adversarial phases",
    paper="Ghahremani et al. 2022, https://arxiv.org/abs/2204.14100",
    file="ct_keras/models/adl.py",
    receptive_field=93,
    make_system=make_system,
    settings=AdlSettings,
    recipes=(
        Recipe(
            name="report",
            description="The blog post: whole 512x512 slices, batch 1, Adam 1e-3, 100 "
            "passes over all slices, in each of which the discriminator and then the "
            "denoiser is updated, by L_G = -E log D(G(y)) beside its losses of images, "
            "until the discriminator cannot tell (55 % right at most). The weight 1e-3 "
            "of that term is a choice made here.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=100,
            steps_per_epoch=1000,
            whole_passes=True,
            learning_rate=1e-3,
            augment=False,
            training={"mode": "paper", "phases": (0, 0, 1), "stop_accuracy": 0.55},
        ),
        Recipe(
            name="paper",
            description="The public configuration: 512x512, batch 4, clean images with "
            "Gaussian noise of 0 to 55/255 of the scale (blind), 50 epochs for each "
            "phase (of 1,000 steps here), Adam 1e-4, then 5e-5, times 0.8 every 50,000 "
            "steps. Flips and quarter turns replace its flips.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=4,
            epochs=150,
            steps_per_epoch=1000,
            learning_rate=1e-4,
            noise=DrawnNoise("gaussian", sigma_range=(0.0, 55 / 255)),
            training={
                "mode": "paper",
                "phases": (50, 50, 50),
                "joint_learning_rate": 5e-5,
                "decay": 0.8,
                "decay_steps": 50_000,
            },
        ),
        quick_recipe(
            "Minutes on two CPU cores: 16 maps, 48x48 patches, batch 16, "
            "starts as the identity, Adam with a warm-up to 1e-3 and a cosine to 5e-5.",
            options={"width": 16, "initializer": "identity"},
            patch_size=48,
            training={"phases": (7, 1, 2), "discriminator_width": 8},
        ),
        Recipe(
            name="report_code",
            description="As report, but by the public code: passes over all slices, "
            "whose phases as equal thirds are a choice made here. Its discriminator "
            "tells the noisy input from real images, and the denoiser never hears of "
            "it.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=100,
            steps_per_epoch=1000,
            whole_passes=True,
            learning_rate=1e-3,
            augment=False,
            training={"mode": "code", "phases": (1, 1, 1)},
        ),
    ),
)

SPEC_3D = ModelSpec(
    name="adl3d",
    builder=Adl3dDenoiser,
    title="ADL for volumes",
    paper=SPEC.paper,
    file=SPEC.file,
    receptive_field=SPEC.receptive_field,
    make_system=functools.partial(make_system, dimensions=3),
    settings=AdlSettings,
    dimensions=3,
    recipes=(
        replace(
            SPEC.recipe("report"),
            description="The blog post trains on images; here with its values on "
            "sub-volumes of 40x64x64 and 1,000 steps an epoch, choices made here.",
            patch_size=64,
            depth=40,
            whole_passes=False,
        ),
        replace(
            SPEC.recipe("paper"),
            description="The public configuration of images on sub-volumes of "
            "40x64x64, batch 1, 1,000 steps an epoch; the published run in three "
            "dimensions is not known.",
            patch_size=64,
            depth=40,
            batch_size=1,
        ),
        replace(
            SPEC.recipe("quick"),
            description="Minutes on two CPU cores: 8 maps, sub-volumes of 16x48x48, "
            "batch 2, the rest as for images.",
            options={"width": 8, "initializer": "identity"},
            depth=16,
            batch_size=2,
            steps_per_epoch=60,
            training={"phases": (7, 1, 2), "discriminator_width": 4},
        ),
    ),
)
