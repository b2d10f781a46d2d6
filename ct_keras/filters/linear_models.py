"""Linear filters as frozen networks, so that they are saved and exported like one.

A linear filter is a convolution: here `DepthwiseConv2D` layers of stock Keras, after
indices that mirror the borders as the filter does, whatever the backend and the size.
Kernels that are products of a column and a row become two convolutions.

Only this module of the room needs Keras, and only when a model is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.filters import lecture
from ct_keras.filters.registry import Filter, list_filters
from ct_keras.filters.smoothing import gaussian_radius
from ct_keras.filters.windows import odd

if TYPE_CHECKING:
    import keras


def list_linear() -> list[str]:
    """Returns the names of the denoisers that `linear_model` accepts."""
    return [name for name in list_filters() if name in _KERNELS]


def linear_model(chosen: Filter) -> keras.Model:
    """Makes the network that does what a linear filter does.

    Borders are mirrored with the edge pixel repeated, again and again where the image
    is smaller than the kernel, as the filter does it. A model has no units: its
    weights add up to 1 (to 0 for `outline`), so HU give HU and network units give
    network units. Unlike the filter it has no floor at -1024 HU; `ct_keras.Denoiser`
    puts that around it.

    Args:
        chosen: One of `list_linear()` or `outline`, with its parameters, tuned or not.

    Returns:
        A functional model named like the filter, from `low_dose` to `denoised`,
        float32 (batch, rows, columns, 1), any size >= 1, without trainable weights.

    Raises:
        CtKerasError: CTK-E000 for a filter that is not linear, or for parameters that
            it does not accept.

    Example:
        >>> network = linear_model(ct_keras.filters.get("gaussian", sigma=2))
        >>> denoised_hu = ct_keras.Denoiser(network)(low_dose_hu)
    """
    import keras

    kernels = _kernels(chosen)
    radii = np.sum([np.array(kernel.shape) // 2 for kernel in kernels], axis=0)
    image = _image_input(name="low_dose")
    x = _mirror_borders(*radii.tolist())(image)
    for number, kernel in enumerate(kernels, 1):
        x = _convolution(kernel, f"kernel_{number}")(x)
    x = keras.layers.Identity(name="denoised", dtype="float32")(x)
    return keras.Model(image, x, name=chosen.name)


def _mean(size: float) -> list[np.ndarray]:
    size = odd(size)
    column = np.full((size, 1), 1 / size)
    return [column, column.T]


def _gaussian(sigma: float) -> list[np.ndarray]:
    size = 2 * gaussian_radius(sigma) + 1
    column = cv2.getGaussianKernel(size, sigma, cv2.CV_32F)
    return [column, column.T]


#: What to convolve with, one after the other, by name; from the filter's parameters.
_KERNELS: dict[str, Callable[..., Sequence[np.ndarray]]] = {
    "mean": _mean,
    "gaussian": _gaussian,
    "blur": lambda: [lecture.BLUR],
    "gaussian_5x5": lambda: [lecture.GAUSSIAN_5X5],
    "outline": lambda: [lecture.OUTLINE],
}


def _kernels(chosen: Filter) -> Sequence[np.ndarray]:
    if chosen.name not in _KERNELS:
        raise CtKerasError(
            "CTK-E000",
            f"the {chosen.name} filter is not a convolution with a fixed kernel",
            received=chosen.name,
            expected=f"a linear filter: {', '.join(list_linear())}",
        )
    return _KERNELS[chosen.name](**chosen.parameters)


def _convolution(kernel: np.ndarray, name: str) -> keras.layers.Layer:
    import keras

    layer = keras.layers.DepthwiseConv2D(
        kernel.shape, use_bias=False, trainable=False, dtype="float32", name=name
    )
    layer.build((None, None, None, 1))
    layer.set_weights([kernel[..., None, None]])
    return layer


def _image_input(name: str | None = None) -> keras.KerasTensor:
    import keras

    return keras.Input((None, None, 1), name=name, dtype="float32")


def _mirror_borders(rows: int, columns: int) -> keras.Model:
    """Adds this many pixels on each side; `numpy.pad` calls this symmetric."""
    import keras
    from keras import ops

    image = x = _image_input()
    for axis, radius in ((1, rows), (2, columns)):
        x = ops.take(x, _mirrored_indices(image, axis, radius), axis=axis)
    return keras.Model(image, x, name="mirror_borders")


def _mirrored_indices(image: keras.KerasTensor, axis: int, radius: int):
    """Indices along an axis that go on beyond both of its ends.

    The size is known only when the model runs, and keras.ops cannot ask for it before;
    sums of ones count it.
    """
    from keras import ops

    ones = ops.max(ops.ones_like(image), axis=tuple({0, 1, 2, 3} - {axis}))
    size = ops.cast(ops.sum(ones), "int32")
    longer = ops.ones_like(ops.pad(ones, ((radius, radius),)))
    position = ops.cast(ops.cumsum(longer), "int32") - (1 + radius)
    # Every 2 x size positions the mirror images repeat.
    turn = ops.mod(position, 2 * size)
    return ops.minimum(turn, 2 * size - 1 - turn)
