"""Model files of a newer Keras in an older one.

A newer Keras writes settings into a file that an older one refuses, also where they
change nothing. Without these, the file describes the same network to both.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Setting -> the value with which it changes nothing.
NEUTRAL = {
    # of initializers, since Keras 3.15
    "input_axes": None,
    "output_axes": None,
    # of BatchNormalization, since Keras 3.14
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}
_CONFIG = "config.json"


def without_newer(config: object) -> object:
    """Returns a configuration without the settings that change nothing."""
    if isinstance(config, dict):
        return {
            name: without_newer(value)
            for name, value in config.items()
            if name not in NEUTRAL or value != NEUTRAL[name]
        }
    if isinstance(config, list):
        return [without_newer(value) for value in config]
    return config


@contextmanager
def readable_by_older(path: Path) -> Iterator[Path]:
    """Gives a `.keras` file that says the same without newer settings.

    Args:
        path: A file that was checked. If it has none of the settings, it is given
            itself, otherwise a copy that lasts as long as the context.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members[_CONFIG])
    if (older := without_newer(config)) == config:
        yield path
        return
    members[_CONFIG] = json.dumps(older).encode()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with zipfile.ZipFile(copy, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        yield copy
