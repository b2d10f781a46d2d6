"""Shared parts of the task networks: input, VGG-16 and output."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from ct_keras.errors import CtKerasError
from ct_keras.hu import to_network

#: Convolutions of each block of VGG-16, and their maps as multiples of `width`.
BLOCKS = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
#: Units of its dense layers as multiples of `width`: 4096 at 64.
DENSE = 64


def image_input(
    size: tuple[int | None, int | None],
    window_hu: tuple[float, float] | None,
    channels: int = 1,
):
    """Input `image` in network units and, optionally, a HU window of it.

    Args:
        size: Rows and columns, None for any size.
        window_hu: HU window that is mapped to 0 to 1 and clipped; None keeps network
            units.
        channels: Channels of the image.

    Returns:
        The input and the tensor for the next layer.
    """
    image = keras.Input((*size, channels), name="image")
    if window_hu is None:
        return image, image
    low, high = (float(u) for u in to_network(np.array(window_hu, np.float64)))
    if not low < high:
        raise CtKerasError(
            "CTK-E000",
            "invalid window",
            received=window_hu,
            expected="(low, high) in HU",
        )
    scale = 1 / (high - low)
    x = layers.Rescaling(scale, -low * scale, name="window")(image)
    return image, layers.ReLU(max_value=1.0, name="window_clip")(x)


def probabilities(x):
    """Softmax over the last axis, `probabilities`, float32 under any policy."""
    return layers.Softmax(dtype="float32", name="probabilities")(x)


def check_size(name: str, size: tuple[int, int], multiple: int) -> None:
    """Refuses sizes that are not a multiple.

    Raises:
        CtKerasError: CTK-E041.
    """
    if any(side < multiple or side % multiple for side in size):
        raise CtKerasError(
            "CTK-E041",
            f"{name} cannot be built for this image size",
            received=size,
            expected=f"multiples of {multiple}",
        )


def start_from_vgg16(network: keras.Model, vgg16: keras.Model) -> list[str]:
    """Copies the convolutions of VGG-16 into `fcn8s` or `deconvnet`.

    A single-channel network gets the sum of the first kernel over its input channels,
    which gives the same response as VGG-16 to an image repeated in all channels.

    Args:
        network: With layers conv1_1 to conv5_3.
        vgg16: `keras.applications.VGG16`, with any weights and any number of channels.

    Returns:
        Names of the layers that received weights.

    Raises:
        CtKerasError: CTK-E087, if a kernel has another shape.
    """
    filled = []
    for block, (count, _) in enumerate(BLOCKS, start=1):
        for index in range(1, count + 1):
            layer = network.get_layer(f"conv{block}_{index}")
            source = vgg16.get_layer(f"block{block}_conv{index}")
            kernel, bias = (np.asarray(weight) for weight in source.weights)
            if layer.kernel.shape[2] == 1:
                kernel = kernel.sum(axis=2, keepdims=True)
            if kernel.shape != tuple(layer.kernel.shape):
                raise CtKerasError(
                    "CTK-E087",
                    f"{layer.name} of the network does not have the shape of VGG-16's",
                    received=kernel.shape,
                    expected=tuple(layer.kernel.shape),
                    fix="build the network with width=64",
                )
            layer.kernel.assign(kernel)
            layer.bias.assign(bias)
            filled.append(layer.name)
    return filled
