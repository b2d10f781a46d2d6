"""Randomisation: the order of cases, repeats and panels of each reader."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass

import numpy as np

from ct_keras.errors import CtKerasError

#: Maximum number of panels (A, B, ...) that can be compared side by side.
MOST_ARMS = 12
LETTERS = string.ascii_uppercase[:MOST_ARMS]


@dataclass(frozen=True)
class Showing:
    """One screen of one reader: a case with all its arms in random order.

    Attributes:
        case: Number of the case, from 0.
        arms: For each panel from A onwards, the index of the arm that it shows.
        repeat: Whether the reader has seen the case before.
    """

    case: int
    arms: tuple[int, ...]
    repeat: bool

    def panels(self, names: list[str]) -> dict[str, str]:
        """Returns letter -> name of the arm in this panel."""
        return {
            letter: names[arm] for letter, arm in zip(LETTERS, self.arms, strict=False)
        }


def randomize(
    cases: int, arms: int, *, reader: int, seed: int, repeat_share: float = 0.1
) -> list[Showing]:
    """Draws the order of cases and panels for one reader.

    Repeated cases are taken from the beginning of the reader's order and are shown
    again in its last third, with the panels in a different order.

    Args:
        cases: Number of cases.
        arms: Number of images of each case.
        reader: Number of the reader; each has a separate order.
        seed: Seed of the study; the same seed gives the same order.
        repeat_share: Share of the cases that are shown twice, rounded up.

    Raises:
        CtKerasError: CTK-E000, for fewer than 3 or more than 12 arms, no case, or a
            share outside 0..1.
    """
    _check(cases, arms, repeat_share)
    generator = np.random.default_rng([seed, reader])
    order = [
        Showing(int(case), _shuffled(generator, arms), repeat=False)
        for case in generator.permutation(cases)
    ]
    repeats = math.ceil(round(repeat_share * cases, 9))
    early = max(math.ceil(cases / 3), repeats)
    chosen = sorted(generator.choice(early, size=repeats, replace=False).tolist())
    for first in [order[place] for place in chosen]:
        again = _shuffled(generator, arms, other_than=first.arms)
        begin = max(order.index(first) + 1, math.ceil(2 * len(order) / 3))
        place = int(generator.integers(begin, len(order) + 1))
        order.insert(place, Showing(first.case, again, repeat=True))
    return order


def _check(cases: int, arms: int, repeat_share: float) -> None:
    if not 3 <= arms <= MOST_ARMS:
        raise CtKerasError(
            "CTK-E000",
            "invalid number of images to compare",
            received=f"{arms} with the full and the low dose",
            expected=f"3 to {MOST_ARMS}",
            fix="name at least one method besides input, or fewer methods",
        )
    if cases < 1:
        raise CtKerasError("CTK-E084", "there is no slice for a reader study")
    if not 0 <= repeat_share <= 1:
        raise CtKerasError(
            "CTK-E000",
            "a share must be between 0 and 1",
            received=repeat_share,
            expected="for example 0.1",
        )


def _shuffled(
    generator: np.random.Generator,
    arms: int,
    *,
    other_than: tuple[int, ...] | None = None,
) -> tuple[int, ...]:
    while True:
        drawn = tuple(generator.permutation(arms).tolist())
        if drawn != other_than:
            return drawn
