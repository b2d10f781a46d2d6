"""Judges denoised images by task networks: organ segmentation and lesion detection.

A segmentation network and a classifier of faint lesions are trained on phantoms without
denoising, and measured on held-out phantom patients: at full dose, at a low dose, and
at the low dose after each denoiser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import ct_keras
from ct_keras.denoising.method import Method
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder, check_apart, check_output_folder
from ct_keras.metrics.statistics import auc, percentile_interval, resample_weights
from ct_keras.notice import NOTICE

FULL, LOW = "full dose", "low dose"
RESAMPLES = 2000
_TASKS = {"segmentation": "unet", "classification": "lesion_net"}
#: Measure -> prefix of the keys for its lost and recovered shares.
_MEASURES = {"mean_dice": "dice", "auc": "auc"}


def judge(
    methods: Mapping[str, Method | Callable[[np.ndarray], np.ndarray]],
    out: str | Path,
    *,
    dose: float = 0.05,
    judges: str | Path | None = None,
    epochs: int | None = None,
    data: Mapping[str, dict] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> dict:
    """Measures Dice of organs and AUC of lesions before and after denoising.

    Args:
        methods: Name -> method, or an argument of `ct_keras.denoising.as_method`.
        out: Output folder for judge.json and judge.png.
        dose: The low dose, as a fraction of the full dose.
        judges: A folder of trained networks. Missing ones are trained and saved there;
            networks trained with other settings are refused. None trains new networks
            on every call.
        epochs: Number of training epochs that replaces the recipe's.
        data: "segmentation" and "classification": values that replace those of the
            recipes, see `ct_keras.tasks.train_segmentation`.
        seed: Seed of training and bootstrap.
        overwrite: Whether `out` is replaced.
        progress: Whether progress bars are shown.

    Returns:
        The document of judge.json: `rows` with `model`, `dose_fraction`, `mean_dice`,
        `dice` by organ, `auc` and 95 % intervals over patients. The row of the low
        dose also has `dice_lost` and `auc_lost`; those of a denoiser have
        `dice_recovered` and `auc_recovered`, the share of the loss that is recovered,
        None if the interval of the loss includes zero.

    Raises:
        CtKerasError: CTK-E000 for a dose that is not between 0 and 1, or saved networks
            that were trained with other settings; CTK-E005, if those cannot be read;
            CTK-E071, if `out` is not empty.
    """
    if not 0 < dose < 1:
        raise CtKerasError(
            "CTK-E000", "the low dose is out of range", received=dose, expected="0..1"
        )
    check_output_folder(out, overwrite=overwrite, kind="judge")
    check_apart([("out", out), *([("judges", judges)] if judges else [])])
    found: dict[str, dict] = {FULL: {}, LOW: {}} | {name: {} for name in methods}
    samples: dict[str, dict] = {label: {} for label in found}
    given = {kind: (data or {}).get(kind, {}) for kind in _TASKS}
    recipes = {
        kind: _recipe(name).changed(epochs=epochs, data=given[kind])
        for kind, name in _TASKS.items()
    }
    folders = {
        kind: None if judges is None else Path(judges) / name
        for kind, name in _TASKS.items()
    }
    kept = {kind: _kept(folders[kind], recipes[kind], seed) for kind in _TASKS}
    for kind, name in _TASKS.items():
        options = {"epochs": epochs, "data": given[kind], "progress": progress}
        network = kept[kind] or _trained(kind, folders[kind], seed, options)
        for label, images in _images(
            name, recipes[kind], methods, dose, progress
        ).items():
            measures, drawn = _measured(network, images, seed)
            found[label] |= measures
            samples[label] |= drawn
    rows = [
        {"model": label, "dose_fraction": 1.0 if label == FULL else dose} | measures
        for label, measures in found.items()
    ]
    rows[1] |= _lost(rows, samples)
    for row in rows[2:]:
        row |= _recovered(row, rows, samples)
    document = {
        "notice": NOTICE,
        "version": ct_keras.__version__,
        "dose_fraction": dose,
        "judges": {_TASKS[kind]: recipe.to_plain() for kind, recipe in recipes.items()},
        "seed": seed,
        "rows": rows,
    }
    with atomic_folder(out, overwrite=overwrite, kind="judge") as folder:
        text = json.dumps(_plain(document), indent=1, allow_nan=False)
        (folder / "judge.json").write_text(text + "\n", encoding="utf-8")
        _picture(rows, folder / "judge.png", dose)
    return json.loads(text)


def _plain(document: dict) -> dict:
    from ct_keras.image_quality.records import plain

    return plain(document)


def _recipe(name: str):
    from ct_keras import tasks

    return tasks.get_task(name).recipe("quick")


def _kept(folder: Path | None, recipe, seed: int):
    """Returns the network in a folder, or None; refuses one with other settings."""
    from ct_keras.denoising.model_files import load_keras

    if folder is None or not (folder / "network.keras").is_file():
        return None
    try:
        document = json.loads((folder / "measures.json").read_text(encoding="utf-8"))
        found = {"seed": document["seed"]} | document["recipe"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CtKerasError(
            "CTK-E005",
            "the settings of a saved judge network cannot be read",
            received=f"{folder.name}/measures.json",
        ) from error
    wanted = {"seed": seed} | json.loads(json.dumps(recipe.to_plain()))
    del wanted["description"]
    other = [key for key in wanted if found.get(key) != wanted[key]]
    if other:
        raise CtKerasError(
            "CTK-E000",
            f"the saved network {folder.name} was trained with other settings",
            received=", ".join(f"{key} {found.get(key)}" for key in other),
            expected=", ".join(f"{key} {wanted[key]}" for key in other),
            fix="choose another folder for these networks",
        )
    return load_keras(folder / "network.keras")


def _trained(kind: str, folder: Path | None, seed: int, options: dict):
    from ct_keras import tasks

    train = getattr(tasks, f"train_{kind}")
    return train(_TASKS[kind], seed=seed, out=folder, **options).network


def _images(name: str, recipe, methods, dose: float, progress: bool) -> dict:
    """The held-out patients at full dose, at the low dose and denoised."""
    from ct_keras import tasks

    spec = tasks.get_task(name)
    options = {"progress": progress}
    full = tasks.make_data(spec, recipe, "test", doses=(1.0,), **options)
    many = {LOW: None} | dict(methods)
    low = tasks.make_data(spec, recipe, "test", doses=(dose,), denoise=many, **options)
    return {FULL: full} | low


def _measured(network, images, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """Dice or AUC with an interval over patients, and its bootstrap samples.

    All methods use the same resamples of patients; a single patient has none.
    """
    from ct_keras.tasks.measures import dice_by_class

    found = network.predict(images.inputs, batch_size=16, verbose=0)
    patients, owner = np.unique(images.patient, return_inverse=True)
    weights = resample_weights(len(patients), seed=seed, resamples=RESAMPLES)
    if images.truth.ndim == 1:
        scores = [found[images.truth == there, -1] for there in (1, 0)]
        drawn = [weights[:, owner[images.truth == there]] for there in (1, 0)]
        values = auc(*scores, present_weights=drawn[0], absent_weights=drawn[1])
        values = values if len(patients) > 1 else values[:0]
        return {"auc": auc(*scores), "auc_ci95": _interval(values)}, {"auc": values}
    classes = np.argmax(found, axis=-1).astype(np.uint8)
    table = []
    for one in patients:
        rows = images.patient == one
        arrays = images.truth[rows], classes[rows], images.patient[rows]
        table.append(list(dice_by_class(*arrays, images.names).values()))
    # An organ may be absent from one patient or from all.
    table = np.ma.masked_invalid(table)
    organs = table.mean(axis=0)
    known = ~np.ma.getmaskarray(table)
    drawn = np.ma.masked_equal(weights @ known, 0)
    values = (weights @ table.filled(0) / drawn).mean(axis=1).filled(np.nan)
    values = values if len(patients) > 1 else values[:0]
    measures = {
        "mean_dice": float(np.ma.filled(organs.mean(), np.nan)),
        "mean_dice_ci95": _interval(values),
        "dice": dict(zip(images.names, organs.filled(np.nan).tolist(), strict=True)),
        "patients": len(patients),
    }
    return measures, {"mean_dice": values}


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    """Returns the 95 % interval, None without resamples (a single patient)."""
    return percentile_interval(values, patients=len(values))


def _lost(rows: list[dict], samples: dict[str, dict]) -> dict:
    """Returns the loss at the low dose, with 95 % intervals over patients."""
    lost = {}
    for key, name in _MEASURES.items():
        lost[f"{name}_lost"] = rows[0][key] - rows[1][key]
        drawn = samples[FULL][key] - samples[LOW][key]
        lost[f"{name}_lost_ci95"] = _interval(drawn)
    return lost


def _recovered(row: dict, rows: list[dict], samples: dict[str, dict]) -> dict:
    """Returns recovered shares with intervals; None without a significant loss."""
    shares = {}
    low = rows[1]
    for key, name in _MEASURES.items():
        share = limits = None
        if low[f"{name}_lost_ci95"] is not None and low[f"{name}_lost_ci95"][0] > 0:
            share = (row[key] - low[key]) / low[f"{name}_lost"]
            lost = samples[FULL][key] - samples[LOW][key]
            back = samples[row["model"]][key] - samples[LOW][key]
            limits = _interval(back[lost > 0] / lost[lost > 0])
        shares |= {f"{name}_recovered": share, f"{name}_recovered_ci95": limits}
    return shares


def _picture(rows: list[dict], path: Path, dose: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ct_keras.image_quality.figures import method_style

    figure = Figure(figsize=(9, 1.6 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("mean_dice", "mean Dice of organs"), ("auc", "AUC of faint lesions"))
    names = [row["model"] for row in rows]
    subplots = figure.subplots(1, 2, sharey=True)
    # The full dose, then the input at the low dose and the methods in the usual styles.
    styles = [{"color": "#808080", "marker": "*"}]
    styles += [method_style(index) for index in range(len(rows) - 1)]
    for axes, (key, title) in zip(subplots, panels, strict=True):
        for place, (row, style) in enumerate(zip(rows, styles, strict=True)):
            low, high = row[f"{key}_ci95"] or (row[key], row[key])
            reach = [[max(0.0, row[key] - low)], [max(0.0, high - row[key])]]
            shown = style | {"linestyle": "", "capsize": 3, "elinewidth": 1.6}
            axes.errorbar(row[key], place, xerr=reach, **shown)
        for row, style in zip(rows[:2], styles, strict=False):
            axes.axvline(row[key], color=style["color"], linestyle=":", linewidth=1)
        axes.set_xlabel(title)
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(names)), names)
    subplots[0].invert_yaxis()
    figure.suptitle(
        f"Task networks on held-out phantom patients, low dose {100 * dose:g} %, 95 % "
        "intervals over patients",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
