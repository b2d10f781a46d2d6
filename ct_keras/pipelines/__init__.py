"""Whole archives on many machines, by Apache Beam: convert, simulate and denoise.

The work on a series is that of one machine; Beam distributes it. Needs the extra
`beam`. Names are loaded on first use.
"""

from __future__ import annotations

from ct_keras.lazy import lazy_names

_NAMES = {
    "BatchResult": "ct_keras.pipelines.batch",
    "Denoising": "ct_keras.pipelines.tasks",
    "Simulation": "ct_keras.pipelines.tasks",
    "convert_archive": "ct_keras.pipelines.conversion",
    "process_archive": "ct_keras.pipelines.batch",
}

__all__ = sorted(_NAMES)
__getattr__, __dir__ = lazy_names(__name__, _NAMES)
