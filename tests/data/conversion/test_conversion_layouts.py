"""Layouts of known data sets, on small DICOM trees."""

import shutil
import zipfile

import cv2
import numpy as np
import pydicom
import pytest
from multi_frame import enhanced

from ct_keras.containers import read_volume_file, slices_of
from ct_keras.data import LAYOUTS, convert, iterate_pairs
from ct_keras.data.conversion.images import read_image
from ct_keras.data.conversion.layouts import LayoutOptions, find_series_pairs
from ct_keras.dicom import ReadOptions
from ct_keras.errors import CtKerasError
from ct_keras.files.labels import label_of


def find(src, layout, **options):
    return find_series_pairs(src, layout, LayoutOptions(**options))[0]


def test_names(tmp_path):
    assert sorted(LAYOUTS) == ["images", "mayo", "pairs", "single", "tcia"]
    with pytest.raises(CtKerasError, match=r"CTK-E000.*mayo"):
        find(tmp_path, "nothing")


MAYO_TREES = {
    "patient first": "{patient}/{dose}_{variant}",
    "dose first": "{dose}_{variant}/{patient}",
    "as downloaded": "3mm B30/{dose}_{variant}/{patient}/{dose}_{variant}",
    "with a folder below": "{patient}/{dose}_{variant}/DICOM",
    "in upper or lower case": "{dose}_{variant}/{patient}",
}


@pytest.mark.parametrize("tree", MAYO_TREES)
def test_mayo(write_ct, tmp_path, tree):
    for number, patient in enumerate(("L067", "L096")):
        for dose in ("full", "quarter"):
            for variant in ("3mm", "1mm_sharp"):
                place = MAYO_TREES[tree].format(
                    patient=patient, dose=dose, variant=variant
                )
                if tree == "in upper or lower case":
                    place = place.lower() if dose == "full" else place.upper()
                write_ct(
                    tmp_path / place,
                    patient=f"secret{number}",
                    slices=2,
                    description=f"{dose} {variant}",
                    kernel="B30f" if variant == "3mm" else "D45f",
                )
    found = find(tmp_path, "mayo")
    assert [each.patient for each in found] == ["L067", "L067", "L096", "L096"]
    assert [each.facts.kernel for each in found] == ["D45f", "B30f"] * 2
    assert {each.facts.dose_fraction for each in found} == {0.25}
    for each in found:
        assert len(each.pairs) == 2
        assert all("quarter" in str(pair.low.path).lower() for pair in each.pairs)
        assert all("full" in str(pair.full.path) for pair in each.pairs)
    chosen = find(tmp_path, "mayo", variants=("3mm",))
    assert [each.facts.kernel for each in chosen] == ["B30f", "B30f"]


SHARP_TREES = (
    "{patient}/{dose}_1mm_sharps",
    "{patient}/sharps/{dose}_1mm",
    "sharps/{dose}_1mm/{patient}",
    "{patient}/{dose}_1mm/sharps",
    "1mm sharp/{dose}_1mm/{patient}/{dose}_1mm",
)


@pytest.mark.parametrize("tree", SHARP_TREES)
def test_mayo_folder_of_sharp_images_is_another_variant(write_ct, tmp_path, tree):
    for dose in ("full", "quarter"):
        for place, kernel in (("{patient}/{dose}_1mm", "B30f"), (tree, "D45f")):
            folder = tmp_path / place.format(patient="L067", dose=dose)
            write_ct(folder, slices=2, description=dose + kernel, kernel=kernel)
    found = find(tmp_path, "mayo")
    assert [each.patient for each in found] == ["L067", "L067"]
    assert [each.facts.kernel for each in found] == ["B30f", "D45f"]
    (sharp,) = find(tmp_path, "mayo", variants=("1mm_sharp",))
    assert sharp.facts.kernel == "D45f"


