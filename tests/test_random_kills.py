"""Commands that are killed at random moments: nothing is lost, nothing looks whole.

`make kills` kills each command 50 times; a run of all tests does it three times.
"""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from run_arrays import same_run

from ct_keras.data import verify
from ct_keras.data.manifest import MANIFEST

pytestmark = pytest.mark.slow
SLICES, SERIES = 3, 4
#: A short training ends with 9: its weights are not better than the noisy input.
ENDED = (0, 9)


class Command:
    """A command line that is killed and started again."""

    def __init__(self, out: Path, *line: str | Path):
        self._line = [sys.executable, "-m", "ct_keras", *map(str, line)]
        self._out = out
        self.undisturbed = out.with_name("undisturbed")
        start = time.monotonic()
        self._finish()
        self._seconds = time.monotonic() - start
        shutil.move(out, self.undisturbed)

    def _finish(self) -> None:
        done = subprocess.run(self._line, capture_output=True, text=True)
        assert done.returncode in ENDED, done.stderr

    def _kill_after(self, seconds: float) -> bool:
        """Kills it at a moment; False if it had ended before."""
        process = subprocess.Popen(self._line, stderr=subprocess.DEVNULL)
        try:
            assert process.wait(seconds) in ENDED
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
        return False

    def survives(self, kills: int, check: Callable[[bool], None]) -> None:
        """Kills it so often; `check` is told whether a run has come to its end."""
        chance, done = random.Random(1127), 0
        while done < kills:
            if self._kill_after(chance.uniform(0, self._seconds)):
                done += 1
                check(False)
            else:
                self._end(check)
        self._finish()
        self._end(check)

    def _end(self, check: Callable[[bool], None]) -> None:
        check(True)
        assert not list(self._out.parent.rglob(".ctk-tmp-*"))
        shutil.rmtree(self._out)


def content(folder: Path) -> dict[Path, bytes]:
    """All files of a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.fixture
def source(phantom_patients, tmp_path) -> Path:
    """Patients that no run may change."""
    source = tmp_path / "source"
    shutil.copytree(phantom_patients, source)
    yield source
    assert content(source) == content(phantom_patients)


def test_convert_killed_at_random_moments(source, tmp_path, kills):
    options = ("--layout", "single", "--split", "folders")
    out = tmp_path / "out"
    command = Command(out, "convert", source, out, *options)

    def records(folder: Path) -> dict[Path, bytes]:
        return {k: v for k, v in content(folder).items() if "tfrecord" in k.name}

    def check(ended: bool) -> None:
        if ended or (out / MANIFEST).exists():
            verify(out)
            assert records(out) == records(command.undisturbed)

    command.survives(kills, check)


def test_denoise_killed_at_random_moments(source, tmp_path, kills):
    options = ("--model", "filter:gaussian", "--overwrite")
    out = tmp_path / "out"
    command = Command(out, "denoise", source, out, *options)

    def pixels(folder: Path) -> dict[str, bytes]:
        images = map(pydicom.dcmread, folder.rglob("*.dcm"))
        return {image.SOPInstanceUID: image.PixelData for image in images}

    expected = pixels(command.undisturbed)
    assert len(expected) == SERIES * SLICES

    def check(ended: bool) -> None:
        found = [pixels(series) for series in out.glob("series-*")]
        assert len(found) == SERIES or not ended
        for series in found:
            assert len(series) == SLICES
            assert series.items() <= expected.items()

    command.survives(kills, check)


def test_train_killed_at_random_moments(phantom_records, tmp_path, kills):
    options = ("--width", "4", "--epochs", "3", "--steps", "4", "--resume")
    out = tmp_path / "out"
    command = Command(out, "train", "red_cnn", phantom_records, "--out", out, *options)

    def check(ended: bool) -> None:
        if ended or (out / "checkpoints" / "ckpt-00003").exists():
            assert same_run(out, command.undisturbed)

    command.survives(kills, check)
