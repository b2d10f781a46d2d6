"""Tunes the methods on other patients, measures and describes all methods."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.runner import (
    BASELINE,
    Evaluation,
    evaluate_models,
    measure_strengths,
)
from ct_keras.evaluation.sources import Source

logger = logging.getLogger(__name__)


def measure(
    methods: Mapping[str, Method],
    source: Source,
    *,
    tune: bool | None = None,
    baseline: str | None = None,
    seed: int = 0,
    command: str | None = None,
) -> Evaluation:
    """Tunes the filters and measures all methods.

    Args:
        methods: Row name -> method, HU to HU.
        source: The slice pairs.
        tune: Whether to fit filters and the best strength of every method to other
            patients; None does so if there are any. Otherwise the best strengths are
            those of the measured slices.
        baseline: A method to test the others against, in addition to the input; None
            for the Gaussian filter.
        seed: Seed of the bootstrap.
        command: The command line shown in the report.

    Returns:
        The evaluation, for `ct_keras.report.write_report`.

    Raises:
        CtKerasError: As `tuned` and `evaluate_models`.
    """
    if source.fitting is not None:
        source = replace(source, fitting=cache(source.fitting))
    fitted = tuned(methods, source, tune)
    strengths = None
    if tune is not False and source.fitting is not None:
        strengths = measure_strengths(fitted, source.fitting(), progress=True)
    return evaluate_models(
        fitted,
        source.pairs(),
        split=source.label,
        facts={
            label: method.facts(rays=source.rays) for label, method in fitted.items()
        },
        command=command,
        baseline=baseline or BASELINE,
        seed=seed,
        total=source.total,
        progress=True,
        fitted=strengths,
    )


def tuned(
    methods: Mapping[str, Method], source: Source, tune: bool | None
) -> dict[str, Method]:
    """Returns the methods, with filters and reconstructions fitted to other patients.

    Args:
        methods: Label -> method.
        source: The slice pairs to measure and to fit filters to.
        tune: Whether to fit; None does so if there is something to fit to.

    Raises:
        CtKerasError: CTK-E000, if `tune` is true and there is nothing to fit to; for a
            3-D method also as `Source.require_volumes`.
    """
    fitted = {label: as_method(method) for label, method in methods.items()}
    if any(method.dimensions == 3 for method in fitted.values()):
        source.require_volumes()
    tunable = [label for label, method in fitted.items() if method.tunable]
    if not tunable or tune is False or (tune is None and source.fitting is None):
        return fitted
    if source.fitting is None:
        raise CtKerasError(
            "CTK-E000",
            "there is nothing to fit the filters to",
            expected="records that also have a split val, or --fit-scans of evaluate",
            fix="leave the filters as they are (no --tune of evaluate and reader-study "
            "make)",
        )
    pairs = source.fitting()
    for label in tunable:
        fitted[label] = fitted[label].tuned(pairs, progress=True)
        settings = fitted[label].identity.parameters
        logger.info("%s tuned on other patients: %s", label, settings)
    return fitted
