"""Layers that Keras lacks: max-pooling with switches, unpooling, LRN."""

from __future__ import annotations

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="ct_keras")
class MaxPoolingWithSwitches(layers.Layer):
    """2x2 max-pooling with stride 2 that also returns the position of each maximum.

    The switches are a one-hot tensor over the four positions of a window, in the order
    top left, top right, bottom left, bottom right. The first of equal values wins, as
    in max-pooling with indices; comparing the input with the upsampled maximum would
    mark all of them, often whole windows after a ReLU.

    Input: (batch, rows, columns, channels), rows and columns even.
    Output: maxima (batch, rows/2, columns/2, channels) and switches, the same with a
    last axis of 4.

    Reference:
        Noh et al., ICCV 2015, https://doi.org/10.1109/ICCV.2015.178
    """

    def call(self, inputs):
        """Returns maxima and switches."""
        rows, columns, channels = inputs.shape[1:]
        windows = ops.reshape(inputs, (-1, rows // 2, 2, columns // 2, 2, channels))
        windows = ops.transpose(windows, (0, 1, 3, 5, 2, 4))
        windows = ops.reshape(windows, (-1, rows // 2, columns // 2, channels, 4))
        switches = ops.one_hot(ops.argmax(windows, axis=-1), 4, dtype=windows.dtype)
        # The gradient goes to the maximum only, as in max-pooling.
        return ops.sum(windows * switches, axis=-1), switches

    def compute_output_shape(self, input_shape):
        """Shapes of maxima and switches."""
        batch, rows, columns, channels = input_shape
        maxima = (batch, rows // 2, columns // 2, channels)
        return maxima, (*maxima, 4)


@keras.saving.register_keras_serializable(package="ct_keras")
class MaxUnpooling(layers.Layer):
    """Puts values at the positions of `MaxPoolingWithSwitches`, 0 elsewhere.

    Input: values (batch, rows, columns, channels) and switches, the same with a last
    axis of 4.
    Output: (batch, 2 rows, 2 columns, channels).
    """

    def call(self, inputs):
        """Returns the unpooled values."""
        values, switches = inputs
        rows, columns, channels = values.shape[1:]
        windows = ops.expand_dims(values, -1) * switches
        windows = ops.reshape(windows, (-1, rows, columns, channels, 2, 2))
        windows = ops.transpose(windows, (0, 1, 4, 2, 5, 3))
        return ops.reshape(windows, (-1, 2 * rows, 2 * columns, channels))

    def compute_output_shape(self, input_shape):
        """Shape of the unpooled values."""
        batch, rows, columns, channels = input_shape[0]
        return (batch, 2 * rows, 2 * columns, channels)


@keras.saving.register_keras_serializable(package="ct_keras")
class LocalResponseNormalization(layers.Layer):
    """``a / (k + alpha sum a^2)^beta``, the sum over the nearest `size` channels.

    Args:
        size: Number of channels in the sum, the central one included.
        k: Additive constant.
        alpha: Weight of the sum; not divided by `size`, as in the paper.
        beta: Exponent.
        **options: Options of `keras.layers.Layer`.

    Reference:
        Krizhevsky et al., NIPS 2012, section 3.3, https://doi.org/10.1145/3065386
    """

    def __init__(
        self,
        size: int = 5,
        k: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **options,
    ):
        super().__init__(**options)
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def call(self, inputs):
        """Returns the normalised responses."""
        channels = inputs.shape[-1]
        before = self.size // 2
        square = ops.pad(
            ops.square(inputs),
            [[0, 0]] * (len(inputs.shape) - 1) + [[before, self.size - 1 - before]],
        )
        total = sum(square[..., i : i + channels] for i in range(self.size))
        return inputs / ops.power(self.k + self.alpha * total, self.beta)

    def get_config(self):
        """Returns the arguments to rebuild the layer."""
        names = ("size", "k", "alpha", "beta")
        return super().get_config() | {name: getattr(self, name) for name in names}
