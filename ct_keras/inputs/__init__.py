"""Folders and archives as input: what may be read, before anything is parsed."""

from ct_keras.inputs.options import DEFAULT_LIMITS, Limits, ReadOptions

__all__ = ["DEFAULT_LIMITS", "Limits", "ReadOptions"]
