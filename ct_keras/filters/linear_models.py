"""Linear filters as frozen networks, which can be saved and exported like any network.

A linear filter is a convolution, here with stock `DepthwiseConv2D` layers. Borders are
mirrored by index as the filter does, on any backend and for any image size. Separable
kernels become two convolutions.

Keras is imported only when a model is built.
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
    """Builds the network that is equivalent to a linear filter.

    Borders are mirrored with the edge pixel repeated, several times if the image is
    smaller than the kernel, as in the filter. The model works in any unit: its weights
    sum to 1 (0 for `outline`), so HU give HU and network units give network units.
    Padding below -1500 HU is kept by the filter and by `ct_keras.Denoiser`, which also
    raises noise in air to -1024 HU; the network itself does neither.

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


#: Name -> function from a filter's parameters to its kernels, applied in sequence.
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
    """Pads this many pixels on each side, as mode "symmetric" of `numpy.pad`."""
    import keras
    from keras import ops

    image = x = _image_input()
    for axis, radius in ((1, rows), (2, columns)):
        x = ops.take(x, _mirrored_indices(image, axis, radius), axis=axis)
    return keras.Model(image, x, name="mirror_borders")


def _mirrored_indices(image: keras.KerasTensor, axis: int, radius: int):
    """Returns mirrored indices along an axis, `radius` beyond both of its ends.

    The size is known only when the model runs, where keras.ops cannot query it; it is
    counted by a sum of ones.
    """
    from keras import ops

    ones = ops.max(ops.ones_like(image), axis=tuple({0, 1, 2, 3} - {axis}))
    size = ops.cast(ops.sum(ones), "int32")
    longer = ops.ones_like(ops.pad(ones, ((radius, radius),)))
    position = ops.cast(ops.cumsum(longer), "int32") - (1 + radius)
    # The mirrored indices repeat with a period of 2 x size.
    turn = ops.mod(position, 2 * size)
    return ops.minimum(turn, 2 * size - 1 - turn)
