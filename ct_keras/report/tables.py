"""The tables of an evaluation, as text: for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ct_keras.evaluation.document import INPUT
from ct_keras.evaluation.strengths import OTHERS, THESE
from ct_keras.metrics.metric import MAIN_METRICS, METRICS, Metric
from ct_keras.metrics.protocols import MAIN, PROTOCOLS, Protocol
from ct_keras.metrics.tissues import TISSUES

#: The columns of the table in the terminal.
SUMMARY_METRICS = (*MAIN_METRICS, "bias_hu")
MISSING = "–"
#: The label of the row with the highest PSNR that noisy references allow.
CEILING = "ceiling"
_MINUS = "−"


@dataclass(frozen=True)
class Sheet:
    """The table of one protocol: id, title, explanation and columns.

    A wide table holds one metric for all protocols.
    """

    id: str
    title: str
    text: str
    columns: tuple[Metric, ...]
    wide: bool = False


def number(value: object, digits: int, *, signed: bool = False) -> str:
    """Formats a value of ``metrics.json``.

    Example:
        >>> number(3.14159, 2), number("inf", 2), number(None, 2)
        ('3.14', '∞', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, str):
        return {"inf": "∞", "-inf": _MINUS + "∞"}.get(value, value)
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def value_text(row: Mapping, key: str) -> str:
    """Formats a metric of a row of ``metrics.json``."""
    metric = METRICS[key]
    return number(row[key], metric.digits, signed=metric.signed)


def interval(value: Sequence | None, digits: int, *, signed: bool = False) -> str:
    """Formats a confidence interval, or returns an empty text for None."""
    if value is None:
        return ""
    low, high = (number(end, digits, signed=signed) for end in value)
    return f"{low} to {high}"


def dose_label(dose: float | None) -> str:
    """Formats a dose fraction: ``25 % dose``."""
    return "unknown dose" if dose is None else f"{100 * dose:.4g} % dose"


def short_name(name: str) -> str:
    """Shortens a name that is too long for a label, such as a patient's hash.

    Example:
        >>> short_name("0123456789abcdef0123456789abcdef")
        '01234567…'
    """
    return name if len(name) <= 20 else f"{name[:8]}…"


def sheets() -> list[Sheet]:
    """Returns the tables of all protocols, the main one first."""
    main, *others = map(_protocol_sheet, PROTOCOLS.values())
    wide = [_wide_sheet("psnr"), _wide_sheet("ssim")]
    return [main, *wide, *others, _vif_sheet(), _hu_sheet()]


def best_models(rows: Sequence[Mapping], column: Metric) -> set[str]:
    """Returns the models with the best printed value of a column."""
    values = {
        row["model"]: float(row[column.key])
        for row in rows
        if row.get(column.key) is not None
    }
    worths = {model: column.worth(value) for model, value in values.items()}
    if None in worths.values() or len(values) < 2:
        return set()
    best = max(worths.values())
    tolerance = 0.5 * 10**-column.digits
    return {
        model
        for model, worth in worths.items()
        if worth == best or best - worth < tolerance / 100
    }


def summary_rows(document: Mapping) -> tuple[list[str], list[list[str]]]:
    """Builds the table for the terminal.

    Args:
        document: What `evaluate_models` returns.

    Returns:
        Column heads, and one row per model, followed by one per model and dose if there
        is more than one dose. Values are those of the main protocol. Below the models,
        a row holds the ceiling that the noise of the references sets, if any.
    """
    several = len(document["doses"]) > 1
    psnr, *others = (METRICS[key].head for key in SUMMARY_METRICS)
    heads = ["Model", "Slices", "Strength", psnr, "95 % CI", *others]
    heads += ["Best strength", f"{psnr} there", "ms/slice"]
    rows = _summaries(document["rows"], "all" if several else None)
    if several:
        heads.insert(1, "Dose")
        for dose in document["doses"]:
            own = [row for row in document["by_dose"] if row["dose_fraction"] == dose]
            rows += _summaries(own, dose_label(dose).removesuffix(" dose"))
    return heads, rows


def _summaries(rows: Sequence[Mapping], dose: str | None) -> list[list[str]]:
    """The rows of one dose, and the ceiling of its references if they hold noise."""
    found = [_summary(row, dose) for row in rows]
    ceiling = rows[0]["psnr_ceiling"]
    if ceiling is not None:
        label = number(ceiling, METRICS["psnr"].digits)
        head = [CEILING, *([] if dose is None else [dose]), "", "", label]
        found.append(head + [""] * (len(found[0]) - len(head)))
    return found


def _summary(row: Mapping, dose: str | None) -> list[str]:
    few = "too few patients" if row["few_patients"] else ""
    psnr, *others = (value_text(row, key) for key in SUMMARY_METRICS)
    limits = interval(row["psnr_ci95"], METRICS["psnr"].digits)
    return [
        row["model"],
        *([] if dose is None else [dose]),
        str(row["slices"]),
        number(row["strength"], 2),
        psnr,
        f"{limits} ({few})" if limits and few else limits or few,
        *others,
        number(row["best_strength"], 2),
        number(row["psnr_best_strength"], METRICS["psnr"].digits),
        number(row.get("ms_per_slice"), 1),
    ]