def test_mayo_refuses_two_folders_of_one_variant(write_ct, tmp_path):
    for folder in ("full_3mm", "quarter_3mm", "again/quarter-3mm"):
        write_ct(tmp_path / "L067" / folder, slices=2, description=folder)
    with pytest.raises(CtKerasError, match=r"CTK-E030") as raised:
        find(tmp_path, "mayo")
    assert label_of(tmp_path / "L067/quarter_3mm") in raised.value.received
    assert label_of(tmp_path / "L067/again/quarter-3mm") in raised.value.received


def test_mayo_ignores_other_files_beside_the_images(write_ct, tmp_path):
    for dose in ("full", "quarter"):
        write_ct(tmp_path / "L067" / f"{dose}_3mm" / "DICOM", description=dose)
        (tmp_path / "L067" / f"{dose}_3mm" / "notes.txt").write_text("of a person")
    (series_pair,) = find(tmp_path, "mayo")
    assert series_pair.facts.dose_fraction == 0.25


def test_mayo_needs_both_doses(write_ct, tmp_path):
    write_ct(tmp_path / "L067" / "full_3mm")
    with pytest.raises(CtKerasError, match=r"CTK-E001.*one dose only"):
        find(tmp_path, "mayo")


def test_mayo_of_one_patient(write_ct, tmp_path):
    for dose in ("full", "quarter"):
        write_ct(tmp_path / "someone" / f"{dose}_1mm", description=dose)
    (series_pair,) = find(tmp_path / "someone", "mayo")
    assert series_pair.patient == "someone"


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
    found = find(tmp_path, "tcia")
    assert [(each.patient, each.facts.dose_fraction) for each in found] == [
        ("C030", 0.1),
        ("L012", 0.25),
    ]
    for each in found:
        assert all(pair.low.path.parent.name.endswith("-b") for pair in each.pairs)
        assert all(pair.full.path.parent.name.endswith("-a") for pair in each.pairs)


