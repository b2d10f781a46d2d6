"""Numbers that no scanner can mean are as good as missing, and nothing overflows."""

import json
import math
import warnings

import numpy as np
import pytest

from ct_keras.dicom import read_series, require_volume
from ct_keras.dicom.writer import write_series
from ct_keras.errors import CtKerasError
from ct_keras.image_quality import describe_series
from ct_keras.simulation import simulate_dose


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def codes(series) -> list[str]:
    return [finding.code for finding in series.findings]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImagePositionPatient": [0, 0, "1e30"]}, "CTK-W036"),
        ({"ImagePositionPatient": ["1e300", "-1e300", 0]}, "CTK-W036"),
        ({"PixelSpacing": ["1e-30", "1e-30"]}, "CTK-W037"),
        ({"PixelSpacing": ["1e30", "1"]}, "CTK-W037"),
        ({"ImageOrientationPatient": ["1e200"] * 6}, "CTK-W036"),
        ({"SliceThickness": "1e30"}, "CTK-I038"),
        ({"SpacingBetweenSlices": "1e308"}, None),
        ({"KVP": "1e308"}, None),
        ({"XRayTubeCurrent": "2147483647", "ExposureTime": "2147483647"}, None),
    ],
)
def test_it_is_told_and_described(factory, tmp_path, changes, code):
    series = read_series(factory.folder(tmp_path / "in", 4, **changes))
    assert code is None or code in codes(series)
    text = json.dumps(describe_series(series), allow_nan=False)
    assert "e+30" not in text
    assert series.exposure_mas is None or series.exposure_mas < 1e6
    write_series(series, tmp_path / "out")
    np.testing.assert_array_equal(read_series(tmp_path / "out").hu, series.hu)


@pytest.mark.parametrize("slope", ["1e30", "1e-30", "-1e300"])
def test_a_slope_that_gives_no_hu_is_refused(factory, tmp_path, slope):
    with pytest.raises(CtKerasError, match="CTK-E040"):
        read_series(factory.folder(tmp_path, 3, RescaleSlope=slope))


@pytest.mark.parametrize("intercept", ["1e30", "-1e300"])
def test_an_intercept_that_gives_no_hu_is_refused(factory, tmp_path, intercept):
    with pytest.raises(CtKerasError, match="CTK-E040"):
        read_series(factory.folder(tmp_path, 3, RescaleIntercept=intercept))


def test_positions_in_the_plane_of_the_slices_are_no_tilt(factory, tmp_path):
    beside = {"ImagePositionPatient": lambda i: [20 * i, 0, 0.02 * i]}
    series = read_series(factory.folder(tmp_path, 5, **beside))
    assert "CTK-I033" not in codes(series)
    assert any("do not form a stack" in each.text for each in series.findings)
    assert series.tilt_degrees == 0
    assert not math.isclose(series.spacing_mm[0], 0.02)
    with pytest.raises(CtKerasError, match="CTK-E036"):
        require_volume(series.sources)


@pytest.mark.parametrize(
    ("keyword", "of_series"),
    [
        ("SliceThickness", "slice_thickness_mm"),
        ("KVP", "kvp"),
        ("XRayTubeCurrent", "tube_current_ma"),
        ("ExposureTime", "exposure_mas"),
    ],
)
def test_a_negative_amount_is_missing(factory, tmp_path, keyword, of_series):
    """One made the noise of a simulated dose 90 times too strong, another ended it."""
    changes = {"XRayTubeCurrent": 200, "ExposureTime": 500, "KVP": 120}
    folder = factory.folder(tmp_path, 3, **changes | {keyword: -3})
    series = read_series(folder)
    assert getattr(series, of_series) is None
    assert np.isfinite(simulate_dose(series, 0.5).hu).all()


def test_a_negative_current_changes_no_dose(factory, tmp_path):
    """It is not known of that slice, so the current of no slice is used."""

    def noise(name, current):
        folder = factory.folder(tmp_path / name, 3, XRayTubeCurrent=current)
        series = read_series(folder)
        return simulate_dose(series, 0.5, seed=1).hu - series.hu

    bent = noise("bent", lambda i: [-200, 200, 200][i])
    np.testing.assert_array_equal(bent, noise("even", 200))
