"""Registries: entries looked up by name; an unknown name lists the known ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from ct_keras.errors import CtKerasError


class Named(Protocol):
    """Anything with a name."""

    name: str


T = TypeVar("T", bound=Named)


class Registry(dict[str, T]):
    """The entries of one kind, by name, in the given order.

    Args:
        kind: What an entry is called in errors, such as "filter".
        entries: All of them.
        code: Error code for an unknown name.
    """

    def __init__(self, kind: str, entries: Iterable[T], *, code: str = "CTK-E092"):
        super().__init__({entry.name: entry for entry in entries})
        self.kind = kind
        self.code = code

    def find(self, name: str) -> T:
        """Returns the entry of this name.

        Raises:
            CtKerasError: With the registry's code, if the name is unknown.
        """
        if name not in self:
            raise CtKerasError(
                self.code,
                f"unknown {self.kind}",
                received=name,
                expected=", ".join(self) or "(no entries)",
            )
        return self[name]
