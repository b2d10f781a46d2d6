"""Model cards: what was measured of published weights, and the card as a text."""

from __future__ import annotations

from ct_keras.image_quality.summary import summary_rows
from ct_keras.metrics.metric import MAIN_METRICS, METRICS

_BIASES = [key for key in METRICS if key.startswith("bias_hu_")]
_NO_WINDOW = "rmse_hu_hu"
#: Values of a recipe that a run may choose.
_CHOICES = (
    *("start_from", "learning_rate", "loss", "doses"),
    *("patches_per_slice", "mixed_precision"),
)
#: Rows of a curve that the text shows, the last one included.
CURVE_ROWS = 12
_CURVE_HEADS = {
    "loss": "loss",
    "val_psnr": "validation PSNR (dB)",
    "val_tissue_rmse_hu": "validation RMSE, all tissues (HU)",
    "learning_rate": "learning rate",
}
#: Entries of a row, where they were measured, and the headings of their columns.
_HEADS = {
    **{key: METRICS[key].head for key in MAIN_METRICS},
    _NO_WINDOW: "RMSE (HU, no window)",
    "psnr_best_strength": "PSNR at the best strength (dB)",
    "best_strength": "best strength",
}


def results_of(name: str, metrics: dict, quality: dict | None) -> dict:
    """Returns what was measured of a model beside the input and the filters.

    Args:
        name: The model.
        metrics: The document of `ct_keras.evaluation.evaluate_models`.
        quality: The document of `ct_keras.evaluation.quality.measure_quality`, or None.

    Returns:
        Entries of a model card: ``reached``, ``metrics`` and ``image_quality``.
    """
    rows = {row["model"]: row for row in metrics["rows"]}
    mine, before = rows[name], rows["input"]
    patients = "test patient" if mine["cases"] == 1 else "test patients"

    def of_interest(rows: list[dict]) -> list[dict]:
        names = (name, "input")
        return [
            row
            for row in rows
            if row["model"] in names or row["model"].startswith("filter:")
        ]

    found = {
        "reached": f"{mine['psnr']:.2f} dB PSNR against {before['psnr']:.2f} dB of the "
        f"input ({mine['cases']} {patients}, {mine['slices']} slice pairs)",
        "metrics": {
            "protocol": "report: window [-160, 240] HU, range 400 HU",
            "rows": [_quoted(row) for row in of_interest(metrics["rows"])],
            "by_dose": [
                _quoted(row) | {"dose_fraction": row["dose_fraction"]}
                for row in of_interest(metrics["by_dose"])
            ],
            "by_patient": [
                {key: row[key] for key in ("case", "model", "slices", *MAIN_METRICS)}
                for row in of_interest(metrics["patients"])
            ],
        },
    }
    if quality is not None:
        columns, cells = summary_rows(quality)
        chosen = [row for row in cells if of_interest([{"model": row[0]}])]
        found["image_quality"] = {"columns": columns, "rows": chosen}
    return found


def _quoted(row: dict) -> dict:
    keys = ("model", "cases", "slices", *_HEADS, *_BIASES)
    return {key: row[key] for key in keys if key in row}


def card_text(card: dict) -> str:
    """Returns the model card as Markdown."""
    lines = [
        f"---\nlicense: {card['licence'].lower()}\nlibrary_name: keras\n"
        "tags: [ct, denoising, low-dose-ct, keras]\n---",
        f"# {card['name']}, version {card['version']}",
        f"**{card['notice']}**",
        f"{card['description']} {_against_filters(card)}",
        f"Paper: {card['paper']}. {card['parameters']:,} parameters, "
        f"{card['gmac_per_slice']:.1f} GMAC for 512x512 pixels or voxels.",
        "## Use",
        "```python\nimport ct_keras\n\n"
        f'denoised_hu = ct_keras.load("{card["name"]}")(low_dose_hu)\n```',
        f"or `ct-keras denoise STUDY OUT --model {card['name']}`. The .keras opens "
        f"with plain Keras, `{card['version']}/` is a SavedModel; both take and return "
        f"{_values(card)}{_strengths(card)}.",
        *_results(card),
        f"## Intended use\n\n{card['intended_use']}",
        f"## Not intended for\n\n{card['contraindications']}",
        f"## Data\n\n{card['data']}",
        f"## How it was trained\n\n{_training(card)}",
        *_curve(card["training"].get("history", [])),
        f"## Attribution\n\n{card['attribution']}",
    ]
    return "\n\n".join(lines) + "\n"


def _values(card: dict) -> str:
    """What the network takes and returns."""
    named = card["network_data_format"]["format"]
    return "Hounsfield units" if named == "hounsfield" else named


def _strengths(card: dict) -> str:
    """At which strength the files work, if not at full strength."""
    strength = card.get("default_strength", 1)
    if strength == 1:
        return ""
    return (
        f". The strength of the .keras is 1, that of the SavedModel {strength:g}, as "
        "of the commands above (`ct-keras export --strength` writes others)"
    )


