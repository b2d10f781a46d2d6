"""Age and part of the body: only fixed texts leave the header."""

import pytest

from ct_keras.data import iterate_pairs
from ct_keras.data.conversion.strata import (
    AGE_BANDS,
    BODY_PARTS,
    age_band,
    body_part,
)
from ct_keras.data.records import decode, encode
from ct_keras.dicom import read_series


@pytest.mark.parametrize(
    ("years", "band"),
    [
        (0, "0-17"),
        (17.99, "0-17"),
        (18, "18-39"),
        (40, "40-59"),
        (79, "60-79"),
        (80, "80+"),
        (104, "80+"),
        (None, ""),
        (-1, ""),
        (300, ""),
    ],
)
def test_age_bands(years, band):
    assert age_band(years) == band


@pytest.mark.parametrize(
    ("examined", "part"),
    [
        ("CHEST", "chest"),
        (" Abdomen ", "abdomen"),
        ("CHEST_ABD_PELVIS", "trunk"),
        ("SKULL", "head"),
        ("LUNG SCREENING", "chest"),
        ("Thorax/Abdomen", "trunk"),
        ("ABD^PEL", "trunk"),
        ("CHEST\\ABDOMEN", "trunk"),
        ("CAP", "trunk"),
        ("L-SPINE", "abdomen"),
        ("HEAD_NECK", "neck"),
        ("UPPER ABDOMEN", "abdomen"),
        ("PHARMA", ""),
        ("HEAD KNEE", ""),
        ("SECRETX", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_body_parts(examined, part):
    assert body_part(examined) == part


@pytest.mark.parametrize(
    ("age", "years"),
    [("049Y", 49), ("018M", 1.5), ("052W", 0.9966), ("22Y", 22), ("", None)],
)
def test_age_of_a_series(write_ct, tmp_path, age, years):
    def edit(dataset, index):
        dataset.PatientAge = age

    series = read_series(write_ct(tmp_path / "ct", edit=edit))
    expected = None if years is None else pytest.approx(years, abs=1e-3)
    assert series.patient_age_years == expected


def test_records_hold_bands_and_nothing_else(
    write_ct, tmp_path, convert_pairs, pairs_source
):
    for patient, part in (("A", "SECRETX"), ("C", "CHEST")):

        def edit(dataset, index, part=part):
            dataset.PatientAge = "067Y"
            dataset.BodyPartExamined = part

        write_ct(
            pairs_source / "full" / patient,
            patient=f"SECRETX{patient}",
            slices=5,
            kernel="B30f",
            exposure_mas=200,
            edit=edit,
            overwrite=True,
        )
    records = convert_pairs()
    found = {
        split: next(iterate_pairs(records.folder, split))
        for split in ("train", "val", "test")
    }
    assert found["train"].age_band == "60-79" and found["train"].body_part is None
    assert found["test"].age_band == "60-79" and found["test"].body_part == "chest"
    assert found["val"].age_band is None
    for path in records.folder.glob("*.tfrecord*"):
        data = path.read_bytes()
        assert b"067Y" not in data and b"SECRETX" not in data


def test_records_of_schema_1_0_are_read():
    """What convert wrote before bands existed."""
    import numpy as np
    import tensorflow as tf

    from ct_keras.data.conversion.images import Record

    image = np.zeros((2, 3), np.int16)
    data = encode(Record(image, image, 1.0, 0.0, "c", "s", "u", 0, age_band="80+"))
    example = tf.train.Example.FromString(data)
    for name in ("age_band", "body_part"):
        del example.features.feature[name]
    example.features.feature["schema_version"].bytes_list.value[0] = b"1.0"
    record = decode(example.SerializeToString())
    assert record.age_band == record.body_part == ""
    assert decode(data).age_band == "80+"


def test_every_text_is_one_of_a_few():
    assert len(AGE_BANDS) == 5 and "" not in AGE_BANDS
    assert all(body_part(part) in ("", part) for part in BODY_PARTS)
