"""Runs several methods on the same slice pairs and measures the results."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ct_keras.data.runs import consecutive_runs
from ct_keras.data.slice_facts import facts_of, place_of
from ct_keras.denoising.method import Method, blend
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.ceiling import reference_ceiling
from ct_keras.evaluation.document import INPUT, build_document
from ct_keras.evaluation.groups import describe_slice
from ct_keras.evaluation.pictures import PICTURES, Picture, PictureChooser, dose_of
from ct_keras.evaluation.strengths import StrengthTable, errors_by_strength
from ct_keras.metrics.pixelwise import psnr
from ct_keras.metrics.protocols import MAIN, PROTOCOLS, evaluate_slice
from ct_keras.progress import track

BASELINE = "filter:gaussian"
#: Maximum number of slices whose metrics are pending during denoising.
_WAITING = 4


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        document: The content of ``metrics.json``.
        records: One per slice and model: its position and every metric.
        pictures: The slices chosen for a report.
    """

    document: dict
    records: list[dict]
    pictures: list[Picture]


def evaluate_models(
    models: Mapping[str, Method | Callable[[np.ndarray], np.ndarray]],
    pairs: Iterable,
    *,
    split: str | None = None,
    facts: Mapping[str, Mapping] | None = None,
    command: str | None = None,
    baseline: str | None = BASELINE,
    pictures: int = PICTURES,
    seed: int = 0,
    total: int | None = None,
    progress: bool = False,
    fitted: StrengthTable | None = None,
) -> Evaluation:
    """Measures models on the same slices with every protocol.

    Each model is measured at its default strength with every protocol, and at its best
    strength with PSNR and RMSE of the main protocol.

    The pairs are read once: one at a time, or all slices of a series if a model needs
    neighbouring slices. The unchanged low-dose image is always measured too, as
    ``input``.

    Args:
        models: Name -> method, or what `ct_keras.denoising.as_method` makes one of: a
            filter, or a callable from HU to HU. A 3-D method gets all consecutive
            slices of one series at one dose.
        pairs: `ct_keras.data.SlicePair` records, or objects with the same attributes.
        split: The split of the pairs, for the document.
        facts: Model -> further entries of its row: ``parameters``, ``gmac``,
            ``weights_sha256``, ``settings``, ...
        command: The command line that was run, for the document.
        baseline: A model to test the others against, in addition to the input; ignored
            if it is not in `models`.
        pictures: Number of slices to keep for a report.
        seed: Seed of the bootstrap.
        total: Number of pairs, for the progress bar.
        progress: Whether to show a bar on standard error.
        fitted: From `measure_strengths` on slices of other patients, where the best
            strengths are chosen; None to choose them on the measured slices.

    Returns:
        The tables, the records behind them, and slices to show.

    Raises:
        CtKerasError: CTK-E084, if there is no slice; CTK-E041, if shapes differ;
            CTK-E063, if they have another scale than a model; CTK-E070, if a model's
            output is not finite.
    """
    chooser = PictureChooser(pictures)
    models = {name: as_method(model) for name, model in models.items()}
    strengths = StrengthTable(_defaults(models), fitted)
    records, milliseconds = _measure_all(
        models, pairs, chooser, strengths, total=total, progress=progress
    )
    facts = {
        name: {"ms_per_slice": milliseconds.get(name)}
        | dict((facts or {}).get(name, {}))
        for name in dict.fromkeys((INPUT, *models))
    }
    chosen = chooser.chosen()
    document = build_document(
        records,
        facts=facts,
        baseline=baseline,
        split=split,
        command=command,
        seed=seed,
        strengths=strengths,
    )
    document["pictures"] = [
        {
            "case": picture.patient,
            "series": picture.series,
            "slice_index": picture.slice_index,
            "dose_fraction": picture.dose_fraction,
        }
        for picture in chosen
    ]
    return Evaluation(document, records, chosen)


def measure_strengths(
    models: Mapping[str, Method], pairs: Iterable, *, progress: bool = False
) -> StrengthTable:
    """Measures 2-D methods at every strength, to choose the best for other slices.

    A 3-D method is left out: the slices that methods are fitted to are no volume.

    Args:
        models: Name -> method.
        pairs: Slice pairs of other patients.
        progress: Whether to show a bar on standard error.

    Raises:
        CtKerasError: As `evaluate_models`.
    """
    flat = {name: model for name, model in models.items() if model.dimensions == 2}
    table = StrengthTable(_defaults(flat))
    pairs = track(pairs, "Choosing strengths", enabled=progress)
    for pair, outputs in _denoise_all(flat, pairs, {}):
        for name in flat.keys() & outputs.keys() - {INPUT}:
            errors = _errors_by_strength(pair, outputs[name])
            table.add(name, str(pair.case), dose_of(pair), errors)
    return table


def _defaults(models: Mapping[str, Method]) -> dict[str, float]:
    return {name: model.default_strength for name, model in models.items()}


def _errors_by_strength(pair, denoised_hu: np.ndarray) -> np.ndarray:
    return errors_by_strength(
        low_hu=pair.low_hu, denoised_hu=denoised_hu, reference_hu=pair.full_hu
    )


