"""A start of ADL at which the untrained network nearly returns its input.

ADL has no global residual and ends in a sigmoid, so a plain start has to learn the
identity to a thousandth of the scale before it can remove any noise. The topology can
express it from the first step: some channels (carriers) of `encoder1` hold hinge
functions of the input, max(0, x - knot) and max(0, knot - x); a weighted sum of them is
the logit, which the sigmoid undoes. `decoder3` forms max(0, -logit) and max(0, logit),
which are never negative, so the ReLUs of `t1` pass them on to its 1x1 convolution. They
travel through the 1x1 shortcuts; the convolutions of a carrier are silent because the
scale of their last batch normalisation starts at zero, and its shift is the hinge's
knot. The same happens at a half and a quarter of the scale, where the strided shortcuts
sample the image. All other channels start as usual, but kernels that see the image have
no mean: they answer to differences and not to the image.
"""

from __future__ import annotations

import functools

import keras
import numpy as np

from ct_keras import hu

#: Channels that carry the input, where a block has that many.
CARRIERS = 10
#: Network units from air to dense bone, and the weight of soft tissue among them.
FITTED_RANGE = (0.002, 0.75)
TISSUE_WEIGHT = 3.0
TISSUE_HU = (-200.0, 290.0)
#: The logit is carried as max(0, -logit) and max(0, logit).
SIGNS = np.array([-1.0, 1.0])
CONTRAST_KERNELS = ("encoder1_conv1", "decoder3_conv1", "t1_block1_conv1")


def start_as_identity(network: keras.Model) -> None:
    """Sets the initial weights of an ADL network in place.

    Args:
        network: As `ct_keras.models.adl_networks.denoiser` builds it. With ten channels
            or more in `encoder1` the untrained network returns its input with an error
            of 0.6 HU RMS in soft tissue; with fewer it is coarser (4 HU with four).
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
    for layer in network.layers:
        if layer.name in CONTRAST_KERNELS or layer.name.startswith("ce_conv_d"):
            axes = tuple(range(len(layer.kernel.shape) - 2))
            mean = keras.ops.mean(layer.kernel, axis=axes, keepdims=True)
            layer.kernel.assign(layer.kernel - mean)


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
    kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
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
