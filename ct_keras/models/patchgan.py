"""The discriminators of pix2pix, which judge every patch of an image on its own.

Isola et al. 2017 (see `ct_keras.models.pix2pix`), sections 3.2.2 and 6.1.2.
"""

from __future__ import annotations

import keras
from keras import layers

from ct_keras.errors import CtKerasError

#: Standard deviation of initial kernels, and of normalisation scales around 1.
INITIAL_STD = 0.02
LEAK = 0.2
#: Of batch normalisation, as in the authors' code. CT varies by 1e-2 in network units;
#: the 1e-3 that Keras adds by default would not be small beside its variances.
NORM_EPSILON = 1e-5
#: Layers of stride 2 by receptive field.
_STRIDED = {16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
RECEPTIVE_FIELDS = (1, *_STRIDED)


def PatchGAN(
    width: int = 64,
    *,
    receptive_field: int = 70,
    norm: str = "batch",
    bias_before_norm: bool = False,
    name: str = "patchgan",
) -> keras.Model:
    """Builds a conditional discriminator.

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
            "no discriminator of that receptive field",
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
    """The paper's initial values; a new one per layer, as one repeats its draw."""
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
        "CTK-E000", "no such normalisation", received=norm, expected="batch, instance"
    )
