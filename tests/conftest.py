"""Shared fixtures: where real CT lies, and small phantom patients."""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

THREADS = (
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)
if "PYTEST_XDIST_WORKER" in os.environ:
    # One process for each core: threads of their own would only wait for each other.
    for variable in THREADS:
        os.environ.setdefault(variable, "1")


def pytest_xdist_auto_num_workers(config) -> int:
    """One process more than cores: tests often wait for a process that they start."""
    known = hasattr(os, "sched_getaffinity")  # not on every system
    return 1 + (len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1)


def pytest_addoption(parser) -> None:
    """How often a command is killed in the tests of random moments."""
    parser.addoption("--kills", type=int, default=3)


@pytest.fixture
def kills(request) -> int:
    """How often to kill a command at a random moment."""
    return request.config.getoption("--kills")


SHARED_CT = Path(__file__).resolve().parents[2] / "shared" / "ct"


@pytest.fixture(scope="session", autouse=True)
def hash_key(tmp_path_factory):
    """A key for patient hashes, so that tests write nothing into the user's home."""
    from ct_keras.privacy.keys import KEY_FILE_VARIABLE

    path = tmp_path_factory.mktemp("key") / "hash.key"
    path.write_text("a secret for tests only")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_FILE_VARIABLE, str(path))
        yield


@pytest.fixture(scope="session")
def shared_ct() -> Path:
    """The folder of real CT series beside the project, or a skip."""
    if not SHARED_CT.is_dir():
        pytest.skip("no real CT beside the project (../shared/ct)")
    return SHARED_CT


@pytest.fixture(scope="session")
def few_slices(shared_ct, tmp_path_factory) -> Callable[[str, int], Path]:
    """Gives a folder with so many slices of a real patient, evenly spread."""

    @functools.cache
    def link(patient: str, slices: int) -> Path:
        files = sorted((shared_ct / patient).iterdir())
        folder = tmp_path_factory.mktemp("few") / Path(patient).name
        folder.mkdir()
        places = {i * (len(files) - 1) // max(slices - 1, 1) for i in range(slices)}
        for place in places:
            shutil.copyfile(files[place], folder / files[place].name)
        return folder

    return link


@pytest.fixture(scope="session")
def phantom_patients(tmp_path_factory) -> Path:
    """A folder with train/, val/ and test/: four small phantom patients as DICOM."""
    from ct_keras.phantoms import make_phantom, write_phantom

    folder = tmp_path_factory.mktemp("patients")
    patients = {"train": (1, 2), "val": (3,), "test": (4,)}
    for split, seeds in patients.items():
        for seed in seeds:
            phantom = make_phantom(
                seed,
                region="abdomen",
                shape=(3, 96, 96),
                spacing_mm=(8.0, 4.0, 4.0),
            )
            write_phantom(phantom, folder / split / f"p{seed}")
    return folder


@pytest.fixture(scope="session")
def phantom_records(phantom_patients, tmp_path_factory) -> Path:
    """TFRecords of the phantom patients at a tenth of the dose."""
    from ct_keras.data import convert

    records = tmp_path_factory.mktemp("records") / "records"
    convert(
        phantom_patients,
        records,
        layout="single",
        split="folders",
        doses=(0.1,),
        workers=1,
    )
    return records
