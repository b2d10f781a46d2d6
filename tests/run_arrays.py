"""The weights and the state of the optimizer that a run has saved."""

from pathlib import Path

import numpy as np


def arrays_of(run: Path, epoch: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, by name; of the newest without an epoch."""
    checkpoints = run / "checkpoints"
    if epoch is None:
        checkpoint = sorted(checkpoints.glob("ckpt-*"))[-1]
    else:
        checkpoint = checkpoints / f"ckpt-{epoch:05d}"
    with np.load(checkpoint / "arrays.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def same_run(first: Path, second: Path) -> bool:
    """Whether two runs ended with the same arrays, bit for bit."""
    a, b = arrays_of(first), arrays_of(second)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
