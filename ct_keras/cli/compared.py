"""What the commands that compare methods share: names, tuning, the command told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ct_keras.cli.output import note
from ct_keras.cli.sources import Source
from ct_keras.errors import CtKerasError


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


def tuned(methods: dict, source: Source, tune: bool | None) -> dict:
    """The same methods, with filters and reconstructions fitted to other patients.

    Args:
        methods: By label.
        source: What will be measured, and what filters are fitted to.
        tune: None does so if there is something to fit to.

    Raises:
        CtKerasError: CTK-E000, if `tune` is asked for and there is nothing.
    """
    from ct_keras.filters import tune as tune_filter
    from ct_keras.serving.methods import FilterDenoiser

    filtering = any(isinstance(method, FilterDenoiser) for method in methods.values())
    if not filtering or tune is False or (tune is None and source.fitting is None):
        return methods
    if source.fitting is None:
        raise CtKerasError(
            "CTK-E000",
            "there is nothing to fit the filters to",
            expected="records with a split val besides, or --fit-scans of evaluate",
            fix="leave out --tune",
        )
    pairs = source.fitting()
    fitted = {}
    for label, method in methods.items():
        if isinstance(method, FilterDenoiser):
            best = tune_filter(method.filter, pairs, progress=True)
            method = type(method)(best)
            note(f"{label} tuned on other patients: {method.identity.parameters}")
        fitted[label] = method
    return fitted
