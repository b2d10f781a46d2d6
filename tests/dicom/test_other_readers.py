"""Other programs read of a derived series what they read of its source.

One series of each maker whose scanners are common, and a multi-frame file.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from multi_frame import enhanced
from orthanc import ORTHANC, Orthanc
from test_dicom_validators import NETWORK, validate

from ct_keras.dicom import Series, read_series, write_series

MAKERS = {
    "Siemens": "val/C4KC-KiTS-00072",
    "GE": "train/CRLM-CT-1004",
    "Philips": "train/LIDC-IDRI-0314",
    "Toshiba": "hard/encodings/j2k_toshiba.dcm",
    "multi-frame": "hard/tilt/philips_minus18_5",
}
SLICES = 3


@dataclass(frozen=True)
class Derived:
    """A series, its files, and those that were written of it."""

    series: Series
    sources: list[Path]
    written: list[Path]

    @property
    def folders(self) -> list[Path]:
        """That of the sources and that of the result."""
        return [self.sources[0].parent, self.written[0].parent]


def toshiba_like(path: Path, folder: Path) -> None:
    """A series of one JPEG 2000 slice of a Toshiba, at several places."""
    for index in range(SLICES):
        data = pydicom.dcmread(path)
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y, z + index * data.SliceThickness]
        data.InstanceNumber = index + 1
        data.StudyID = ""  # it is blank, which dciodvfy does not count as empty
        data.SOPInstanceUID = f"{data.SOPInstanceUID[:50]}.{index + 1}"
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(folder / f"{index}.dcm", enforce_file_format=True)


@pytest.fixture(scope="module", params=MAKERS)
def derived(request, shared_ct, factory, tmp_path_factory) -> Derived:
    """The series of one maker, and an unchanged copy."""
    name, place = request.param, MAKERS[request.param]
    folder = tmp_path_factory.mktemp(name)
    source = folder / "in"
    source.mkdir()
    if name == "Toshiba":
        toshiba_like(shared_ct / place, source)
    elif name == "multi-frame":
        paths = sorted((shared_ct / place).iterdir())[:SLICES]
        slices = [pydicom.dcmread(path) for path in paths]
        factory.save(enhanced(slices), source / "a.dcm")
    else:
        for each in read_series(shared_ct / place).sources[:SLICES]:
            shutil.copy(each.path, source)
    series = read_series(source)
    write_series(series, folder / "out", derivation=NETWORK)
    found = [sorted(path.glob("*.dcm")) for path in (source, folder / "out")]
    return Derived(series, *found)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing")
def test_dciodvfy_finds_nothing_new(derived):
    before = set().union(*map(validate, derived.sources))
    new = set().union(*map(validate, derived.written)) - before
    assert all("Unrecognized defined term = <99CTKERAS>" in line for line in new), new


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is missing")
def test_dcm2niix_writes_the_same_volume(derived, tmp_path):
    images = []
    for number, folder in enumerate(derived.folders):
        target = tmp_path / str(number)
        target.mkdir()
        line = ["dcm2niix", "-b", "n", "-f", "x", "-o", str(target), str(folder)]
        subprocess.run(line, check=True, capture_output=True)
        (image,) = sorted(target.glob("*.nii"))[:1]
        images.append(image.read_bytes())
    old, new = images
    # dim, pixdim, offset, slope; qform and sform; voxels.
    for part in (slice(40, 56), slice(76, 120), slice(252, 328), slice(352, None)):
        assert old[part] == new[part]


def test_simple_itk_reads_the_same_geometry_and_hu(derived):
    sitk = pytest.importorskip("SimpleITK")
    found = []
    for folder in derived.folders:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        image = sitk.ReadImage(names if len(names) > 1 else names[0])
        geometry = [image.GetSize(), image.GetSpacing(), image.GetOrigin()]
        found.append([*geometry, image.GetDirection()])
        hu = sitk.GetArrayFromImage(image)
    assert np.allclose(np.hstack(found[0]), np.hstack(found[1]))
    assert np.abs(hu - derived.series.hu).max() < 1e-3
    assert np.allclose(found[0][1][:2], derived.series.spacing_mm[:0:-1], rtol=1e-4)


def test_gdcm_reads_the_same_geometry_and_values(derived):
    gdcm = pytest.importorskip("gdcm")

    def read(path: Path) -> list:
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        image = reader.GetImage()
        return [
            image.GetDimensions(),
            [image.GetSpacing(axis) for axis in range(2)],
            [image.GetOrigin(axis) for axis in range(3)],
            [image.GetDirectionCosines(axis) for axis in range(6)],
            (image.GetSlope(), image.GetIntercept()),
            image.GetBuffer().encode("utf-8", "surrogateescape"),
        ]

    by_place = lambda found: str(found[2])  # noqa: E731
    old, new = (
        sorted(map(read, paths), key=by_place)
        for paths in (derived.sources, derived.written)
    )
    assert old == new


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc is missing")
def test_orthanc_takes_keeps_and_returns_it(derived, orthanc):
    kept = orthanc.files()
    written = {}
    for path in derived.written:
        orthanc.post("/instances", path.read_bytes())
        written[pydicom.dcmread(path).SOPInstanceUID] = path.read_bytes()
    assert len(written) == len(derived.written)
    assert orthanc.files() == kept | written


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    running = Orthanc(tmp_path_factory.mktemp("archive") / "orthanc")
    yield running
    running.stop()