@pytest.mark.parametrize(
    "head",
    [
        "Series UID,Subject ID,Series Description,Site",
        "SeriesInstanceUID,PatientID,SeriesDescription,Site",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_tcia_goes_by_uid_where_a_list_says_it(write_ct, tmp_path, encoding, head):
    from ct_keras.dicom import read_series

    lines = [head]
    for folder, description in (("x", "Full dose images"), ("y", "Low Dose Images")):
        write_ct(tmp_path / folder, patient="?", description="?", seed=ord(folder))
        uid = read_series(tmp_path / folder).series_uid
        lines.append(f"{uid},N005,{description},Köln")
    with pytest.raises(CtKerasError, match="CTK-E001"):
        find(tmp_path, "tcia")
    (tmp_path / "metadata.csv").write_bytes("\n".join(lines).encode(encoding))
    (series_pair,) = find(tmp_path, "tcia")
    assert series_pair.patient == "N005"
    assert series_pair.pairs[0].low.path.parent.name == "y"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a,b\n\x00\x01,2\n"])
def test_tcia_list_that_is_no_text_is_refused(write_ct, tmp_path, content):
    write_ct(tmp_path / "a", description="Full Dose Images")
    (tmp_path / "metadata.csv").write_bytes(content)
    with pytest.raises(CtKerasError, match="CTK-E005"):
        find(tmp_path, "tcia")


def test_tcia_one_dose_only(write_ct, tmp_path):
    write_ct(tmp_path / "a", description="Full Dose Images")
    with pytest.raises(CtKerasError, match=r"CTK-E001.*both doses.*full dose"):
        find(tmp_path, "tcia")


def write_collection(write_ct, root, patients):
    """Writes folders as `idc download` makes them."""
    for patient, doses in patients.items():
        for dose in doses:
            folder = root / "ldct_and_projection_data" / patient / f"1.2.{patient[1:]}"
            name = f"{dose} Dose Images"
            place = folder / f"CT_1.3.{dose}"
            write_ct(place, patient=patient, description=name, seed=len(dose))


def test_tcia_leaves_patients_of_one_dose_out(write_ct, tmp_path):
    """Half of the collection's patients have full dose images only."""
    both = ("Full", "Low")
    patients = {"C001": ("Full",), "C002": both, "L004": both, "L005": ("Full",)}
    write_collection(write_ct, tmp_path / "src", patients)
    found = find(tmp_path / "src", "tcia")
    assert [each.patient for each in found] == ["C002", "L004"]
    assert {each.facts.dose_fraction for each in found} == {0.1, 0.25}
    options = {"layout": "tcia", "split": "1,0,0", "workers": 1}
    manifest = convert(tmp_path / "src", tmp_path / "records", **options)
    assert manifest.splits["train"]["patients"] == 2
    told = "CTK-I084 2 patients with images of one dose only were left out"
    assert [text for text in manifest.findings if "one dose" in text] == [told]


def test_pairs(write_ct, tmp_path):
    for patient in ("one", "two"):
        for name in ("low", "full"):
            write_ct(tmp_path / name / patient, patient=patient, seed=name == "low")
    write_ct(tmp_path / "low" / "three", patient="three")
    sorted((tmp_path / "low" / "two").glob("*.dcm"))[0].unlink()
    options = {"low": tmp_path / "low", "full": tmp_path / "full", "dose": 0.5}
    found = find(tmp_path, "pairs", **options)
    assert [len(each.pairs) for each in found] == [4, 3]
    assert [each.unmatched for each in found] == [0, 1]
    assert {each.facts.dose_fraction for each in found} == {0.5}
    assert any("CTK-W039" in str(f) for each in found for f in each.findings)
    with pytest.raises(CtKerasError, match=r"CTK-E000.*two folders"):
        find(tmp_path, "pairs", low=tmp_path)
    with pytest.raises(CtKerasError, match="CTK-E005"):
        find(tmp_path, "pairs", low=tmp_path / "nothing", full=tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "ANONYMOUS",
        " Anon ",
        "anonymized patient",
        "De-Identified",
        "0000",
        "N/A",
        "XXX",
    ],
)
@pytest.mark.parametrize("layout", ["single", "pairs", "images"])
def test_anonymous_patients_are_their_folders(write_ct, tmp_path, layout, name):
    for folder in ("one", "two"):
        for dose in ("full", "low"):
            write_ct(
                tmp_path / dose / folder,
                patient=name,
                seed=len(dose),
                slices=2,
                seed_uid=folder,
            )
    options = {"low": tmp_path / "low", "full": tmp_path / "full"}
    source = tmp_path / "full"
    found = find(source, layout, **(options if layout != "single" else {}))
    assert [each.patient for each in found] == ["one", "two"]
    assert [len(each.pairs) for each in found] == [2, 2]


def test_pseudonyms_tell_patients_apart(write_ct, tmp_path):
    for number, patient in enumerate(("ANON1", "ANON2")):
        write_ct(tmp_path / "all" / str(number), patient=patient, seed=number)
    found = find(tmp_path, "single")
    assert [each.patient for each in found] == ["ANON1", "ANON2"]


def test_single_takes_every_series(write_ct, tmp_path):
    for seed in range(2):
        write_ct(tmp_path / "A" / f"scan{seed}", patient="P1", seed=seed)
    write_ct(tmp_path / "B", patient="P2", seed=5)
    found = find(tmp_path, "single")
    assert [each.patient for each in found] == ["P1", "P1", "P2"]
    assert len({each.series_key for each in found}) == 3
    assert "A" in found[0].names
    assert all(pair.low is None for each in found for pair in each.pairs)


def write_picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), values)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images(tmp_path, suffix):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) // 2
    for patient in ("p1", "p2"):
        for name in ("a", "b"):
            write_picture(tmp_path / "clean" / patient / f"{name}.{suffix}", values)
            write_picture(tmp_path / "noisy" / patient / f"{name}.{suffix}", values + 5)
    write_picture(tmp_path / "noisy" / "p1" / f"alone.{suffix}", values)
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    with pytest.raises(CtKerasError, match=r"CTK-E040.*--slope"):
        find(tmp_path, "images", **options)
    found = find(tmp_path, "images", slope=1.0, intercept=-1024.0, **options)
    assert [(each.patient, len(each.pairs)) for each in found] == [("p1", 2), ("p2", 2)]
    assert sum(each.unmatched for each in found) == 1
    pair = found[0].pairs[0]
    np.testing.assert_array_equal(read_image(pair.full).hu, values - 1024.0)
    np.testing.assert_array_equal(read_image(pair.low).hu, values - 1019.0)


