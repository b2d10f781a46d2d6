"""DeconvNet: VGG-16 and a mirrored decoder, connected by the pooling switches.

Noh H, Hong S, Han B. Learning Deconvolution Network for Semantic Segmentation.
ICCV 2015. https://doi.org/10.1109/ICCV.2015.178
"""

from __future__ import annotations

import keras
from keras import layers

from ct_keras.tasks.layers import MaxPoolingWithSwitches, MaxUnpooling
from ct_keras.tasks.recipes import ORGAN_DATA, ORGAN_WINDOW, TaskRecipe, TaskSpec
from ct_keras.tasks.vgg import BLOCKS, DENSE, check_size, image_input, probabilities

#: Transposed convolutions after each unpooling, maps as multiples of `width`.
_DECODER = ((5, (8, 8, 8)), (4, (8, 8, 4)), (3, (4, 4, 2)), (2, (2, 1)), (1, (1, 1)))
_DECODER_STD = 0.01


def DeconvNet(
    width: int = 64,
    *,
    classes: int = 2,
    image_size: tuple[int, int] = (224, 224),
    channels: int = 1,
    window_hu: tuple[float, float] | None = None,
    name: str = "deconvnet",
) -> keras.Model:
    """Builds DeconvNet.

    Args:
        width: Maps of the first block; 64 in the paper (251,803,266 trainable
            parameters with two classes).
        classes: Number of classes, background included.
        image_size: Rows and columns, multiples of 32; the kernel of fc6 covers the map
            after five poolings (7x7 for 224).
        channels: Channels of the image.
        window_hu: HU window that is mapped to 0 to 1 and clipped; None keeps network
            units.
        name: Name of the model.

    Returns:
        From `image`, network units (batch, rows, columns, channels), to
        `probabilities`, float32 (batch, rows, columns, classes).

    Raises:
        CtKerasError: CTK-E041, for a size that is not a multiple of 32.
    """
    check_size(name, image_size, 32)
    image, x = image_input(image_size, window_hu, channels)
    switches = {}
    for block, (count, multiple) in enumerate(BLOCKS, start=1):
        for index in range(1, count + 1):
            x = _step(
                layers.Conv2D, x, width * multiple, 3, "same", f"conv{block}_{index}"
            )
        pool = MaxPoolingWithSwitches(name=f"pool{block}")
        x, switches[block] = pool(x)
    rest = tuple(side // 32 for side in image_size)
    x = _step(layers.Conv2D, x, width * DENSE, rest, "valid", "fc6")
    x = _step(layers.Conv2D, x, width * DENSE, 1, "valid", "fc7")
    x = _step(layers.Conv2DTranspose, x, width * 8, rest, "valid", "fc6_deconv")
    for block, multiples in _DECODER:
        x = MaxUnpooling(name=f"unpool{block}")([x, switches[block]])
        for index, multiple in enumerate(multiples, start=1):
            x = _step(
                layers.Conv2DTranspose,
                x,
                width * multiple,
                3,
                "same",
                f"deconv{block}_{index}",
            )
    x = layers.Conv2D(classes, 1, kernel_initializer=_gaussian(), name="score")(x)
    return keras.Model(image, probabilities(x), name=name)


def _step(layer, x, filters: int, kernel, padding: str, name: str):
    """Convolution (either way), BatchNorm and ReLU."""
    decoder = layer is layers.Conv2DTranspose
    x = layer(
        filters,
        kernel,
        padding=padding,
        kernel_initializer=_gaussian() if decoder else "glorot_uniform",
        name=name,
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _gaussian():
    return keras.initializers.RandomNormal(stddev=_DECODER_STD)


SPEC = TaskSpec(
    name="deconvnet",
    builder=DeconvNet,
    kind="segmentation",
    title="VGG-16 with a mirrored unpooling decoder",
    paper="Noh et al. 2015, https://doi.org/10.1109/ICCV.2015.178",
    file="ct_keras/tasks/deconvnet.py",
    recipes=(
        TaskRecipe(
            name="report",
            description="The lecture's two losses with Adam 1e-4; the lecture does not "
            "state sizes, batch and length.",
            options={"classes": 8},
            loss={"cross_entropy": 1.0, "dice": 1.0, "pixels": "sum"},
            data=ORGAN_DATA | {"pixels": 224},
            batch_size=4,
            epochs=30,
            learning_rate=1e-4,
        ),
        TaskRecipe(
            name="paper",
            description="Noh et al.: 224x224, SGD 0.01 with momentum 0.9, weight decay "
            "5e-4, batch 64, mirror images. The two stages (crops around one object, "
            "then whole proposals) and the steps of the learning rate are left out: "
            "phantoms have no proposals.",
            options={"classes": 8},
            loss={"cross_entropy": 1.0, "dice": 0.0, "pixels": "mean"},
            data=ORGAN_DATA | {"pixels": 224},
            batch_size=64,
            epochs=1500,
            learning_rate=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            augment="mirror",
        ),
        TaskRecipe(
            name="quick",
            description="Two CPU cores: a sixteenth of the maps at 128x128, Dice over "
            "the batch and mean cross-entropy, Adam 1e-3 falling to 1e-5.",
            options={
                "width": 4,
                "classes": 8,
                "image_size": (128, 128),
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
