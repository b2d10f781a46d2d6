"""`load`: published weights by name, a run, or a `.keras` file."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import keras

import ct_keras
from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.method import Identity
from ct_keras.denoising.model_files import load_keras
from ct_keras.errors import CtKerasError
from ct_keras.files import has_shape, is_plain_name, read_document, sha256_of
from ct_keras.models import list_models

logger = logging.getLogger(__name__)

#: From this version on, no known hole lets a model file run code or read other files.
_SAFE_KERAS = (3, 15, 1)
DEFAULT_MODEL = "quiet_net"
#: Ranges of training data that the guards use; each may be null.
_RANGES = {
    "noise_index_hu": (float, float),
    "noise_frequency_per_cm": (float, float),
    "pixel_spacing_mm": (float, float),
    "slice_thickness_mm": (float, float),
    "kvp": (float, float),
    "kernels": [str],
    "body_parts": [str],
    "manufacturers": [str],
    "contrast": bool,
    "scale": str,
    "losses": {
        "noise_index_hu": [float],
        "noise_frequency_per_cm": [float],
        "loss_db": [[frozenset({float, None})]],
        "usual_db": float,
        "margin_db": float,
        "strength": float,
    },
}
_CARD = {
    "name": str,
    "version": str,
    "weights": {"file": str, "sha256": str},
}


def load(model: str | Path | None = None, *, trust: bool = False) -> Denoiser:
    """Loads a trained denoiser, offline.

    Args:
        model: The name of published weights (`list_published()`), a run folder made by
            `ct-keras train`, or a `.keras` file; None for the default model.
        trust: Load weights that are not those of their manifest, for instance because
            somebody changed them on purpose. Needs Keras 3.15.1, whose own checks of
            model files are complete. The file may still hold only what a denoiser
            needs.

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
        return _load_published(published_folder() / name, trust)
    if path.suffix == ".keras" and _is_file(path):
        return Denoiser(
            loaded := load_keras(path),
            identity=Identity(loaded.name, weights_sha256=sha256_of(path)),
        )
    if _is_file(path / "metadata.json"):
        return _load_published(path, trust)
    if _is_file(path / "config.json"):
        return _load_run(path, trust)
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
    return _card(published_folder() / name)


def _load_published(folder: Path, trust: bool) -> Denoiser:
    card = _card(folder)
    path = folder / card["weights"]["file"]
    found = _check_hash(path, card["weights"]["sha256"], trust)
    identity = Identity(card["name"], version=card["version"], weights_sha256=found)
    return Denoiser(load_keras(path), identity=identity, card=card)


def _load_run(folder: Path, trust: bool) -> Denoiser:
    if not (folder / "best.json").is_file():
        raise CtKerasError(
            "CTK-E085",
            "the run has no weights yet",
            fix="wait until its first epoch ends, or resume it",
        )
    best = _read(folder / "best.json", {"sha256": str})
    path = folder / "best.keras"
    found = _check_hash(path, best["sha256"], trust)
    model = load_keras(path)
    identity = Identity(model.name, weights_sha256=found)
    ranges = folder / "ranges.json"
    card = {"ranges": _read(ranges, {})} if ranges.is_file() else {}
    if not _are_ranges(card.get("ranges", {})):
        raise _damaged(ranges.name)
    return Denoiser(model, identity=identity, card=card)


def _card(folder: Path) -> dict:
    card = _read(folder / "metadata.json", _CARD)
    named = is_plain_name(card["weights"]["file"])
    strength = has_shape(card.get("default_strength", 1.0), float)
    if not (named and strength and _are_ranges(card.get("ranges", {}))):
        raise _damaged("metadata.json")
    return card


def _are_ranges(ranges: object) -> bool:
    """Whether this may be the ranges of training data, as far as they are used."""
    known = isinstance(ranges, dict) and all(
        ranges.get(name) is None or has_shape(ranges[name], shape)
        for name, shape in _RANGES.items()
    )
    return known and _is_table(ranges.get("losses"))


def _is_table(losses: dict | None) -> bool:
    """Whether a table of losses has a row and a column between all of its edges."""
    if losses is None:
        return True
    rows, columns = (
        len(losses[name]) - 1 for name in ("noise_index_hu", "noise_frequency_per_cm")
    )
    table = losses["loss_db"]
    return len(table) == rows > 0 and all(len(row) == columns for row in table)


def _read(path: Path, shape: dict) -> dict:
    """A JSON document beside weights.

    Raises:
        CtKerasError: CTK-E091, if it is damaged or lacks an entry.
    """
    try:
        document = read_document(path)
    except (OSError, ValueError) as error:
        raise _damaged(path.name) from error
    if not has_shape(document, shape):
        raise _damaged(path.name)
    return document


def _damaged(name: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E091",
        f"the {name} of the model is damaged or lacks an entry",
        fix="download the model again, or train again",
    )


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a text that cannot be a path names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _check_hash(path: Path, expected: str, trust: bool) -> str:
    """Returns the SHA-256 of weights, which must be the expected one or be trusted."""
    found = sha256_of(path) if path.is_file() else None
    if found == expected:
        return found
    if found is None or not trust:
        raise CtKerasError(
            "CTK-E090",
            "the weights do not match the manifest",
            received=path.name,
            expected=f"sha256 {expected[:16]}...",
            fix="download the file again, train again, or load them as they are: "
            "trust=True (--trust of denoise, evaluate, judge, quality and listen)",
        )
    if _version(keras.__version__) < _SAFE_KERAS:
        raise CtKerasError(
            "CTK-E090",
            "this version of Keras loads only weights that match the manifest",
            received=f"Keras {keras.__version__}",
            expected="Keras {}.{}.{} or later".format(*_SAFE_KERAS),
            fix='pip install -U "keras>=3.15.1"',
        )
    logger.warning("CTK-W090 the weights do not match the manifest, and are trusted")
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


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
