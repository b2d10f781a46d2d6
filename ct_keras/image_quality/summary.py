"""Tables of quality.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def summary_rows(document: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of a table, one row per method and dose."""
    first = document["plan"]["channels"][0]
    columns, rows = [], []
    for label, method in document["methods"].items():
        for record in method["doses"]:
            noise = record["noise"]
            tasks = record["detectability"]
            columns = ["method", "dose", "SD HU", "bias HU", "nNPS mean 1/mm"]
            columns += [f"f50 {found['name']}" for found in record["ttf"]]
            columns += [f"AUC {task['insert']}" for task in tasks]
            cells = [f"{record['dose']:g}", _text(noise["sd_hu"], 1)]
            cells += [_text(noise["bias_hu"], 2), _text(noise["mean_frequency_mm"], 3)]
            cells += [_transfer_text(found) for found in record["ttf"]]
            cells += [_text(task["cho"][first]["auc"], 3) for task in tasks]
            rows.append([label, *cells])
    return columns, rows


def lcd_rows(document: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of a table of the LCD-CT images.

    One row per method, dose, insert and set of channels, with 95 % intervals.
    """
    first = document["lcd_ct"][0]["method"]
    columns = ["method", "dose", "insert", "channels", "AUC", "95 % interval"]
    columns += [f"AUC minus {first}", "95 % interval"]
    rows = [
        [
            *(record["method"], f"{record['dose']:g}"),
            *(record["insert"], record["channels"]),
            _text(record["auc"], 3),
            _interval_text(record["auc_interval"], ".3f"),
            *(("-", "-") if record["method"] == first else _difference(record)),
        ]
        for record in document["lcd_ct"]
    ]
    return columns, rows


def _difference(record: Mapping) -> tuple[str, str]:
    limits = record["auc_difference_interval"]
    found = _text(record["auc_difference"], 3, sign="+")
    return found, _interval_text(limits, "+.3f")


def _text(value: float | None, digits: int, *, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def _interval_text(limits: Sequence[float | None], form: str) -> str:
    return "-" if None in limits else f"{limits[0]:{form}} to {limits[1]:{form}}"


def _transfer_text(found: Mapping) -> str:
    return _text(found["f50_mm"] if found["reliable"] else None, 3)
