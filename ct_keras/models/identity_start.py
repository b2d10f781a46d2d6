"""Initial weights with which an untrained network returns its input.

Noise is a hundredth of the network's scale. A plain start has to learn the identity to
a thousandth of it before any noise can be removed, and kernels that see the image
answer to its mean and not to differences of a few HU. So weights carry the image from
end to end, whatever lies between, and kernels beside them start without a mean.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import keras
import numpy as np

from ct_keras import hu

#: Amplitude of kernels that answer to differences of a few HU.
CONTRAST_GAIN = 8.0
#: Of the branch of Seo's ResNet beside the shortcut; at zero its ReLU would stay shut.
SMALL_START = 0.01
#: Where the start of pix2pix follows arctanh exactly.
TANH_KNOTS_HU = (-1000.0, -800.0, -160.0, 20.0, 400.0)
#: Channels that carry the input, where a block has that many.
CARRIERS = 10
#: Network units from air to dense bone, and the weight of soft tissue among them.
FITTED_RANGE = (0.002, 0.75)
TISSUE_WEIGHT = 3.0
TISSUE_HU = (-200.0, 290.0)
#: The logit is carried as max(0, -logit) and max(0, logit).
SIGNS = np.array([-1.0, 1.0])
CONTRAST_KERNELS = ("encoder1_conv1", "decoder3_conv1", "t1_block1_conv1")


def answer_to_differences(*kernels, gain: float = CONTRAST_GAIN) -> None:
    """Removes the mean of initial kernels and raises their amplitude.

    Args:
        *kernels: Variables (..., inputs, outputs), changed in place.
        gain: Factor on what is left.
    """
    for kernel in kernels:
        mean = keras.ops.mean(
            kernel, axis=tuple(range(len(kernel.shape) - 2)), keepdims=True
        )
        kernel.assign(gain * (kernel - mean))


def _without_mean(kernel: np.ndarray) -> np.ndarray:
    return CONTRAST_GAIN * (kernel - kernel.mean(axis=(0, 1), keepdims=True))


def _values(variable) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable))


def carry_in_first_channel(layers: Sequence[keras.layers.Layer]) -> None:
    """Lets a chain of convolutions return its input, which passes their ReLUs.

    The first channel of every layer carries the image, the last layer reads only this
    one, and what else reads the image starts without a mean.

    Args:
        layers: The convolutions in their order, kernels of odd size.
    """
    for layer in layers:
        kernel = _values(layer.kernel)
        middle = kernel.shape[0] // 2
        kernel[:, :, :1, :] = _without_mean(kernel[:, :, :1, :])
        if layer is layers[-1]:
            kernel[...] = 0.0
        kernel[:, :, :, 0] = 0.0
        kernel[middle, middle, 0, 0] = 1.0
        layer.kernel.assign(kernel)


def carry_through_shortcuts(network: keras.Model) -> None:
    """Lets Seo's ResNet return its input, nearly, and answer to noise.

    The first channel carries the image through the 1x1 shortcuts. Whatever else reads
    that channel starts without a mean. The last shortcut reads the first channel only,
    at first; the branch beside it starts small.

    Args:
        network: As `ct_keras.models.SeoResNet` builds it.
    """
    layers = {layer.name: layer for layer in network.layers if layer.weights}
    kernels = {name: _values(layer.kernel) for name, layer in layers.items()}
    for name in ("l1_1", "l2_1", "l3_1"):
        kernels[name][:, :, :1] = _without_mean(kernels[name][:, :, :1])
    for name in ("l1_2", "l2_2"):
        kernels[name][..., 0] = 0
    kernels["l3_2"] *= SMALL_START
    for name in ("l1_s", "l2_s", "l3_s"):
        kernels[name][:] = np.eye(*kernels[name].shape[2:])
    for name, layer in layers.items():
        layer.kernel.assign(kernels[name])


def carry_through_tanh(first: keras.layers.Layer, last: keras.layers.Layer) -> None:
    """Lets the path over the first level of pix2pix alone be (nearly) the identity.

    `first` copies the four pixels of each 2x2 block, `last` puts them back. In between
    are only (leaky) ReLUs, and tanh comes after; so for each pixel there is one map per
    knot t, with the bias -t, and the sum of its ReLUs follows arctanh as a polygon
    that is exact at the knots.

    Args:
        first: The 4x4 convolution of stride 2 of the first level.
        last: The transposed convolution that undoes its stride, and reads the level's
            maps after as many others.
    """
    knots = 2 * hu.to_network(np.array(TANH_KNOTS_HU)) - 1
    values = np.arctanh(knots)
    slopes = np.diff(values) / np.diff(knots)
    bends = np.diff(slopes, prepend=0.0)
    copy, bias = (weights.copy() for weights in first.get_weights())
    paste = np.zeros(last.kernel.shape)
    for index, bend in enumerate(bends):
        for phase in range(4):
            row, column, own = 1 + phase // 2, 1 + phase % 2, 4 * index + phase
            copy[..., own] = 0.0
            copy[row, column, 0, own] = 1.0
            bias[own] = -knots[index]
            paste[row, column, 0, first.filters + own] = bend
    first.set_weights([copy, bias])
    last.set_weights([paste, values[:1]])


def carry_through_sigmoid(network: keras.Model) -> None:
    """Lets ADL, which ends in a sigmoid, return nearly its input.

    Some channels (carriers) of `encoder1` hold hinge functions of the input,
    max(0, x - knot) and max(0, knot - x); a weighted sum of them is the logit, which
    the sigmoid undoes. `decoder3` forms max(0, -logit) and max(0, logit), which are
    never negative, so the ReLUs of `t1` pass them on to its 1x1 convolution. They
    travel through the 1x1 shortcuts; the convolutions of a carrier are silent because
    the scale of their last batch normalisation starts at zero, and its shift is the
    hinge's knot. The same happens at a half and a quarter of the scale, where the
    strided shortcuts sample the image. All other channels start as usual, but kernels
    that see the image have no mean.

    Args:
        network: As `ct_keras.models.AdlDenoiser` builds it, changed in place. With ten
            channels or more in `encoder1` the untrained network returns its input with
            an error of 0.6 HU RMS in soft tissue; with fewer it is coarser (4 HU with
            four).
    """
    channels = network.get_layer("encoder1_shortcut").filters
    slopes, shifts, weights, constant = logit_hinges(min(CARRIERS, channels))
    amplitude = np.sqrt(np.abs(weights))  # a weight is shared between its two layers
    _carry(network, "encoder1", (slopes * amplitude)[None], shifts * amplitude)
    logit = weights / amplitude
    names = {layer.name for layer in network.layers}
    for level in (1, 2, 3):
        if f"t{level}_conv" not in names:
            continue
        if level > 1:
            copies = np.eye(len(weights))
            _carry(network, f"encoder{level}", copies, np.zeros(len(weights)))
        _carry_logit(network, level, logit, constant)
    seeing = [
        layer.kernel
        for layer in network.layers
        if layer.name in CONTRAST_KERNELS or layer.name.startswith("ce_conv_d")
    ]
    answer_to_differences(*seeing, gain=1.0)


@functools.cache
def logit_hinges(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Fits the logit by hinges that open away from water.

    The first is the input itself. In soft tissue nearly all others are closed, so that
    no large weights cancel there. Their knots lie where the logit bends most, and least
    squares in HU give the weights.

    Args:
        count: Number of hinges, at least 1.

    Returns:
        Slopes, shifts and weights, (count,) each, and a constant, with
        logit(u) = constant + sum_i weights_i max(0, slopes_i u + shifts_i).
    """
    units = np.linspace(*FITTED_RANGE, 3000)
    logit = np.log(units / (1 - units))
    low, high = hu.to_network(np.array(TISSUE_HU))
    tissue = np.where((units > low) & (units < high), TISSUE_WEIGHT, 1.0)
    bend = tissue * np.sqrt(np.abs(1 - 2 * units) / (units * (1 - units)))
    knots = np.interp(
        np.arange(1, count) / count, np.cumsum(bend) / np.sum(bend), units
    )
    slopes = np.append(1.0, np.where(knots < hu.to_network(hu.WATER_HU), -1.0, 1.0))
    shifts = -slopes * np.append(0.0, knots)
    hinges = np.maximum(0.0, slopes * units[:, None] + shifts)
    basis = np.concatenate([np.ones_like(hinges[:, :1]), hinges], axis=1)
    # An error of the logit times u (1 - u) is one of u.
    scale = tissue * units * (1 - units)
    fitted = np.linalg.lstsq(basis * scale[:, None], logit * scale, rcond=None)[0]
    return slopes, shifts, fitted[1:], float(fitted[0])


