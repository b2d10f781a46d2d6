"""Networks beside tuned filters at every dose: real CT by folder, and phantoms.

    python benchmarks/doses.py CT OUT.jsonl [--every 4] [--methods NAME...]
    python benchmarks/doses.py --table OUT.jsonl [--cards saved_models]

CT has the folders val/ and test/, each with one folder per patient. Every N-th slice of
test/ is simulated at 5, 10, 25 and 50 % of its dose; phantoms, whose noise-free truth
is known, at 100 % too. Parameters of filters and the strength of every method are
chosen together for each dose, on val/ and on other phantoms, by the mean squared error
in the window of the report. OUT.jsonl gets a line for each slice, dose, method and
setting; what it already contains is not measured again. It prints tables by folder, of
all slices together, and of the HU bias of each tissue. --cards writes what was measured
of a network into its model card, beside the classical methods.
"""

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from ct_keras.data import SlicePair
from ct_keras.data.simulated import phantom_pairs, simulated_pairs
from ct_keras.denoising.classical import FilterMethod
from ct_keras.denoising.method import blend
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import find_series
from ct_keras.evaluation.strengths import STRENGTHS, errors_by_strength
from ct_keras.metrics.pixelwise import psnr_of_mse
from ct_keras.metrics.statistics import bootstrap_interval
from ct_keras.metrics.tissues import tissue_masks
from ct_keras.progress import track
from ct_keras.serving import complete_card

DOSES = (0.05, 0.1, 0.25, 0.5)
CLASSICAL = ("filter:nlm", "filter:ksvd", "filter:bm3d", "recon:tv")
NETWORKS = (
    *("quiet_net", "red_cnn", "red_net10", "red_net20", "red_net30"),
    *("wgan_vgg", "pix2pix", "adl", "seo_resnet"),
)
#: A method that takes 12 s a slice is fitted to every third patient and phantom.
FIT_EVERY = {"recon:tv": 3}
#: BM3D with its own noise estimate and its default parameters.
AS_IT_COMES = "filter:bm3d, as it comes"
RANGE_HU = 400.0
#: Seeds of phantoms to measure and to fit to; no published network was trained on them.
PHANTOMS, FIT_PHANTOMS = range(8101, 8107), range(8201, 8204)
#: A tissue smaller than this is not measured in a slice, pixels.
FEWEST_PIXELS = 300
#: What the bias of a tissue is measured of.
BIAS_OF = ("input", "strength 1", "as it comes")
#: Folders with fewer slices form one group.
FEWEST_SLICES = 4
SINGLE = "single slices"
FIT = "fit "


def groups_of(ct: Path) -> dict[str, list[Path]]:
    """The folders of test/, those with only a few slices together."""
    groups = defaultdict(list)
    for folder in sorted((ct / "test").iterdir()):
        few = sum(1 for _ in folder.iterdir()) < FEWEST_SLICES
        groups[SINGLE if few else folder.name].append(folder)
    return dict(groups)


def real_pairs(folders: Sequence[Path], every: int) -> list[tuple[str, SlicePair]]:
    """Every N-th slice of each folder, at least one, at each dose; and the folder."""
    pairs = []
    for folder in folders:
        series = find_series(folder)
        slices = sum(map(len, series))
        wanted = range(min(every, slices) // 2, slices, every)
        only = {i * len(DOSES) + n for i in wanted for n in range(len(DOSES))}
        simulated = simulated_pairs(series, DOSES, seed=1, only=only)
        pairs += [(f"{folder.name} {pair.series}", pair) for pair in simulated]
    return pairs


def phantoms(seeds: Sequence[int]) -> list[tuple[str, SlicePair]]:
    """A slice of each phantom at each dose and at full dose; and the phantom."""
    made = phantom_pairs(seeds, (*DOSES, 1.0), shape=(1, 512, 512), seed=1)
    return [(pair.case, pair) for pair in made]


def settings_of(name: str) -> list[dict]:
    """The combinations of parameters that are tried in tuning."""
    method = get_method(name)
    if not isinstance(method, FilterMethod):
        return [{}]
    grid = method.filter.grid
    return [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*grid.values())
    ]