def _measure_all(
    models: Mapping[str, Method],
    pairs: Iterable,
    chooser: PictureChooser,
    strengths: StrengthTable,
    *,
    total: int | None,
    progress: bool,
) -> tuple[list[dict], dict[str, float]]:
    """Returns one record per slice and model, and the milliseconds per slice."""
    records: list[dict] = []
    seconds: dict[str, list[float]] = {}
    waiting: deque[list[tuple[dict, Future]]] = deque()

    def finish() -> None:
        for head, measured in waiting.popleft():
            found, errors = measured.result()
            records.append(head | found)
            strengths.add(head["model"], head["case"], head["dose_fraction"], errors)

    pairs = track(pairs, "Evaluating", total=total, enabled=progress)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for pair, denoised in _denoise_all(models, pairs, seconds):
            outputs = _at_default(models, denoised)
            waiting.append(_submit(pool, pair, denoised, outputs))
            chooser.offer(pair, outputs, _input_psnr(pair))
            if len(waiting) > _WAITING:
                finish()
        while waiting:
            finish()
    if not records:
        raise CtKerasError(
            "CTK-E084",
            "there is no slice to evaluate",
            fix="check the name of the split",
        )
    names = list(dict.fromkeys((INPUT, *models)))
    records.sort(key=lambda record: names.index(record["model"]))
    return records, {name: _typical_ms(times) for name, times in seconds.items()}


def _denoise_all(
    models: Mapping[str, Method], pairs: Iterable, seconds: dict[str, list[float]]
) -> Iterator[tuple[object, dict[str, np.ndarray]]]:
    """Yields every pair with the outputs at strength 1, the input first."""
    models = {name: model for name, model in models.items() if name != INPUT}
    volumes = {name for name, model in models.items() if model.dimensions == 3}
    if volumes:
        groups = itertools.groupby(pairs, key=lambda pair: (pair.case, pair.series))
        series = (list(group) for _, group in groups)
    else:
        series = ([pair] for pair in pairs)
    for group in series:
        made = {
            name: _denoise_series(models[name], group, seconds.setdefault(name, []))
            for name in volumes
        }
        for number, pair in enumerate(group):
            outputs = {INPUT: np.asarray(pair.low_hu)}
            _check("reference", np.asarray(pair.full_hu), pair)
            _check(INPUT, outputs[INPUT], pair)
            for name, model in models.items():
                if name in volumes:
                    outputs[name] = made[name].pop(number)
                else:
                    times = seconds.setdefault(name, [])
                    (outputs[name],) = _denoise(model, [pair], times)
            yield pair, outputs


def _denoise_series(
    model: Method, pairs: list, seconds: list[float]
) -> dict[int, np.ndarray]:
    """Runs a 3-D model on the slices of a series, separately for each dose.

    Returns:
        A dict from the index of each pair to its denoised slice.
    """
    places = [place_of(pair, np.shape(pair.low_hu)) for pair in pairs]
    denoised = {}
    for run in consecutive_runs(places):
        slices = _denoise(model, [pairs[number] for number in run], seconds)
        denoised |= zip(run, slices, strict=True)
    return denoised


def _denoise(model: Method, pairs: list, seconds: list[float]) -> list[np.ndarray]:
    """Runs a model at strength 1 on consecutive slices, records the time per slice."""
    for pair in pairs:
        model.check_scale(facts_of(pair)["scale"])
    begin = time.perf_counter()
    denoised = model.denoise_pairs(pairs, 1.0)
    seconds.append((time.perf_counter() - begin) / len(pairs))
    return denoised


def _check(name: str, hu: np.ndarray, pair) -> None:
    where = f"{name}, slice {pair.slice_index}"
    if hu.shape != np.shape(pair.full_hu):
        raise CtKerasError(
            "CTK-E041",
            "an image does not have the shape of its reference",
            received=f"{hu.shape} ({where})",
            expected=np.shape(pair.full_hu),
        )
    if not np.isfinite(hu).all():
        raise CtKerasError(
            "CTK-E070",
            "an image contains values that are not finite",
            received=where,
            expected="Hounsfield units",
        )


def _at_default(
    models: Mapping[str, Method], denoised: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Blends the outputs at strength 1 with the input, each at its default strength."""
    low = denoised[INPUT]
    return {
        name: hu if name == INPUT else blend(low, hu, models[name].default_strength)
        for name, hu in denoised.items()
    }


def _submit(
    pool: ThreadPoolExecutor,
    pair,
    denoised: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
) -> list[tuple[dict, Future]]:
    """Starts the measurement of one slice."""
    dose = dose_of(pair)
    where = {
        "case": str(pair.case),
        "series": str(pair.series),
        "slice_index": int(pair.slice_index),
        "dose_fraction": dose,
        **describe_slice(pair),
        **reference_ceiling(pair, dose),
    }
    return [
        ({"model": name} | where, pool.submit(_measured, pair, denoised[name], hu))
        for name, hu in outputs.items()
    ]


def _measured(
    pair, denoised_hu: np.ndarray, output_hu: np.ndarray
) -> tuple[dict[str, float], np.ndarray]:
    """Every metric of an output, and the errors at every strength."""
    found = evaluate_slice(reference=pair.full_hu, test=output_hu)
    return found, _errors_by_strength(pair, denoised_hu)


def _input_psnr(pair) -> float:
    protocol = PROTOCOLS[MAIN]
    return psnr(
        reference=protocol.map(pair.full_hu),
        test=protocol.map(pair.low_hu),
        data_range=protocol.data_range,
    )


def _typical_ms(seconds: list[float]) -> float:
    """Median time without the first call, which may build a graph."""
    return 1000 * float(np.median(seconds[1:] or seconds))
