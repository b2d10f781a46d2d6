"""Measures of image quality for methods at several doses, on phantoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

import ct_keras
from ct_keras.denoising.classical import INPUT, Unchanged
from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.image_quality import detectability, measures
from ct_keras.image_quality.cho import ObserverResult
from ct_keras.image_quality.dose_curves import dose_curves
from ct_keras.image_quality.nps import NoisePower
from ct_keras.image_quality.records import observer_record, plain
from ct_keras.notice import NOTICE
from ct_keras.phantoms.quality_phantoms import (
    PhantomScanner,
    QualityPhantom,
    low_contrast_phantom,
    rod_phantom,
    water_phantom,
)
from ct_keras.progress import track
from ct_keras.simulation.dose import check_dose

_FEWEST_REPEATS = 4


@dataclass(frozen=True)
class QualityPlan:
    """Settings of the phantom scans.

    Attributes:
        doses: Fractions of full dose.
        repeats: Scans of each phantom at each dose, at least 4.
        size: Rows and columns.
        spacing_mm: Pixel spacing in mm.
        kernel: Reconstruction kernel; see `KERNELS`.
        noise_hu: Standard deviation in the centre of the water phantom at full dose.
        seed: Seed of the noise and of the observers.
        channels: Channel sets of the channelised Hotelling observer; see `CHANNELS`.
    """

    doses: tuple[float, ...] = (0.1, 0.25, 1.0)
    repeats: int = 20
    size: int = 256
    spacing_mm: float = 0.7
    kernel: str = "b30"
    noise_hu: float = 12.0
    seed: int = 0
    channels: tuple[str, ...] = ("laguerre-gauss", "dog-dense", "gabor")

    def checked(self) -> QualityPlan:
        """Returns the plan with sorted doses, each once.

        Raises:
            CtKerasError: CTK-E000, for an invalid dose, seed or number of repeats.
        """
        if self.seed < 0:
            raise CtKerasError(
                "CTK-E000", "invalid seed", received=self.seed, expected="0 or more"
            )
        if self.repeats < _FEWEST_REPEATS:
            raise CtKerasError(
                "CTK-E000",
                "too few repeats",
                received=self.repeats,
                expected=f"{_FEWEST_REPEATS} or more",
            )
        if not self.doses:
            raise CtKerasError("CTK-E000", "image quality needs at least one dose")
        doses = tuple(sorted({check_dose(dose) for dose in self.doses}))
        return replace(self, doses=doses)


@dataclass(frozen=True, eq=False)
class Scans:
    """The phantoms and their scans: (repeats, rows, columns) HU for every dose."""

    rods: QualityPhantom
    discs: QualityPhantom
    rod_images: Mapping[float, np.ndarray]
    present: Mapping[float, np.ndarray]
    absent: Mapping[float, np.ndarray]


def scan_phantoms(plan: QualityPlan, *, progress: bool = False) -> Scans:
    """Scans water, rods and low-contrast discs; every scan has independent noise.

    Raises:
        CtKerasError: CTK-E000, for impossible phantoms, or discs too close together.
    """
    grid = {"size": plan.size, "spacing_mm": plan.spacing_mm, "kernel": plan.kernel}
    water, rods, discs = (
        make(**grid) for make in (water_phantom, rod_phantom, low_contrast_phantom)
    )
    detectability.check_regions(discs)
    scanner = PhantomScanner(water, noise_hu=plan.noise_hu, seed=plan.seed)
    phantoms = (water, discs, rods)
    images: list[list] = [[] for _ in phantoms]
    numbers = range(plan.repeats * len(phantoms))
    for number in track(numbers, "Scanning phantoms", enabled=progress):
        kind = number // plan.repeats
        images[kind].append(scanner.scan(phantoms[kind], plan.doses, repeat=number))
    absent, present, rod_images = (
        dict(zip(plan.doses, np.swapaxes(np.array(stack), 0, 1), strict=True))
        for stack in images
    )
    return Scans(rods, discs, rod_images, present, absent)


def measure_quality(
    methods: Mapping[str, Method | Callable[[np.ndarray], np.ndarray]],
    plan: QualityPlan | None = None,
    *,
    progress: bool = False,
) -> dict:
    """Measures noise, sharpness and detectability of every method at every dose.

    The input is always measured too, for comparison: texture with that of its highest
    dose, detectability with that of the same dose.

    Args:
        methods: Name -> method, or what `ct_keras.denoising.as_method` makes one of.
            Images are denoised one at a time: repeats are not neighbouring slices.
        plan: Settings of the phantom scans.
        progress: Whether to show progress bars.

    Returns:
        The document of quality.json.

    Raises:
        CtKerasError: CTK-E000, for an invalid plan.

    Example:
        >>> plan = QualityPlan(doses=(1.0,), repeats=4, size=96, spacing_mm=1.8)
        >>> list(measure_quality({}, plan)["methods"])
        ['input']
    """
    plan = (plan or QualityPlan()).checked()
    scans = scan_phantoms(plan, progress=progress)
    everything = {INPUT: Unchanged()} | {
        label: as_method(method) for label, method in methods.items()
    }
    reference = measures.noise_power(scans.absent[plan.doses[-1]], plan.spacing_mm)
    usable = {dose: _reliable_rods(scans, dose) for dose in plan.doses}
    measured: dict[str, list] = {}
    observers: dict[tuple, ObserverResult] = {}
    for label, method in everything.items():
        measured[label] = []
        for dose in plan.doses:
            bar = {"label": f"{label} {dose:g}", "progress": progress}
            treated = _treat(method, scans, dose, plan.spacing_mm, **bar)
            record, results = _measure(treated, plan, dose, reference, usable[dose])
            measured[label].append(record)
            for key, result in results.items():
                observers[(label, dose, *key)] = result
        for record in measured[label]:
            _add_observers(record, observers, label)
    return plain(
        {
            "notice": NOTICE,
            "version": ct_keras.__version__,
            "plan": asdict(plan),
            "methods": {
                label: {
                    "identity": asdict(everything[label].identity),
                    "doses": records,
                }
                for label, records in measured.items()
            },
            "dose_curves": _curves(measured, plan),
        }
    )


def _reliable_rods(scans: Scans, dose: float) -> list[str]:
    transfers = measures.transfers(scans.rods, scans.rod_images[dose])
    return [name for name, found in transfers.items() if found.reliable]


def _treat(
    method: Method,
    scans: Scans,
    dose: float,
    spacing_mm: float,
    *,
    label: str,
    progress: bool,
) -> Scans:
    """Returns the denoised scans of one dose."""
    stacks = [s[dose] for s in (scans.rod_images, scans.present, scans.absent)]
    flat = track(np.concatenate(stacks), label, enabled=progress)
    square = spacing_mm, spacing_mm
    done = [method.denoise_image(image, square).astype(np.float64) for image in flat]
    parts = np.split(np.stack(done), np.cumsum([len(stack) for stack in stacks])[:-1])
    return Scans(scans.rods, scans.discs, *({dose: part} for part in parts))


def _measure(scans: Scans, plan, dose: float, reference: NoisePower, usable):
    """Returns the record of one method at one dose, and its observers.

    Only rods that are reliable in the input at this dose (`usable`) are used for d', so
    that all methods are compared on the same rods.
    """
    power = measures.noise_power(scans.absent[dose], plan.spacing_mm)
    rods = scans.rod_images[dose]
    transfers = measures.transfers(scans.rods, rods)
    judged = {name: one for name, one in transfers.items() if name in usable}
    found = detectability.observe(
        scans.discs,
        scans.present[dose],
        scans.absent[dose],
        names=plan.channels,
        seed=plan.seed,
    )
    record = {
        "dose": dose,
        "noise": measures.noise_record(scans.absent[dose], power, reference),
        "materials": measures.materials(scans.rods, rods),
        "ttf": [measures.transfer_record(name, one) for name, one in transfers.items()],
        "detectability": detectability.spectral(scans.discs, power, judged),
    }
    return record, found


def _add_observers(record: dict, observers: Mapping, label: str) -> None:
    """Adds the observers of a method at a dose to its spectral d'."""
    for task in record["detectability"]:
        task["cho"] = {
            key[3]: observer_record(result, observers[(INPUT, *key[1:])])
            for key, result in observers.items()
            if key[:3] == (label, record["dose"], task["insert"])
        }


def _curves(measured: Mapping[str, list], plan: QualityPlan) -> dict:
    """Returns the dose curves of the first set of channels."""
    results: dict[str, dict] = {}
    for label, records in measured.items():
        for record in records:
            for task in record["detectability"]:
                by_dose = results.setdefault(label, {}).setdefault(task["insert"], {})
                by_dose[record["dose"]] = task["cho"][plan.channels[0]]
    return dose_curves(results, INPUT)
