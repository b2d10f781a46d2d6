"""The zoo: one file per paper, and the registry of them all.

Every builder returns a functional `keras.Model` of stock layers that works in network
units (see `ct_keras.hu`); `ct_keras.Denoiser` wraps one for Hounsfield units.
"""

from __future__ import annotations

import keras

from ct_keras.errors import CtKerasError
from ct_keras.models import red_cnn
from ct_keras.models.cost import count_macs
from ct_keras.models.recipes import Recipe
from ct_keras.models.red_cnn import RedCNN
from ct_keras.models.registry import ModelSpec, SizeRule
from ct_keras.models.systems import TrainingSystem

__all__ = [
    "ModelSpec",
    "Recipe",
    "RedCNN",
    "SizeRule",
    "TrainingSystem",
    "build",
    "count_macs",
    "get_spec",
    "list_models",
]

#: Adding a paper: one file in this folder, one line here.
_SPECS = {spec.name: spec for spec in (red_cnn.SPEC,)}


def list_models() -> list[str]:
    """Returns the names of all networks."""
    return list(_SPECS)


def get_spec(name: str) -> ModelSpec:
    """Returns what the zoo knows about a network.

    Raises:
        CtKerasError: CTK-E092, if there is no network of that name.
    """
    if name not in _SPECS:
        raise CtKerasError(
            "CTK-E092",
            "no model of that name",
            received=name,
            expected=", ".join(_SPECS),
        )
    return _SPECS[name]


def build(name: str, **options) -> keras.Model:
    """Builds an untrained network in network units.

    Args:
        name: One of `list_models()`.
        **options: Arguments of its builder, for example `width`.

    Returns:
        From `low_dose` to `denoised`, float32 (batch, rows, columns, 1).

    Raises:
        CtKerasError: CTK-E092, if there is no network of that name.
    """
    return get_spec(name).builder(**options)
