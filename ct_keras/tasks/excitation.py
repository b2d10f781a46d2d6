"""What a deep layer answers to: the patches that excite it most, and why.

For each chosen channel of a layer, the places of a set of images with its strongest
responses are found. The gradient of such a response with respect to the image shows
which pixels it sees, its receptive field, and which of them raise it.

Reference:
    Zeiler and Fergus, ECCV 2014, doi:10.1007/978-3-319-10590-1_53; the gradient in
    place of their deconvolution is that of Simonyan et al. 2014,
    https://arxiv.org/abs/1312.6034.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from ct_keras.errors import CtKerasError

_BATCH = 8


@dataclass(frozen=True)
class Excitation:
    """A strong response of a channel, and what caused it.

    Attributes:
        channel: Number of the channel.
        response: Its value.
        image: Number of the image.
        rows: First row and the row after the last of what the response sees.
        columns: First column and the column after the last.
        patch: float32, that part of the image.
        gradient: float32, the same shape: how much each pixel raises the response.
    """

    channel: int
    response: float
    image: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    patch: np.ndarray
    gradient: np.ndarray


def strongest_patches(
    network: keras.Model,
    layer: str,
    images: np.ndarray,
    *,
    channels: tuple[int, ...] = (0,),
    count: int = 9,
) -> list[Excitation]:
    """Finds the patches of images that excite channels of a layer most.

    Args:
        network: Any functional network of images with one channel.
        layer: Name of a layer whose output is (batch, rows, columns, channels).
        images: (images, rows, columns), in the units of the network.
        channels: The channels of the layer.
        count: Patches for each channel, each from another image.

    Returns:
        For each channel in turn, its strongest patches, the strongest first.

    Raises:
        CtKerasError: CTK-E000 for an unknown layer or channel, or one without rows and
            columns.

    Example:
        >>> patches = strongest_patches(
        ...     network, "conv5_3", slices, channels=(7,)
        ... )  # doctest: +SKIP
    """
    part = _up_to(network, layer, channels)
    inputs = np.asarray(images, np.float32)[..., None]
    responses = part.predict(inputs, batch_size=_BATCH, verbose=0)
    flat = responses.reshape(len(inputs), -1, responses.shape[-1])
    found = []
    for channel in channels:
        best = flat[..., channel].max(axis=1)
        for image in np.argsort(-best, kind="stable")[:count]:
            place = int(np.argmax(flat[image, :, channel]))
            where = np.unravel_index(place, responses.shape[1:3])
            gradient = _gradient(part, inputs[image], (*where, channel))
            found.append(_excitation(inputs[image], gradient, channel, image, best))
    return found


def _up_to(network: keras.Model, layer: str, channels: tuple[int, ...]) -> keras.Model:
    """The network up to a layer."""
    known = {each.name: each for each in network.layers}
    shape = known[layer].output.shape if layer in known else ()
    if len(shape) != 4 or not all(0 <= channel < shape[-1] for channel in channels):
        raise CtKerasError(
            "CTK-E000",
            "the network has no such layer of images, or it has fewer channels",
            received=f"{layer}, channels {', '.join(map(str, channels))}",
            expected=", ".join(
                name for name, each in known.items() if len(each.output.shape) == 4
            ),
        )
    return keras.Model(network.inputs, known[layer].output)


def _gradient(
    part: keras.Model, image: np.ndarray, where: tuple[int, int, int]
) -> np.ndarray:
    """The gradient of one response with respect to the image, (rows, columns)."""
    import tensorflow as tf

    pixels = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        response = part(pixels, training=False)[(0, *where)]
    return tape.gradient(response, pixels).numpy()[0, ..., 0]


def _excitation(
    image: np.ndarray, gradient: np.ndarray, channel: int, number: int, best: np.ndarray
) -> Excitation:
    """Cuts out what a response sees."""
    ends = []
    for axis in (1, 0):
        seen = np.flatnonzero(np.any(gradient != 0, axis=axis))
        ends.append((int(seen[0]), int(seen[-1]) + 1) if len(seen) else (0, 1))
    cut = tuple(slice(*each) for each in ends)
    return Excitation(
        channel=channel,
        response=float(best[number]),
        image=int(number),
        rows=ends[0],
        columns=ends[1],
        patch=image[..., 0][cut],
        gradient=gradient[cut],
    )
