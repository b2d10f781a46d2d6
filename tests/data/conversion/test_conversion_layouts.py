"""Layouts of known data sets, on small DICOM trees."""

import cv2
import numpy as np
import pytest

from ct_keras.data import LAYOUTS
from ct_keras.data.conversion.images import Picture, read_image
from ct_keras.data.conversion.layouts import LayoutOptions, find_cases
from ct_keras.errors import CtKerasError


def cases(src, layout, **options):
    return find_cases(src, layout, LayoutOptions(**options))[0]


def test_names(tmp_path):
    assert sorted(LAYOUTS) == ["images", "mayo", "pairs", "single", "tcia"]
    with pytest.raises(CtKerasError, match=r"CTK-E000.*mayo"):
        cases(tmp_path, "nothing")


MAYO_TREES = {
    "patient first": "{patient}/{dose}_{variant}",
    "dose first": "{dose}_{variant}/{patient}",
    "as downloaded": "3mm B30/{dose}_{variant}/{patient}/{dose}_{variant}",
    "with a folder below": "{patient}/{dose}_{variant}/DICOM",
}


@pytest.mark.parametrize("tree", MAYO_TREES)
def test_mayo(write_ct, tmp_path, tree):
    for number, patient in enumerate(("L067", "L096")):
        for dose in ("full", "quarter"):
            for variant in ("3mm", "1mm_sharp"):
                place = MAYO_TREES[tree].format(
                    patient=patient, dose=dose, variant=variant
                )
                write_ct(
                    tmp_path / place,
                    patient=f"secret{number}",
                    slices=2,
                    description=f"{dose} {variant}",
                    kernel="B30f" if variant == "3mm" else "D45f",
                )
    found = cases(tmp_path, "mayo")
    assert [case.patient for case in found] == ["L067", "L067", "L096", "L096"]
    assert [case.kernel for case in found] == ["D45f", "B30f"] * 2
    assert {case.dose for case in found} == {0.25}
    for case in found:
        assert len(case.pairs) == 2
        assert all("quarter" in str(pair.low.path) for pair in case.pairs)
        assert all("full" in str(pair.full.path) for pair in case.pairs)
    chosen = cases(tmp_path, "mayo", variants=("3mm",))
    assert [case.kernel for case in chosen] == ["B30f", "B30f"]


def test_mayo_needs_both_doses(write_ct, tmp_path):
    write_ct(tmp_path / "L067" / "full_3mm")
    with pytest.raises(CtKerasError, match=r"CTK-E001.*one dose only"):
        cases(tmp_path, "mayo")


def test_mayo_of_one_patient(write_ct, tmp_path):
    for dose in ("full", "quarter"):
        write_ct(tmp_path / "someone" / f"{dose}_1mm", description=dose)
    (case,) = cases(tmp_path / "someone", "mayo")
    assert case.patient == "someone"


def test_tcia_goes_by_header_not_by_folder(write_ct, tmp_path):
    descriptions = {"a": "Full Dose Images", "b": "LOW DOSE IMAGES", "c": "Projections"}
    for patient in ("L012", "C030"):
        for folder, description in descriptions.items():
            write_ct(
                tmp_path / f"{patient}-{folder}",
                patient=patient,
                description=description,
                seed=ord(folder),
            )
    found = cases(tmp_path, "tcia")
    assert [(case.patient, case.dose) for case in found] == [
        ("C030", 0.1),
        ("L012", 0.25),
    ]
    for case in found:
        assert all(pair.low.path.parent.name.endswith("-b") for pair in case.pairs)
        assert all(pair.full.path.parent.name.endswith("-a") for pair in case.pairs)


def test_tcia_goes_by_uid_where_a_list_says_it(write_ct, tmp_path):
    from ct_keras.dicom import read_series

    lines = ["Series UID,Subject ID,Series Description"]
    for folder, description in (("x", "Full dose images"), ("y", "Low Dose Images")):
        write_ct(tmp_path / folder, patient="?", description="?", seed=ord(folder))
        uid = read_series(tmp_path / folder).series_uid
        lines.append(f"{uid},N005,{description}")
    with pytest.raises(CtKerasError, match="CTK-E001"):
        cases(tmp_path, "tcia")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    (case,) = cases(tmp_path, "tcia")
    assert case.patient == "N005"
    assert case.pairs[0].low.path.parent.name == "y"


def test_tcia_one_dose_only(write_ct, tmp_path):
    write_ct(tmp_path / "a", description="Full Dose Images")
    with pytest.raises(CtKerasError, match=r"CTK-E001.*full dose"):
        cases(tmp_path, "tcia")


