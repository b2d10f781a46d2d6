"""What a network costs: multiply-accumulate operations of a forward pass."""

from __future__ import annotations

import math

import keras


def count_macs(network: keras.Model, rows: int = 512, columns: int = 512) -> int:
    """Counts the multiply-accumulate operations for one slice.

    Convolutions, transposed convolutions and dense layers are counted, the rest (ReLU,
    sums, scaling) is not: the usual convention of published tables.

    Args:
        network: A functional model with one image input.
        rows: Rows of the slice.
        columns: Columns of the slice.

    Returns:
        Operations of a forward pass of one image.
    """
    sized = keras.models.clone_model(
        network, input_tensors=keras.Input((rows, columns, 1))
    )
    return sum(_layer_macs(layer) for layer in sized.layers)


def _layer_macs(layer: keras.layers.Layer) -> int:
    if isinstance(layer, (keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)):
        positions = math.prod(layer.input.shape[1:-1])
    elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv3D)):
        positions = math.prod(layer.output.shape[1:-1])
    elif isinstance(layer, keras.layers.Dense):
        positions = 1
    else:
        return 0
    return positions * math.prod(layer.kernel.shape)
