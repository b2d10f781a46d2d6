"""Which image sizes a network accepts, and how far its results look around.

Both are read off the built network, so they hold for every option of a builder, under
any name, and for a network that a user brings.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
from keras import layers

from ct_keras.errors import CtKerasError

#: Sides that are tried. A prime, so that a side times this is a multiple of nothing
#: that the side is not a multiple of.
_PRIME = 1009
_LARGEST_SIDE = 1024
_POINTWISE = (
    *(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.PReLU),
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum),
    *(layers.Minimum, layers.Concatenate, layers.BatchNormalization, layers.Dropout),
    *(layers.Rescaling, layers.Identity, layers.GaussianNoise, layers.SpatialDropout3D),
)
_CONVOLUTIONS = (layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D)
_TRANSPOSED = (layers.Conv2DTranspose, layers.Conv3DTranspose)
_POOLINGS = (
    *(layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling2D, layers.AveragePooling3D),
)


@dataclass(frozen=True)
class SizeRule:
    """The image sizes that a network accepts without padding.

    Attributes:
        multiple: Rows and columns (and slices, in 3-D) must be multiples of this.
        minimum: Smallest number of rows and of columns (and of slices).
    """

    multiple: int = 1
    minimum: int = 1


def size_rule_of(network: keras.Model) -> SizeRule:
    """Finds the sizes for which a network gives an image of the size that it takes.

    Shapes are inferred, nothing is computed.

    Args:
        network: From one image, (batch, rows, columns, 1), or one volume,
            (batch, slices, rows, columns, 1), to one of the same size.

    Raises:
        CtKerasError: CTK-E091 for a network of another kind, one of a fixed size too.

    Example:
        >>> size_rule_of(ct_keras.models.RedCNN(width=8))
        SizeRule(multiple=1, minimum=21)
    """
    _check_ends(network)
    sides = range(1, _LARGEST_SIDE + 1)
    multiple = next((side for side in sides if _fits(network, side * _PRIME)), None)
    if multiple is None:
        raise _refusal("an output that differs in size from the input")
    counts = range(1, _LARGEST_SIDE // multiple + 1)
    smaller = bisect_left(
        counts, True, key=lambda count: _fits(network, count * multiple)
    )
    return SizeRule(multiple, (smaller + 1) * multiple)


def halo_of(network: keras.Model) -> int | None:
    """Finds by how many voxels at most a result depends on its neighbours.

    Args:
        network: As for `size_rule_of`, as it is when it denoises.

    Returns:
        The largest distance along any axis, or None where a layer sees the whole image
        or is not known.
    """
    places = np.arange(size_rule_of(network).multiple)
    try:
        first, last = _follow(network, np.stack([places, places]), _reach)
    except _SeesAll:
        return None
    return int(max(np.max(places - first), np.max(last - places)))


def largest_output(network: keras.Model, shape: tuple[int, ...]) -> int:
    """Counts the values in the largest output of a layer.

    Shapes are inferred, nothing is computed.

    Args:
        network: As for `size_rule_of`.
        shape: (rows, columns) of the image, or (slices, rows, columns).

    Example:
        >>> largest_output(ct_keras.models.RedCNN(width=8), (64, 64)) // 60**2
        8
    """
    counts = []

    def step(layer):
        if isinstance(layer, keras.Model):
            return lambda image, **_: _follow(layer, image, step)
        infer = _size(layer)

        def run(*given, **options):
            left = infer(*given, **options)
            for tensor in keras.tree.flatten(left):
                # An axis known only at run time is taken to be as long as the image.
                sides = (max(shape) if side is None else side for side in tensor.shape)
                counts.append(math.prod(sides))
            return left

        return run

    _follow(network, keras.KerasTensor((1, *shape, 1)), step)
    return max(counts, default=0)


class _SeesAll(Exception):
    """A layer whose results may depend on the whole image."""


def _check_ends(network: keras.Model) -> None:
    """Refuses a network that does not map one image to one image."""
    if not network.built or not hasattr(network, "inputs"):
        raise _refusal("a network without a defined input")
    ends = network.inputs, network.outputs
    for tensors in ends:
        if len(tensors) != 1 or len(tensors[0].shape) not in (4, 5):
            raise _refusal(f"from {_shape(ends[0])} to {_shape(ends[1])}")
        if tensors[0].shape[-1] not in (1, None):
            raise _refusal(f"{tensors[0].shape[-1]} channels")


def _shape(tensors) -> str:
    return " and ".join(str(tuple(tensor.shape)) for tensor in tensors)


def _refusal(received: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E091",
        "the network does not denoise images of any size",
        received=received,
        expected="one image or volume of one channel in, one of the same size out, "
        "as from keras.Input((None, None, 1))",
    )


def _follow(network: keras.Model, given, step):
    """Leads a value through the graph of a network.

    Args:
        network: Functional or sequential.
        given: What enters.
        step: From a layer to the function that gives what leaves it for what enters.
    """
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs, network.outputs)
    # The one way in Keras to run another calculation than the layers' own.
    return network._run_through_graph(given, operation_fn=step)


def _fits(network: keras.Model, side: int) -> bool:
    """Whether the network gives an image of this side for one of this side."""
    sides = (side,) * (len(network.inputs[0].shape) - 2)
    try:
        (output,) = keras.tree.flatten(
            _follow(network, keras.KerasTensor((1, *sides, 1)), _size)
        )
    except Exception:  # layers tell in many ways that a shape does not suit them
        return False
    return _agree(output.shape[1:-1], sides)


def _size(layer):
    """From the tensors that enter a layer to those that leave it, without values."""
    if isinstance(layer, keras.Model):
        return lambda image, **_: _follow(layer, image, _size)
    joins = isinstance(layer, layers.Concatenate)
    infer = partial(_joined, layer) if joins else layer.compute_output_spec

    def run(*given, **options):
        left = infer(*given, **options)
        if any(0 in tensor.shape for tensor in keras.tree.flatten(left)):
            # Keras before 3.14 infers such shapes where a kernel does not fit.
            raise ValueError(f"nothing is left after {layer.name}")
        return left

    return run


def _joined(layer: layers.Concatenate, images: list):
    """The shape that Keras infers; it does not compare the other axes here."""
    shapes = [list(image.shape) for image in images]
    for shape in shapes:
        del shape[layer.axis]
        if not _agree(shape, shapes[0]):
            raise ValueError(f"{layer.name} joins images of different sizes")
    return layer.compute_output_spec(images)


def _agree(some, others) -> bool:
    """Whether two shapes can be equal; axes known only at run time always match."""
    pairs = zip(some, others, strict=True)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _reach(layer):
    """From places that enter a layer to those that depend on them, first and last.

    Places are counted along one axis, far from the edges: (2, places).
    """
    if isinstance(layer, keras.Model):
        return lambda places, **_: _follow(layer, places, _reach)
    if isinstance(layer, _POINTWISE):
        _check_axis(layer)
        return _united
    return lambda places: _spread(layer, *places)


def _united(places, *others, **_):
    """The span of all places that enter."""
    every = np.stack(keras.tree.flatten([places, *others]))
    return np.stack([every[:, 0].min(axis=0), every[:, 1].max(axis=0)])


def _check_axis(layer) -> None:
    axis = getattr(layer, "axis", -1)
    if axis not in (-1, len(layer.output.shape) - 1):
        raise _SeesAll


def _spread(layer, first, last):
    """Which places of a layer with neighbourhoods depend on these of its input."""
    if isinstance(layer, layers.UpSampling2D | layers.UpSampling3D):
        if getattr(layer, "interpolation", "nearest") != "nearest":
            raise _SeesAll
        factor = _one(layer.size)
        return np.stack([first * factor, (last + 1) * factor - 1])
    if isinstance(layer, _POOLINGS):
        reach = max(layer.pool_size)
    elif isinstance(layer, _CONVOLUTIONS + _TRANSPOSED):
        widths = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        reach = max((size - 1) * rate + 1 for size, rate in widths)
    else:
        raise _SeesAll
    stride = _one(layer.strides)
    before = max(0, reach - stride) // 2 if layer.padding == "same" else 0
    if isinstance(layer, _TRANSPOSED):
        first, last = first * stride, last * stride + reach - 1
        return np.stack([first - before, last - before])
    return np.stack(
        [-((reach - 1 - first - before) // stride), (last + before) // stride]
    )


def _one(values: tuple[int, ...]) -> int:
    """The value that all axes share."""
    if len(set(values)) > 1:
        raise _SeesAll
    return values[0]
