"""Where a network falls behind a tuned filter: noise level and texture together.

    python benchmarks/operating_range.py CT OUT.jsonl [--models quiet_net ...]
    python benchmarks/operating_range.py --table OUT.jsonl [--cards saved_models]

Slices of phantoms, whose truth is known, and of val/ in CT (a folder per patient) are
simulated with kernels from very soft to very sharp and at doses from 2 to 400 %. The
middle of each is denoised by each network at its default strength and by non-local
means with the best of its strengths for that slice. Each line of OUT.jsonl holds what
the guards measure in the slice (noise index, mean frequency of the noise) and the
squared errors; what the file already contains is not measured again. --cards writes the
table of losses into the model card of each network, where the guards look a scan up.
"""

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ct_keras.denoising.method import Method
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import find_series
from ct_keras.evaluation.strengths import STRENGTHS, errors_by_strength
from ct_keras.filters import get as get_filter
from ct_keras.image_quality import noise_frequency_per_cm, noise_index_hu
from ct_keras.metrics.pixelwise import psnr_of_mse
from ct_keras.phantoms import make_phantom, phantom_scanner
from ct_keras.progress import track
from ct_keras.serving import complete_card
from ct_keras.simulation import calibrate
from ct_keras.simulation.kernels import KERNELS, Kernel, between
from ct_keras.simulation.scan import SeriesSimulator

