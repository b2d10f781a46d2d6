"""`load`: published weights by name, a run, or a `.keras` file."""

from __future__ import annotations

import json
from pathlib import Path

import ct_keras
from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.method import Identity
from ct_keras.denoising.model_files import load_keras
from ct_keras.errors import CtKerasError
from ct_keras.files import sha256_of
from ct_keras.models import list_models

DEFAULT_MODEL = "quiet_net"


def load(model: str | Path | None = None) -> Denoiser:
    """Loads a trained denoiser, offline.

    Args:
        model: The name of published weights (`list_published()`), a run folder made by
            `ct-keras train`, or a `.keras` file; None for the default model.

    Returns:
        The denoiser, HU to HU.

    Raises:
        CtKerasError: CTK-E092 for a name without published weights, CTK-E090 if a file
            does not match its manifest, CTK-E091 if it is not an acceptable model file,
            CTK-E085 if a run has no weights yet.

    Example:
        >>> denoised_hu = ct_keras.load("red_cnn")(low_dose_hu)
    """
    name = DEFAULT_MODEL if model is None else str(model)
    path = Path(name)
    if name in list_published():
        return _load_published(published_folder() / name)
    if path.suffix == ".keras" and path.is_file():
        return Denoiser(
            loaded := load_keras(path),
            identity=Identity(loaded.name, weights_sha256=sha256_of(path)),
        )
    if (path / "metadata.json").is_file():
        return _load_published(path)
    if (path / "config.json").is_file():
        return _load_run(path)
    raise _unknown(path)


def list_published() -> list[str]:
    """Returns the names that `load` accepts."""
    return sorted(
        folder.parent.name for folder in published_folder().glob("*/metadata.json")
    )


def published_folder() -> Path:
    """The folder of published weights: installed, or next to the package's source."""
    package = Path(ct_keras.__file__).parent
    installed = package / "saved_models"
    return installed if installed.is_dir() else package.parent / "saved_models"


def read_card(name: str) -> dict:
    """Returns the metadata.json of published weights."""
    return json.loads((published_folder() / name / "metadata.json").read_text())


def _load_published(folder: Path) -> Denoiser:
    card = json.loads((folder / "metadata.json").read_text())
    path = folder / card["weights"]["file"]
    _check_hash(path, card["weights"]["sha256"])
    identity = Identity(
        card["name"], version=card["version"], weights_sha256=card["weights"]["sha256"]
    )
    return Denoiser(load_keras(path), identity=identity, card=card)


def _load_run(folder: Path) -> Denoiser:
    if not (folder / "best.json").is_file():
        raise CtKerasError(
            "CTK-E085",
            "the run has no weights yet",
            fix="wait until its first epoch ends, or resume it",
        )
    best = json.loads((folder / "best.json").read_text())
    path = folder / "best.keras"
    _check_hash(path, best["sha256"])
    model = load_keras(path)
    identity = Identity(model.name, weights_sha256=best["sha256"])
    ranges = folder / "ranges.json"
    card = {"ranges": json.loads(ranges.read_text())} if ranges.is_file() else {}
    return Denoiser(model, identity=identity, card=card)


def _check_hash(path: Path, expected: str) -> None:
    if not path.is_file() or sha256_of(path) != expected:
        raise CtKerasError(
            "CTK-E090",
            "the weights do not match the manifest",
            received=path.name,
            expected=f"sha256 {expected[:16]}...",
            fix="download the file again, or train again",
        )


def _unknown(path: Path) -> CtKerasError:
    known = ", ".join(list_published()) or "none"
    if path.name in list_models():
        return CtKerasError(
            "CTK-E092",
            "no published weights for this network",
            received=path.name,
            expected=known,
            fix=f"train it: ct-keras train {path.name} RECORDS --out RUN",
        )
    return CtKerasError(
        "CTK-E092",
        "no published weights, run or .keras file with this name",
        received=path.name,
        expected=f"published weights ({known}), a run folder or a .keras file",
    )
