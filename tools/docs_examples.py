"""A griffe extension: examples of docstrings are shown as code.

The package writes `Example:`, the parser of the documentation knows `Examples:` only.
"""

from __future__ import annotations

import re

import griffe

_TITLE = re.compile(r"^Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Renames the section in every docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Runs once for each object that was loaded."""
        if obj.docstring:
            obj.docstring.value = _TITLE.sub("Examples:", obj.docstring.value)
