"""Writes published weights again, with the deployable graph of this version.

    python tools/rewrap_weights.py [NAME...]

NAME is a folder of saved_models, by default all of them. The networks and the figures
of the cards stay as they are; the versions count up.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ct_keras.progress import track
from ct_keras.serving import rewrap

SAVED_MODELS = Path(__file__).resolve().parents[1] / "saved_models"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewraps each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--saved-models", type=Path, default=SAVED_MODELS)
    given = parser.parse_args(arguments)
    every = sorted(path.parent.name for path in given.saved_models.glob("*/SHA256SUMS"))
    for name in track(given.names or every, "Writing weights"):
        rewrap(given.saved_models / name)


if __name__ == "__main__":
    main()