def write_both(tmp_path, name, values):
    """The same picture as noisy and as clean."""
    for folder in ("noisy", "clean"):
        write_picture(tmp_path / folder / name, values)
    return {
        "low": tmp_path / "noisy",
        "full": tmp_path / "clean",
        "slope": 1.0,
        "intercept": -1024.0,
    }


def disc() -> np.ndarray:
    """HU of a disc in air."""
    rows, columns = np.ogrid[-1:1:64j, -1:1:64j]
    return np.where(rows**2 + columns**2 < 0.8, 40.0, -1000.0)


def raw(value: int) -> np.ndarray:
    """Stored values of a disc in air, told apart by one pixel."""
    values = (disc() + 1024).astype(np.uint16)
    values[0, 0] = value
    return values


def test_names_of_pictures_may_hold_dots(tmp_path):
    for number in range(4):
        options = write_both(tmp_path, f"1.2.840.{number}.png", raw(number))
    write_both(tmp_path, "1.2.840.9.TIF", raw(9))
    (series_pair,) = find(tmp_path, "images", **options)
    found = [read_image(pair.full).hu[0, 0] + 1024 for pair in series_pair.pairs]
    assert found == [0, 1, 2, 3, 9]


def test_pictures_lie_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 2, 10, 11):
        options = write_both(tmp_path, f"p/slice{number}.png", raw(number))
    (series_pair,) = find(tmp_path, "images", **options)
    found = [read_image(pair.low).hu[0, 0] + 1024 for pair in series_pair.pairs]
    assert found == [1, 2, 10, 11]
    assert [pair.slice_index for pair in series_pair.pairs] == [0, 1, 2, 3]


def test_two_pictures_of_one_name_are_refused(tmp_path):
    options = write_both(tmp_path, "p/a.png", raw(1))
    write_both(tmp_path, "p/a.tif", raw(2))
    with pytest.raises(CtKerasError, match="CTK-E030"):
        find(tmp_path, "images", **options)


def test_pages_of_a_tiff_are_slices(tmp_path):
    pages = [raw(number) for number in range(3)]
    for folder in ("noisy", "clean"):
        (tmp_path / folder / "p").mkdir(parents=True)
        for name in ("a", "b"):
            path = tmp_path / folder / "p" / f"{name}.tif"
            assert cv2.imwritemulti(str(path), pages)
    options = write_both(tmp_path, "p/single.png", raw(7))
    found = find(tmp_path, "images", **options)
    assert [len(each.pairs) for each in found] == [1, 3, 3]
    # Pages of two files are two series: no volume goes across them.
    assert len({each.series_key for each in found}) == 3
    assert {each.patient for each in found} == {"p"}
    pages = [read_image(pair.full).hu[0, 0] + 1024 for pair in found[1].pairs]
    assert pages == [0, 1, 2]
    assert len({pair.full.image_key for pair in found[1].pairs}) == 3
    path = tmp_path / "noisy" / "p" / "a.tif"
    assert cv2.imwritemulti(str(path), [raw(0), raw(1)])
    with pytest.raises(CtKerasError, match=r"CTK-E039.*the matrix differs"):
        find(tmp_path, "images", **options)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3), "CTK-E047"),
        (np.zeros((64, 64, 4), np.uint16), "CTK-E047"),
        (np.zeros((64, 1), np.uint16), "CTK-E041"),
    ],
)
def test_pictures_that_hold_something_else_are_refused(tmp_path, values, code):
    options = write_both(tmp_path, "p/a.png", values)
    with pytest.raises(CtKerasError, match=code):
        find(tmp_path, "images", **options)


