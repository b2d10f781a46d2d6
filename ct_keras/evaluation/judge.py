"""Does the nodule come back? Task networks judge what a denoiser is worth.

A segmentation network and a classifier of faint lesions are trained on phantoms without
any denoiser, and measured on phantom patients that they never saw: at full dose, at a
low dose, and at the low dose after each denoiser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_folder, check_output_folder

FULL, LOW = "full dose", "low dose"
RESAMPLES = 2000
_TASKS = {"segmentation": "unet", "classification": "lesion_net"}


def judge(
    methods: Mapping[str, Callable[[np.ndarray], np.ndarray]],
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
        methods: Name -> from HU to HU, (rows, columns).
        out: The folder that gets judge.json and judge.png.
        dose: The low dose, as a fraction.
        judges: A folder that keeps the trained networks; they are trained if it does
            not hold them. None trains them every time.
        epochs: Of their training, instead of the recipe's.
        data: "segmentation" and "classification": values that replace those of the
            recipes, see `ct_keras.tasks.train_segmentation`.
        seed: Of training and bootstrap.
        overwrite: Replace `out`.
        progress: Whether bars are shown.

    Returns:
        The document of judge.json: `rows` with `model`, `dose_fraction`, `mean_dice`,
        `dice` by organ, `auc` and 95 % intervals over patients; rows of a denoiser
        also `dice_recovered` and `auc_recovered`, the share of what the dose took
        that came back.

    Raises:
        CtKerasError: CTK-E000 for a dose that is not between 0 and 1; CTK-E071, if
            `out` holds something.
    """
    if not 0 < dose < 1:
        raise CtKerasError(
            "CTK-E000", "the low dose is out of range", received=dose, expected="0..1"
        )
    check_output_folder(Path(out), overwrite=overwrite)
    found: dict[str, dict] = {FULL: {}, LOW: {}} | {name: {} for name in methods}
    recipes = {}
    for kind, name in _TASKS.items():
        values = (data or {}).get(kind, {})
        network, recipes[name] = _judge_network(
            kind, judges, epochs, values, seed, progress
        )
        for label, images in _images(name, methods, dose, values, progress).items():
            found[label] |= _measured(network, images, seed)
    rows = [
        {"model": label, "dose_fraction": 1.0 if label == FULL else dose} | measures
        for label, measures in found.items()
    ]
    for row in rows[2:]:
        row |= _recovered(row, rows[0], rows[1])
    document = {"dose_fraction": dose, "judges": recipes, "seed": seed, "rows": rows}
    with atomic_folder(Path(out), overwrite=overwrite) as folder:
        text = json.dumps(document, indent=1)
        (folder / "judge.json").write_text(text + "\n", encoding="utf-8")
        _picture(rows, folder / "judge.png", dose)
    return json.loads(text)


def _judge_network(kind, judges, epochs, values, seed, progress):
    """The network that judges, trained or from the folder; and what it was told."""
    import keras

    from ct_keras import tasks

    folder = None if judges is None else Path(judges) / _TASKS[kind]
    if folder is not None and (folder / "network.keras").is_file():
        document = json.loads((folder / "measures.json").read_text())
        return keras.models.load_model(folder / "network.keras"), document["recipe"]
    train = getattr(tasks, f"train_{kind}")
    result = train(
        _TASKS[kind],
        epochs=epochs,
        data=values,
        seed=seed,
        out=folder,
        progress=progress,
    )
    return result.network, result.recipe.to_json()


def _images(name: str, methods, dose: float, values: dict, progress: bool) -> dict:
    """The held-out patients at full dose, at the low dose and denoised."""
    from ct_keras import tasks

    spec = tasks.get_task(name)
    recipe = spec.recipe("quick").changed(data=values)
    options = {"progress": progress}
    full = tasks.make_data(spec, recipe, "test", doses=(1.0,), **options)
    many = {LOW: None} | dict(methods)
    low = tasks.make_data(spec, recipe, "test", doses=(dose,), denoise=many, **options)
    return {FULL: full} | low


def _measured(network, images, seed: int) -> dict:
    """Dice or AUC with an interval over patients."""
    from ct_keras.tasks.measures import auc, dice_by_class

    found = network.predict(images.inputs, batch_size=16, verbose=0)
    patients = np.unique(images.patient)
    draws = np.random.default_rng(seed).integers(
        0, len(patients), (RESAMPLES, len(patients))
    )
    if images.truth.ndim == 1:
        score, rows = found[:, -1], [images.patient == one for one in patients]
        rows = [np.flatnonzero(row) for row in rows]
        values = []
        for draw in draws:
            chosen = np.concatenate([rows[one] for one in draw])
            values.append(auc(images.truth[chosen], score[chosen]))
        return {"auc": auc(images.truth, score), "auc_ci95": _interval(values)}
    classes = np.argmax(found, axis=-1).astype(np.uint8)
    table = []
    for one in patients:
        rows = images.patient == one
        arrays = images.truth[rows], classes[rows], images.patient[rows]
        table.append(list(dice_by_class(*arrays, images.names).values()))
    table = np.array(table)
    organs = np.nanmean(table, axis=0)
    values = [np.nanmean(np.nanmean(table[draw], axis=0)) for draw in draws]
    return {
        "mean_dice": float(np.nanmean(organs)),
        "mean_dice_ci95": _interval(values),
        "dice": dict(zip(images.names, map(float, organs), strict=True)),
        "patients": len(patients),
    }


def _interval(values: list[float]) -> list[float]:
    return [float(value) for value in np.percentile(values, (2.5, 97.5))]


def _recovered(row: dict, full: dict, low: dict) -> dict:
    """Shares of what the dose took; None where it took nothing."""
    shares = {}
    for key, name in (("mean_dice", "dice_recovered"), ("auc", "auc_recovered")):
        lost = full[key] - low[key]
        shares[name] = (row[key] - low[key]) / lost if lost > 1e-6 else None
    return shares


def _picture(rows: list[dict], path: Path, dose: float) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.3 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = (
        ("mean_dice", "mean Dice of organs"),
        ("auc", "AUC of faint lesions"),
    )
    names = [row["model"] for row in rows]
    subplots = figure.subplots(1, 2, sharey=True)
    for axes, (key, title) in zip(subplots, panels, strict=True):
        for place, row in enumerate(rows):
            low, high = row[f"{key}_ci95"]
            color = "black" if place == 0 else "firebrick" if place == 1 else "C0"
            axes.plot([low, high], [place, place], color=color, lw=2)
            axes.plot(row[key], place, "o", color=color)
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        axes.set_yticks(range(len(names)), names)
    subplots[0].invert_yaxis()
    figure.suptitle(
        f"Task networks on held-out phantom patients, low dose {dose:.0%}, 95 % "
        "intervals over patients",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
