"""Averages weights that were trained from the same start.

    python tools/average_weights.py OUT.npz WEIGHTS.npz WEIGHTS.npz...

The mean of networks that were trained further from the same weights in different ways
is usually better than each (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482).
Files are those of `tools/train_accelerated.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the weights and writes their mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    found = [dict(np.load(path)) for path in given.weights]
    if any(set(each) != set(found[0]) for each in found):
        parser.error("the files hold different networks")
    means = {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
    np.savez(given.out, **means)


if __name__ == "__main__":
    main()