@pytest.mark.parametrize(
    ("values", "slope", "intercept"),
    [
        pytest.param(lambda hu: ((hu + 1024) / 4096).astype("f4"), 1, 0, id="0 to 1"),
        pytest.param(
            lambda hu: ((hu.clip(-160, 240) + 160) * 163).astype("u2"),
            1,
            -1024,
            id="16 bits of a window",
        ),
        pytest.param(
            lambda hu: (hu.clip(-1024, 3071) + 1024).astype("u2") * 16,
            1,
            -1024,
            id="12 bits shifted to 16",
        ),
    ],
)
def test_pictures_that_are_not_hu_are_refused(tmp_path, values, slope, intercept):
    options = write_both(tmp_path, "p/a.tif", values(disc()))
    options |= {"slope": slope, "intercept": intercept}
    with pytest.raises(CtKerasError, match="CTK-E044"):
        find(tmp_path, "images", **options)
    assert (
        len(
            find(tmp_path, "images", **options, read_options=ReadOptions(force_hu=True))
        )
        == 1
    )


def test_float_pictures_are_hu(tmp_path):
    hu = np.linspace(-1000, 1000, 100, dtype=np.float32).reshape(10, 10)
    write_picture(tmp_path / "a.tiff", hu)
    (source,) = slices_of(read_volume_file(tmp_path / "a.tiff"), "a")
    image = read_image(source)
    np.testing.assert_array_equal(image.hu, hu)
    assert image.slope == 0


def test_images_may_be_dicom(write_ct, tmp_path):
    for name in ("noisy", "clean"):
        write_ct(tmp_path / name, patient="P1", seed=name == "noisy")
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    (series_pair,) = find(tmp_path, "images", **options)
    assert len(series_pair.pairs) == 4
    assert all(p.low.path.name == p.full.path.name for p in series_pair.pairs)
    files = sorted((tmp_path / "noisy").glob("*.dcm"))
    files[0].rename(tmp_path / "swap")
    files[1].rename(files[0])
    (tmp_path / "swap").rename(files[1])
    with pytest.raises(CtKerasError, match="CTK-E039"):
        find(tmp_path, "images", **options)


def test_positions_order_the_dicom_files_of_images(write_ct, tmp_path):
    for folder in ("noisy", "clean"):
        write_ct(tmp_path / folder, seed=len(folder), slices=5, seed_uid="one")
        write_ct(tmp_path / "more", seed=9 + len(folder), slices=3, seed_uid="two")
        (tmp_path / "more").rename(tmp_path / folder / "more")
        files = sorted((tmp_path / folder).glob("*.dcm"))
        for file, name in zip(files, ("9.5", "9.1", "x.2", "x.3", "a.4"), strict=True):
            file.rename(file.with_name(name))
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    found = find(tmp_path, "images", **options)
    assert sorted(len(each.pairs) for each in found) == [3, 5]
    for each in found:
        assert [pair.slice_index for pair in each.pairs] == list(range(len(each.pairs)))
        heights = [pair.full.position[2] for pair in each.pairs]
        assert heights == sorted(heights)
        for pair in each.pairs:
            assert pair.low.path.name == pair.full.path.name
    assert len({each.series_key for each in found}) == 2


def test_images_pair_multi_frame_files_by_frame(write_ct, tmp_path):
    for folder in ("noisy", "clean"):
        single = write_ct(tmp_path / "single" / folder, seed=len(folder), slices=3)
        slices = [pydicom.dcmread(path) for path in sorted(single.glob("*.dcm"))]
        frames = enhanced(slices)
        frames.file_meta = slices[0].file_meta
        (tmp_path / folder).mkdir()
        frames.save_as(tmp_path / folder / "a.dcm", enforce_file_format=True)
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    (found,) = find(tmp_path, "images", **options)
    frames = [(pair.low.frame, pair.full.frame) for pair in found.pairs]
    assert frames == [(0, 0), (1, 1), (2, 2)]
    assert len({pair.full.image_key for pair in found.pairs}) == 3