@cache
def method_of(name: str, settings: str):
    """A method with the settings of a line."""
    method = get_method(name)
    parameters = json.loads(settings)
    if not parameters:
        return method
    return type(method)(method.filter.with_parameters(**parameters))


def measure(pair: SlicePair, name: str, settings: dict) -> dict:
    """The error at every strength, and the bias of each tissue at three of them."""
    method = method_of(name, json.dumps(settings))
    (denoised,) = method.denoise_pairs([pair], 1.0)
    strengths = dict(zip(BIAS_OF, (0.0, 1.0, method.default_strength), strict=True))
    masks = tissue_masks(pair.full_hu)
    errors = errors_by_strength(
        low_hu=pair.low_hu, denoised_hu=denoised, reference_hu=pair.full_hu
    )
    return {
        "default": method.default_strength,
        "errors": [round(float(error), 4) for error in errors],
        "bias_hu": {
            name: bias_of(blend(pair.low_hu, denoised, strength), pair.full_hu, masks)
            for name, strength in strengths.items()
        },
    }


def bias_of(hu: np.ndarray, reference_hu: np.ndarray, masks: dict) -> dict[str, float]:
    """The mean error of each tissue that is large enough."""
    return {
        tissue: round(float(np.mean((hu - reference_hu)[mask])), 3)
        for tissue, mask in masks.items()
        if np.count_nonzero(mask) >= FEWEST_PIXELS
    }


class Results:
    """The lines of a file, and what they say about the best settings."""

    def __init__(self, path: Path):
        self.path = path
        text = path.read_text() if path.is_file() else ""
        self.rows = [json.loads(line) for line in text.splitlines()]
        self._known = {self._key(row) for row in self.rows}

    @staticmethod
    def _key(row: dict) -> tuple:
        where = (row["group"], row["patient"], row["slice"], row["dose"])
        return (*where, row["method"], json.dumps(row["settings"]))

    def add(
        self, patient: str, pair: SlicePair, group: str, name: str, settings: dict
    ) -> None:
        """Measures a pair, unless the file contains it."""
        row = {
            "group": group,
            "patient": patient,
            "slice": pair.slice_index,
            "dose": pair.dose_fraction,
            "method": name,
            "settings": settings,
        }
        if self._key(row) in self._known:
            return
        row |= measure(pair, name.split(",")[0], settings)
        self._known.add(self._key(row))
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def best(self, name: str, dose: float, group: str) -> tuple[dict, int]:
        """The settings and the index of the strength with the least error."""
        phantom = "phantoms" if group.endswith("phantoms") else "real"
        errors = defaultdict(list)
        wanted = FIT + phantom, name, dose
        for row in self.rows:
            if (row["group"], row["method"], row["dose"]) == wanted:
                errors[json.dumps(row["settings"])].append(row["errors"])
        means = {key: np.mean(found, axis=0) for key, found in errors.items()}
        chosen = min(means, key=lambda key: means[key].min())
        return json.loads(chosen), int(np.argmin(means[chosen]))


def measure_all(results: Results, ct: Path, every: int, methods: Sequence[str]) -> None:
    """Fits every method, then measures it on every group."""
    groups = {"phantoms": partial(phantoms, PHANTOMS)}
    for group, folders in groups_of(ct).items():
        step = 1 if group == SINGLE else every
        groups[group] = partial(real_pairs, folders, step)
    fits = {
        FIT + "phantoms": phantoms(FIT_PHANTOMS),
        FIT + "real": real_pairs(sorted((ct / "val").iterdir()), 100),
    }
    for name, (group, pairs) in itertools.product(methods, fits.items()):
        patients = list(dict.fromkeys(patient for patient, _ in pairs))
        chosen = patients[:: FIT_EVERY.get(name, 1)]
        fitted = [each for each in pairs if each[0] in chosen]
        for patient, pair in track(fitted, f"{name}, {group}"):
            for settings in settings_of(name):
                results.add(patient, pair, group, name, settings)
    for group, make in groups.items():
        pairs = make()
        for name in methods:
            for patient, pair in track(pairs, f"{name}, {group}"):
                settings, _ = results.best(name, pair.dose_fraction, group)
                results.add(patient, pair, group, name, settings)
        if "filter:bm3d" in methods and group == "phantoms":
            for patient, pair in track(pairs, AS_IT_COMES):
                results.add(patient, pair, group, AS_IT_COMES, {})


