"""Builds the tables of ``metrics.json`` from one record per slice and model."""

from __future__ import annotations

import math
import operator
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from ct_keras import hu
from ct_keras.evaluation import ceiling
from ct_keras.evaluation.groups import GROUP_KEYS, split_by_group
from ct_keras.evaluation.strengths import STRENGTHS, StrengthTable
from ct_keras.metrics import statistics, tissues
from ct_keras.metrics.metric import GROUP_METRICS, MAIN_METRICS, METRICS
from ct_keras.metrics.pixelwise import psnr_of_mse
from ct_keras.metrics.protocols import MAIN, PROTOCOLS, describe_protocols
from ct_keras.metrics.vif import CLIP_HIGH_HU, CLIP_LOW_HU, NOISE_VARIANCE, WINDOWS
from ct_keras.notice import NOTICE

INPUT = "input"
#: The keys of a record that are not metrics.
SLICE_KEYS = (
    *("model", "case", "series", "slice_index", "dose_fraction"),
    *GROUP_KEYS,
    *ceiling.KEYS,
)
_LIBRARIES = ("ct_keras", "keras", "tensorflow", "numpy", "opencv-python", "scipy")


def metric_names(records: Sequence[Mapping]) -> list[str]:
    """Returns the names of the metrics in the records, in their order."""
    return [key for key in records[0] if key not in SLICE_KEYS]


def build_document(
    records: Sequence[Mapping],
    *,
    facts: Mapping[str, Mapping] | None = None,
    baseline: str | None = None,
    split: str | None = None,
    command: str | None = None,
    seed: int = 0,
    strengths: StrengthTable | None = None,
) -> dict:
    """Builds the content of ``metrics.json``.

    Args:
        records: One per slice and model: the keys of `SLICE_KEYS` and every metric.
        facts: Model -> further entries of its rows (parameters, gmac, ...).
        baseline: A model to test the others against, in addition to the input.
        split: The split of the slices.
        command: The command line that was run.
        seed: Seed of the bootstrap.
        strengths: The errors of the same slices at every strength; None if they were
            not measured.

    Returns:
        ``protocol``, ``rows`` (all doses together), ``by_dose``, ``groups`` with their
        ``by_group`` rows, ``patients`` and ``tests``. It is strictly valid JSON: an
        infinite value is the string "inf", an undefined value is None.
    """
    by_model: dict[str, list[Mapping]] = {}
    for record in records:
        by_model.setdefault(record["model"], []).append(record)
    doses = sorted(
        {record["dose_fraction"] for record in records},
        key=lambda dose: math.inf if dose is None else dose,
    )
    rows, by_dose = [], []
    strengths = strengths or StrengthTable({})
    for model, found in by_model.items():
        extra = dict((facts or {}).get(model, {}))
        row = _row(found, by_model[INPUT], seed=seed)
        rows.append(row | strengths.entries(model) | _ceiling(found) | extra)
        for dose in doses:
            chosen = _of_dose(found, dose)
            if chosen:
                inputs = _of_dose(by_model[INPUT], dose)
                row = {"dose_fraction": dose} | _row(chosen, inputs, seed=seed)
                best = strengths.entries(model, partial(operator.eq, dose))
                by_dose.append(row | best | _ceiling(chosen))
    groups, by_group = _groups(records, seed=seed)
    return to_json(
        {
            "notice": NOTICE,
            "split": split,
            "command": command,
            "doses": doses,
            "protocol": describe(seed=seed),
            "rows": rows,
            "by_dose": by_dose,
            "groups": groups,
            "by_group": by_group,
            "patients": _patients(by_model),
            "tests": _tests(by_model, baseline=baseline, seed=seed),
        }
    )