def test_pairs(write_ct, tmp_path):
    for case in ("one", "two"):
        for name in ("low", "full"):
            write_ct(tmp_path / name / case, patient=case, seed=name == "low")
    write_ct(tmp_path / "low" / "three", patient="three")
    sorted((tmp_path / "low" / "two").iterdir())[0].unlink()
    options = {"low": tmp_path / "low", "full": tmp_path / "full", "dose": 0.5}
    found = cases(tmp_path, "pairs", **options)
    assert [len(case.pairs) for case in found] == [4, 3]
    assert [case.unmatched for case in found] == [0, 1]
    assert {case.dose for case in found} == {0.5}
    assert any("CTK-W039" in str(f) for case in found for f in case.findings)
    with pytest.raises(CtKerasError, match=r"CTK-E000.*two folders"):
        cases(tmp_path, "pairs", low=tmp_path)
    with pytest.raises(CtKerasError, match="CTK-E005"):
        cases(tmp_path, "pairs", low=tmp_path / "nothing", full=tmp_path)


def test_anonymous_patients_are_their_folders(write_ct, tmp_path):
    for folder in ("one", "two"):
        write_ct(tmp_path / folder, patient="ANONYMOUS", seed=ord(folder[0]))
    assert {case.patient for case in cases(tmp_path, "single")} == {"one", "two"}


def test_single_takes_every_series(write_ct, tmp_path):
    for seed in range(2):
        write_ct(tmp_path / "A" / f"scan{seed}", patient="P1", seed=seed)
    write_ct(tmp_path / "B", patient="P2", seed=5)
    found = cases(tmp_path, "single")
    assert [case.patient for case in found] == ["P1", "P1", "P2"]
    assert len({case.series_key for case in found}) == 3
    assert "A" in found[0].names
    assert all(pair.low is None for case in found for pair in case.pairs)


def write_picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images(tmp_path, suffix):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    for patient in ("p1", "p2"):
        for name in ("a", "b"):
            write_picture(tmp_path / "clean" / patient / f"{name}.{suffix}", values)
            write_picture(tmp_path / "noisy" / patient / f"{name}.{suffix}", values + 5)
    write_picture(tmp_path / "noisy" / "p1" / f"alone.{suffix}", values)
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    with pytest.raises(CtKerasError, match=r"CTK-E040.*--slope"):
        cases(tmp_path, "images", **options)
    found = cases(tmp_path, "images", slope=1.0, intercept=-1024.0, **options)
    assert [(case.patient, len(case.pairs)) for case in found] == [("p1", 2), ("p2", 2)]
    assert sum(case.unmatched for case in found) == 1
    pair = found[0].pairs[0]
    np.testing.assert_array_equal(read_image(pair.full).hu, values - 1024.0)
    np.testing.assert_array_equal(read_image(pair.low).hu, values - 1019.0)


def test_float_pictures_are_hu(tmp_path):
    hu = np.linspace(-1000, 1000, 100, dtype=np.float32).reshape(10, 10)
    write_picture(tmp_path / "a.tiff", hu)
    image = read_image(Picture(tmp_path / "a.tiff", 1, "a", 1.0, 0.0))
    np.testing.assert_array_equal(image.hu, hu)
    assert image.slope == 0


def test_eight_bit_pictures_are_refused(tmp_path):
    write_picture(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(CtKerasError, match="CTK-E047"):
        read_image(Picture(tmp_path / "a.png", 1, "a", 1.0, 0.0))


def test_images_may_be_dicom(write_ct, tmp_path):
    for name in ("noisy", "clean"):
        write_ct(tmp_path / name, patient="P1", seed=name == "noisy")
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    (case,) = cases(tmp_path, "images", **options)
    assert len(case.pairs) == 4
    assert all(p.low.path.name == p.full.path.name for p in case.pairs)
    files = sorted((tmp_path / "noisy").iterdir())
    files[0].rename(tmp_path / "swap")
    files[1].rename(files[0])
    (tmp_path / "swap").rename(files[1])
    with pytest.raises(CtKerasError, match="CTK-E039"):
        cases(tmp_path, "images", **options)


def test_nothing_there(tmp_path, write_ct):
    with pytest.raises(CtKerasError, match="CTK-E005"):
        cases(tmp_path / "missing", "single")
    with pytest.raises(CtKerasError, match="CTK-E001"):
        cases(tmp_path, "single")
    with pytest.raises(CtKerasError, match=r"CTK-E084.*sub-folder"):
        find_cases(tmp_path, "single", LayoutOptions(), by_folder=True)