def psnr_by_slice(results: Results, group: str, dose: float, name: str) -> dict:
    """Slice -> PSNR at the best strength and at the default."""
    wanted = group, dose, name
    rows = [r for r in results.rows if (r["group"], r["dose"], r["method"]) == wanted]
    if not rows:
        return {}
    found, settings, chosen = {}, {}, None
    if name != AS_IT_COMES:
        settings, chosen = results.best(name, dose, group)
    for row in rows:
        if row["settings"] != settings:
            continue
        default = STRENGTHS.index(row["default"])
        best = default if chosen is None else chosen
        errors = row["errors"][0], row["errors"][best], row["errors"][default]
        found[row["patient"], row["slice"]] = [
            psnr_of_mse(error, data_range=RANGE_HU) for error in errors
        ]
    return found


def table(results: Results) -> Iterator[str]:
    """PSNR at the best strength (at the default), by group and dose, as Markdown."""
    measured = [row for row in results.rows if not row["group"].startswith(FIT)]
    names = list(dict.fromkeys(row["method"] for row in measured))
    classical = [name for name in names if ":" in name and name != AS_IT_COMES]
    networks = [name for name in names if name not in classical]
    heads = ["group", "dose", "n", "input", *classical, *networks]
    heads += [f"{NETWORKS[0]} - best of tuned filters"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    keys = dict.fromkeys((row["group"], row["dose"]) for row in measured)
    for group, dose in sorted(keys):
        found = {n: psnr_by_slice(results, group, dose, n) for n in names}
        slices = next(iter(found.values()))
        cells = [group, f"{100 * dose:g} %", str(len(slices))]
        cells.append(f"{np.mean([psnr[0] for psnr in slices.values()]):.2f}")
        for name in heads[4:-1]:
            means = np.mean(list(found[name].values()), axis=0) if found[name] else None
            cells.append("" if means is None else f"{means[1]:.2f} ({means[2]:.2f})")
        cells.append(_lead(found, classical))
        yield "| " + " | ".join(cells) + " |"


def _lead(found: dict, classical: Sequence[str]) -> str:
    """The default network's PSNR less that of the best filter, with its interval."""
    if NETWORKS[0] not in found or not classical:
        return ""
    means = {n: np.mean([p[1] for p in found[n].values()]) for n in classical}
    best = max(means, key=means.get)
    ours = found[NETWORKS[0]]
    differences = [ours[key][1] - found[best][key][1] for key in found[best]]
    low, high = bootstrap_interval(differences) or (np.nan, np.nan)
    return f"{np.mean(differences):+.2f} [{low:+.2f}, {high:+.2f}] ({best})"


def by_set(results: Results, network: str) -> list[dict]:
    """The entry of a model card: each set and dose, beside all classical methods."""
    measured = [row for row in results.rows if not row["group"].startswith(FIT)]
    known = {row["method"] for row in measured}
    names = [*(name for name in CLASSICAL if name in known), network]
    rows = []
    for group, dose in sorted({(row["group"], row["dose"]) for row in measured}):
        found = [psnr_by_slice(results, group, dose, name) for name in names]
        means = [np.mean(list(each.values()), axis=0) for each in found]
        psnr = {"input": means[-1][0]}
        psnr |= {name: mean[1] for name, mean in zip(names, means, strict=True)}
        row = {"set": group, "slices": len(found[-1]), "dose_fraction": dose}
        row["psnr"] = {name: round(float(value), 2) for name, value in psnr.items()}
        row["psnr_as_it_comes"] = round(float(means[-1][2]), 2)
        rows.append(row)
    return rows


def overview(results: Results) -> Iterator[str]:
    """All real slices and all phantoms by method and dose, as Markdown.

    PSNR at the best strength (at the default), then the gain over the input at the best
    strength with its 95 % interval over slices.
    """
    measured = [row for row in results.rows if not row["group"].startswith(FIT)]
    names = list(dict.fromkeys(row["method"] for row in measured))
    groups = list(dict.fromkeys(row["group"] for row in measured))
    sets = {"real": [group for group in groups if group != "phantoms"]}
    sets["phantoms"] = [group for group in groups if group == "phantoms"]
    columns = [
        (which, dose)
        for which, inside in sets.items()
        for dose in sorted({r["dose"] for r in measured if r["group"] in inside})
    ]
    heads = [f"{which} {100 * dose:g} %" for which, dose in columns]
    for cell in (_psnr_cell, _gain_cell):
        yield "| method | " + " | ".join(heads) + " |"
        yield "|" + "---|" * (1 + len(heads))
        for name in names:
            found = [
                [
                    psnr
                    for group in sets[which]
                    for psnr in psnr_by_slice(results, group, dose, name).values()
                ]
                for which, dose in columns
            ]
            cells = [cell(np.array(each)) if each else "" for each in found]
            yield f"| {name} | " + " | ".join(cells) + " |"
        yield ""


def _psnr_cell(psnr: np.ndarray) -> str:
    _, best, default = psnr.mean(axis=0)
    return f"{best:.2f} ({default:.2f})"


def _gain_cell(psnr: np.ndarray) -> str:
    gains = psnr[:, 1] - psnr[:, 0]
    low, high = bootstrap_interval(gains) or (np.nan, np.nan)
    return f"{gains.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def bias_table(results: Results) -> Iterator[str]:
    """Mean HU bias of each tissue by method and dose, as Markdown.

    Of the input, at strength 1 and at the default strength.
    """
    measured = [row for row in results.rows if not row["group"].startswith(FIT)]
    biases = [bias for row in measured for bias in row["bias_hu"].values()]
    tissues = list(dict.fromkeys(tissue for bias in biases for tissue in bias))
    yield "| set | method | dose | image | " + " | ".join(tissues) + " |"
    yield "|" + "---|" * (4 + len(tissues))
    by_key = defaultdict(list)
    for row in measured:
        which = "phantoms" if row["group"] == "phantoms" else "real"
        by_key[which, row["method"], row["dose"]].append(row["bias_hu"])
    for (which, method, dose), rows in sorted(by_key.items()):
        for image in BIAS_OF:
            cells = [which, method, f"{100 * dose:g} %", image]
            for tissue in tissues:
                values = [row[image][tissue] for row in rows if tissue in row[image]]
                cells.append(f"{np.mean(values):+.2f}" if values else "")
            yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measures what is missing, or prints the tables of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ct", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--cards", type=Path)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--methods", nargs="+", default=[*NETWORKS, *CLASSICAL])
    arguments = parser.parse_args()
    if arguments.table is None:
        if arguments.out is None:
            parser.error("CT and OUT.jsonl, or --table OUT.jsonl")
        results = Results(arguments.out)
        measure_all(results, arguments.ct, arguments.every, arguments.methods)
    else:
        results = Results(arguments.table)
    tables = [*table(results), "", *overview(results), *bias_table(results)]
    print("\n".join(tables))
    if arguments.cards is not None:
        for network in {row["method"] for row in results.rows} & {*NETWORKS}:
            card = by_set(results, network)
            complete_card(arguments.cards / network, by_set=card)


if __name__ == "__main__":
    main()
