"""Option values that several commands parse alike."""

from __future__ import annotations

import click


def numbers(_context, _option, text: str) -> tuple[float, ...]:
    """Callback of an option that takes numbers separated by commas."""
    try:
        return tuple(float(part) for part in text.split(",") if part)
    except ValueError as error:
        raise click.BadParameter("expected numbers separated by commas") from error
