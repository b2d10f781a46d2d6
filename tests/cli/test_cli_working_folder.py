"""A folder of data may hold files with the names of Python modules: none may run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ct_keras.dicom import create_series

REPOSITORY = Path(__file__).resolve().parents[2]
#: Modules that the command, its decoders and its worker processes import, or try to.
PLANTED = (
    *("dl", "DLFCN", "json", "socket", "tempfile", "selectors", "logging", "csv"),
    *("click", "rich", "numpy", "pydicom", "gdcm", "openjpeg", "cv2", "scipy"),
    *("tensorflow", "keras", "matplotlib", "jinja2"),
)


@pytest.fixture
def trapped(tmp_path) -> Path:
    """A folder with planted modules that note their names in a file ``ran``."""
    for name in PLANTED:
        planted = f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n"
        (tmp_path / f"{name}.py").write_text(planted + "raise ImportError\n")
    return tmp_path


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_module_imports_nothing_from_the_working_folder(trapped):
    image = np.full((2, 64, 64), -1000.0)
    image[:, 16:48, 16:48] = 40
    names = {"patient_id": "0007", "series_description": "SYNTHETIC PHANTOM"}
    create_series(image, (2.5, 0.7, 0.7), trapped / "series", **names)
    done = run(trapped, "-m", "ct_keras", "inspect", "series")
    assert not (trapped / "ran").exists(), (trapped / "ran").read_text()
    assert done.returncode == 0, done.stderr
    assert "64x64" in done.stdout


def test_worker_processes_import_nothing_from_it(trapped):
    """Spawned as the conversion spawns them, by a script that stands elsewhere."""
    script = trapped / "bin" / "start.py"
    script.parent.mkdir()
    script.write_text(
        "import multiprocessing, sys\n"
        "from ct_keras.cli import process\n"
        "if __name__ == '__main__':\n"
        "    process.import_from_packages_only()\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=print)\n"
        "    worker.start()\n"
        "    worker.join()\n"
        "    sys.exit(worker.exitcode)\n"
    )
    done = run(trapped, script)
    assert not (trapped / "ran").exists(), (trapped / "ran").read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_decoder_does_not_look_for_dl(tmp_path, kind):
    if kind == "folder":
        (tmp_path / "dl").mkdir()
    else:
        (tmp_path / "dl.py").write_text("open('ran', 'w')\n")
    check = "import ct_keras.dicom, gdcm, sys; print(gdcm.Version.GetVersion())"
    done = run(tmp_path, "-c", check + "; print('dl' in sys.modules)")
    assert done.stderr == ""
    version, listed = done.stdout.split()
    assert version.startswith("3.") and listed == "False"
    assert not (tmp_path / "ran").exists()
