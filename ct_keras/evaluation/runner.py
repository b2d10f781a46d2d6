"""Runs several models over the same pairs of slices and writes what they reached."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ct_keras.data.runs import Place, consecutive_runs
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.document import INPUT, SLICE_KEYS, build_document, to_json
from ct_keras.evaluation.groups import describe_slice
from ct_keras.evaluation.metrics import psnr
from ct_keras.evaluation.pictures import PICTURES, PictureChooser, dose_of
from ct_keras.evaluation.protocols import MAIN, PROTOCOLS, evaluate_slice
from ct_keras.evaluation.report import render_report
from ct_keras.files import write_text
from ct_keras.progress import track

Model = Callable[[np.ndarray], np.ndarray]
BASELINE = "filter:gaussian"
#: Slices whose metrics may wait while the next one is being denoised.
_WAITING = 4


def evaluate_models(
    models: Mapping[str, Model],
    pairs: Iterable,
    out: str | os.PathLike,
    *,
    split: str | None = None,
    facts: Mapping[str, Mapping] | None = None,
    command: str | None = None,
    baseline: str | None = BASELINE,
    pictures: int = PICTURES,
    curves: Mapping[str, Mapping] | None = None,
    seed: int = 0,
    total: int | None = None,
    progress: bool = False,
) -> dict:
    """Measures models on the same slices by every protocol and writes the report.

    The pairs are read once and let go: each by itself, or the slices of a series
    together if a model needs the neighbours of a slice. The unchanged low-dose image is
    always measured too, under the name ``input``, whether `models` holds it or not.

    Args:
        models: Name -> callable, (rows, columns) HU in and out. One with a method
            `on_pair` gets the pair instead, and with it the spacing and the rays of a
            simulated scan. One whose `dimensions`
            are 3 gets (slices, rows, columns) instead: consecutive slices of one
            series at one dose, as many as `pairs` holds.
        pairs: `ct_keras.data.SlicePair` records, or anything with their fields.
        out: Folder that receives ``metrics.json``, ``slices.csv`` and
            ``report.html``, each whole or not at all; other files there stay.
        split: Which split the pairs come from, for the record.
        facts: Model -> what is known of it: ``parameters``, ``gmac``,
            ``weights_sha256``, ``settings``, ... ; it joins the model's row.
        command: The command line that was run, for the record.
        baseline: A model that the others are tested against besides the input; left
            out where `models` does not hold it.
        pictures: How many slices the report shows.
        curves: Name -> a curve of image quality that the report shows besides, as
            `ct_keras.evaluation.curves` describes it.
        seed: Of the bootstrap.
        total: How many pairs there are, for the bar.
        progress: Whether to show a bar on standard error.

    Returns:
        The document that ``metrics.json`` holds.

    Raises:
        CtKerasError: CTK-E084, if there is no slice; CTK-E041, if shapes differ;
            CTK-E070, if a model's output is not finite; CTK-E073, if a file cannot be
            written.
    """
    chooser = PictureChooser(pictures)
    records, milliseconds = _measure_all(
        models, pairs, chooser, total=total, progress=progress
    )
    facts = {
        name: {"ms_per_slice": milliseconds.get(name)}
        | dict((facts or {}).get(name, {}))
        for name in dict.fromkeys((INPUT, *models))
    }
    chosen = chooser.chosen()
    document = build_document(
        records, facts=facts, baseline=baseline, split=split, command=command, seed=seed
    )
    document["pictures"] = [
        {
            "case": picture.case,
            "series": picture.series,
            "slice_index": picture.slice_index,
            "dose_fraction": picture.dose_fraction,
        }
        for picture in chosen
    ]
    out = Path(out)
    write_text(out / "slices.csv", _csv(records))
    page = render_report(document, records, chosen, curves=curves)
    write_text(out / "report.html", page)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(out / "metrics.json", text + "\n")
    return document


def _measure_all(
    models: Mapping[str, Model],
    pairs: Iterable,
    chooser: PictureChooser,
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
            records.append(head | measured.result())

    pairs = track(pairs, "Evaluating", total=total, enabled=progress)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for pair, outputs in _denoise_all(models, pairs, seconds):
            waiting.append(_submit(pool, pair, outputs))
            chooser.offer(pair, outputs, _input_psnr(pair))
            if len(waiting) > _WAITING:
                finish()
        while waiting:
            finish()
    if not records:
        raise CtKerasError(
            "CTK-E084", "there is no slice to evaluate", fix="check the split's name"
        )
    names = list(dict.fromkeys((INPUT, *models)))
    records.sort(key=lambda record: names.index(record["model"]))
    return records, {name: _typical_ms(times) for name, times in seconds.items()}


def _denoise_all(
    models: Mapping[str, Model], pairs: Iterable, seconds: dict[str, list[float]]
) -> Iterator[tuple[object, dict[str, np.ndarray]]]:
    """Yields every pair with what the models made of it; the input stands first."""
    volumes = {name: model for name, model in models.items() if _takes_volumes(model)}
    slicewise = {name: models[name] for name in models if name not in volumes}
    if not volumes:
        for pair in pairs:
            yield pair, _denoise(slicewise, pair, seconds)
        return
    for _, group in itertools.groupby(pairs, key=lambda pair: (pair.case, pair.series)):
        series = list(group)
        denoised = {
            name: _denoise_series(model, series, seconds.setdefault(name, []))
            for name, model in volumes.items()
        }
        for number, pair in enumerate(series):
            outputs = _denoise(slicewise, pair, seconds)
            for name, slices in denoised.items():
                outputs[name] = slices.pop(number)
                _check(name, outputs[name], pair)
            yield pair, {name: outputs[name] for name in (INPUT, *models)}


def _takes_volumes(model: Model) -> bool:
    return getattr(model, "dimensions", 2) == 3


def _denoise_series(
    model: Model, pairs: list, seconds: list[float]
) -> dict[int, np.ndarray]:
    """Runs a model of volumes on the slices of a series, each dose by itself.

    Returns:
        For the number of each pair its denoised slice.
    """
    places = [
        Place(
            str(pair.case),
            str(pair.series),
            dose_of(pair),
            *np.shape(pair.low_hu),
            int(pair.slice_index),
        )
        for pair in pairs
    ]
    denoised = {}
    for run in consecutive_runs(places):
        volume = np.stack([pairs[number].low_hu for number in run])
        begin = time.perf_counter()
        slices = np.asarray(model(volume))
        seconds.append((time.perf_counter() - begin) / len(run))
        denoised |= zip(run, slices, strict=True)
    return denoised


def _denoise(
    models: Mapping[str, Model], pair, seconds: dict[str, list[float]]
) -> dict[str, np.ndarray]:
    """Runs models of images on one slice; the input stands first, as it is."""
    outputs = {INPUT: np.asarray(pair.low_hu)}
    _check("reference", np.asarray(pair.full_hu), pair)
    _check(INPUT, outputs[INPUT], pair)
    for name, model in models.items():
        if name != INPUT:
            on_pair = getattr(model, "on_pair", None)
            begin = time.perf_counter()
            denoised = on_pair(pair) if on_pair else model(outputs[INPUT])
            denoised = np.asarray(denoised)
            seconds.setdefault(name, []).append(time.perf_counter() - begin)
            _check(name, denoised, pair)
            outputs[name] = denoised
    return outputs


def _check(name: str, hu: np.ndarray, pair) -> None:
    where = f"{name}, slice {pair.slice_index}"
    if hu.shape != np.shape(pair.full_hu):
        raise CtKerasError(
            "CTK-E041",
            "an image has another shape than its reference",
            received=f"{hu.shape} ({where})",
            expected=np.shape(pair.full_hu),
        )
    if not np.isfinite(hu).all():
        raise CtKerasError(
            "CTK-E070",
            "an image holds values that are not finite",
            received=where,
            expected="Hounsfield units",
        )


def _submit(
    pool: ThreadPoolExecutor, pair, outputs: Mapping[str, np.ndarray]
) -> list[tuple[dict, Future]]:
    """Starts the measuring of one slice."""
    where = {
        "case": str(pair.case),
        "series": str(pair.series),
        "slice_index": int(pair.slice_index),
        "dose_fraction": dose_of(pair),
        **describe_slice(pair),
    }
    return [
        (
            {"model": name} | where,
            pool.submit(evaluate_slice, reference=pair.full_hu, test=hu),
        )
        for name, hu in outputs.items()
    ]


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


def _csv(records: list[dict]) -> str:
    """One line per slice and model; a value that does not exist is empty."""
    metrics = [key for key in records[0] if key not in SLICE_KEYS]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*SLICE_KEYS, *metrics], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(to_json(record))
    return text.getvalue()
