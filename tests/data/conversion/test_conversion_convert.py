"""Conversion: exact HU, split by patient, private, resumable, never half done."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ct_keras.data import (
    convert,
    iterate_pairs,
    training_patches,
    verify,
)
from ct_keras.data.conversion.images import read_image
from ct_keras.data.conversion.layouts import LayoutOptions, find_series_pairs
from ct_keras.data.conversion.plan import make_plan, split_of_patients
from ct_keras.data.conversion.work import Recipe
from ct_keras.data.manifest import MANIFEST
from ct_keras.dicom import find_series, read_series
from ct_keras.errors import CtKerasError

#: Few views, so that a small slice is simulated in milliseconds.
FAST = {"views": 60, "photons": 1e5, "kernel": "b30"}


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(code, call, *arguments, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code
    assert "SECRETX" not in str(caught.value)
    return caught.value


def test_pairs_are_exact(convert_pairs, pairs_source):
    manifest = convert_pairs()
    assert manifest.doses == (0.25,)
    for split, patient in (("train", "A"), ("val", "B"), ("test", "C")):
        low = read_series(pairs_source / "low" / patient)
        full = read_series(pairs_source / "full" / patient)
        pairs = list(iterate_pairs(manifest.folder, split))
        assert len(pairs) == 5
        for i, pair in enumerate(pairs):
            np.testing.assert_array_equal(pair.low_hu, low.read(i).hu)
            np.testing.assert_array_equal(pair.full_hu, full.read(i).hu)
            assert pair.slice_index == i
            assert pair.dose_fraction == 0.25
            assert pair.spacing_mm == (0.7, 0.7)
            assert pair.slice_thickness_mm == 3.0
            assert pair.kernel == "B30f"
            assert pair.kvp == 120
    assert verify(manifest.folder) == manifest
    assert len({shard.case for shard in manifest.shards}) == 3
    names = [shard.file for shard in manifest.shards]
    assert names[0] == "pairs-train.tfrecord-00000-of-00001"
    assert manifest.splits["val"]["patients"] == 1
    assert manifest.splits["val"]["records"] == 5
    next(iter(training_patches(manifest.folder, patch_size=40, steps=2)))


def test_nothing_private_is_written(convert_pairs, pairs_source):
    def plant(dataset):
        for element in dataset:
            if element.VR in ("LO", "SH", "PN", "LT", "ST", "UT") and element.keyword:
                if element.keyword != "RescaleType":
                    element.value = "SECRETX"
            elif element.VR in ("DA", "TM"):
                element.value = "19770101" if element.VR == "DA" else "123456"

    uids = set()
    for path in pairs_source.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        patient = dataset.PatientID
        plant(dataset)
        dataset.PatientID = patient
        dataset.InstitutionName = dataset.PatientComments = "SECRETX"
        dataset.save_as(path)
        uids |= {dataset.SOPInstanceUID, dataset.SeriesInstanceUID}
    manifest = convert_pairs()
    for name, data in content(manifest.folder).items():
        for secret in (b"SECRETX", b"19770101", str(pairs_source).encode()):
            assert secret not in name.encode() + data
        assert not any(uid.encode() in data for uid in uids)
    assert b"hash.key" not in content(manifest.folder)[MANIFEST]


def test_hashes_depend_on_the_key_alone(convert_pairs, key_file, tmp_path):
    first, second = convert_pairs(), convert_pairs("again")
    assert content(first.folder) == content(second.folder)
    other_key = tmp_path / "other.key"
    other_key.write_text("another secret of some length")
    other = convert_pairs("other", hash_key_file=other_key)
    assert not {s.case for s in first.shards} & {s.case for s in other.shards}
    key_file.write_text("short")
    refused("CTK-E005", convert_pairs, "third")
    refused("CTK-E005", convert_pairs, "third", hash_key_file=tmp_path / "none")


def test_own_key_lies_outside_and_stays(convert_pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CT_KERAS_HASH_KEY_FILE", raising=False)
    first = convert_pairs(hash_key_file=None)
    key = tmp_path / "config" / "ct_keras" / "hash.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert convert_pairs("again", hash_key_file=None).shards == first.shards
    for data in content(first.folder).values():
        assert key.read_bytes() not in data


def test_processes_write_the_same(convert_pairs, monkeypatch):
    monkeypatch.setattr("ct_keras.data.conversion.writing._READ_SLICES", 2)
    one, two = convert_pairs("one"), convert_pairs("two", workers=2)
    assert content(one.folder) == content(two.folder)


def test_large_patients_fill_several_shards(pairs_source, key_file):
    from ct_keras.privacy.keys import Hasher

    options = LayoutOptions(low=pairs_source / "low", full=pairs_source / "full")
    series_pairs, _ = find_series_pairs(pairs_source, "pairs", options)
    patients, _ = split_of_patients(series_pairs, {"train": ["*"]}, 0)
    plan = make_plan(
        series_pairs,
        patients,
        Recipe((0.25,)),
        dataset="pairs",
        hasher=Hasher(b"key"),
        shard_bytes=80_000,
    )
    assert [len(shard.items) for shard in plan.shards] == [2, 1, 2] * 3
    assert plan.shards[8].entry.file == "pairs-train.tfrecord-00008-of-00009"
    for shard in plan.shards:
        assert len({each.patient for each, _ in shard.items}) == 1


def test_single_simulates_each_dose(write_ct, key_file, tmp_path):
    src = tmp_path / "src"
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            write_ct(
                src / split / f"{split}{number}",
                patient=f"{split}{number}",
                slices=2,
                seed=ord(split[0]) + number,
                sd=5,
            )
    write_ct(src / "hard" / "x", patient="train0")
    options = {
        "layout": "single",
        "doses": (0.1, 0.5),
        "split": "folders",
        "simulation": FAST,
        "hash_key_file": key_file,
    }
    manifest = convert(src, tmp_path / "records", workers=1, **options)
    assert manifest.doses == (0.1, 0.5)
    assert manifest.splits["train"]["records"] == 8
    assert manifest.splits["train"]["slices"] == 4
    assert any(text.startswith("CTK-I084 1 folders") for text in manifest.findings)
    pairs = list(iterate_pairs(manifest.folder, "train"))
    assert [pair.dose_fraction for pair in pairs] == [0.1, 0.5] * 4
    full = read_series(src / "train" / "train0").read(0).hu
    first = next(p for p in pairs if np.array_equal(p.full_hu, full))
    assert first.slice_index == 0
    noise = {
        pair.dose_fraction: np.std((pair.low_hu - pair.full_hu)[36:60, 36:60])
        for pair in pairs
    }
    # Variance grows with 1/dose - 1: 9 to 1, beside 1/12 of rounding to whole HU.
    assert noise[0.1] / noise[0.5] == pytest.approx(3, rel=0.15)
    draws = [pair.low_hu - pair.full_hu for pair in pairs if pair.dose_fraction == 0.1]
    for number, draw in enumerate(draws):
        for other in draws[:number]:  # no two slices share their noise
            assert abs(np.corrcoef(draw.ravel(), other.ravel())[0, 1]) < 0.1
    again = convert(src, tmp_path / "again", workers=2, **options)
    assert content(again.folder) == content(manifest.folder)
    seeded = convert(src, tmp_path / "seeded", workers=1, seed=1, **options)
    assert seeded.shards != manifest.shards


def test_resampling(convert_pairs):
    manifest = convert_pairs(resample_mm=1.4)
    pair = next(iterate_pairs(manifest.folder, "train"))
    assert pair.full_hu.shape == pair.low_hu.shape == (48, 48)
    assert pair.spacing_mm == (1.4, 1.4)
    assert pair.full_hu[24, 24] == pytest.approx(40, abs=20)
    assert not any(shard.exact for shard in manifest.shards)
    assert any("CTK-W078" in text for text in manifest.findings)
    assert all(shard.exact for shard in convert_pairs("own").shards)


def test_doses_and_spacings_that_make_no_sense_are_refused(convert_pairs):
    refused("CTK-E000", convert_pairs, dose=7)
    refused("CTK-E000", convert_pairs, doses=[])
    refused("CTK-E000", convert_pairs, doses=[0.5, 0.25, 0.5])
    refused("CTK-E041", convert_pairs, resample_mm=1e-4)
    refused("CTK-E041", convert_pairs, resample_slices_mm=1e-4)


def test_low_doses_that_are_rounded_are_told(convert_pairs, pairs_source):
    for path in (pairs_source / "low" / "A").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.RescaleIntercept += 0.5
        dataset.save_as(path)
    manifest = convert_pairs()
    exact = {shard.split: shard.exact for shard in manifest.shards}
    assert not exact["train"] and exact["val"] and exact["test"]
    assert any("CTK-W078" in text for text in manifest.findings)


def test_patient_in_two_splits(convert_pairs, write_ct, tmp_path, key_file):
    refused("CTK-E083", convert_pairs, split="train=A test=SECRETXA")
    refused("CTK-E083", convert_pairs, split="train=A,B val=B")
    refused("CTK-E084", convert_pairs, split="train=A val=D")
    for split in ("train", "test"):
        write_ct(tmp_path / "two" / split / "x", patient="same", seed=len(split))
    refused(
        "CTK-E083",
        convert,
        tmp_path / "two",
        tmp_path / "records",
        layout="single",
        split="folders",
        hash_key_file=key_file,
    )
    assert not (tmp_path / "records").exists()


def test_patients_outside_all_splits_are_told(convert_pairs):
    manifest = convert_pairs(split="train=A")
    assert set(manifest.splits) == {"train"}
    assert manifest.findings[0].startswith("CTK-I084 2 patients")


def test_unmatched_slices_are_told(convert_pairs, pairs_source):
    sorted((pairs_source / "low" / "A").glob("*.dcm"))[1].unlink()
    manifest = convert_pairs()
    assert manifest.findings[0].startswith("CTK-W039 1 slices")
    assert manifest.splits["train"]["slices"] == 4
    indices = [pair.slice_index for pair in iterate_pairs(manifest.folder, "train")]
    assert indices == [0, 2, 3, 4]


def test_lossy_and_denoised_sources_are_refused(convert_pairs, pairs_source, tmp_path):
    for path in (pairs_source / "low" / "A").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.LossyImageCompression = "01"
        dataset.save_as(path)
    error = refused("CTK-E011", convert_pairs)
    assert error.exit_code == 9
    assert not (tmp_path / "records").exists()
    convert_pairs(split="train=B test=C")
    manifest = convert_pairs("lossy", allow_lossy=True)
    assert any("CTK-W011" in text for text in manifest.findings)


def test_real_series_keep_every_stored_value(few_slices, key_file, tmp_path):
    """The records of real patients hold the HU of the files, padding included."""
    source = tmp_path / "source"
    for patient in ("val/SBU-A048383", "val/SBU-A072894"):
        shutil.copytree(few_slices(patient, 2), source / Path(patient).name)
    manifest = convert(
        source,
        tmp_path / "records",
        layout="single",
        split="1,0,0",
        doses=(0.25,),
        simulation={**FAST, "views": 90},
        hash_key_file=key_file,
        workers=1,
    )
    assert manifest.splits["train"]["series"] == 4
    assert manifest.splits["train"]["patients"] == 2
    expected = {
        image.hu.tobytes(): image.padding
        for series in find_series(source)
        for image in map(read_image, series.sources)
    }
    padded = 0
    for pair in iterate_pairs(manifest.folder, "train"):
        padding = expected.pop(pair.full_hu.tobytes())
        np.testing.assert_array_equal(pair.low_hu[padding], pair.full_hu[padding])
        padded += int((pair.full_hu == -3024).sum())
    assert not expected
    assert padded > 0
