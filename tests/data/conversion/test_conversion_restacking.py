"""Conversion to one slice spacing: ramps, means, gaps; noise is simulated before."""

import nibabel
import numpy as np
import pydicom
import pytest

from ct_keras.data import convert, iterate_pairs
from ct_keras.dicom import create_series
from ct_keras.errors import CtKerasError
from tests.data.conftest import body

#: Few views, so that a small slice is simulated in milliseconds.
FAST = {"views": 60, "photons": 1e5, "kernel": "b30", "noise_free": True}
MIDDLE = (slice(28, 68),) * 2


def ramp(slices: int, step_hu: float) -> np.ndarray:
    """A disc that grows denser from slice to slice, from 0 HU."""
    return np.stack([body(value=step_hu * index) for index in range(slices)])


def write_scan(hu, folder, spacing_mm=(3.0, 0.7, 0.7)):
    create_series(hu, spacing_mm, folder, patient_id="P", series_description="s")


@pytest.fixture
def records_of(key_file, tmp_path):
    """Writes low and full as DICOM, converts them, and returns the slice pairs."""

    def run(full, low=None, *, spacing_mm=(3.0, 0.7, 0.7), name="a", **options):
        src = tmp_path / name
        images = {"full": full} if low is None else {"full": full, "low": low}
        for dose, hu in images.items():
            if not (src / dose / "P").exists():
                write_scan(hu, src / dose / "P", spacing_mm)
        place = {"layout": "single", "simulation": FAST}
        if low is not None:
            place = {"layout": "pairs", "low": "low", "full": "full"}
        number = len(list(tmp_path.glob("records*")))
        manifest = convert(
            src,
            tmp_path / f"records{number}",
            split="train=P",
            workers=1,
            hash_key_file=key_file,
            **place | options,
        )
        return list(iterate_pairs(manifest.folder, "train")), manifest

    return run


def middles(pairs) -> np.ndarray:
    return np.array([(p.low_hu[48, 48], p.full_hu[48, 48]) for p in pairs])


def test_a_ramp_stays_a_ramp_at_a_finer_spacing(records_of):
    full = ramp(6, 30.0)
    pairs, manifest = records_of(full, full + 9, resample_slices_mm=1.0)
    assert len(pairs) == 18
    assert [pair.slice_index for pair in pairs] == list(range(18))
    # Slice j is at j + 0.5 mm, slice i of the scan at 3 i + 1.5 mm: 10 HU per mm.
    expected = np.clip(10 * np.arange(18) - 10.0, 0, 150)
    assert middles(pairs) == pytest.approx(np.stack([expected + 9, expected], 1))
    assert {pair.spacing_mm for pair in pairs} == {(0.7, 0.7)}
    assert {pair.slice_thickness_mm for pair in pairs} == {3.0}
    assert manifest.splits["train"]["slices"] == 18
    assert not any(shard.exact for shard in manifest.shards)


def test_coarser_slices_are_means_and_as_thick(records_of):
    full = ramp(6, 30.0)
    pairs, _ = records_of(full, full + 9, resample_slices_mm=6.0)
    assert middles(pairs)[:, 1] == pytest.approx([15, 75, 135])
    assert middles(pairs)[:, 0] == pytest.approx([24, 84, 144])
    assert {pair.slice_thickness_mm for pair in pairs} == {6.0}


def test_all_three_axes_get_one_spacing(records_of):
    full = ramp(4, 30.0)
    pairs, _ = records_of(full, full, resample_mm=1.4, resample_slices_mm=1.4)
    assert len(pairs) == round(4 * 3 / 1.4)
    assert {pair.full_hu.shape for pair in pairs} == {(48, 48)}
    assert {pair.spacing_mm for pair in pairs} == {(1.4, 1.4)}


def test_the_dose_is_simulated_before_slices_are_blended(records_of):
    full = np.round(ramp(4, 0.0))
    native, _ = records_of(full, doses=(0.5, 0.1))
    blended, manifest = records_of(full, doses=(0.5, 0.1), resample_slices_mm=6.0)
    assert [pair.dose_fraction for pair in blended] == [0.5, 0.1] * 2
    for number, pair in enumerate(blended):
        first = 4 * (number // 2) + number % 2
        mean = (native[first].low_hu + native[first + 2].low_hu) / 2
        assert np.abs(pair.low_hu - mean)[MIDDLE].max() <= 1  # both are rounded
        noise = [np.std(p.low_hu[MIDDLE]) for p in (pair, native[first])]
        assert noise[0] == pytest.approx(noise[1] / np.sqrt(2), rel=0.25)
    assert not any(shard.physics for shard in manifest.shards)
    assert all(shard.noise_shares for shard in manifest.shards)


def test_nothing_is_blended_across_a_gap(records_of, tmp_path):
    full = ramp(7, 30.0)
    write_scan(full, tmp_path / "a" / "full" / "P")
    next(
        path
        for path in (tmp_path / "a").rglob("*.dcm")
        if pydicom.dcmread(path).ImagePositionPatient[2] == pytest.approx(9.0)
    ).unlink()
    pairs, _ = records_of(full, resample_slices_mm=1.5)
    assert len(pairs) == 12
    assert [pair.slice_index for pair in pairs] == [*range(6), *range(7, 13)]
    values = middles(pairs)[:, 1]
    assert values[:6].max() == 60
    assert values[6:].min() == 120


def test_files_of_other_formats(key_file, tmp_path):
    src = tmp_path / "src"
    for dose, more in (("low", 9), ("full", 0)):
        (src / dose).mkdir(parents=True)
        affine = np.diag([0.7, 0.7, 3.0, 1.0])
        values = (ramp(6, 30.0) + more).astype(np.int16).transpose(2, 1, 0)
        nibabel.save(nibabel.Nifti1Image(values, affine), src / dose / "P.nii.gz")
    options = {"layout": "pairs", "low": "low", "full": "full", "split": "train=P"}
    options |= {"hash_key_file": key_file, "workers": 1}
    manifest = convert(src, tmp_path / "r", resample_slices_mm=1.0, **options)
    expected = np.clip(10 * np.arange(18) - 10.0, 0, 150)
    found = middles(iterate_pairs(manifest.folder, "train"))
    assert found == pytest.approx(np.stack([expected + 9, expected], 1))


@pytest.mark.parametrize("name", ["resample_mm", "resample_slices_mm"])
@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, float("nan"), float("inf")])
def test_no_valid_spacing(records_of, name, spacing_mm):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        records_of(ramp(2, 30.0), **{name: spacing_mm})


@pytest.mark.parametrize("name", ["resample_mm", "resample_slices_mm"])
def test_larger_than_the_scan(records_of, tmp_path, name):
    with pytest.raises(CtKerasError, match="CTK-E037"):
        records_of(ramp(2, 30.0), **{name: 70.0})
    assert not list(tmp_path.glob("records*"))


def test_stacks_that_are_no_volumes_are_refused(records_of, tmp_path):
    full = ramp(3, 30.0)
    write_scan(full, tmp_path / "a" / "full" / "P")
    for path in (tmp_path / "a").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + z / 2, z]
        dataset.save_as(path)
    records_of(full)
    with pytest.raises(CtKerasError, match="CTK-E033") as caught:
        records_of(full, resample_slices_mm=1.0)
    assert "--resample-slices" in str(caught.value)
