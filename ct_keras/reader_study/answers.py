"""Reads the key and the answers of the readers, and unblinds the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.reader_study.criteria import FINDINGS, SCORES
from ct_keras.reader_study.page import ANSWERS_FORMAT
from ct_keras.reader_study.study import KEY_FORMAT


@dataclass(frozen=True)
class Ratings:
    """Unblinded answers; NaN if missing.

    Attributes:
        readers: Names.
        arms: Names, as in the key.
        criteria: Names.
        scores: (criteria, readers, cases, arms), 1 to 5: the first showing of a case.
        repeated: The same for the second showing.
        findings: (questions, readers, cases, arms): 1 if the panel was ticked, else 0.
        preferred: (readers, cases, arms): 1 for the preferred arm, else 0.
        marks: One per mark: reader, case (number), repeat (whether in the second
            showing), method, finding, and row and column in the full image.
        remarks: One per remark: reader, case, repeat, text.
        missing: One line for every incomplete showing.
        seconds: Reader -> time during which the cases were in view.
    """

    readers: tuple[str, ...]
    arms: tuple[str, ...]
    criteria: tuple[str, ...]
    scores: np.ndarray
    repeated: np.ndarray
    findings: np.ndarray
    preferred: np.ndarray
    marks: list[Mapping]
    remarks: list[Mapping]
    missing: list[str]
    seconds: dict[str, float]


def read_key(path: str | os.PathLike) -> dict:
    """Reads the key of a study.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read; CTK-E080, if it is not a key.
    """
    return _read(path, KEY_FORMAT, "key.json of reader-study make")


def read_answers(path: str | os.PathLike) -> dict:
    """Reads the answers saved by the page of a reader.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read; CTK-E080, if it has no answers.
    """
    return _read(path, ANSWERS_FORMAT, "a file saved by a reader's page")


def unblind(
    key: Mapping, answers: Iterable[Mapping], *, allow_incomplete: bool = False
) -> Ratings:
    """Combines answers and key.

    Args:
        key: From `read_key`.
        answers: From `read_answers`, one for each reader.
        allow_incomplete: Leave out incomplete showings instead of refusing them.

    Raises:
        CtKerasError: CTK-E087 for answers to a different study, CTK-E000 for two files
            of one reader or no answers, CTK-E080 for a score outside 1..5 or a damaged
            file, CTK-E084 for an incomplete showing.
    """
    answers = list(answers)
    _check_files(key, answers)
    ratings = _empty(key, [file["reader"] for file in answers])
    for file in answers:
        try:
            _take(file, key, ratings)
        except (AttributeError, KeyError, TypeError) as error:
            raise CtKerasError(
                "CTK-E080", "the answers are damaged", received=file["reader"]
            ) from error
    missing = ratings.missing
    if missing and not allow_incomplete:
        raise CtKerasError(
            "CTK-E084",
            f"the answers to {len(missing)} cases are incomplete",
            received="; ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
            expected="every question of every case",
            fix="ask the readers to finish, or leave these out: allow_incomplete=True "
            "(--allow-incomplete of reader-study score)",
        )
    if np.isnan(ratings.scores).all():
        raise CtKerasError("CTK-E084", "no case has complete answers")
    return ratings


def _empty(key: Mapping, readers: Sequence[str]) -> Ratings:
    shape = len(readers), len(key["cases"]), len(key["arms"])
    return Ratings(
        readers=tuple(readers),
        arms=tuple(arm["name"] for arm in key["arms"]),
        criteria=tuple(key["criteria"]),
        scores=np.full((len(key["criteria"]), *shape), np.nan),
        repeated=np.full((len(key["criteria"]), *shape), np.nan),
        findings=np.full((len(FINDINGS), *shape), np.nan),
        preferred=np.full(shape, np.nan),
        marks=[],
        remarks=[],
        missing=[],
        seconds={},
    )


def _take(file: Mapping, key: Mapping, ratings: Ratings) -> None:
    """Enters the answers of one reader into the ratings."""
    name = file["reader"]
    number = ratings.readers.index(name)
    (showings,) = (e["showings"] for e in key["readers"] if e["reader"] == name)
    given = {entry["number"]: entry for entry in file["showings"]}
    ratings.seconds[name] = sum(entry["seconds"] for entry in file["showings"])
    for showing in showings:
        answer = given.get(showing["number"])
        if not _complete(answer, showing, ratings.criteria):
            ratings.missing.append(f"{name}, case {showing['number']}")
            continue
        case, panels = showing["case"], showing["panels"]
        filled = ratings.repeated if showing["repeat"] else ratings.scores
        for letter, arm in panels.items():
            place = number, case, ratings.arms.index(arm)
            filled[:, *place] = _scores_of(answer, letter, ratings.criteria)
            if not showing["repeat"]:
                ticked = answer["findings"]
                ratings.findings[:, *place] = [letter in ticked[q] for q in FINDINGS]
                ratings.preferred[place] = answer["preferred"] == letter
        where = {"reader": name, "case": case, "repeat": showing["repeat"]}
        offset = key["cases"][case]["offset"]
        ratings.marks.extend(_marks_of(answer, where, panels, offset))
        if answer["remark"].strip():
            ratings.remarks.append({**where, "text": answer["remark"].strip()})


def _read(path: str | os.PathLike, kind: str, expected: str) -> dict:
    name = Path(path).name
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CtKerasError("CTK-E005", "cannot read a file", received=name) from error
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("format") != kind:
        raise CtKerasError(
            "CTK-E080",
            "not a file of a reader study",
            received=name,
            expected=expected,
        )
    if document.get("version") != 1:
        raise CtKerasError(
            "CTK-E081",
            "unknown version of the file",
            received=document.get("version"),
            expected=1,
        )
    return document


def _check_files(key: Mapping, answers: Sequence[Mapping]) -> None:
    known = [entry["reader"] for entry in key["readers"]]
    seen: set[str] = set()
    for file in answers:
        if file["study"] != key["study"] or file["reader"] not in known:
            raise CtKerasError(
                "CTK-E087",
                "the answers are from a different study",
                received=f"{file['reader']} of study {file['study']}",
                expected=f"a reader of study {key['study']}",
            )
        if file["reader"] in seen:
            raise CtKerasError(
                "CTK-E000",
                "there are two files of one reader",
                received=file["reader"],
                fix="pass only the latest one",
            )
        seen.add(file["reader"])
    if not answers:
        raise CtKerasError("CTK-E000", "there are no answers")


def _complete(answer: Mapping | None, showing: Mapping, criteria) -> bool:
    return (
        answer is not None
        and answer["preferred"] is not None
        and all(answer["findings"].get(question) is not None for question in FINDINGS)
        and all(
            criterion in answer["scores"].get(letter, {})
            for letter in showing["panels"]
            for criterion in criteria
        )
    )


def _scores_of(answer: Mapping, letter: str, criteria) -> list[int]:
    found = [answer["scores"][letter][criterion] for criterion in criteria]
    wrong = [score for score in found if score not in SCORES]
    if wrong:
        raise CtKerasError(
            "CTK-E080",
            "invalid score",
            received=wrong[0],
            expected="1 to 5",
        )
    return found


def _marks_of(answer: Mapping, where: Mapping, panels: Mapping, offset) -> list[dict]:
    return [
        {
            **where,
            "method": panels[mark["panel"]],
            "finding": mark["finding"],
            "row": mark["row"] + offset[0],
            "column": mark["column"] + offset[1],
        }
        for mark in answer["marks"]
        if mark["panel"] in panels
    ]
