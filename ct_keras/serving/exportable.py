"""What can leave as a network: networks, and filters that are a convolution."""

from __future__ import annotations

import logging
from dataclasses import replace

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.methods import FILTER_PREFIX, FilterDenoiser, Untreated
from ct_keras.errors import CtKerasError, Finding
from ct_keras.filters.linear_models import linear_model, list_linear
from ct_keras.filters.registry import Filter, require_hu

logger = logging.getLogger(__name__)


def exportable(method: Denoiser | FilterDenoiser | Untreated | Filter) -> Denoiser:
    """Returns a method as a `Denoiser` around a network.

    Args:
        method: From `ct_keras.load`, `get_method` or `ct_keras.filters.get`.

    Returns:
        A denoiser as it is, but a self-ensemble without its eight turns, which are no
        part of the network; a warning says so. For a linear filter one with the
        filter's name and parameters, and the hash of its kernels, which tells
        parameters apart.

    Raises:
        CtKerasError: CTK-E000 for the input itself, a filter that is not linear or one
            that is for display only.
    """
    if isinstance(method, Denoiser):
        return _without_ensemble(method)
    if isinstance(method, Untreated):
        linear = ", ".join(FILTER_PREFIX + name for name in list_linear())
        raise CtKerasError(
            "CTK-E000",
            "the input as it is has no network to export",
            received=method.identity.name,
            expected=f"published weights, a run, a .keras file, {linear}",
        )
    chosen = method if isinstance(method, Filter) else method.filter
    denoiser = Denoiser(linear_model(require_hu(chosen)))
    denoiser.identity = replace(
        FilterDenoiser(chosen).identity,
        weights_sha256=denoiser.identity.weights_sha256,
    )
    return denoiser


def _without_ensemble(denoiser: Denoiser) -> Denoiser:
    """The network of a self-ensemble alone; another denoiser as it is."""
    if not denoiser.self_ensemble:
        return denoiser
    finding = Finding(
        "CTK-W094",
        "exported is the network alone: the mean over flips and quarter turns is not "
        "part of it, so results differ from those of the self-ensemble",
    )
    logger.warning("%s", finding)
    parameters = dict(denoiser.identity.parameters)
    del parameters["self_ensemble"]
    identity = replace(denoiser.identity, parameters=parameters)
    return Denoiser(denoiser.model, identity=identity, card=denoiser.card)
