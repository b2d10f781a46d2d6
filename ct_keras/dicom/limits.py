"""How much a scan may read, so that a hostile or mistaken folder stays harmless."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that are checked before anything large is read.

    Attributes:
        min_matrix: Fewest rows or columns of an image.
        max_matrix: Most rows or columns of an image.
        max_file_bytes: Most pixel bytes of one file.
        max_series_bytes: Most pixel bytes of one series.
        max_header_bytes: Most bytes of a file before its pixels.
        max_files: Most files in one scan.
        max_depth: Deepest folder below the one that is scanned.
    """

    min_matrix: int = 64
    max_matrix: int = 4096
    max_file_bytes: int = 512 * 2**20
    max_series_bytes: int = 8 * 2**30
    max_header_bytes: int = 16 * 2**20
    max_files: int = 50_000
    max_depth: int = 16


DEFAULT_LIMITS = Limits()
