"""Opens `.keras` files without trusting them.

A `.keras` file can name any class to be built. Before Keras opens the file, it is
checked that it contains only the classes and members of a deployable model.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras

from ct_keras.errors import CtKerasError

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MAXIMUM_BYTES = 2 * 1024**3
MAXIMUM_RATIO = 100
_REFUSED_CLASSES = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer"}
_ALLOWED_MODULES = ("keras", "ct_keras", "builtins")


def load_keras(path: str | Path) -> keras.Model:
    """Loads a `.keras` file in safe mode, after checking its classes.

    Args:
        path: A file written by Keras 3.

    Returns:
        The model, not compiled.

    Raises:
        CtKerasError: CTK-E005 if it cannot be read, CTK-E091 if it is damaged or
            contains anything that a denoiser does not need.
    """
    path = Path(path)
    check_archive(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _refuse(f"Keras cannot load it ({type(error).__name__})") from error


def check_archive(path: Path) -> None:
    """Refuses a `.keras` file that is damaged or dangerous; see `load_keras`."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            damaged = archive.testzip()
            config = json.loads(archive.read("config.json"))
    except OSError as error:
        raise CtKerasError("CTK-E005", "cannot read the model file") from error
    except (zipfile.BadZipFile, ValueError) as error:
        raise _refuse("damaged or not a .keras file") from error
    if damaged:
        raise _refuse(f"damaged: {damaged}")
    for class_name, module in _classes(config):
        if class_name in _REFUSED_CLASSES:
            raise _refuse(f"contains a {class_name}")
        if module.split(".")[0] not in _ALLOWED_MODULES:
            raise _refuse("contains a class from outside Keras and ct_keras")


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if {member.filename for member in members} != MEMBERS:
        raise _refuse("unexpected members in the archive")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > MAXIMUM_BYTES or size > MAXIMUM_RATIO * max(packed, 1):
        raise _refuse(f"unpacks to {size} bytes")


def _classes(config: object) -> Iterator[tuple[str, str]]:
    """Yields (class name, module) of everything that the configuration would build."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield str(config["class_name"]), str(config.get("module") or "keras")
        for value in config.values():
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def _refuse(reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E091",
        "the model file is not accepted",
        received=reason,
        expected="a .keras file of stock Keras layers, as written by ct_keras",
    )
