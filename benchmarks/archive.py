"""Runs convert and denoise on an archive of 200 series, by Beam on two workers.

    python benchmarks/archive.py FOLDER [--real CT] [--series 200] [--model NAME]

FOLDER is filled with small phantom series and, with --real, short copies of real ones;
five are broken in different ways. Each command is killed once and run again. Prints a
JSON line with what was compared with one machine: pixels, shards, dead letters, and
what was written twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom

from ct_keras.data import convert, read_manifest
from ct_keras.phantoms import make_phantom, write_phantom

BROKEN, PHANTOMS = 5, 8


def fill(folder: Path, series: int, real: Path | None) -> list[str]:
    """Writes the archive; returns the names of the broken series."""
    names = [f"site-{number % 4}/p{number:03d}" for number in range(series)]
    for seed in range(PHANTOMS):
        if not (folder.parent / "phantoms" / str(seed)).exists():
            phantom = make_phantom(
                seed, region="abdomen", shape=(2, 64, 64), spacing_mm=(8.0, 6.0, 6.0)
            )
            write_phantom(phantom, folder.parent / "phantoms" / str(seed))
    for number, name in enumerate(names):
        copy(folder.parent / "phantoms" / str(number % PHANTOMS), folder / name, number)
    for path in sorted(real.iterdir()) if real else ():
        name = f"real/{path.name}"
        files = sorted(file for file in path.rglob("*.dcm"))[:3]
        if len(files) == 3 and not (folder / name).exists():
            (folder / name).mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, folder / name / file.name)
    broken = names[7 :: series // BROKEN][:BROKEN]
    for way, name in enumerate(broken):
        break_series(folder / name, way)
    return broken


def copy(source: Path, target: Path, number: int) -> None:
    """Copies a phantom as another patient."""
    target.mkdir(parents=True)
    for file in sorted(source.glob("*.dcm")):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = dataset.PatientName = f"P{number:03d}"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"{getattr(dataset, keyword)[:56]}.{number}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(target / file.name)


def break_series(folder: Path, way: int) -> None:
    """Cuts a file off in its pixels or its header, or overwrites the header."""
    file = sorted(folder.glob("*"))[-1]
    data = file.read_bytes()
    if way % 3 == 0:
        data = data[:-1000]
    elif way % 3 == 1:
        data = data[:400]
    else:
        data = data[:128] + b"DICM" + b"\xff" * (len(data) - 132)
    file.write_bytes(data)


def run(arguments: list[str], *, kill_after: int | None, out: Path) -> float:
    """Runs ct-keras batch; kills it when so many results are there."""
    start = time.monotonic()
    command = [sys.executable, "-m", "ct_keras", "batch", *arguments]
    process = subprocess.Popen(command)
    while process.poll() is None:
        if kill_after is not None and results(out) >= kill_after:
            process.send_signal(signal.SIGKILL)  # its workers end by themselves
        time.sleep(0.2)
    print(arguments[0], "ended with", process.returncode, file=sys.stderr)
    return time.monotonic() - start


def results(out: Path) -> int:
    """Items or shards that are finished."""
    return len(list(out.glob("_batch/*/*.json")))


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of the pixels of every DICOM file below a folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(
            pydicom.dcmread(file).PixelData
        ).hexdigest()
        for file in sorted(folder.rglob("*.dcm"))
    }


def twice(folder: Path, pattern: str, before: dict[Path, int]) -> int:
    """How many files that were there before were written again."""
    now = stamps(folder, pattern)
    return sum(now.get(path) != stamp for path, stamp in before.items())


def stamps(folder: Path, pattern: str) -> dict[Path, int]:
    """When files were written, without those of results that are not complete."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def letters(out: Path) -> dict[str, str]:
    """The code of each dead letter, by its series."""
    lines = (out / "dead-letters.jsonl").read_text().splitlines()
    return {each["item"]: each["code"] for each in map(json.loads, lines)}


def measured(task: str, folder: Path, broken: list[str], model: str) -> dict:
    """Kills and repeats a command on the archive; compares with one machine."""
    archive, out, alone = (folder / each for each in ("archive", task, f"{task}-alone"))
    options = {"denoise": ["--model", model], "convert": ["--dose", "0.1"]}[task]
    pattern = {"denoise": "*.dcm", "convert": "*.tfrecord-*"}[task]
    command = [task, str(archive), str(out), "--workers", "2", *options]
    first = run(command, kill_after=40, out=out)
    before = stamps(out, pattern)
    second = run(command, kill_after=None, out=out)
    found = letters(out)
    document = {
        "task": task,
        "killed_after_s": round(first, 1),
        "there_when_killed": len(before),
        "written_twice": twice(out, pattern, before),
        "second_run_s": round(second, 1),
        "dead_letters": found,
        "dead_letters_right": sorted(found) == sorted(broken),
    }
    good = folder / "good"
    if not good.exists():
        shutil.copytree(archive, good)
        for name in broken:
            shutil.rmtree(good / name)
    start = time.monotonic()
    if task == "convert":
        convert(good, alone, layout="single", doses=(0.1,), workers=2)
        one, many = read_manifest(alone), read_manifest(out)
        document |= {"shards": len(many.shards), "same": one.shards == many.shards}
        slices = sum(shard.slices for shard in many.shards)
    else:
        one_machine = [sys.executable, "-m", "ct_keras", "denoise", str(good)]
        command = [*one_machine, str(alone), *options]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        one = sorted(sums(alone).values())
        many = sorted(sums(out).values())
        document |= {"files": len(many), "same": one == many}
        slices = len(many)
    document["one_machine_s"] = round(time.monotonic() - start, 1)
    return document | {"slices": slices}


def main() -> None:
    """Fills the folder, runs both commands and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--model", default="filter:gaussian")
    chosen = parser.parse_args()
    broken = fill(chosen.folder / "archive", chosen.series, chosen.real)
    for task in ("denoise", "convert"):
        print(json.dumps(measured(task, chosen.folder, broken, chosen.model)))


if __name__ == "__main__":
    main()
