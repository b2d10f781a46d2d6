"""New series: phantoms that any reader takes for a CT series."""

import numpy as np
import pydicom
import pytest

from ct_keras.dicom import create_series, read_series
from ct_keras.errors import CtKerasError

DETAILS = {"patient_id": "0007", "series_description": "SYNTHETIC PHANTOM thorax"}


@pytest.fixture
def hu():
    values = np.random.default_rng(0).normal(40, 10, (4, 80, 64))
    values[:, :10] = -1000
    values[:, -1] = 3000
    return values


@pytest.mark.parametrize("intercept", [-1024, 0])
def test_values_and_geometry_come_back(hu, tmp_path, intercept):
    spacing = (2.5, 0.7, 0.8)
    create_series(hu, spacing, tmp_path / "a", intercept=intercept, **DETAILS)
    series = read_series(tmp_path / "a")
    assert series.spacing_mm == spacing
    assert np.array_equal(series.hu, np.rint(hu).astype(np.float32))
    assert series.sources[0].intercept == intercept


@pytest.mark.parametrize("mas", [0.4, 3.75, 37.5, 200, 411])
def test_dose_and_kernel_tags(hu, tmp_path, mas):
    create_series(
        hu,
        (1, 1, 1),
        tmp_path / "a",
        kernel="D45",
        kvp=100,
        exposure_mas=mas,
        **DETAILS,
    )
    series = read_series(tmp_path / "a")
    assert (series.kernel, series.kvp) == ("D45", 100)
    assert series.exposure_mas == pytest.approx(mas, rel=1e-3)


def test_header_says_that_nobody_was_scanned(hu, tmp_path):
    create_series(hu, (1, 1, 1), tmp_path / "a", **DETAILS)
    data = pydicom.dcmread(tmp_path / "a" / "IM00003.dcm")
    assert data.PatientName == "PHANTOM^0007"
    assert data["SyntheticData"].value == "YES"
    assert data.Manufacturer == "ct_keras"
    assert data.ImageType[0] == "DERIVED"
    assert "SYNTHETIC" in data.ImageComments
    assert data.ImagePositionPatient == [-31.5, -39.5, 2]
    assert "XRayTubeCurrent" not in data


def test_uids_follow_patient_content_and_seed(hu, tmp_path):
    def uids(name, values=hu, **changes):
        details = DETAILS | changes
        create_series(values, (1, 1, 1), tmp_path / name, **details)
        data = pydicom.dcmread(tmp_path / name / "IM00001.dcm")
        return data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID

    first = uids("a")
    assert uids("b") == first
    low = uids("c", hu + 1, series_description="low dose")
    assert low[0] == first[0]
    assert low[1] != first[1]
    assert low[2] != first[2]
    assert not set(uids("d", seed_uid="2")) & set(first)
    assert not set(uids("e", patient_id="0008")) & set(first)


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, "CTK-E070"), (1e6, "CTK-E044"), (-4e4, "CTK-E044")]
)
def test_impossible_values_are_refused(hu, tmp_path, value, code):
    hu[2, 3, 3] = value
    with pytest.raises(CtKerasError) as caught:
        create_series(hu, (1, 1, 1), tmp_path / "a", **DETAILS)
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_one_image_is_no_series(tmp_path):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        create_series(np.zeros((64, 64)), (1, 1, 1), tmp_path / "a", **DETAILS)


@pytest.mark.parametrize("shape", [(64, 64, 1), (0, 64, 64), (64, 64)])
def test_other_axes_are_refused(tmp_path, shape):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        create_series(
            np.zeros(shape),
            (1, 1, 1),
            tmp_path / "out",
            patient_id="P",
            series_description="x",
        )
    assert not (tmp_path / "out").exists()
