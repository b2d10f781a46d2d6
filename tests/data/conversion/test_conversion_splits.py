"""Splits: by patient, every patient once."""

import pytest

from ct_keras.data.conversion.splits import assign, parse_split
from ct_keras.errors import CtKerasError

PATIENTS = [(f"P{number:02d}", {f"folder{number}"}) for number in range(10)]


@pytest.mark.parametrize(
    "split",
    [
        "train=P00,P01 val=P02 test=folder3",
        ["train=P00,P01", "val=P02", "test=folder3"],
        {"train": ["P00", "P01"], "val": "P02", "test": ["folder3"]},
    ],
)
def test_lists(split):
    chosen = assign(parse_split(split), PATIENTS)
    assert chosen == {"P00": "train", "P01": "train", "P02": "val", "P03": "test"}


def test_star_is_the_rest():
    chosen = assign(parse_split("train=* test=P09,folder8"), PATIENTS)
    assert [name for name in chosen if chosen[name] == "test"] == ["P09", "P08"]
    assert sum(name == "train" for name in chosen.values()) == 8


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        ("0.7,0.15,0.15", (7, 1, 2)),
        ("0.8,0.1,0.1", (8, 1, 1)),
        ("1,0,0", (10, 0, 0)),
        ("0.98,0.01,0.01", (8, 1, 1)),
        ((0.5, 0, 0.5), (5, 0, 5)),
    ],
)
def test_ratios(split, sizes):
    chosen = assign(parse_split(split), PATIENTS, seed=1)
    found = list(chosen.values())
    counts = tuple(found.count(name) for name in ("train", "val", "test"))
    assert sum(counts) == 10
    assert counts[0] == sizes[0]
    assert sorted(counts[1:]) == sorted(sizes[1:])
    assert chosen == assign(parse_split(split), reversed(PATIENTS), seed=1)


def test_seed_changes_the_draw():
    draws = {tuple(assign((0.5, 0, 0.5), PATIENTS, seed)) for seed in range(5)}
    assert len(draws) > 1


@pytest.mark.parametrize(
    ("split", "code"),
    [
        ("train=P00 test=P00", "CTK-E083"),
        ("train=P00 test=folder0", "CTK-E083"),
        ("train=P00 test=P77", "CTK-E084"),
        ("train=P00 hidden=P01", "CTK-E084"),
        ("0.7,0.3", "CTK-E000"),
        ("0.7,0.7,0.7", "CTK-E000"),
        ("two thirds", "CTK-E000"),
    ],
)
def test_refusals_name_no_patient(split, code):
    with pytest.raises(CtKerasError) as caught:
        assign(parse_split(split), PATIENTS)
    assert caught.value.code == code
    assert caught.value.exit_code == 3
    assert not any(name in str(caught.value) for name in ("P00", "P77", "folder0"))


def test_too_few_patients():
    with pytest.raises(CtKerasError, match="CTK-E084 there are fewer patients"):
        assign((0.7, 0.15, 0.15), PATIENTS[:2])
    assert len(assign((0.5, 0, 0.5), PATIENTS[:2])) == 2
