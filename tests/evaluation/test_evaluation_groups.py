"""Rows by anatomy, header and size: closed forms for the size, sums for the rest."""

from types import SimpleNamespace

import numpy as np
import pytest

from ct_keras.evaluation import evaluate_models
from ct_keras.evaluation.groups import (
    describe_slice,
    split_by_group,
    water_equivalent_diameter_mm,
)
from ct_keras.metrics import body_mask
from ct_keras.report import write_report


def disc(radius, shape=(128, 128), *, inside=0.0, outside=-1000.0):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    where = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < radius
    return np.where(where, inside, outside).astype(np.float32)


def pair(full, **known):
    return SimpleNamespace(full_hu=full, **known)


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0), (4.0, 2.5)])
def test_a_water_cylinder_is_as_wide_as_it_is(spacing_mm):
    area_mm2 = np.pi * 45**2 * spacing_mm[0] * spacing_mm[1]
    found = water_equivalent_diameter_mm(disc(45), spacing_mm)
    assert found == pytest.approx(2 * np.sqrt(area_mm2 / np.pi), rel=0.01)


def test_density_scales_the_area():
    fat = water_equivalent_diameter_mm(disc(45, inside=-100.0), (2, 2))
    water = water_equivalent_diameter_mm(disc(45), (2, 2))
    assert fat / water == pytest.approx(np.sqrt(0.9), rel=1e-6)


def test_air_inside_the_body_counts_and_air_around_it_does_not():
    body = disc(45)
    body[54:74, 54:74] = -1000
    whole = disc(45)
    pixels = np.count_nonzero(body_mask(whole))
    ratio = water_equivalent_diameter_mm(body, (1, 1)) / water_equivalent_diameter_mm(
        whole, (1, 1)
    )
    assert ratio == pytest.approx(np.sqrt(1 - 400 / pixels), rel=1e-3)


def test_what_is_not_known_is_none():
    assert water_equivalent_diameter_mm(disc(45), None) is None
    assert water_equivalent_diameter_mm(np.full((9, 9), -1000.0), (1, 1)) is None
    found = describe_slice(pair(np.full((9, 9), -1000.0)))
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("edge", "expected"), [(60, "lungs"), (20, "some lung"), (8, "no lung")]
)
def test_anatomy_goes_by_the_share_of_lung(edge, expected):
    hu = disc(55)
    first = 64 - edge // 2
    hu[first : first + edge, first : first + edge] = -800
    assert describe_slice(pair(hu))["anatomy"] == expected


def record(model="input", case="a", series="1", **values):
    return {"model": model, "case": case, "series": series, **values}


def test_values_stand_in_order_and_unknown_is_last():
    records = [
        record(kernel="STANDARD", water_equivalent_diameter_mm=360.0),
        record(case="b", kernel=None, water_equivalent_diameter_mm=190.0),
        record(case="c", kernel="B30f", water_equivalent_diameter_mm=None),
    ]
    kinds = ("no lung", "some lung", "lungs")
    for each, anatomy in zip(records, kinds, strict=True):
        each["anatomy"] = anatomy
    found = {grouping.id: values for grouping, values in split_by_group(records)}
    assert list(found) == ["anatomy", "kernel", "size"]
    assert list(found["anatomy"]) == ["lungs", "some lung", "no lung"]
    assert list(found["kernel"]) == ["B30f", "STANDARD", "unknown"]
    assert list(found["size"]) == ["below 20 cm", "35 cm and more", "unknown"]
    assert found["kernel"]["unknown"] == [records[1]]


def test_a_patient_has_one_size():
    """Slices of one series on both sides of a limit stay together."""
    records = [record(water_equivalent_diameter_mm=mm) for mm in (240.0, 270.0)]
    ((_, values),) = split_by_group(records)
    assert list(values) == ["25 to 30 cm"]


def test_rows_of_groups_are_means_over_their_own_slices(tmp_path):
    generator = np.random.default_rng(0)
    pairs = []
    for case, (kernel, age, sd) in enumerate(
        [("B30f", "40-59", 5), ("B30f", "80+", 10), ("D45f", "80+", 40)]
    ):
        full = disc(20, (64, 64), inside=40.0)
        low = full + generator.normal(0, sd, full.shape).astype(np.float32)
        pairs.append(
            SimpleNamespace(
                low_hu=low,
                full_hu=full,
                case=f"case-{case}",
                series="1",
                slice_index=0,
                dose_fraction=0.1,
                spacing_mm=(8.0, 8.0),
                kernel=kernel,
                kvp=120.0,
                age_band=age,
            )
        )
    evaluation = evaluate_models({"half": lambda hu: hu / 2}, pairs)
    write_report(evaluation, tmp_path)
    document = evaluation.document
    patients = {
        row["case"]: row["rmse_hu"]
        for row in document["patients"]
        if row["model"] == "input"
    }
    rows = {
        (row["group"], row["value"]): row
        for row in document["by_group"]
        if row["model"] == "input"
    }
    assert rows["kernel", "D45f"]["rmse_hu"] == patients["case-2"]
    b30 = (patients["case-0"] + patients["case-1"]) / 2
    assert rows["kernel", "B30f"]["rmse_hu"] == pytest.approx(b30)
    assert rows["age_band", "80+"]["cases"] == 2
    assert rows["size", "30 to 35 cm"]["slices"] == 3
    assert rows["anatomy", "no lung"]["cases"] == 3
    assert {group["id"] for group in document["groups"]} == {
        "anatomy",
        "kernel",
        "age_band",
        "size",
    }
    header, first, *_ = (tmp_path / "slices.csv").read_text().splitlines()
    line = dict(zip(header.split(","), first.split(","), strict=True))
    assert line["kernel"] == "B30f" and line["age_band"] == "40-59"
    assert float(line["kvp"]) == 120
    assert float(line["water_equivalent_diameter_mm"]) == pytest.approx(325, abs=5)
