"""Where a run begins: new weights, or those of a trained network."""

from __future__ import annotations

import keras

from ct_keras.denoising import Denoiser, load
from ct_keras.errors import CtKerasError


def load_start(start_from: str | None, *, trust: bool = False) -> Denoiser | None:
    """Loads what a run starts from; None for new weights.

    Raises:
        CtKerasError: As `ct_keras.load`.
    """
    return None if start_from is None else load(start_from, trust=trust)


def name_with_hash(start: Denoiser | None) -> str | None:
    """The trained network by name and hash, for config.json and model cards."""
    if start is None:
        return None
    version = f" {start.identity.version}" if start.identity.version else ""
    return f"{start.name}{version} (sha256 {start.identity.weights_sha256})"


def begin_with(network: keras.Model, start: Denoiser) -> None:
    """Gives a network the weights of a trained one.

    Raises:
        CtKerasError: CTK-E087 for weights of another network or width.
    """
    given, expected = (
        [tuple(weight.shape) for weight in each.weights]
        for each in (start.network, network)
    )
    if given != expected:
        raise CtKerasError(
            "CTK-E087",
            "the weights to start from belong to a different network",
            received=_described(start.network),
            expected=_described(network),
            fix="start from the same network with the same options, such as its width",
        )
    network.set_weights(start.network.get_weights())


def _described(network: keras.Model) -> str:
    return f"{network.name} with {network.count_params():,} parameters"
