"""Reads JSON documents that may be damaged or of another make."""

from __future__ import annotations

import json
from pathlib import Path


def read_document(path: Path) -> object:
    """Returns the content of a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged, or nested without end.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def has_shape(value: object, shape: object) -> bool:
    """Whether a JSON value has a shape.

    Args:
        value: From `read_document`.
        shape: A type (`float` includes whole numbers, None means null); a frozenset of
            shapes, one of which must fit; a list of one shape, for a list of any
            length; a tuple of shapes, for a list of this length; a dict of names and
            shapes, all of which must be there; or ``{str: shape}`` for any names.

    Example:
        >>> has_shape({"range": [0, 1.5]}, {"range": (float, float)})
        True
    """
    if isinstance(shape, frozenset):
        return any(has_shape(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(v, shape[0]) for v in value)
    if isinstance(shape, tuple):
        fits = isinstance(value, list) and len(value) == len(shape)
        return fits and all(map(has_shape, value, shape))
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(has_shape(each, shape[str]) for each in value.values())
        return all(
            name in value and has_shape(value[name], each)
            for name, each in shape.items()
        )
    if shape is None:
        return value is None
    if isinstance(value, bool):
        return shape in (bool, object)
    return isinstance(value, int | float if shape is float else shape)


def is_plain_name(name: str) -> bool:
    """Whether a text names a file in the same folder, and nothing elsewhere."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0:")
