"""What can leave as a network: networks, and filters that are a convolution."""

from __future__ import annotations

from dataclasses import replace

from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.methods import FILTER_PREFIX, FilterDenoiser, Untreated
from ct_keras.errors import CtKerasError
from ct_keras.filters.linear_models import linear_model, list_linear
from ct_keras.filters.registry import Filter, require_hu


def exportable(method: Denoiser | FilterDenoiser | Untreated | Filter) -> Denoiser:
    """Returns a method as a `Denoiser` around a network.

    Args:
        method: From `ct_keras.load`, `get_method` or `ct_keras.filters.get`.

    Returns:
        A denoiser as it is. For a linear filter one with the filter's name and
        parameters, and the hash of its kernels, which tells parameters apart.

    Raises:
        CtKerasError: CTK-E000 for the input itself, a filter that is not linear or one
            that is for display only.
    """
    if isinstance(method, Denoiser):
        return method
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
