"""Writes the weights of a network as an .npz file, to train it on.

    python tools/unpack_weights.py MODEL OUT.npz

MODEL is a published network, a run or a .keras file. `tools/train_accelerated.py
--weights OUT.npz` starts from them; `tools/adopt_weights.py` is the way back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import ct_keras


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the network and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    np.savez(given.out, **arrays_of(ct_keras.load(given.model).network))


def arrays_of(network: keras.Model) -> dict[str, np.ndarray]:
    """Returns the kernel and the bias of each layer, named as layer/kernel."""
    return {
        f"{layer.name}/{part}": values
        for layer in network.layers
        if layer.weights
        for part, values in zip(("kernel", "bias"), layer.get_weights(), strict=True)
    }


if __name__ == "__main__":
    main()
