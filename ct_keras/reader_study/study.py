"""Makes a study: one blinded page for each reader, and a separate key."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.document import describe
from ct_keras.files import atomic_folder, read_table, sha256_of, write_text
from ct_keras.files.labels import label_of
from ct_keras.metrics.statistics import FEWEST_PATIENTS, smallest_p
from ct_keras.notice import NOTICE
from ct_keras.reader_study.cases import (
    StudyCase,
    choose_slices,
    find_slices,
    run_methods,
)
from ct_keras.reader_study.criteria import (
    CRITERIA,
    FEWEST_CASES,
    FEWEST_READERS,
    FULL_DOSE,
    LOW_DOSE,
    MARGIN,
    PRIMARY,
    USUAL_CRITERIA,
)
from ct_keras.reader_study.design import Showing, randomize
from ct_keras.reader_study.page import render_page

KEY_FORMAT = "ct_keras reader study key"
#: Subfolders of a study with the readers' pages and the key.
PAGES, KEY_FILE = "pages", "sealed/key.json"
_PRIMARY = {"criterion": PRIMARY, "against": FULL_DOSE, "margin": MARGIN}


def make_study(
    methods: Mapping[str, Method | Callable],
    read_pairs: Callable[[], Iterable],
    out: str | os.PathLike,
    *,
    readers: int = FEWEST_READERS,
    limit: int | None = None,
    per_patient: int = 1,
    slices: Sequence[Mapping[str, object]] | None = None,
    repeat_share: float = 0.1,
    criteria: Sequence[str] = USUAL_CRITERIA,
    title: str = "Reader study",
    seed: int | None = None,
    command: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict:
    """Writes a blinded reader study.

    ``out/pages`` gets one HTML file for each reader, which does not contain the names
    of the methods. ``out/sealed/key.json`` assigns panels to methods; the organiser
    keeps it until all answers are in. In each case, the full dose (``reference``) and
    the low dose (``input``) are hidden among the methods.

    Args:
        methods: Name -> callable from HU to HU.
        read_pairs: Returns an iterable of `ct_keras.data.SlicePair`; called twice.
        out: The folder to write.
        readers: Number of readers (pages).
        limit: Maximum number of cases.
        per_patient: Number of slices of each patient; statistics use their means.
        slices: Slices to show instead of a random draw; see `find_slices`.
        repeat_share: Share of the cases that each reader sees twice.
        criteria: Names of `CRITERIA`.
        title: Title of the study, visible to readers.
        seed: Seed of slices, order and panels; None draws one. Keep it secret: with the
            seed, the methods and the data, the key can be reproduced.
        command: The command line, for the record.
        overwrite: Replace `out`.
        progress: Show bars.

    Returns:
        The key.

    Raises:
        CtKerasError: CTK-E000 for an unknown criterion or an invalid design, CTK-E084
            without a slice, CTK-E071 and E073 for `out`; otherwise as `run_methods`.
    """
    _check_wishes(criteria, readers=readers, limit=limit, per_patient=per_patient)
    methods = {name: as_method(method) for name, method in methods.items()}
    seed = secrets.randbits(53) if seed is None else seed
    arms = list(dict.fromkeys((FULL_DOSE, LOW_DOSE, *methods)))
    # Too many arms or repeats are refused before anything is denoised.
    randomize(1, len(arms), reader=1, seed=seed, repeat_share=repeat_share)
    if slices is not None:
        chosen = find_slices(read_pairs(), slices, seed=seed)
    else:
        chosen = choose_slices(
            read_pairs(), seed=seed, limit=limit, per_patient=per_patient
        )
    cases = run_methods(methods, read_pairs(), chosen, progress=progress)
    orders = {
        f"reader-{number}": randomize(
            len(cases), len(arms), reader=number, seed=seed, repeat_share=repeat_share
        )
        for number in range(1, readers + 1)
    }
    key = {
        "format": KEY_FORMAT,
        "version": 1,
        "notice": NOTICE,
        "title": title,
        "command": command,
        "seed": seed,
        "versions": describe()["versions"],
        "criteria": list(criteria),
        "primary": _PRIMARY if PRIMARY in criteria else None,
        "arms": [_describe_arm(name, methods.get(name)) for name in arms],
        "cases": [_describe_case(case) for case in cases],
    }
    listed = {name: _describe_order(order, arms) for name, order in orders.items()}
    key["study"] = _fingerprint(key | {"orders": listed}, cases)
    with atomic_folder(out, overwrite=overwrite, kind="reader study") as folder:
        key["readers"] = []
        for reader, order in orders.items():
            page = folder / PAGES / f"{reader}.html"
            text = render_page(
                title=title,
                study=key["study"],
                reader=reader,
                showings=order,
                cases=cases,
                arms=arms,
                criteria=criteria,
            )
            write_text(page, text)
            key["readers"].append(
                {
                    "reader": reader,
                    "page": page.name,
                    "sha256": sha256_of(page),
                    "showings": listed[reader],
                }
            )
        write_text(folder / KEY_FILE, json.dumps(key, indent=2) + "\n")
    return key


def primary_of(key: Mapping) -> dict | None:
    """Returns the primary question, or None if it is not part of the study."""
    primary = key["primary"]
    asked = primary is not None and primary["criterion"] in key["criteria"]
    return primary if asked else None


def public_summary(key: Mapping) -> dict:
    """Returns what may be shown during a study without unblinding it.

    Args:
        key: From `make_study`.
    """
    return {
        "study": key["study"],
        "title": key["title"],
        "notice": key["notice"],
        "cases": len(key["cases"]),
        "images_per_case": len(key["arms"]),
        "criteria": key["criteria"],
        "pages": [
            {
                "reader": entry["reader"],
                "page": entry["page"],
                "sha256": entry["sha256"],
                "screens": len(entry["showings"]),
            }
            for entry in key["readers"]
        ],
    }


def read_slices(path: str | os.PathLike) -> list[dict[str, str]]:
    """Reads a list of slices for `make_study`.

    Args:
        path: A CSV with the columns ``case``, ``slice_index`` and the optional ones of
            `find_slices`.

    Raises:
        CtKerasError: CTK-E000, if it lists no slices; CTK-E005, if it cannot be read.
    """
    rows = read_table(path)
    if not rows or not {"case", "slice_index"} <= set(rows[0]):
        raise CtKerasError(
            "CTK-E000",
            "the list of slices has no slices",
            received=label_of(path),
            expected="a CSV with the columns case and slice_index",
        )
    return rows


def design_remarks(key: Mapping, *, readers: int | None = None) -> list[str]:
    """Returns remarks if a design is smaller than a reader study requires.

    Args:
        key: Key of the study.
        readers: Number of readers with answers; None for all readers of the study.
    """
    patients = len({case["case"] for case in key["cases"]})
    readers = len(key["readers"]) if readers is None else readers
    remarks = []
    if patients < FEWEST_CASES or readers < FEWEST_READERS:
        remarks.append(
            f"Readers: {readers}, patients: {patients}. A conclusive study "
            f"needs at least {FEWEST_READERS} and {FEWEST_CASES}; with fewer, "
            "non-inferiority is not assessed."
        )
    if patients < FEWEST_PATIENTS:
        remarks.append(
            f"Too few patients: the smallest possible p of two methods is "
            f"{smallest_p(patients):g}, before correction."
        )
    if patients < len(key["cases"]):
        remarks.append(
            "Slices of one patient are not independent: tests and intervals use the "
            f"{patients} patients, not the {len(key['cases'])} slices."
        )
    if primary_of(key) is None:
        remarks.append(
            f"The primary question, {PRIMARY}, is not asked: no statement about "
            "non-inferiority."
        )
    return remarks


def _check_wishes(criteria, *, readers, limit, per_patient) -> None:
    unknown = [name for name in criteria if name not in CRITERIA]
    if unknown or not criteria:
        raise CtKerasError(
            "CTK-E000",
            "unknown criterion",
            received=", ".join(unknown) or "none",
            expected=", ".join(CRITERIA),
        )
    if readers < 1 or per_patient < 1 or (limit is not None and limit < 1):
        raise CtKerasError(
            "CTK-E000",
            "a study needs at least one reader and one slice",
            received=f"{readers} readers",
        )


def _describe_arm(name: str, method: Method | None) -> dict:
    roles = {FULL_DOSE: "full dose", LOW_DOSE: "low dose"}
    described = {"name": name, "role": roles.get(name, "method")}
    if method is None:
        return described
    identity = method.identity
    return described | {
        "version": identity.version,
        "weights_sha256": identity.weights_sha256,
        "parameters": identity.parameters,
    }


def _describe_case(case: StudyCase) -> dict:
    return {
        "case": case.patient,
        "series": case.series,
        "slice_index": case.slice_index,
        "dose_fraction": case.dose_fraction,
        "spacing_mm": list(case.spacing_mm),
        "offset": list(case.offset),
    }


def _describe_order(order: Sequence[Showing], arms: list[str]) -> list[dict]:
    return [
        {
            "number": number,
            "case": showing.case,
            "repeat": showing.repeat,
            "panels": showing.panels(arms),
        }
        for number, showing in enumerate(order, start=1)
    ]


def _fingerprint(key: Mapping, cases: Sequence[StudyCase]) -> str:
    """Twelve digits that identify the content of the study, including the images."""
    shown = {name: key[name] for name in ("title", "criteria", "arms", "cases")}
    shown |= {"seed": key["seed"], "orders": key["orders"]}
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True).encode())
    for case in cases:
        for image in case.images.values():
            digest.update(image.tobytes())
    return digest.hexdigest()[:12]