def _against_filters(card: dict) -> str:
    """Its PSNR compared with the best of input and filters, for each dose."""
    doses: dict[float, dict[str, float]] = {}
    for row in card["metrics"]["by_dose"]:
        doses.setdefault(row["dose_fraction"], {})[row["model"]] = row["psnr"]
    parts = []
    for dose, psnr in doses.items():
        mine = psnr.pop(card["name"])
        best = max(psnr, key=psnr.get)
        parts.append(f"{mine - psnr[best]:+.2f} dB at {dose:.0%} ({best})")
    return (
        "Test PSNR relative to the best of input and tuned filters: "
        f"{', '.join(parts)} of the dose."
    )


def _training(card: dict) -> str:
    """The training command and recipe of the run."""
    training = card["training"]
    recipe, best = training["recipe"], training["best"]
    values = recipe["options"] | recipe["training"]
    # Cards of runs before the criterion covered all tissues keep their words.
    error = best.get("val_tissue_rmse_hu")
    criterion = (
        "best validation PSNR"
        if error is None
        else f"least validation error over all tissues, {error:.1f} HU, and PSNR"
    )
    values |= {key: recipe[key] for key in _CHOICES if recipe.get(key) is not None}
    changed = ", ".join(f"{name} {value}" for name, value in values.items())
    return (
        f"`{card['training_command']}`. Recipe {recipe['name']}: "
        f"{recipe['description']} Settings: {changed}; epochs {recipe['epochs']}, "
        f"steps per epoch {recipe['steps_per_epoch']}, seed {training['seed']}. The "
        f"weights are those of epoch {best['epoch']}, with the {criterion} "
        f"({best['val_psnr']:.2f} dB on {training['validation_slices']} whole slices)."
    )


def _curve(history: list[dict]) -> list[str]:
    """How long the run took, and how loss and validation went."""
    if not history:
        return []
    hours = sum(row["seconds"] for row in history) / 3600
    places = {
        (index + 1) * len(history) // CURVE_ROWS - 1 for index in range(CURVE_ROWS)
    } | {len(history) - 1}
    shown = [history[place] for place in sorted(places) if place >= 0]
    first = "step" if "step" in shown[0] else "epoch"
    rows = [row | {first: f"{row[first]:.0f}"} for row in shown]
    return [f"It took {hours:.1f} hours:", _table(rows, [first], _CURVE_HEADS)]


def _results(card: dict) -> list[str]:
    """The section of results: those that the card has."""
    metrics = card["metrics"]
    by_dose = metrics["by_dose"]
    lines = [
        f"## Results\n\n{metrics['protocol']}.",
        _table(metrics["rows"], ["model"], _HEADS),
        "By dose:",
        _table(by_dose, ["dose_fraction", "model"], _HEADS),
    ]
    if _BIASES[0] in by_dose[0]:
        heads = {key: METRICS[key].label for key in _BIASES}
        lines += [
            "Bias in HU, test minus reference, in tissues two pixels from their edges. "
            "Tissues are told apart in the reference, whose noise moves pixels between "
            "them, and stored low-dose images end at -1024 HU, which makes noisy air "
            "denser:",
            _table(by_dose, ["dose_fraction", "model"], heads),
        ]
    if "by_set" in card:
        lines += [
            "By set of test slices, PSNR (dB) at the best strength; filters with their "
            "best parameters, too, which were chosen on other scans:",
            _sets(card["by_set"]),
        ]
    if "by_patient" in metrics:
        lines += [
            "By test patient, all doses:",
            _table(metrics["by_patient"], ["case", "model"], {"psnr": _HEADS["psnr"]}),
        ]
    if "image_quality" in card:
        quality = card["image_quality"]
        lines += [
            "Image quality on phantoms (noise, its texture, sharpness of rods, and the "
            "channelised Hotelling observer's AUC for low-contrast discs):",
            _markdown(quality["columns"], quality["rows"]),
        ]
    return lines


def _sets(rows: list[dict]) -> str:
    """The methods beside each other; how the network comes in the last column."""
    heads = ["set", "slices", "dose_fraction", *rows[0]["psnr"], "as it comes"]
    cells = [
        [
            *(str(row[key]) for key in ("set", "slices", "dose_fraction")),
            *(f"{psnr:.2f}" for psnr in row["psnr"].values()),
            f"{row['psnr_as_it_comes']:.2f}",
        ]
        for row in rows
    ]
    return _markdown(heads, cells)


def _table(rows: list[dict], keys: list[str], heads: dict[str, str]) -> str:
    """A table of these entries, without columns that no row has."""
    shown = {
        key: head for key, head in heads.items() if any(key in row for row in rows)
    }
    cells = [
        [
            *(str(row[key]) for key in keys),
            *(_number(row.get(key)) for key in shown),
        ]
        for row in rows
    ]
    return _markdown([*keys, *shown.values()], cells)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
