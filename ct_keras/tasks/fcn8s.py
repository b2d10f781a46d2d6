"""FCN-8s: VGG-16 made fully convolutional, with two skips.

Shelhamer E, Long J, Darrell T. Fully Convolutional Networks for Semantic Segmentation.
IEEE TPAMI 39(4), 2017. https://doi.org/10.1109/TPAMI.2016.2572683
Layers and crops as in the authors' definition (shelhamer/fcn.berkeleyvision.org).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from ct_keras.errors import CtKerasError
from ct_keras.tasks.recipes import ORGAN_DATA, ORGAN_WINDOW, TaskRecipe, TaskSpec
from ct_keras.tasks.vgg import BLOCKS, DENSE, check_size, image_input, probabilities

_DEFAULT_SIZE = (512, 512)
#: Crop offsets of the authors' network: skips of pool4 and pool3, and the last map.
_OFFSETS = {"score_pool4": 5, "score_pool3": 9, "upscore8": 31}


def FCN8s(
    width: int = 64,
    *,
    classes: int = 2,
    image_size: tuple[int, int] | None = None,
    channels: int = 1,
    padding: str = "original",
    dropout: float = 0.5,
    zero_scores: bool = True,
    window_hu: tuple[float, float] | None = None,
    name: str = "fcn8s",
) -> keras.Model:
    """Builds FCN-8s.

    Args:
        width: Maps of the first block; 64 in the paper (134,270,278 parameters with two
            classes, 1,152 of them frozen bilinear kernels).
        classes: Number of classes, background included.
        image_size: Rows and columns; needed for the crops of `padding="original"`
            (None is 512x512), optional otherwise.
        channels: Channels of the image.
        padding: "original" pads the first convolution by 100 and crops; "same" does
            neither and takes multiples of 32.
        dropout: Dropout rate after fc6 and fc7.
        zero_scores: Whether the score layers are initialised with zeros; False for
            Glorot.
        window_hu: HU window that is mapped to 0 to 1 and clipped; None keeps network
            units.
        name: Name of the model.

    Returns:
        From `image`, network units (batch, rows, columns, channels), to
        `probabilities`, float32 (batch, rows, columns, classes).

    Raises:
        CtKerasError: CTK-E000 for an unknown padding, CTK-E041 for an unsupported size.
    """
    if padding not in ("original", "same"):
        raise CtKerasError(
            "CTK-E000",
            "unknown padding of fcn8s",
            received=padding,
            expected="original or same",
        )
    original = padding == "original"
    if original:
        image_size = image_size or _DEFAULT_SIZE
    elif image_size:
        check_size(name, image_size, 32)
    image, x = image_input(image_size or (None, None), window_hu, channels)
    if original:
        x = layers.ZeroPadding2D(99, name="padding")(x)
    x, pool3, pool4 = _encode(x, width, original, dropout)

    def score(x, name):
        kernel = "zeros" if zero_scores else "glorot_uniform"
        return layers.Conv2D(classes, 1, kernel_initializer=kernel, name=name)(x)

    def upsample(x, factor, name):
        return layers.Conv2DTranspose(
            classes,
            2 * factor,
            strides=factor,
            padding="valid" if original else "same",
            use_bias=False,
            kernel_initializer=BilinearKernel(),
            trainable=False,
            name=name,
        )(x)

    def crop(x, size, name):
        if not original:
            return x
        offset = _OFFSETS[name]
        sides = zip(x.shape[1:3], size, strict=True)
        margins = tuple((offset, side - offset - kept) for side, kept in sides)
        return layers.Cropping2D(margins, name=f"{name}_crop")(x)

    x = upsample(score(x, "score_fr"), 2, "upscore2")
    skip = crop(score(pool4, "score_pool4"), x.shape[1:3], "score_pool4")
    x = layers.Add(name="fuse_pool4")([x, skip])
    x = upsample(x, 2, "upscore_pool4")
    skip = crop(score(pool3, "score_pool3"), x.shape[1:3], "score_pool3")
    x = layers.Add(name="fuse_pool3")([x, skip])
    x = crop(upsample(x, 8, "upscore8"), image_size, "upscore8")
    return keras.Model(image, probabilities(x), name=name)


def _encode(x, width: int, original: bool, dropout: float):
    """VGG-16 with its dense layers as convolutions; also pool3 and pool4."""
    pools = []
    for block, (count, multiple) in enumerate(BLOCKS, start=1):
        for index in range(1, count + 1):
            x = layers.Conv2D(
                width * multiple,
                3,
                padding="same",
                activation="relu",
                name=f"conv{block}_{index}",
            )(x)
        x = layers.MaxPooling2D(2, 2, padding="same", name=f"pool{block}")(x)
        pools.append(x)
    for index, kernel in ((6, 7), (7, 1)):
        x = layers.Conv2D(
            width * DENSE,
            kernel,
            padding="valid" if original else "same",
            activation="relu",
            name=f"fc{index}",
        )(x)
        x = layers.Dropout(dropout, name=f"drop{index}")(x)
    return x, pools[2], pools[3]


@keras.saving.register_keras_serializable(package="ct_keras")
class BilinearKernel(keras.initializers.Initializer):
    """Kernel of a transposed convolution that interpolates each class on its own."""

    def __call__(self, shape, dtype=None):
        """Returns the kernel for a shape (rows, columns, classes, classes)."""
        side = shape[0]
        factor = (side + 1) // 2
        middle = factor - 1 if side % 2 else factor - 0.5
        line = 1 - np.abs(np.arange(side) - middle) / factor
        plane = np.outer(line, line)[:, :, None, None]
        return keras.ops.convert_to_tensor(plane * np.eye(shape[2]), dtype=dtype)

    def get_config(self):
        """Returns an empty configuration."""
        return {}


_LECTURE = {"cross_entropy": 1.0, "dice": 1.0, "pixels": "sum"}
SPEC = TaskSpec(
    name="fcn8s",
    builder=FCN8s,
    kind="segmentation",
    title="Fully convolutional VGG-16 with skips",
    paper="Shelhamer et al. 2017, https://doi.org/10.1109/TPAMI.2016.2572683",
    file="ct_keras/tasks/fcn8s.py",
    recipes=(
        TaskRecipe(
            name="report",
            description="The lecture's two losses with Adam 1e-4; the lecture does not "
            "state sizes, batch and length.",
            options={"classes": 8, "image_size": (256, 256)},
            loss=_LECTURE,
            data=ORGAN_DATA | {"pixels": 256},
            batch_size=4,
            epochs=30,
            learning_rate=1e-4,
        ),
        TaskRecipe(
            name="paper",
            description="Shelhamer et al.: the cross-entropy summed over pixels, SGD "
            "1e-10 with momentum 0.99, weight decay 5e-4, batch 1, 100,000 steps at "
            "once. The doubled learning rate of biases is left out, and so are ignored "
            "labels: phantoms have no unlabelled pixels.",
            options={"classes": 8, "image_size": (256, 256)},
            loss=_LECTURE | {"dice": 0.0},
            data=ORGAN_DATA | {"pixels": 256},
            batch_size=1,
            epochs=125,
            learning_rate=1e-10,
            momentum=0.99,
            weight_decay=5e-4,
        ),
        TaskRecipe(
            name="quick",
            description="Two CPU cores: an eighth of the maps, 128x128 "
            "without the padding of 100, Dice over the batch and mean cross-entropy.",
            options={
                "width": 8,
                "classes": 8,
                "padding": "same",
                "image_size": (128, 128),
                "dropout": 0.1,
                "zero_scores": False,
                "window_hu": ORGAN_WINDOW,
            },
            loss={"over": "batch"},
            data=ORGAN_DATA,
            batch_size=8,
            epochs=15,
            learning_rate=1e-3,
            final_learning_rate=1e-5,
        ),
    ),
)
