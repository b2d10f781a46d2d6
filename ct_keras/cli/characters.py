"""Text for terminals that cannot show every character."""

from __future__ import annotations

import codecs
from typing import TextIO

#: Characters of messages and tables -> what a terminal without them shows.
_PLAIN = {"°": " deg", "µ": "u", "±": "+-", "×": "x", "–": "-", "—": "-", "…": "..."}
#: The name under which Python's streams find `_plain`.
PLAIN_ERRORS = "ct_keras.plain"


def shown_on(stream: TextIO, text: str) -> str:
    """Returns a text with something like it for what a stream cannot show."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, PLAIN_ERRORS).decode(encoding)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, "?") for letter in text), error.end


codecs.register_error(PLAIN_ERRORS, _plain)