def to_json(value: object) -> object:
    """Converts a value to strict JSON: no NaN, no infinity, no NumPy types."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def describe(*, seed: int = 0) -> dict:
    """Returns how the results were measured: definitions, statistics and versions."""
    return {
        "main": MAIN,
        "protocols": describe_protocols(),
        "ssim": "K1 0.01, K2 0.03, mean of the map; the definition is in the name",
        "vif": {
            "clip_hu": [CLIP_LOW_HU, CLIP_HIGH_HU],
            "windows": list(WINDOWS),
            "noise_variance_hu2": NOISE_VARIANCE,
            "swapped": "vif_swapped exchanges the images, as in one published table",
        },
        "hu": {
            "body": f"largest region above {tissues.BODY_HU:g} HU, holes filled",
            "tissues_hu": {
                tissue.name: [tissue.low, tissue.high] for tissue in tissues.TISSUES
            },
            "erosion_pixels": tissues.EROSION_PIXELS,
            "bias": "mean of test - reference",
        },
        "windows": {
            str(window): [window.low, window.high] for window in hu.WINDOWS.values()
        },
        "best_strength": {
            "tried": list(STRENGTHS),
            "chosen": "least mean squared error in the main protocol, mean over "
            "patients, for each dose; best_strength_from says on which slices",
        },
        "ceiling": "PSNR of an image that differs from the reference only by the "
        "reference's own noise, as far as the low dose does not reveal it: "
        "10 log10(R^2 / ((1 - dose) var)); null for references without noise",
        "aggregation": "per slice, mean per patient, mean and SD over patients",
        "not_finite": '"inf" for an identical pair, left out of means and counted '
        "in <metric>_excluded; null for undefined values",
        "statistics": {
            "interval": "percentile bootstrap over patients, 95 %",
            "resamples": statistics.RESAMPLES,
            "seed": seed,
            "fewest_patients": statistics.FEWEST_PATIENTS,
            "tests": "exact Wilcoxon signed-rank and exact sign-flip permutation on "
            "differences per patient, two-sided, Holm correction over models",
        },
        "versions": _versions(),
    }


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _of_dose(records: Sequence[Mapping], dose: float | None) -> list[Mapping]:
    return [record for record in records if record["dose_fraction"] == dose]


def _ceiling(records: Sequence[Mapping]) -> dict[str, float | None]:
    """The noise of the references and the PSNR that it allows, means over patients.

    None if they are known for less than half of the slices.
    """
    known = [record for record in records if record.get(ceiling.KEYS[0]) is not None]
    if 2 * len(known) < len(records) or not known:
        return dict.fromkeys(ceiling.KEYS)
    patients = [record["case"] for record in known]
    return {
        key: statistics.summarize([record[key] for record in known], patients)["mean"]
        for key in ceiling.KEYS
    }


def _groups(records: Sequence[Mapping], *, seed: int) -> tuple[list[dict], list[dict]]:
    """The groups with their values, and a row for each value and model."""
    groups, rows = [], []
    for grouping, by_value in split_by_group(records):
        groups.append({**vars(grouping), "values": list(by_value)})
        for value, found in by_value.items():
            models = dict.fromkeys(record["model"] for record in found)
            of_model = {
                model: [record for record in found if record["model"] == model]
                for model in models
            }
            head = {"group": grouping.id, "value": value}
            rows += [
                head | _row(own, of_model[INPUT], seed=seed, keys=GROUP_METRICS)
                for own in of_model.values()
            ]
    return groups, rows


def _row(
    records: Sequence[Mapping],
    inputs: Sequence[Mapping],
    *,
    seed: int,
    keys: Sequence[str] | None = None,
) -> dict[str, object]:
    """One row of a table: a model on a set of slices, with all metrics or some."""
    patients = [record["case"] for record in records]
    count = len(set(patients))
    row: dict[str, object] = {
        "model": records[0]["model"],
        "cases": count,
        "slices": len(records),
        "few_patients": count < statistics.FEWEST_PATIENTS,
    }
    for key in metric_names(records) if keys is None else keys:
        values = [record[key] for record in records]
        found = statistics.summarize(values, patients, seed=seed)
        row[key] = found.pop("mean")
        row |= {f"{key}_{name}": value for name, value in found.items()}
    if keys is None:
        row |= _pooled_psnr(records)
    for key in MAIN_METRICS:
        row |= _worse(key, records, inputs)
    return row


def _pooled_psnr(records: Sequence[Mapping]) -> dict[str, float]:
    """PSNR of the mean squared error of all pixels, if the data range is fixed."""
    found = {}
    for protocol in PROTOCOLS.values():
        if protocol.range_hu is not None:
            errors = [record[protocol.key("rmse_hu")] for record in records]
            pooled = float(np.mean(np.square(errors)))
            found[f"{protocol.key('psnr')}_pooled"] = psnr_of_mse(
                pooled, data_range=protocol.range_hu
            )
    return found


def _worse(
    key: str, records: Sequence[Mapping], inputs: Sequence[Mapping]
) -> dict[str, float | None]:
    """The shares of slices and of patients that are worse than the input."""
    ours, theirs = _means(records, key), _means(inputs, key)
    higher = METRICS[key].higher_is_better
    both = [patient for patient in ours if patient in theirs]
    return {
        f"{key}_worse_slices": statistics.share_worse(
            [record[key] for record in records],
            [record[key] for record in inputs],
            higher_is_better=higher,
        ),
        f"{key}_worse_patients": statistics.share_worse(
            [ours[patient] for patient in both],
            [theirs[patient] for patient in both],
            higher_is_better=higher,
        ),
    }


def _means(records: Sequence[Mapping], key: str) -> dict[str, float]:
    return statistics.patient_means(
        [record[key] for record in records], [record["case"] for record in records]
    )


def _patients(by_model: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """The main metrics and the bias of every patient and model."""
    rows = []
    for model, records in by_model.items():
        means = {key: _means(records, key) for key in (*MAIN_METRICS, "bias_hu")}
        for patient in dict.fromkeys(record["case"] for record in records):
            count = sum(1 for record in records if record["case"] == patient)
            row = {"model": model, "case": patient, "slices": count}
            rows.append(row | {key: means[key].get(patient) for key in means})
    return rows


def _tests(
    by_model: Mapping[str, Sequence[Mapping]], *, baseline: str | None, seed: int
) -> list[dict]:
    """Every model against the input and the baseline, in each main metric."""
    against = [name for name in (INPUT, baseline) if name in by_model]
    return [
        test
        for other in dict.fromkeys(against)
        for key in MAIN_METRICS
        for test in _family(by_model, other, key, seed)
    ]


def _family(
    by_model: Mapping[str, Sequence[Mapping]], other: str, key: str, seed: int
) -> list[dict]:
    """Tests of one metric of all models against one of them, Holm-corrected."""
    theirs = _means(by_model[other], key)
    family = []
    for model, records in by_model.items():
        ours = _means(records, key)
        if model not in (other, INPUT) and ours.keys() & theirs.keys():
            head = {"model": model, "against": other, "metric": key}
            family.append(head | statistics.compare(ours, theirs, seed=seed))
    for name in ("wilcoxon_p", "sign_flip_p"):
        adjusted = statistics.holm([test[name] for test in family])
        for test, value in zip(family, adjusted, strict=True):
            test[f"{name}_holm"] = value
    for test in family:
        cannot = test["smallest_p"] > 1 - statistics.CONFIDENCE
        count = test["patients"]
        people = f"{count} patient" + ("s" if count > 1 else "")
        test["note"] = f"with {people} no result can reach p 0.05" if cannot else None
    return family
