"""Partners are found by position, whatever the order of files and instances."""

import numpy as np
import pytest

from ct_keras.data import pair_series
from ct_keras.data.conversion.layouts.series_pair import make_series_pair
from ct_keras.data.conversion.pairing import match_slices, pair_findings
from ct_keras.dicom import read_series
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.sources import series_source


def plane(slice_index: int) -> float:
    return 40.0 + 30 * slice_index


@pytest.fixture
def series(write_ct, tmp_path):
    """Reads a series whose slices hold `plane(index)` in the middle."""

    def make(name, **values):
        return read_series(write_ct(tmp_path / name, sd=0, **values))

    return make


def shift(millimetres, axis=2):
    def edit(dataset, index):
        position = [float(value) for value in dataset.ImagePositionPatient]
        position[axis] += millimetres
        dataset.ImagePositionPatient = position

    return edit


def test_order_and_numbers_do_not_matter(write_ct, tmp_path):
    full = write_ct(tmp_path / "full", slices=7, seed=1, sd=50)

    def renumber(dataset, index):
        dataset.InstanceNumber = [5, 1, 7, 3, 2, 6, 4][index]

    low = write_ct(tmp_path / "low", slices=7, seed=1, sd=50, edit=renumber)
    for number, path in enumerate(sorted(low.glob("*.dcm"))):
        path.rename(low / f"{(number * 3) % 7}-{number}.dcm")
    pairs = list(pair_series(read_series(low), read_series(full)))
    assert [pair.slice_index for pair in pairs] == list(range(7))
    for pair in pairs:
        np.testing.assert_array_equal(pair.low_hu, pair.full_hu)
    assert pairs[0].spacing_mm == (0.7, 0.7)
    # Partners by list order would differ: every slice has noise of its own.
    assert not np.array_equal(pairs[0].full_hu, pairs[1].full_hu)


def test_missing_slices_are_counted(write_ct, tmp_path):
    full = write_ct(tmp_path / "full", slices=6)
    low = write_ct(tmp_path / "low", slices=6, seed=1)
    sorted(low.glob("*.dcm"))[2].unlink()
    sorted(full.glob("*.dcm"))[0].unlink()
    matches = match_slices(read_series(low).sources, read_series(full).sources)
    assert matches.pairs == ((1, 0), (2, 2), (3, 3), (4, 4))
    assert (matches.unmatched_low, matches.unmatched_full) == (1, 1)


def test_slices_without_a_partner_are_told_when_two_series_are_compared(
    write_ct, tmp_path
):
    full = write_ct(tmp_path / "full", slices=6)
    low = write_ct(tmp_path / "low", slices=6, seed=1)
    assert "CTK-W039" not in {each.code for each in series_source(low, full).findings()}
    sorted(low.glob("*.dcm"))[0].unlink()
    source = series_source(low, full)
    assert len(list(source.pairs())) == 5
    text = "slices have no partner and were left out"
    assert f"CTK-W039 1 {text}" in map(str, source.findings())
    sorted(full.glob("*.dcm"))[-1].unlink()
    assert f"CTK-W039 2 {text}" in map(str, series_source(low, full).findings())


def test_series_that_may_not_show_the_same_body_are_told(series):
    def of(patient, frame):
        def edit(dataset, index):
            dataset.PatientID, dataset.FrameOfReferenceUID = patient, frame

        return edit

    full = series("full", edit=of("A", "1.2.3"))
    cases = {
        ("A", "1.2.3"): [],
        ("B", "1.2.3"): ["CTK-W051"],
        ("A", "1.2.4"): ["CTK-W036"],
        ("", ""): [],
    }
    for number, ((patient, frame), codes) in enumerate(cases.items()):
        low = series(f"low{number}", seed=1, edit=of(patient, frame))
        found = pair_findings(low, full)
        assert [each.code for each in found] == codes
        pair = make_series_pair(full, low, patient="A")
        assert [each.code for each in pair.findings if each in found] == codes


def test_the_same_files_and_exchanged_doses_are_told(series):
    full = series("full", exposure_mas=200)
    low = series("low", seed=1, exposure_mas=50)
    assert not [each for each in pair_findings(low, full) if "W039" in each.code]
    (same,) = pair_findings(full, full)
    assert str(same) == "CTK-W039 low dose and reference are the same files"
    (exchanged,) = pair_findings(full, low)
    assert exchanged.code == "CTK-W039" and " 4 times the exposure" in exchanged.text


def test_small_offsets_are_bridged_and_large_ones_not(series):
    full = series("full").sources
    near = series("near", seed=1, edit=shift(0.3)).sources
    assert match_slices(near, full).pairs == tuple((i, i) for i in range(4))
    with pytest.raises(CtKerasError, match=r"CTK-E039.*no two slices"):
        match_slices(series("far", seed=1, edit=shift(1.5)).sources, full)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"shape": (96, 80)}, "matrix"),
        ({"spacing_mm": (3.0, 0.7, 0.8)}, "spacing"),
        ({"edit": shift(1.0, axis=0)}, "shifted"),
        ({"edit": shift(1.0, axis=1)}, "shifted"),
    ],
)
def test_different_grids_are_refused(series, values, reason):
    full = series("full").sources
    with pytest.raises(CtKerasError, match=f"CTK-E039.*{reason}"):
        match_slices(series("low", seed=1, **values).sources, full)


def test_without_positions_nothing_is_guessed(series):
    def strip(dataset, index):
        del dataset.ImagePositionPatient
        for keyword in ("SliceLocation",):
            if keyword in dataset:
                delattr(dataset, keyword)

    full = series("full", edit=strip).sources
    with pytest.raises(CtKerasError, match="CTK-E036"):
        match_slices(series("low", seed=1, edit=strip).sources, full)


@pytest.mark.parametrize(
    "uid_of_slice",
    [
        pytest.param(lambda index: f"1.2.{3 - index}", id="counted from the other end"),
        pytest.param(lambda index: "1.2.0", id="all the same"),
        pytest.param(lambda index: f"1.2.{index + 3}", id="one shared"),
    ],
)
def test_uids_never_outvote_positions(series, uid_of_slice):
    def numbered(dataset, index):
        dataset.SOPInstanceUID = f"1.2.{index}"

    def renumbered(dataset, index):
        dataset.SOPInstanceUID = uid_of_slice(index)

    full = series("full", edit=numbered).sources
    low = series("low", seed=1, edit=renumbered).sources
    matches = match_slices(low, full)
    assert matches.pairs == tuple((i, i) for i in range(4))
    assert (matches.unmatched_low, matches.unmatched_full) == (0, 0)


def test_slice_locations_stand_in_for_positions(series):
    def strip(dataset, index):
        del dataset.ImagePositionPatient

    full = series("full", seed=1, edit=strip).sources
    low = series("low", seed=1, edit=strip).sources
    assert match_slices(low[::-1], full).pairs == ((3, 0), (2, 1), (1, 2), (0, 3))


def test_exposures_give_the_dose(series):
    full, low = series("full", exposure_mas=200), series("low", seed=1, exposure_mas=50)
    assert next(pair_series(low, full)).dose_fraction == pytest.approx(0.25)
    assert next(pair_series(full, low)).dose_fraction is None
