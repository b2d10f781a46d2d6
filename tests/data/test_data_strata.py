"""Age and part of the body: only fixed texts leave the header."""

import pytest

from ct_keras.data import iterate_pairs
from ct_keras.dicom import read_series
from ct_keras.privacy.strata import (
    AGE_BANDS,
    BODY_PARTS,
    age_band,
    body_part,
    contrast,
    manufacturer,
    safe_kernel,
)


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
        (None, None),
        (-1, None),
        (300, None),
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
        ("PHARMA", None),
        ("HEAD KNEE", None),
        ("SECRETX", None),
        ("", None),
        (None, None),
    ],
)
def test_body_parts(examined, part):
    assert body_part(examined) == part


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("Philips", "Philips"),
        ("TOSHIBA_MEC", "Canon"),
        ("Canon Medical Systems", "Canon"),
        ("Hitachi Medical Corporation", "Fujifilm"),
        ("GEMINI LTD", "other"),
        ("Dr. Smith", "other"),
        ("ct_keras", None),
        (" ", None),
        (None, None),
    ],
)
def test_manufacturers(name, known):
    assert manufacturer(name) == known


def test_a_contrast_agent_is_one_that_is_named():
    assert [contrast(text) for text in ("ULTRAVIST", "150cc OMNIPAQUE)")] == ["yes"] * 2
    assert [contrast(text) for text in (None, "", "0", "none", "Without")] == [None] * 5


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


def test_kernel_holds_no_other_text():
    assert safe_kernel("B30f") == "B30f"
    assert safe_kernel("I40f\\3") == "I40f\\3"
    assert safe_kernel("59 .10.AB50") == "59 .10.AB50"
    assert safe_kernel("Body^Routine") == "Body^Routine"
    for text in (
        "Müller, Hans",
        "SECRETX",
        "SECRETX00181210",
        "Smith^John",
        "Dr Smith",
    ):
        assert safe_kernel(text) is None
    assert safe_kernel(None) is None


def test_every_text_is_one_of_a_few():
    assert len(AGE_BANDS) == 5 and None not in AGE_BANDS
    assert all(body_part(part) in (None, part) for part in BODY_PARTS)
