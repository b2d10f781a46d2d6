"""Sources of slice pairs for the commands that compare methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ct_keras.errors import CtKerasError, Finding
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions

if TYPE_CHECKING:  # it imports TensorFlow, which `--help` does not need
    from ct_keras.containers import GreyValues
    from ct_keras.data import SlicePair
    from ct_keras.dicom import Series

_PICTURES = Finding(
    "CTK-W063",
    "these are pictures, without HU: windows and tissues mean nothing here; the "
    "protocol full4096 spans all grey values",
)
#: Number of slices that filters are fitted to.
_TUNING_SLICES = 8
#: Seeds of phantom patients: for measuring and for fitting filters.
_PHANTOMS, _TUNING_PHANTOMS = 7000, (7900, 7901)


@dataclass(frozen=True)
class Source:
    """Slice pairs to measure, and other pairs to fit filters to.

    Attributes:
        label: Its name in tables.
        pairs: Function that returns a new iterator of the pairs.
        total: Number of pairs; None if unknown.
        fitting: Function that returns a few pairs of other patients, or None.
        rays: Whether the pairs include their sinograms.
        series: The DICOM series or files of the pairs, if any.
        pictures: Whether the pairs are grey values of pictures, and not HU.
        doubts: What was noticed when the pairs were found.
    """

    label: str
    pairs: Callable[[], Iterator[SlicePair]]
    total: int | None = None
    fitting: Callable[[], list[SlicePair]] | None = None
    rays: bool = False
    series: Sequence[Series] = ()
    pictures: bool = False
    doubts: Sequence[Finding] = ()

    def findings(self) -> list[Finding]:
        """Returns what was noticed of the series and their pairs, each finding once."""
        found = [each for own in self.series for each in own.findings]
        found += self.doubts
        return list(dict.fromkeys([*found, *([_PICTURES] * self.pictures)]))

    def value_findings(self) -> list[Finding]:
        """Returns what the values that were read since show (CTK-W044)."""
        return [each for own in self.series for each in own.value_findings()]

    def accepted(self) -> list[str]:
        """Names the options of the reader that were needed for these series."""
        return sorted({option for own in self.series for option in own.accepted})

    def left_out(self) -> list[str]:
        """Tells which series and files beside these could not be used."""
        from ct_keras.dicom.finder import left_out

        return left_out(self.series)

    def require_volumes(self) -> None:
        """Refuses series that are not regular volumes, for 3-D methods.

        Raises:
            CtKerasError: As `ct_keras.dicom.require_volume`.
        """
        for each in self.series:
            each.require_volume()


def records_source(records: Path, split: str) -> Source:
    """The pairs of a split of a records folder; filters are fitted to the split val."""
    from ct_keras.data import count_slices, iterate_pairs, read_manifest
    from ct_keras.training.validation import fixed_slices

    manifest = read_manifest(records)
    fitting = None
    if "val" in manifest.splits and split != "val":

        def fitting():
            return fixed_slices(records, "val", _TUNING_SLICES)

    return Source(
        split,
        lambda: iterate_pairs(records, split),
        count_slices(manifest, split),
        fitting,
        pictures=next(iterate_pairs(records, split)).scale is not None,
    )


def series_source(
    low: Path | None,
    full: Path | None,
    values: GreyValues | None = None,
    reading: ReadOptions = DEFAULT_OPTIONS,
) -> Source:
    """The pairs of two DICOM series, or of two files with volumes.

    Args:
        low: The low dose.
        full: Its reference.
        values: What the files do not say.
        reading: What the reader accepts.

    Raises:
        CtKerasError: CTK-E000, if one of them is not given; CTK-E036 or E039, if they
            do not fit together.
    """
    if low is None or full is None:
        raise CtKerasError(
            "CTK-E000",
            "there are no slice pairs",
            expected="records, or a low-dose series and its reference (--records, "
            "--low and --full of evaluate and reader-study make)",
        )
    from ct_keras.containers import GreyValues, read_scan
    from ct_keras.data.conversion.pairing import pair_findings, pair_series

    known = {"values": values or GreyValues(), "options": reading}
    series = read_scan(low, **known), read_scan(full, **known)
    return Source(
        "series",
        lambda: pair_series(*series),
        series=series,
        pictures=any(scan.scale for scan in series),
        doubts=pair_findings(*series),
    )


def scans_source(
    scans: Path,
    doses: Sequence[float],
    *,
    seed: int,
    fit_scans: Path | None,
    reading: ReadOptions = DEFAULT_OPTIONS,
) -> Source:
    """Normal-dose series whose low dose is simulated, sinograms included."""
    from ct_keras.data.simulated import simulated_pairs
    from ct_keras.dicom import find_series

    series = find_series(scans, options=reading)
    fitting = None
    if fit_scans is not None:

        def fitting():
            others = find_series(fit_scans, options=reading)
            only = _spread(len(doses) * sum(map(len, others)))
            return list(simulated_pairs(others, doses, seed=seed, only=only))

    return Source(
        "simulated",
        lambda: simulated_pairs(series, doses, seed=seed),
        len(doses) * sum(map(len, series)),
        fitting,
        rays=True,
        series=series,
    )


def phantoms_source(count: int, doses: Sequence[float], *, seed: int) -> Source:
    """Phantom patients at low dose, sinograms included."""
    from ct_keras.data import simulated

    shape = simulated.PHANTOM_SHAPE

    def scanned(patients):
        return simulated.phantom_pairs(patients, doses, shape=shape, seed=seed)

    slices = shape[0] * len(doses)

    def fitting():
        wanted = _spread(slices * len(_TUNING_PHANTOMS))
        pairs = enumerate(scanned(_TUNING_PHANTOMS))
        return [pair for place, pair in pairs if place in wanted]

    return Source(
        "phantoms",
        lambda: scanned(range(_PHANTOMS, _PHANTOMS + count)),
        count * slices,
        fitting,
        rays=True,
    )


def _spread(total: int) -> set[int]:
    """Evenly spread indices of a few pairs."""
    chosen = np.linspace(0, total - 1, min(total, _TUNING_SLICES)).round()
    return set(chosen.astype(int).tolist())