def describe_method(row: Mapping) -> str:
    """Returns the description of a method in a row, as sentences.

    Example:
        >>> describe_method({"settings": {"h": 0.8}, "tuned_among": {"h": [0.4, 0.8]}})
        'h 0.8 (of 0.4, 0.8).'
    """
    parts = []
    if row.get("weights_sha256"):
        version = f"version {row['version']}, " if row.get("version") else ""
        parts.append(f"{version}weights SHA-256 {row['weights_sha256']}.")
    tried = row.get("tuned_among") or {}
    settings = []
    for name, value in (row.get("settings") or {}).items():
        choice = ", ".join(f"{each:g}" for each in tried.get(name, ()))
        settings.append(f"{name} {value:g}" + (f" (of {choice})" if choice else ""))
    if settings:
        parts.append(", ".join(settings) + ".")
    if row.get("sinogram"):
        parts.append(f"Sinogram: {row['sinogram']}.")
    return " ".join(parts)


def ceiling_text(row: Mapping) -> str:
    """Returns a sentence about the noise of the references of a row, or ""."""
    if row["psnr_ceiling"] is None:
        return ""
    noise = number(row["reference_noise_hu"], 1)
    limit = number(row["psnr_ceiling"], METRICS["psnr"].digits)
    return (
        f"The references hold noise of their own (about {noise} HU in soft tissue), "
        f"so no method, not even a perfect one, exceeds about {limit} dB."
    )


def strength_text(rows: Sequence[Mapping]) -> str:
    """Returns what the best strength is and where it was chosen."""
    text = (
        "Strength s blends the input with a method's result: input + s (result − "
        "input). The best strength, one for each dose and one for all doses together, "
        "is that in steps of 0.05 with the least mean squared error"
    )
    chosen = {row["best_strength_from"] for row in rows} - {None}
    if chosen == {OTHERS}:
        return text + ", chosen on other patients."
    these = "the very slices of this table, which favours every method a little"
    if chosen == {THESE}:
        return text + f", chosen on {these}."
    own = ", ".join(row["model"] for row in rows if row["best_strength_from"] == THESE)
    return text + f", chosen on other patients; for {own}, on {these}."


def describe_protocol(protocol: Protocol) -> dict[str, str]:
    """Returns the definition of a protocol in words, for a table row."""
    low, high = (number(end, 0) for end in (protocol.low_hu, protocol.high_hu))
    data_range = protocol.range_hu
    return {
        "id": protocol.id,
        "window": f"{low} to {high}",
        "range": "max − min of each reference slice"
        if data_range is None
        else f"{number(data_range, 0)} HU",
        "ssim": protocol.ssim + (", map clamped" if protocol.clamp_ssim else ""),
        "source": protocol.source,
    }


def _protocol_sheet(protocol: Protocol) -> Sheet:
    words = describe_protocol(protocol)
    keys = map(protocol.key, ("psnr", "ssim", "rmse_hu", "rmse"))
    return Sheet(
        protocol.id,
        f"{protocol.id} (main)" if protocol.id == MAIN else protocol.id,
        f"Both images clipped to {words['window']} HU, PSNR range {words['range']}, "
        f"SSIM {words['ssim']}. Used by {words['source']}.",
        tuple(METRICS[key] for key in keys if key in METRICS),
    )


def _wide_sheet(metric: str) -> Sheet:
    label = METRICS[metric].label
    return Sheet(
        f"all-{metric}",
        f"all protocols: {label}",
        f"{label} by every protocol side by side. The columns measure the same images; "
        "values can only be compared within a column.",
        tuple(
            replace(METRICS[protocol.key(metric)], label=protocol.id, unit="")
            for protocol in PROTOCOLS.values()
        ),
        wide=True,
    )


def _vif_sheet() -> Sheet:
    return Sheet(
        "vif",
        "vif",
        "Visual information fidelity in the pixel domain, HU + 1024 in 0 to 2,924, "
        "four scales. The swapped variant exchanges the images and rewards blur: it is "
        "only for comparison with the table of eeulig/ldct-benchmark.",
        (METRICS["vif"], METRICS["vif_swapped"]),
    )


def _hu_sheet() -> Sheet:
    keys = ["rmse_hu_hu", "mae_hu", "rmse_hu_body", "mae_hu_body", "bias_hu"]
    keys += [f"bias_hu_{tissue.name}" for tissue in TISSUES]
    return Sheet(
        "hu",
        "hu (no window)",
        "Errors in HU without clipping. Bias is the mean of method − reference in the "
        "body, and in tissue classes of the reference eroded by 2 pixels.",
        tuple(METRICS[key] for key in keys),
    )


def gain(row: Mapping, rows: Sequence[Mapping], key: str) -> float | None:
    """Returns how much a row's value exceeds the input's, or None."""
    inputs = [other.get(key) for other in rows if other["model"] == INPUT]
    values = [row.get(key), *inputs]
    if row["model"] == INPUT or not all(isinstance(v, int | float) for v in values):
        return None
    return values[0] - values[1]
