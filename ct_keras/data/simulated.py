"""Slice pairs whose low dose is simulated on the fly.

Records hold images only. Here each pair includes the sinogram of its low dose, so that
methods of the projection domain can be compared with those of the image domain.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ct_keras.data.reading import SlicePair
from ct_keras.data.slice_facts import facts_of, patient_of, series_facts
from ct_keras.dicom import Series
from ct_keras.phantoms import Phantom, make_phantom, phantom_scanner
from ct_keras.phantoms.phantom import BODY_PARTS, KERNEL_TAG, REGIONS
from ct_keras.privacy.strata import body_part
from ct_keras.simulation import SeriesSimulator, calibrate, low_dose_rays

#: Slices, rows and columns of a phantom patient: 30 mm in 5 mm slices.
PHANTOM_SHAPE = (6, 512, 512)


def simulated_pairs(
    series: Sequence[Series],
    doses: Sequence[float],
    *,
    seed: int = 0,
    only: Container[int] | None = None,
) -> Iterator[SlicePair]:
    """Yields every slice of normal-dose series at each dose, with its sinogram.

    Args:
        series: The normal-dose series.
        doses: Fractions of the normal dose.
        seed: Seed of the noise, which is independent for each series.
        only: Indices of the pairs to return; the others are not read. None for all.

    Returns:
        Pairs in the order of the series, slices and doses. `case` and `series` are
        numbers, not identifiers.

    Raises:
        CtKerasError: CTK-E000 for an invalid dose; CTK-E037, if the spacing is unknown.
    """
    names = [patient_of(each, each.sources[0].study_uid) for each in series]
    patients = list(dict.fromkeys(names))
    first = 0
    for number, each in enumerate(series, start=1):
        wanted = {
            index: chosen
            for index in range(len(each))
            if (chosen := _chosen(doses, first + index * len(doses), only))
        }
        first += len(each) * len(doses)
        if not wanted:
            continue
        simulator = SeriesSimulator(each, calibrate(each))
        patient = str(1 + patients.index(names[number - 1]))
        facts = facts_of(series_facts(each, case=patient, series=str(number)))
        for index, chosen in wanted.items():
            pixels = each.read(index)
            own = {"seed": seed + number, "pixels": pixels}
            lows = simulator.low_doses(index, chosen, **own)
            for dose, low_hu in zip(chosen, lows, strict=True):
                yield SlicePair(
                    low_hu=low_hu,
                    full_hu=pixels.hu,
                    rays=simulator.low_dose_rays(index, dose, **own),
                    **facts | {"slice_index": index, "dose_fraction": dose},
                )


def _chosen(
    doses: Sequence[float], first: int, only: Container[int] | None
) -> list[float]:
    """The doses to simulate for a slice whose first pair has this index."""
    return [
        dose
        for number, dose in enumerate(doses, start=first)
        if only is None or number in only
    ]


def phantom_pairs(
    seeds: Sequence[int],
    doses: Sequence[float],
    *,
    shape: tuple[int, int, int] = PHANTOM_SHAPE,
    seed: int = 0,
) -> Iterator[SlicePair]:
    """Yields the slices of phantom patients at each dose, with their sinograms.

    The reference is the phantom itself, without noise. The patients alternate between
    the regions.

    Args:
        seeds: Seed of each patient; see `make_phantom`.
        doses: Fractions of a normal dose.
        shape: Slices, rows and columns of each patient.
        seed: Seed of the noise.

    Raises:
        CtKerasError: CTK-E000 for an invalid dose or shape.
    """
    regions = list(REGIONS)
    for number, patient in enumerate(seeds):
        region = regions[number % len(regions)]
        phantom = make_phantom(patient, region=region, shape=shape)
        yield from _scanned(phantom, doses, seed + number)


def _scanned(
    phantom: Phantom, doses: Sequence[float], seed: int
) -> Iterator[SlicePair]:
    scanner = phantom_scanner(phantom)
    for index, hu in enumerate(phantom.hu):
        own = {"seed": seed, "slice_index": index}
        lows = scanner.low_doses(hu, doses, **own)
        for dose, low_hu in zip(doses, lows, strict=True):
            yield SlicePair(
                low_hu=low_hu,
                full_hu=hu,
                case=f"phantom {phantom.seed}",
                series=phantom.region,
                slice_index=index,
                dose_fraction=dose,
                spacing_mm=phantom.spacing_mm[1:],
                slice_thickness_mm=phantom.spacing_mm[0],
                kernel=KERNEL_TAG,
                body_part=body_part(BODY_PARTS[phantom.region]),
                noise_share=0.0,
                rays=low_dose_rays(scanner, hu, dose, **own),
            )
