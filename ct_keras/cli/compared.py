"""What the commands that compare methods share: names, tuning, the command told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ct_keras.cli.output import note

_TUNING_SLICES = 8


def methods_by_label(models: Sequence[str]) -> dict:
    """The methods that the texts name, by the names that tables give them.

    A run or file is called by its own name, unless two are called alike.
    """
    from ct_keras.serving.methods import get_method

    names = [Path(text).name for text in models]
    labels = {
        text: text if names.count(name) > 1 else name
        for text, name in zip(models, names, strict=True)
    }
    return {label: get_method(text) for text, label in labels.items()}


def public_command() -> str:
    """The command for files that travel: paths by their last part."""
    parts = [Path(text).name if "/" in text else text for text in sys.argv[1:]]
    return " ".join(["ct-keras", *parts])


def tuned(methods: dict, records: Path, split: str, tune: bool | None) -> dict:
    """The same methods, with filters and reconstructions fitted to the split val.

    Args:
        methods: By label.
        records: A records folder.
        split: What will be measured.
        tune: None does so if there is another split val.
    """
    from ct_keras.data import read_manifest
    from ct_keras.filters import tune as tune_filter
    from ct_keras.serving.methods import FilterDenoiser
    from ct_keras.training.validation import fixed_slices

    has_validation = "val" in read_manifest(records).splits and split != "val"
    filtering = any(isinstance(method, FilterDenoiser) for method in methods.values())
    if not filtering or tune is False or (tune is None and not has_validation):
        return methods
    pairs = fixed_slices(records, "val", _TUNING_SLICES)
    fitted = {}
    for label, method in methods.items():
        if isinstance(method, FilterDenoiser):
            best = tune_filter(method.filter, pairs, progress=True)
            method = type(method)(best)
            note(f"{label} tuned on the split val: {method.identity.parameters}")
        fitted[label] = method
    return fitted