#: Shares between B30 and D45, from very soft to very sharp.
SHARES = (-1.5, -0.75, -0.25, 0.0, 0.5, 1.0, 1.5, 2.0)
DOSES = (4.0, 1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
#: Seed, region and pixel spacing in mm; no published network was trained on them.
PHANTOMS = (
    (8101, "thorax", 0.8),
    (8102, "abdomen", 0.8),
    (8103, "abdomen", 0.6),
    (8104, "thorax", 1.2),
    (8105, "abdomen", 1.2),
)
FIELD_MM = 400.0
#: Pixels along a side of the part that is denoised.
PART = 256
#: Largest gain of a kernel that is sharper than the phantom.
LARGEST_GAIN = 3.0
RANGE_HU = 400.0
#: Edges of the cells of the table.
NOISE_EDGES_HU = (2, 5, 10, 20, 40, 80, 160, 320)
FREQUENCY_EDGES_PER_CM = (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
#: What a line says of the slice, whatever the network.
SHARED = (
    *("noise_index_hu", "noise_frequency_per_cm"),
    *("reference_noise_hu", "nlm"),
)
#: A cell with fewer slices counts as not measured.
FEWEST_SLICES = 3
#: Noise of a slice over that of its reference; below, the noise of the reference, which
#: a good method removes, would count as its error.
LEAST_NOISE_RATIO = 2.5
#: Loss against the filter, beyond the network's usual one, from which guards warn, dB.
MARGIN_DB = 0.5


def phantom_slices(wanted: Callable[[str, float], bool]) -> Iterator[tuple]:
    """Yields phantom slices: name, share, dose, low dose, truth, spacing, its noise."""
    for seed, region, spacing in track(PHANTOMS, "phantoms"):
        side = 2 * round(FIELD_MM / spacing / 2)
        phantom = make_phantom(
            seed,
            region=region,
            shape=(1, side, side),
            spacing_mm=(5.0, spacing, spacing),
        )
        scanner = phantom_scanner(phantom)
        for share in SHARES:
            if not wanted(f"phantom {seed}", share):
                continue
            kernel = between(share)
            truth = as_by(phantom.hu[0], spacing, kernel)
            tuned = scanner.tuned(
                kernel=kernel, photons=scanner.photons * DOSES[0], floor_hu=-1024.0
            )
            doses = [dose / DOSES[0] for dose in DOSES]
            lows = tuned.low_doses(truth, doses, seed=seed)
            for dose, low in zip(DOSES, lows, strict=True):
                sides = (spacing, spacing)
                yield f"phantom {seed}", share, dose, low, truth, sides, 0.0


def as_by(hu: np.ndarray, spacing_mm: float, kernel: Kernel) -> np.ndarray:
    """A phantom, which is as sharp as B30, as another kernel would show it."""
    along = (
        np.fft.fftfreq(hu.shape[0], spacing_mm),
        np.fft.rfftfreq(hu.shape[1], spacing_mm),
    )
    frequency = np.hypot(along[0][:, None], along[1])
    own = np.maximum(KERNELS["b30"].mtf(frequency), 1e-6)
    gain = np.minimum(kernel.mtf(frequency) / own, LARGEST_GAIN)
    shown = np.fft.irfft2(np.fft.rfft2(hu) * gain, hu.shape)
    return np.maximum(shown, -1024).astype(np.float32)


def real_slices(ct: Path, wanted: Callable[[str, float], bool]) -> Iterator[tuple]:
    """Yields the same of real slices, which keep their own sharpness and noise."""
    for folder in track(sorted((ct / "val").iterdir()), "real"):
        series = max(find_series(folder), key=len)
        index = len(series) // 2
        pixels, calibration = series.read(index), calibrate(series)
        simulator = SeriesSimulator(series, calibration).simulator
        sides = series.spacing_mm[1:]
        noise_hu = noise_index_hu([pixels.hu], sides)
        for share in SHARES:
            if not wanted(folder.name, share):
                continue
            lows = simulator.tuned(kernel=between(share)).low_doses(
                pixels.hu, DOSES[2:], seed=1, padding=pixels.padding
            )
            for dose, low in zip(DOSES[2:], lows, strict=True):
                yield folder.name, share, dose, low, pixels.hu, sides, noise_hu


def measured(
    low: np.ndarray, truth: np.ndarray, spacing_mm: tuple, reference_noise_hu: float
) -> dict:
    """What the guards measure in a slice, and the filter's least squared error."""
    nlm = get_filter("nlm")
    tried = [
        errors_of(nlm.with_parameters(h=h)(low[middle(low)]), low, truth)[-1]
        for h in nlm.grid["h"]
    ]
    return {
        "noise_index_hu": noise_index_hu([low], spacing_mm),
        "noise_frequency_per_cm": noise_frequency_per_cm([low], spacing_mm),
        "reference_noise_hu": reference_noise_hu,
        "nlm": min(tried),
    }


def measured_of(method: Method, low: np.ndarray, truth: np.ndarray) -> dict:
    """A network's default strength, and its squared error at each strength, HU^2."""
    denoised = method(low[middle(low)], strength=1.0)
    errors = errors_of(denoised, low, truth)
    return {"default": method.default_strength, "errors": errors}


def middle(image: np.ndarray) -> tuple[slice, ...]:
    """The part of a slice that is denoised."""
    start = [(side - PART) // 2 for side in image.shape]
    return tuple(slice(first, first + PART) for first in start)


def errors_of(denoised: np.ndarray, low: np.ndarray, truth: np.ndarray) -> list[float]:
    """The squared error of a denoised middle at each strength, HU^2."""
    part = middle(low)
    images = {"low_hu": low[part], "reference_hu": truth[part]}
    errors = errors_by_strength(denoised_hu=denoised, **images)
    return [round(float(error), 4) for error in errors]


def measure_all(ct: Path, out: Path, models: Sequence[str]) -> None:
    """Measures what a file does not contain yet."""
    text = out.read_text() if out.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    known = {row_key(row) for row in rows}
    slices_known = {row_key(row)[1:]: {key: row[key] for key in SHARED} for row in rows}
    methods = {model: get_method(model) for model in models}

    def missing(*place: str | float) -> list[str]:
        return [model for model in models if (model, *place) not in known]

    def wanted(image: str, share: float) -> bool:
        doses = DOSES if image.startswith("phantom") else DOSES[2:]
        return any(missing(image, share, dose) for dose in doses)

    for slices in (phantom_slices(wanted), real_slices(ct, wanted)):
        for name, share, dose, low, truth, spacing_mm, noise_hu in slices:
            if not (left := missing(name, share, dose)):
                continue
            shared = slices_known.get((name, share, dose))
            if shared is None:
                shared = measured(low, truth, spacing_mm, noise_hu)
            for model in left:
                row = {"model": model, "image": name, "share": share, "dose": dose}
                row |= shared | measured_of(methods[model], low, truth)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def row_key(row: dict) -> tuple:
    """What tells a line from the others."""
    return row["model"], row["image"], row["share"], row["dose"]


def loss_db(row: dict, *, best: bool = False) -> float:
    """PSNR of the filter less that of the network at its default or best strength."""
    errors = row["errors"]
    error = min(errors) if best else errors[STRENGTHS.index(row["default"])]
    return float(psnr(row["nlm"]) - psnr(error))


def psnr(error: float) -> float:
    """PSNR in dB of a mean squared error, in the window of the report."""
    return float(psnr_of_mse(error, data_range=RANGE_HU))


def cells(rows: list[dict]) -> dict[tuple[int, int], list[dict]]:
    """The lines of each cell of noise level and texture."""
    found = defaultdict(list)
    for row in rows:
        noise, frequency = row["noise_index_hu"], row["noise_frequency_per_cm"]
        if noise is None or frequency is None:
            continue
        if noise < LEAST_NOISE_RATIO * (row["reference_noise_hu"] or 0):
            continue
        places = [
            int(np.searchsorted(edges, value, side="right")) - 1
            for edges, value in (
                (NOISE_EDGES_HU, noise),
                (FREQUENCY_EDGES_PER_CM, frequency),
            )
        ]
        inside = (len(NOISE_EDGES_HU) - 1, len(FREQUENCY_EDGES_PER_CM) - 1)
        if all(0 <= place < count for place, count in zip(places, inside, strict=True)):
            found[tuple(places)].append(row)
    return {key: each for key, each in found.items() if len(each) >= FEWEST_SLICES}


def losses(rows: list[dict]) -> dict:
    """The entry of a model card: mean loss in each cell, null where not measured."""
    found = cells(rows)
    table = [
        [
            round(float(np.mean([loss_db(row) for row in found[i, j]])), 2)
            if (i, j) in found
            else None
            for j in range(len(FREQUENCY_EDGES_PER_CM) - 1)
        ]
        for i in range(len(NOISE_EDGES_HU) - 1)
    ]
    known = [loss for row in table for loss in row if loss is not None]
    usual_db = round(max(0.0, float(np.median(known))), 2)
    return {
        "noise_index_hu": list(NOISE_EDGES_HU),
        "noise_frequency_per_cm": list(FREQUENCY_EDGES_PER_CM),
        "loss_db": table,
        "usual_db": usual_db,
        "margin_db": round(usual_db + MARGIN_DB, 2),
        "strength": rows[0]["default"],
        "against": "filter:nlm with the best of its strengths for each slice",
    }


def table(rows: list[dict]) -> Iterator[str]:
    """Mean gain over the filter, as it comes (at the best strength), as Markdown."""
    found = cells(rows)
    pairs = itertools.pairwise(FREQUENCY_EDGES_PER_CM)
    heads = [f"{low:g} to {high:g}" for low, high in pairs]
    yield "| noise index, HU | " + " | ".join(heads) + " |"
    yield "|" + "---|" * (1 + len(heads))
    for i, low in enumerate(NOISE_EDGES_HU[:-1]):
        texts = []
        for j in range(len(heads)):
            cell = found.get((i, j), [])
            gains = [
                -np.mean([loss_db(r, best=b) for r in cell]) for b in (0, 1) if cell
            ]
            shown = "{:+.1f} ({:+.1f}), {}".format(*gains, len(cell)) if cell else ""
            texts.append(shown)
        yield f"| {low:g} to {NOISE_EDGES_HU[i + 1]:g} | " + " | ".join(texts) + " |"


def main() -> None:
    """Measures what is missing, prints the table of a file, or writes a card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--models", nargs="+", default=["quiet_net"])
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cards", type=Path)
    arguments = parser.parse_args()
    if arguments.table is None:
        if arguments.out is None:
            parser.error("CT and OUT.jsonl, or --table OUT.jsonl")
        measure_all(arguments.ct, arguments.out, arguments.models)
    by_model = defaultdict(list)
    for line in (arguments.table or arguments.out).read_text().splitlines():
        row = json.loads(line)
        by_model[row["model"]].append(row)
    for model, rows in by_model.items():
        print("\n".join(["", model, "", *table(rows)]))
        if arguments.cards is not None:
            complete_card(arguments.cards / model, losses=losses(rows))


if __name__ == "__main__":
    main()