def _carry_logit(
    network: keras.Model, level: int, logit: np.ndarray, constant: float
) -> None:
    """From the hinges in `encoder<level>` to the logit at the end of `t<level>`."""
    decoder = f"decoder{4 - level}"
    ahead = network.get_layer(f"{decoder}_up").filters
    mixed = np.concatenate([np.zeros((ahead, 2)), logit[:, None] * SIGNS])
    _carry(network, decoder, mixed, constant * SIGNS)
    for block in range(1, level + 1):
        _carry(network, f"t{level}_block{block}", np.eye(2), np.zeros(2))
    last = network.get_layer(f"t{level}_conv").kernel
    kernel = np.zeros(last.shape, np.float32)
    count = min(2, last.shape[-2])
    kernel[..., :count, 0] = SIGNS[:count]
    last.assign(kernel)


def _carry(
    network: keras.Model, block: str, shortcut: np.ndarray, shift: np.ndarray
) -> None:
    """Makes the first channels of a residual block max(0, shortcut(x) + shift).

    Args:
        network: Changed in place.
        block: Name of the residual block.
        shortcut: (inputs, carriers); further inputs have no part in the carriers, and
            carriers for which the block has no channel are dropped.
        shift: (carriers,).
    """
    layer = network.get_layer(f"{block}_shortcut")
    kernel = _values(layer.kernel)
    inputs, carriers = np.minimum(kernel.shape[-2:], shortcut.shape)
    kernel[..., :carriers] = 0.0
    kernel[..., :inputs, :carriers] = shortcut[:inputs, :carriers]
    layer.kernel.assign(kernel)
    normalisation = network.get_layer(f"{block}_bn2")
    gamma = np.ones(kernel.shape[-1])
    beta = np.zeros(kernel.shape[-1])
    gamma[:carriers] = 0.0
    beta[:carriers] = shift[:carriers]
    normalisation.gamma.assign(gamma)
    normalisation.beta.assign(beta)
