"""Imports GDCM before pydicom does, which would let it import a foreign module `dl`.

GDCM looks for `dl`, a module of Python 2. Python 3 has none, so that a file or folder
of that name beside the data would be imported in its place.
"""

import contextlib
import sys

_RELICS = ("dl", "DLFCN")


def import_gdcm() -> None:
    """Imports GDCM, if it is installed, as if no relic existed."""
    if "gdcm" in sys.modules:
        return
    hidden = {name: sys.modules.pop(name, None) for name in _RELICS}
    sys.modules.update(dict.fromkeys(_RELICS))
    try:
        with contextlib.suppress(ImportError):
            import gdcm  # noqa: F401
    finally:
        for name, module in hidden.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


import_gdcm()
