"""What a network costs: multiply-accumulate operations of a forward pass."""

from __future__ import annotations

import math

import keras

#: A slice; and a block with as many voxels as a slice has pixels.
_SIZES = {2: (512, 512), 3: (64, 64, 64)}


def count_macs(network: keras.Model, *size: int) -> int:
    """Counts the multiply-accumulate operations for one slice.

    Convolutions, transposed convolutions and dense layers are counted, the rest (ReLU,
    sums, pooling, scaling) is not: the usual convention of published tables.

    Args:
        network: A functional model with one image or volume as input.
        size: Rows and columns, or slices, rows and columns; by default 512x512, or
            64x64x64, which is as many voxels. Where the network has a fixed size, that
            one counts.

    Returns:
        Operations of a forward pass of one image or volume.
    """
    fixed = network.inputs[0].shape[1:]
    size = (*(size or _SIZES[len(fixed) - 1]), fixed[-1])
    shape = [own or asked for own, asked in zip(fixed, size, strict=True)]
    sized = keras.models.clone_model(network, input_tensors=keras.Input(shape))
    return sum(_layer_macs(layer) for layer in sized.layers)


def _layer_macs(layer: keras.layers.Layer) -> int:
    if isinstance(layer, (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)):
        positions = math.prod(layer.input.shape[1:-1])
    elif isinstance(
        layer, (keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
    ):
        positions = math.prod(layer.output.shape[1:-1])
    else:
        return 0
    return positions * math.prod(layer.kernel.shape)
