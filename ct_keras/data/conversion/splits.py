"""Training, validation and test patients: a split is by patient, never by slice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ct_keras.data.manifest import SPLITS
from ct_keras.errors import CtKerasError

#: The sub-folders train, val and test of the source are the splits.
FOLDERS = "folders"
#: In a list of patients: all patients that no other list names.
REST = "*"
#: Start of the next list in a text; names of patients may contain spaces.
_NEXT_LIST = re.compile(r"\s+(?=\w+=)")


def parse_split(split: str | Sequence[str] | Mapping[str, object]):
    """Parses a split.

    Args:
        split: ``"folders"``; three ratios as ``"0.7,0.15,0.15"`` or numbers; or lists
            of patients as ``"train=A,B val=C test=D"``, a sequence of such parts, or a
            mapping. ``*`` stands for all patients that no other list names.

    Returns:
        ``"folders"``, a tuple of three floats, or a dict of split name to patients.

    Raises:
        CtKerasError: CTK-E000, if it is none of these; CTK-E084, an unknown split name;
            CTK-E083, if one patient is named in two splits.
    """
    if isinstance(split, Mapping):
        lists = {name: _as_list(value) for name, value in split.items()}
        return _checked(lists)
    texts = [split] if isinstance(split, str) else [str(part) for part in split]
    parts = [part for text in texts for part in _NEXT_LIST.split(text.strip())]
    if parts == [FOLDERS]:
        return FOLDERS
    if parts and all("=" in part for part in parts):
        lists = {}
        for part in parts:
            name, _, patients = part.partition("=")
            lists.setdefault(name, []).extend(_as_list(patients))
        return _checked(lists)
    return _ratios(",".join(word for part in parts for word in part.split()))


def _as_list(value) -> list[str]:
    items = value.split(",") if isinstance(value, str) else value
    return [str(item).strip() for item in items if str(item).strip()]


def _checked(lists: dict[str, list[str]]) -> dict[str, list[str]]:
    owner: dict[str, str] = {}
    for name, patients in lists.items():
        if name not in SPLITS:
            raise CtKerasError(
                "CTK-E084",
                "unknown split",
                received=name,
                expected=", ".join(SPLITS),
            )
        for number, patient in enumerate(patients, start=1):
            if owner.setdefault(patient, name) != name:
                raise _in_two_splits(f"entry {number} of {name}", owner[patient])
    return {name: list(dict.fromkeys(lists[name])) for name in lists}


def _in_two_splits(what: str, split: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E083",
        "a patient is in two splits",
        received=f"{what} is also in {split}",
        expected="every patient in one split",
        fix="name each patient once",
    )


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(part) for part in text.split(","))
    except ValueError:
        ratios = ()
    if len(ratios) != 3 or min(ratios) < 0 or not 0.99 <= sum(ratios) <= 1.01:
        raise CtKerasError(
            "CTK-E000",
            "cannot read the split",
            received=text,
            expected="train=A,B val=C test=D, or three ratios that add up to 1, or "
            "folders",
        )
    return ratios


def assign(split, patients: Iterable[tuple[str, Iterable[str]]], seed: int = 0):
    """Decides the split of each patient.

    Args:
        split: What `parse_split` returned, but not ``"folders"``.
        patients: For each patient, its identifier and the names a user may give.
        seed: Seed of a split by ratio.

    Returns:
        A dict of patient to split, without patients that no list names.

    Raises:
        CtKerasError: CTK-E083, if a patient is in two splits; CTK-E084, if a list names
            an unknown patient, or there are too few patients.
    """
    known = {patient: {patient, *names} for patient, names in patients}
    if isinstance(split, dict):
        return _by_name(split, known)
    return _by_ratio(split, sorted(known), seed)


def _by_name(lists: dict[str, list[str]], known: dict[str, set[str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, entries in lists.items():
        for number, entry in enumerate(entries, start=1):
            found = [patient for patient in known if entry in known[patient]]
            if not found and entry != REST:
                raise CtKerasError(
                    "CTK-E084",
                    "a split names a patient that is not in the source",
                    received=f"entry {number} of {name}",
                    expected="a patient's folder name or PatientID",
                )
            for patient in found:
                if result.setdefault(patient, name) != name:
                    raise _in_two_splits(f"entry {number} of {name}", result[patient])
    rest = next((name for name, entries in lists.items() if REST in entries), None)
    if rest is not None:
        result.update({patient: rest for patient in known if patient not in result})
    return result


def _by_ratio(ratios, patients: list[str], seed: int) -> dict[str, str]:
    wanted = sum(ratio > 0 for ratio in ratios)
    if len(patients) < wanted:
        raise CtKerasError(
            "CTK-E084",
            "there are fewer patients than splits",
            received=f"{len(patients)} patients",
            expected=f"at least {wanted}",
            fix="give a ratio of 0 to a split, or put each patient's DICOM, PNG, TIFF, "
            ".npy or other files in a separate folder",
        )
    exact = np.array(ratios) / sum(ratios) * len(patients)
    counts = np.maximum(np.floor(exact), np.array(ratios) > 0).astype(int)
    while counts.sum() != len(patients):
        step = 1 if counts.sum() < len(patients) else -1
        room = (exact - counts) * step - 1e9 * ((counts + step < 1) & (step < 0))
        counts[np.argmax(room)] += step
    names = np.repeat(SPLITS, counts)
    order = np.random.default_rng(seed).permutation(len(patients))
    return {patients[i]: str(name) for i, name in zip(order, names, strict=True)}
