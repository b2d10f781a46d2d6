"""Training patches and denoised DICOM slices per second, beside ldct-benchmark.

    python benchmarks/ldct_benchmark.py [--quick] --peer PYTHON

PYTHON belongs to an environment with `pip install ldct-benchmark`. Both sides get the
same pairs of 512x512 slices, take 64x64 patches in batches of 64 with two workers, and
denoise the same files with an untrained RED-CNN of 96 maps, start-up excluded: theirs
by `denoise_dicom`, ours by `denoise_series`, guards and verification included. Each
side runs in a process of its own. Prints one JSON line for each comparison.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATCH, BATCH, WORKERS = 64, 64, 2


def ours_loader(folder: Path, seconds: float) -> dict:
    """Patches per second from the records of the pairs."""
    from pipeline import measure

    from ct_keras.data import convert

    key = folder / "key"
    key.write_text("a key for this benchmark")
    convert(
        folder / "full",
        folder / "records",
        layout="pairs",
        low=folder / "low",
        full=folder / "full",
        split="1,0,0",
        hash_key_file=key,
    )
    settings = {"patch_size": PATCH, "batch_size": BATCH}
    return {"rate": measure(folder / "records", seconds, settings)[0]}


def theirs_loader(folder: Path, seconds: float) -> dict:
    """Patches per second from the DICOM files, as its training reads them."""
    from importlib.resources import files

    from ldctbench.data.LDCTMayo import LDCTMayo
    from ldctbench.utils import load_yaml
    from torch.utils.data import DataLoader

    # Its constructor wants the folders of the Mayo data, listed in info.yml.
    data = LDCTMayo.__new__(LDCTMayo)
    data.path, data.patchsize, data.data_norm = str(folder / "named"), PATCH, "meanstd"
    data.info = load_yaml(str(files("ldctbench") / "data" / "info.yml"))
    cases = sorted((folder / "named" / "low").iterdir())
    count = len(list(cases[0].iterdir()))
    data.samples = [
        {
            "input": f"./low/{case.name}",
            "target": f"./full/{case.name}",
            "slice": index + 1,
            "n_slices": count,
        }
        for case in cases
        for index in range(count)
    ]
    batches = DataLoader(
        data, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    patches, begin = 0, None
    while begin is None or time.perf_counter() - begin < seconds:
        for batch in batches:
            patches += len(batch["x"])
        if begin is None:  # the first round starts the workers
            patches, begin = 0, time.perf_counter()
    return {"rate": patches / (time.perf_counter() - begin)}


def ours_denoise(folder: Path, seconds: float) -> dict:
    """Slices per second, DICOM to DICOM."""
    import ct_keras
    from ct_keras.serving.series import denoise_series

    series = ct_keras.read_series(folder / "few")
    denoiser = ct_keras.Denoiser(ct_keras.models.build("red_cnn"))
    denoiser(series.read(0).hu)
    begin = time.perf_counter()
    denoise_series(series, folder / "ours", denoiser)
    return {"rate": len(series) / (time.perf_counter() - begin)}


def theirs_denoise(folder: Path, seconds: float) -> dict:
    """The same by `denoise_dicom`; the weights do not change the time."""
    import numpy as np
    from ldctbench.hub import utils
    from ldctbench.methods.redcnn.network import Model

    network = Model(None).eval()
    utils.load_model = lambda method, device: network  # downloads otherwise
    utils.denoise_numpy(np.zeros((512, 512), np.float32), network)
    begin = time.perf_counter()
    utils.denoise_dicom(str(folder / "few"), str(folder / "theirs"), "redcnn")
    count = len(list((folder / "theirs").iterdir()))
    return {"rate": count / (time.perf_counter() - begin)}


def name_as_theirs(folder: Path, few: int) -> None:
    """Links the files under the names that its loader expects, and a few to denoise."""
    for case in (*(folder / "low").iterdir(), *(folder / "full").iterdir()):
        named = folder / "named" / case.parent.name / case.name
        named.mkdir(parents=True)
        slices = sorted(case.glob("*.dcm"))
        digits = len(str(len(slices)))
        for number, path in enumerate(slices, 1):
            (named / f"1-{number:0{digits}d}.dcm").hardlink_to(path)
    (folder / "few").mkdir()
    for path in sorted((folder / "low" / "case0").glob("*.dcm"))[:few]:
        (folder / "few" / path.name).hardlink_to(path)


def run_side(python: str, side: str, folder: Path, seconds: float) -> float:
    """Runs one side in its own process."""
    command = [python, __file__, "--side", side, str(folder), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])["rate"]


def main() -> None:
    """Runs both sides of both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peer")
    parser.add_argument("--side", nargs=3)
    arguments = parser.parse_args()
    if arguments.side:
        side, folder, seconds = arguments.side
        print(json.dumps(globals()[side](Path(folder), float(seconds))))
        return
    from convert import make_source

    slices, seconds, few = (20, 3.0, 2) if arguments.quick else (40, 10.0, 6)
    with tempfile.TemporaryDirectory() as folder:
        make_source(Path(folder), 2, slices)
        name_as_theirs(Path(folder), few)
        for what, unit in (("loader", "patches"), ("denoise", "slices")):
            ours, theirs = (
                run_side(python, f"{side}_{what}", Path(folder), seconds)
                for side, python in (
                    ("ours", sys.executable),
                    ("theirs", arguments.peer),
                )
            )
            row = {
                "ldct_benchmark": what,
                "unit": f"{unit} per second",
                "ours": round(ours, 3),
                "theirs": round(theirs, 3),
                "ratio": round(ours / theirs, 2),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
