"""Classical denoisers with the same call as a network: HU in, HU out."""

from ct_keras.filters.registry import Filter, get, get_denoiser, list_filters
from ct_keras.filters.tuning import tune

__all__ = ["Filter", "get", "get_denoiser", "list_filters", "tune"]
