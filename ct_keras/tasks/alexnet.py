"""AlexNet, with one channel.

Krizhevsky A, Sutskever I, Hinton GE. ImageNet Classification with Deep Convolutional
Neural Networks. NIPS 2012. https://doi.org/10.1145/3065386
"""

from __future__ import annotations

import keras
from keras import layers

from ct_keras.errors import CtKerasError
from ct_keras.tasks.layers import LocalResponseNormalization
from ct_keras.tasks.recipes import TaskSpec
from ct_keras.tasks.vgg import image_input, probabilities

_PAPER_WIDTH = 96
#: Smaller images have no pixel left after the third pooling.
_SMALLEST = 67
#: Name, maps in the paper, kernel, whether `groups` applies.
_LATER = (
    ("conv2", 256, 5, True),
    ("conv3", 384, 3, False),
    ("conv4", 384, 3, True),
    ("conv5", 256, 3, True),
)


def AlexNet(
    width: int = 96,
    *,
    classes: int = 1000,
    image_size: tuple[int, int] = (227, 227),
    channels: int = 1,
    groups: int = 1,
    lrn: bool = False,
    dropout: float = 0.5,
    window_hu: tuple[float, float] | None = None,
    name: str = "alexnet",
) -> keras.Model:
    """Builds AlexNet.

    Args:
        width: Maps of the first layer; 96 in the paper (62,355,112 parameters with one
            channel and 1,000 classes). All other layers scale with it.
        classes: Number of classes.
        image_size: Rows and columns, at least 67.
        channels: Channels of the image.
        groups: 2 divides conv2, conv4 and conv5, as the paper's two GPUs did
            (60,941,992 parameters).
        lrn: Whether the first two layers are followed by local response normalisation.
        dropout: Dropout rate after both dense layers.
        window_hu: HU window that is mapped to 0 to 1 and clipped; None keeps network
            units.
        name: Name of the model.

    Returns:
        From `image`, network units (batch, rows, columns, channels), to
        `probabilities`, float32 (batch, classes).

    Raises:
        CtKerasError: CTK-E041, for an image that is too small.
    """
    if min(image_size) < _SMALLEST:
        raise CtKerasError(
            "CTK-E041",
            "AlexNet cannot be built for this image size",
            received=image_size,
            expected=f"{_SMALLEST} pixels or more",
        )

    def scaled(maps: int) -> int:
        """A multiple of `groups` near the paper's number at this width."""
        return max(1, maps * width // (_PAPER_WIDTH * groups)) * groups

    image, x = image_input(image_size, window_hu, channels)
    x = layers.Conv2D(scaled(96), 11, strides=4, activation="relu", name="conv1")(x)
    for index, (layer, maps, kernel, grouped) in enumerate(_LATER, start=1):
        if index <= 2:
            if lrn:
                x = LocalResponseNormalization(name=f"norm{index}")(x)
            x = layers.MaxPooling2D(3, 2, name=f"pool{index}")(x)
        x = layers.Conv2D(
            scaled(maps),
            kernel,
            padding="same",
            groups=groups if grouped else 1,
            activation="relu",
            name=layer,
        )(x)
    x = layers.MaxPooling2D(3, 2, name="pool5")(x)
    x = layers.Flatten(name="flatten")(x)
    for index in (6, 7):
        x = layers.Dense(scaled(4096), activation="relu", name=f"fc{index}")(x)
        x = layers.Dropout(dropout, name=f"drop{index}")(x)
    x = layers.Dense(classes, name="fc8")(x)
    return keras.Model(image, probabilities(x), name=name)


SPEC = TaskSpec(
    name="alexnet",
    builder=AlexNet,
    kind="classification",
    title="AlexNet with one channel",
    paper="Krizhevsky et al. 2012, https://doi.org/10.1145/3065386",
    file="ct_keras/tasks/alexnet.py",
)
