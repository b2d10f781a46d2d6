"""Records of settings: named, typed, checked, and unchanged by a JSON round trip.

A sequence is always a tuple in a record and a list in JSON, so its meaning must not
depend on the type.
"""

from __future__ import annotations

import math
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ct_keras.errors import CtKerasError


@dataclass(frozen=True)
class Settings:
    """Base of frozen dataclasses whose values are checked by their type hints.

    Hints may be bool, int, float, str, a `Literal`, tuples of these, another record,
    `Mapping[str, object]` (plain values), any class, or a union of these.

    Raises:
        CtKerasError: CTK-E000 for a value of the wrong type, or one that `check`
            refuses.

    Example:
        >>> @dataclass(frozen=True)
        ... class Noise(Settings):
        ...     sigma_range: tuple[float, float]
        >>> Noise.from_plain({"sigma_range": [0, 0.5]})
        Noise(sigma_range=(0.0, 0.5))
    """

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for setting in fields(self):
            value, hint = getattr(self, setting.name), hints[setting.name]
            try:
                fitted = _fitted(value, hint)
            except (TypeError, ValueError) as error:
                raise self._refusal(
                    f"{setting.name} = {value}", f"{setting.name}: {_described(hint)}"
                ) from error
            object.__setattr__(self, setting.name, fitted)
        self.check()

    def check(self) -> None:
        """Refuses inconsistent values; overridden by subclasses."""

    @classmethod
    def from_plain(cls, values: Mapping[str, object]) -> typing.Self:
        """Creates the record from names and values, as read from JSON.

        Raises:
            CtKerasError: CTK-E000 for an unknown or missing name, or as the class.
        """
        known = fields(cls)
        if unknown := sorted(set(values) - {setting.name for setting in known}):
            raise cls._refusal(
                ", ".join(unknown),
                ", ".join(setting.name for setting in known) or "no settings",
            )
        try:
            return cls(**values)
        except TypeError as error:  # a value without a default is not given
            raise cls._refusal(", ".join(values) or "nothing", str(error)) from error

    def to_plain(self) -> dict:
        """Returns names and values, ready for JSON."""
        return {
            setting.name: _plain(getattr(self, setting.name))
            for setting in fields(self)
        }

    @classmethod
    def _refusal(cls, received: str, expected: str) -> CtKerasError:
        return CtKerasError(
            "CTK-E000",
            f"invalid settings of {cls.__name__}",
            received=received,
            expected=expected,
        )


def _plain(value):
    """A value as JSON returns it."""
    if isinstance(value, Settings):
        return value.to_plain()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _canonical(value):
    """A plain value with tuples for all sequences."""
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError
        return {name: _canonical(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_canonical(one) for one in value)
    return value


def _fitted(value, hint):
    """The value as its hint has it; TypeError or ValueError if it does not fit."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _first_fit(value, parts)
    if origin is typing.Literal:
        return value if value in parts else _misfit()
    if origin is tuple:
        return _fitted_tuple(value, parts)
    if hint is object or origin is Mapping:
        return _canonical(value if hint is object else dict(value))
    if isinstance(value, bool) and hint is not bool:
        return _misfit()
    if hint is float and isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, numbers.Real) and value == int(value):
        return int(value)
    if issubclass(hint, Settings) and isinstance(value, Mapping):
        return hint.from_plain(value)
    return value if isinstance(value, hint) and hint not in (int, float) else _misfit()


def _fitted_tuple(value, parts: tuple) -> tuple:
    if not isinstance(value, list | tuple):
        raise TypeError
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    return tuple(_fitted(one, hint) for one, hint in zip(value, parts, strict=True))


def _first_fit(value, hints: tuple):
    # A number stays what it is where both kinds are allowed.
    for hint in hints:
        try:
            return _fitted(value, hint)
        except (TypeError, ValueError):
            continue
    return _misfit()


def _misfit():
    raise TypeError


def _described(hint) -> str:
    """A type hint in words."""
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(_described, typing.get_args(hint)))
    if hint is types.NoneType:
        return "none"
    return hint.__name__ if isinstance(hint, type) else str(hint)
