"""Opens `.keras` files without trusting them.

A `.keras` file can name any class to be built, of any size. Before Keras opens the
file, it is checked that it contains only the members and classes of a deployable model,
and as many weights as its network has.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

from ct_keras.denoising.allowed_classes import CLASSES, VALUES
from ct_keras.denoising.older_keras import readable_by_older, without_newer
from ct_keras.errors import CtKerasError
from ct_keras.files.failures import is_of_content

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {"metadata.json", _CONFIG, _WEIGHTS}
MAXIMUM_BYTES = 2 * 1024**3
MAXIMUM_RATIO = 100
_LARGEST_CONFIG = 32 * 1024**2


def load_keras(path: str | Path) -> keras.Model:
    """Loads a `.keras` file in safe mode, after checking its classes and its size.

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
        with readable_by_older(path) as readable:
            return keras.saving.load_model(readable, compile=False, safe_mode=True)
    except Exception as error:
        raise _refuse(f"Keras cannot load it ({type(error).__name__})") from error


def check_archive(path: Path) -> None:
    """Refuses a `.keras` file that is damaged or dangerous; see `load_keras`."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            damaged = archive.testzip()
            config = json.loads(archive.read(_CONFIG))
            weights_bytes = archive.getinfo(_WEIGHTS).file_size
    except CtKerasError:
        raise
    except Exception as error:  # zipfile, zlib, lzma, bz2 and json raise many types
        if isinstance(error, OSError) and not is_of_content(error):
            raise CtKerasError("CTK-E005", "cannot read the model file") from error
        raise _refuse("damaged or not a .keras file") from error
    if damaged:
        raise _refuse("damaged")
    _check_classes(config)
    _check_size(config, weights_bytes)


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if sorted(member.filename for member in members) != sorted(MEMBERS):
        raise _refuse("unexpected members in the archive")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > MAXIMUM_BYTES or size > MAXIMUM_RATIO * max(packed, 1):
        raise _refuse(f"unpacks to {size} bytes")
    if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
        raise _refuse("the configuration is too large")


def _check_classes(config: object) -> None:
    if not isinstance(config, dict):
        raise _refuse("the configuration is not that of a model")
    # Keras does not build what `compile` got.
    built = {name: part for name, part in config.items() if name != "compile_config"}
    try:
        for described in _classes(built):
            if not _allowed(described):
                raise _refuse(f"contains {_shown(described)}")
    except RecursionError as error:
        raise _refuse("the configuration is nested too deep") from error


def _classes(config: object) -> Iterator[dict]:
    """Yields the description of everything that a configuration would build."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def _allowed(described: dict) -> bool:
    name, module = described["class_name"], described.get("module") or "keras"
    registered = described.get("registered_name")
    if not (isinstance(name, str) and isinstance(module, str)):
        return False
    if name in VALUES:
        return True
    if name == "function":
        function = described.get("config")
        return isinstance(function, str) and hasattr(keras.activations, function)
    if module.split(".")[0] == "ct_keras":
        found = keras.saving.get_registered_object(str(registered))
        return registered == f"ct_keras>{name}" and found is not None
    return module.split(".")[0] == "keras" and name in CLASSES


def _shown(described: dict) -> str:
    """A class for a message; what could be anything is not shown."""
    name = described["class_name"]
    known = isinstance(name, str) and hasattr(keras.layers, name)
    return f"the class {name}" if known else "a class that no denoiser needs"


def _check_size(config: dict, weights_bytes: int) -> None:
    """Refuses a network with more parameters than the file has bytes of weights.

    The network is built without values, in a thread of its own: Keras keeps a list, one
    for each thread, of what waits for values.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            count = thread.submit(_count_parameters, config).result()
        except Exception as error:  # a configuration can be wrong in many ways
            raise _refuse(f"Keras cannot build it ({type(error).__name__})") from error
    if count > weights_bytes:
        raise _refuse(f"{count} parameters, and {weights_bytes} bytes of weights")


def _count_parameters(config: dict) -> int:
    built = {**without_newer(config), "compile_config": None}
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(built, safe_mode=True)
        return sum(_size(weight.shape) for weight in model.weights)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= int(length)
    return size


def _refuse(reason: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E091",
        "the model file is not accepted",
        received=reason,
        expected="a .keras file of stock Keras layers, as written by ct_keras",
    )
