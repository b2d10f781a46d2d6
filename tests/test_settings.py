"""Records of settings: types are checked, and JSON changes nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.settings import Settings


@dataclass(frozen=True)
class Inner(Settings):
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outer(Settings):
    rate: float
    steps: int = 1
    on: bool = False
    mode: Literal["a", "b"] = "a"
    window: tuple[float, float] | None = None
    inner: Inner | None = None
    options: Mapping[str, object] = field(default_factory=dict)

    def check(self):
        if self.steps < 1:
            raise CtKerasError("CTK-E000", "no steps")


def test_values_have_the_type_of_their_hint():
    record = Outer(rate=1, steps=5e4, window=[-1, 2], inner={"sizes": [3, 4]})
    assert record == Outer(1.0, 50_000, window=(-1.0, 2.0), inner=Inner((3, 4)))
    assert type(record.rate) is float
    assert type(record.steps) is int
    assert Outer(np.float32(0.5), np.int64(3)) == Outer(0.5, 3)


@pytest.mark.parametrize(
    "record",
    [
        Outer(0.1),
        Outer(0.1, window=(0, 1), inner=Inner((1,)), mode="b", on=True),
        Outer(0.1, options={"a": (1, (2, "x")), "b": {"c": [None, 1.5]}}),
    ],
)
def test_json_changes_nothing(record):
    again = Outer.from_plain(json.loads(json.dumps(record.to_plain())))
    assert again == record
    assert again.to_plain() == record.to_plain()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rate": "fast"}, "rate: float"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": True}, "rate"),
        ({"rate": 1, "steps": 1.5}, "steps: int"),
        ({"rate": 1, "on": 1}, "on: bool"),
        ({"rate": 1, "mode": "c"}, "mode: a or b"),
        ({"rate": 1, "window": [1]}, "window"),
        ({"rate": 1, "window": "12"}, "window"),
        ({"rate": 1, "inner": {"size": 1}}, "Inner"),
        ({"rate": 1, "options": {1: 2}}, "options"),
        ({"rate": 1, "options": 3}, "options"),
        ({"rate": 1, "steps": 0}, "no steps"),
        ({"rate": 1, "speed": 2}, "speed"),
        ({"steps": 2}, "rate"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, named):
    with pytest.raises(CtKerasError) as refusal:
        Outer.from_plain(values)
    assert refusal.value.code == "CTK-E000"
    assert named in str(refusal.value)
