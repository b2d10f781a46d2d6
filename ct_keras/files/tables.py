"""Reads tables from users or other programs."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Reads a CSV with a header line in UTF-8, UTF-16 or Latin-1.

    Raises:
        CtKerasError: CTK-E005, if it cannot be read or is not text.
    """
    try:
        data = Path(path).read_bytes()
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        for encoding in ("utf-16",) if marked else ("utf-8-sig", "latin-1"):
            with contextlib.suppress(UnicodeDecodeError):
                text = data.decode(encoding)
                break
        else:
            raise ValueError("not text")
        if "\0" in text:
            raise ValueError("not text")
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise CtKerasError(
            "CTK-E005",
            "cannot read a table",
            received=label_of(path),
            expected="a CSV in UTF-8, UTF-16 or Latin-1",
        ) from error
