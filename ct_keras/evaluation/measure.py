"""Tunes the filters among the methods, measures all of them, says what each one is."""

from __future__ import annotations

import logging

from ct_keras.errors import CtKerasError
from ct_keras.evaluation.runner import BASELINE, Evaluation, evaluate_models
from ct_keras.evaluation.sources import Source

logger = logging.getLogger(__name__)


def measure(
    methods: dict,
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
        tune: Fit filters to other patients; None does so where there are some.
        baseline: What the others are tested against besides the input; None for the
            Gaussian filter.
        seed: Of the bootstrap.
        command: What the report says was run.

    Returns:
        What `ct_keras.report.write_report` writes.

    Raises:
        CtKerasError: As `tuned` and `evaluate_models`.
    """
    fitted = tuned(methods, source, tune)
    return evaluate_models(
        fitted,
        source.pairs(),
        split=source.label,
        facts={
            label: _facts(method, source, fitted=fitted is not methods)
            for label, method in fitted.items()
        },
        command=command,
        baseline=baseline or BASELINE,
        seed=seed,
        total=source.total,
        progress=True,
    )


def tuned(methods: dict, source: Source, tune: bool | None) -> dict:
    """The same methods, with filters and reconstructions fitted to other patients.

    Args:
        methods: By label.
        source: What will be measured, and what filters are fitted to.
        tune: None does so if there is something to fit to.

    Raises:
        CtKerasError: CTK-E000, if `tune` is asked for and there is nothing.
    """
    from ct_keras.denoising.methods import FilterDenoiser
    from ct_keras.filters import tune as tune_filter

    filtering = any(isinstance(method, FilterDenoiser) for method in methods.values())
    if not filtering or tune is False or (tune is None and source.fitting is None):
        return methods
    if source.fitting is None:
        raise CtKerasError(
            "CTK-E000",
            "there is nothing to fit the filters to",
            expected="records with a split val besides, or --fit-scans of evaluate",
            fix="leave the filters as they are (no --tune of evaluate and reader-study "
            "make)",
        )
    pairs = source.fitting()
    fitted = {}
    for label, method in methods.items():
        if isinstance(method, FilterDenoiser):
            best = tune_filter(method.filter, pairs, progress=True)
            method = type(method)(best)
            settings = method.identity.parameters
            logger.info("%s tuned on other patients: %s", label, settings)
        fitted[label] = method
    return fitted


def _facts(method, source: Source, *, fitted: bool) -> dict:
    """What a row tells of a method: its cost, its weights, its settings."""
    from ct_keras.denoising import Denoiser
    from ct_keras.denoising.methods import FilterDenoiser, ReconstructionDenoiser
    from ct_keras.models import count_macs

    facts = {
        "version": method.identity.version,
        "weights_sha256": method.identity.weights_sha256,
    }
    if isinstance(method, Denoiser):
        facts["parameters"] = method.network.count_params()
        facts["gmac"] = count_macs(method.network) / 1e9
    if isinstance(method, FilterDenoiser):
        facts["settings"] = method.identity.parameters
        facts["tuned_among"] = dict(method.filter.grid) if fitted else None
    if isinstance(method, ReconstructionDenoiser):
        facts["sinogram"] = "known" if source.rays else "projected from the image"
    return facts