def test_other_files_of_images_are_told(write_ct, tmp_path):
    """A multi-frame object beside the slices must not vanish without a word."""
    for folder in ("noisy", "clean"):
        write_ct(tmp_path / folder, seed=len(folder))
        write_ct(
            tmp_path / folder / "more",
            seed=9,
            slices=1,
            seed_uid="other",
            edit=lambda dataset, index: setattr(dataset, "NumberOfFrames", 5),
        )
    options = {"low": tmp_path / "noisy", "full": tmp_path / "clean"}
    (series_pair,) = find(tmp_path, "images", **options)
    assert any("CTK-E048" in str(finding) for finding in series_pair.findings)


def test_what_lies_beside_pictures_and_cases_is_told(write_ct, tmp_path):
    """One preview in each folder made all slices of the series vanish."""
    for folder in ("low", "full"):
        write_ct(tmp_path / folder, seed=len(folder))
        write_picture(tmp_path / folder / "preview.png", np.full((64, 64), 90, "u1"))
    options = {"low": tmp_path / "low", "full": tmp_path / "full"}
    (found,) = find(tmp_path, "images", **options)
    told = [str(each) for each in found.findings]
    text = "pictures lie beside them, and only those count"
    assert f"CTK-W001 skipped 8 files: {text}" in told
    for folder in ("low", "full"):
        (tmp_path / folder / "preview.png").unlink()
        write_ct(tmp_path / folder / "case", seed=len(folder))
    (found,) = find(tmp_path, "pairs", **options)
    told = [str(each) for each in found.findings]
    text = "they lie beside the cases, in none of them"
    assert f"CTK-W001 skipped 8 files: {text}" in told


def test_nothing_there(tmp_path, write_ct):
    with pytest.raises(CtKerasError, match="CTK-E005"):
        find(tmp_path / "missing", "single")
    with pytest.raises(CtKerasError, match="CTK-E001"):
        find(tmp_path, "single")
    with pytest.raises(CtKerasError, match=r"CTK-E084.*sub-folder"):
        find_series_pairs(tmp_path, "single", LayoutOptions(), by_folder=True)


class TestPackedSources:
    """A zip archive, or the DICOMDIR of a medium, in place of the source folder."""

    @pytest.fixture
    def packed(self, phantom_patients, tmp_path):
        medium = shutil.copytree(phantom_patients / "train", tmp_path / "medium")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for path in sorted(medium.rglob("*.dcm")):
                archive.write(path, path.relative_to(medium))
        first = pydicom.dcmread(next(medium.rglob("*.dcm")), stop_before_pixels=True)
        directory = pydicom.Dataset()
        directory.file_meta = first.file_meta
        directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
        directory.save_as(medium / "DICOMDIR", enforce_file_format=True)
        return tmp_path

    @pytest.mark.parametrize("name", ["a.zip", "medium/DICOMDIR"])
    def test_series_and_patients_are_those_of_the_folder(self, packed, name):
        plain, found = (find(packed / each, "single") for each in ("medium", name))
        assert [len(each.pairs) for each in found] == [3, 3]
        for one, other in zip(plain, found, strict=True):
            assert one.patient == other.patient
            assert one.names == other.names
            assert np.array_equal(one.series.hu, other.series.hu)

    def test_records_are_the_same(self, packed):
        options = {"layout": "single", "split": "1,0,0", "workers": 1, "doses": [0.5]}
        for name in ("medium", "a.zip"):
            convert(packed / name, packed / f"{name}-records", **options)
        one, other = (
            [pair.low_hu for pair in iterate_pairs(packed / f"{name}-records", "train")]
            for name in ("medium", "a.zip")
        )
        assert len(one) == 6
        assert np.array_equal(one, other)

    def test_other_layouts_say_which_take_an_archive(self, packed):
        with pytest.raises(CtKerasError, match=r"CTK-E005 .*single and tcia") as caught:
            find(packed / "a.zip", "mayo")
        assert "unpack" in caught.value.fix
