"""De-identified copies: what stays, what does not, and that pixels are the same."""

import json
import re
import stat
import zipfile

import numpy as np
import pytest
from planted_secrets import SECRET, basic_profile, plant
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGLSLossless, RLELossless

from ct_keras.cli.main import main
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import find_series, read_series
from ct_keras.errors import CtKerasError
from ct_keras.privacy import Profile, deidentify_series, kept
from ct_keras.privacy.clean import Cleaner
from ct_keras.privacy.keys import Hasher
from ct_keras.serving.series import denoise_series

KEY = b"a secret for tests only"
#: What is said in words of ct_keras.
SAID = {
    *("SOPClassUID", "PatientName", "PatientID", "ContrastBolusAgent", "ImageType"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
}


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main(["deidentify", *map(str, arguments)])
    return end.value.code


def headers(folder) -> list[Dataset]:
    return [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def copy_of(source, out, **profile) -> list[Dataset]:
    deidentify_series(read_series(source), out, KEY, profile=Profile(**profile))
    return headers(out)


@pytest.mark.parametrize(
    "options",
    [[], ["--dates", "shift", "--keep-patient"]],
    ids=["basic", "with options"],
)
def test_no_planted_secret_is_left_anywhere(options, make_series, tmp_path, capfd):
    counts = []
    source = make_series(change=lambda data: counts.append(plant(data)))
    assert min(counts) > 600
    before = {path: path.read_bytes() for path in source.rglob("*")}
    out = tmp_path / "out"
    capfd.readouterr()  # what pydicom says about the planted values
    assert run(source, out, *options) == 0
    said = "".join(capfd.readouterr())
    secrets = [SECRET.lower(), "19010203", "1.2.777."]
    if not options:  # which keep times of day and the age
        secrets += ["012345.67", "077y"]
    secrets += {str(data.SOPInstanceUID) for data in headers(source)}
    for path in out.rglob("*"):
        content = path.read_bytes().lower()
        for secret in secrets:
            assert secret.encode() not in content, secret
            assert secret not in said.lower() and secret not in str(path.name)
    assert {path: path.read_bytes() for path in source.rglob("*")} == before


def test_pixels_geometry_and_acquisition_stay(make_series, tmp_path):
    def change(data):
        data.GantryDetectorTilt, data.XRayTubeCurrent = "12.5", 200
        data.Manufacturer, data.ManufacturerModelName = "SIEMENS AG", "SOMATOM Force"
        data.ContrastBolusAgent = "OMNI of Dr. X"
        data.BodyPartExamined = "CHEST"

    source = make_series(change=change)
    copies = copy_of(source, tmp_path / "out")
    for before, after in zip(headers(source), copies, strict=True):
        assert after.PixelData == before.PixelData
        for keyword in (
            *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
            *("SliceThickness", "RescaleSlope", "RescaleIntercept", "KVP"),
            *(
                "ConvolutionKernel",
                "GantryDetectorTilt",
                "XRayTubeCurrent",
                "ImageType",
            ),
            *("ManufacturerModelName", "BodyPartExamined", "InstanceNumber"),
        ):
            assert after[keyword].value == before[keyword].value, keyword
        assert after.Manufacturer == "SIEMENS"
        assert after.ContrastBolusAgent == "CONTRAST"
        assert after.preamble == b"\0" * 128
    found, original = read_series(tmp_path / "out"), read_series(source)
    assert np.array_equal(found.hu, original.hu)
    assert found.spacing_mm == original.spacing_mm


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_pixels_of_compressed_images_are_the_same(syntax, make_series, tmp_path):
    before = [data.PixelData for data in headers(make_series("plain"))]
    source = make_series(
        change=lambda data: data.compress(syntax, generate_instance_uid=False)
    )
    copies = copy_of(source, tmp_path / "out")
    assert [data.PixelData for data in copies] == before
    assert {data.LossyImageCompression for data in copies} == {"00"}


def test_bits_beside_the_pixel_values_are_cleared(make_series, tmp_path):
    """An overlay in unused high bits can hold a name."""

    def change(data):
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0
        values = np.clip(data.pixel_array.astype(int), 0, 4095).astype("<u2")
        data.PixelData = (values | 0x4000).tobytes()

    source = make_series(change=change)
    for before, after in zip(
        headers(source), copy_of(source, tmp_path / "out"), strict=True
    ):
        given = np.frombuffer(before.PixelData, "<u2")
        left = np.frombuffer(after.PixelData, "<u2")
        assert (given & 0x4000).all()
        assert np.array_equal(left, given & 0x0FFF)


def test_what_belongs_together_still_does(make_series, tmp_path):
    first, second = make_series("1"), make_series("2", slices=3)
    other = make_series("3", seed=1)
    copies = [copy_of(each, tmp_path / f"out{each.name}") for each in (first, second)]
    again = copy_of(first, tmp_path / "again")
    alien = copy_of(other, tmp_path / "alien")
    one, two = copies[0][0], copies[1][0]
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert [data.SOPInstanceUID for data in again] == [
        data.SOPInstanceUID for data in copies[0]
    ]
    assert one.PatientID == two.PatientID != alien[0].PatientID
    assert one.StudyInstanceUID != alien[0].StudyInstanceUID
    uids = {data.SOPInstanceUID for data in (*copies[0], *copies[1], *alien)}
    assert len(uids) == 7
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)
    with_key = deidentify_series(read_series(first), tmp_path / "key", b"x" * 32)
    assert with_key.images == 2
    assert headers(tmp_path / "key")[0].PatientID != one.PatientID


def test_the_header_says_how_it_was_made(make_series, tmp_path):
    source = make_series(change=lambda data: setattr(data, "PatientSex", "F"))
    [plain, *_] = copy_of(source, tmp_path / "1")
    assert plain.PatientIdentityRemoved == "YES"
    assert plain.LongitudinalTemporalInformationModified == "REMOVED"
    codes = [item.CodeValue for item in plain.DeidentificationMethodCodeSequence]
    assert codes == ["113100"] and plain.PatientSex == ""
    options = {"dates": "shift", "keep_patient": True}
    [more, *_] = copy_of(source, tmp_path / "2", **options)
    codes = [item.CodeValue for item in more.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"] and more.PatientSex == "F"


def test_dates_move_together(make_series, tmp_path):
    def change(data):
        data.StudyDate, data.AcquisitionDate = "20200301", "20200302"
        data.AcquisitionDateTime = "20200302123456.5+0100"
        data.StudyTime, data.PatientAge = "123456", "093Y"

    source = make_series(change=change)
    options = {"dates": "shift", "keep_patient": True}
    [shifted, *_] = copy_of(source, tmp_path / "1", **options)
    study = np.datetime64(_iso(shifted.StudyDate))
    assert study < np.datetime64("2020-03-01")
    assert np.datetime64(_iso(shifted.AcquisitionDate)) - study == 1
    assert shifted.AcquisitionDateTime == shifted.AcquisitionDate + "123456.5+0100"
    assert (shifted.StudyTime, shifted.PatientAge) == ("123456", "090Y")
    [as_was, *_] = copy_of(source, tmp_path / "2", dates="keep")
    assert (as_was.StudyDate, as_was.AcquisitionDate) == ("20200301", "20200302")
    [none, *_] = copy_of(source, tmp_path / "3")
    assert none.StudyDate == "" and "AcquisitionDate" not in none


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def test_every_element_of_the_standard_is_kept_by_name_or_dropped():
    header = Dataset()
    for tag, (listed, _, _, _, keyword) in DicomDictionary.items():
        if not keyword or tag >> 16 < 8 or listed == "SQ":
            continue
        value = "1" if listed in ("IS", "DS") else None
        header.add_new(tag, listed.split(" or ")[0], value)
    header.SOPClassUID, header.PatientID = "1.2.840.10008.5.1.4.1.1.2", "X"
    assert len(header) > 3500
    clean = Cleaner(Profile("shift", keep_patient=True), Hasher(KEY)).clean(header)
    listed = {
        *(kept.NUMBERS | kept.UIDS | kept.SEQUENCES | kept.POINTERS),
        *(kept.PATIENT_NUMBERS | kept.DATES | kept.TIMES | kept.DATE_TIMES),
        *(*kept.TERMS, *kept.PATIENT_TERMS, *kept.EMPTY, "PatientAge", "StackID"),
        *("ConvolutionKernel", "ManufacturerModelName"),
    }
    found = {element.keyword for element in clean}
    assert not found - listed - SAID
    assert all(tag_for_keyword(keyword) is not None for keyword in listed)


def test_nothing_that_the_basic_profile_names_is_kept_as_it_was():
    """Only UIDs, which become others, and what is said in other words or empty."""
    profile = basic_profile()
    assert len(profile) > 600
    kept_as_is = {*kept.NUMBERS, *kept.TERMS, *kept.POINTERS, *kept.SEQUENCES}
    kept_as_is |= {"ConvolutionKernel", "Manufacturer", "ManufacturerModelName"}
    assert kept_as_is & profile.keys() == set()
    replaced = {keyword for keyword, action in profile.items() if action == "U"}
    assert replaced >= kept.UIDS


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ConvolutionKernel", "SECRETX"),
        ("Manufacturer", "SECRETX"),
        ("ManufacturerModelName", "SOMATOM of SECRETX"),
        ("BodyPartExamined", "SECRETX"),
        ("FilterType", "SECRETX"),
    ],
)
def test_a_name_in_an_element_that_is_kept_does_not_pass(
    keyword, value, make_series, tmp_path
):
    source = make_series(change=lambda data: setattr(data, keyword, value))
    result = deidentify_series(read_series(source), tmp_path / "out", KEY)
    assert result.elements["odd"] == 2
    assert "CTK-W053" in [finding.code for finding in result.findings]
    for data in headers(tmp_path / "out"):
        assert not data.get(keyword)


def test_burned_in_text_is_refused(make_series, tmp_path, capsys):
    source = make_series(change=lambda data: setattr(data, "BurnedInAnnotation", "YES"))
    assert run(source, tmp_path / "out") == 9
    assert "CTK-E052" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_refused_series_does_not_hold_up_the_others(make_series, tmp_path, capsys):
    make_series("in/1", change=lambda data: setattr(data, "BurnedInAnnotation", "YES"))
    make_series("in/2", seed=1)
    make_series("in/3", seed=2, slices=3)
    out = tmp_path / "out"
    assert run(tmp_path / "in", out, "--json") == 8
    document = json.loads(capsys.readouterr().out)
    assert [row["images"] for row in document["series"]] == [2, 3]
    assert [text[:8] for text in document["refused"]] == ["CTK-E052"]
    assert document["elements"]["replaced"] == 5 * 4
    written = sorted(path.parent.name for path in out.rglob("*.dcm"))
    assert written == ["series-2"] * 2 + ["series-3"] * 3


def test_outputs_are_for_their_owner_and_never_inside_the_input(
    make_series, tmp_path, capsys
):
    source = make_series()
    assert run(source, tmp_path / "out") == 0
    for path in (tmp_path / "out", *(tmp_path / "out").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert run(source, source / "out") == 6
    assert run(source, tmp_path / "out") == 6
    assert "CTK-E071" in capsys.readouterr().err
    assert re.search("CTK-E071", capsys.readouterr().err) is None


def test_a_denoised_series_still_says_that_it_is(make_series, tmp_path):
    source = make_series()
    method = get_method("filter:gaussian")
    denoise_series(read_series(source), tmp_path / "denoised", method)
    [copy, *_] = copy_of(tmp_path / "denoised", tmp_path / "out")
    assert "NOT FOR DIAGNOSTIC USE" in copy.SeriesDescription
    with pytest.raises(CtKerasError, match="CTK-E050"):
        denoise_series(read_series(tmp_path / "out"), tmp_path / "twice", method)
    # What ct_keras did afterwards does not hide it.
    same = get_method("input")
    denoise_series(read_series(tmp_path / "denoised"), tmp_path / "copied", same)
    copy_of(tmp_path / "copied", tmp_path / "last")
    assert read_series(tmp_path / "last").denoised


def test_a_zip_archive_gives_a_file_for_each_slice(make_series, tmp_path):
    source = make_series(slices=3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in source.glob("*.dcm"):
            archive.write(path, path.name)
    plain = copy_of(source, tmp_path / "plain")
    copies = copy_of(tmp_path / "a.zip", tmp_path / "out")
    assert [each.PixelData for each in copies] == [each.PixelData for each in plain]
    assert [each.SOPInstanceUID for each in copies] == [
        each.SOPInstanceUID for each in plain
    ]


def test_a_multi_frame_image_stays_one(make_series, tmp_path):
    slices = headers(make_series(slices=3))
    image = Dataset()
    image.update(slices[0])
    image.file_meta, image.preamble = slices[0].file_meta, b"\0" * 128
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.NumberOfFrames = 3
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    shared = Dataset()
    shared.PixelMeasuresSequence = _group(slices[0], "PixelSpacing", "SliceThickness")
    shared.PlaneOrientationSequence = _group(slices[0], "ImageOrientationPatient")
    shared.PixelValueTransformationSequence = _group(
        slices[0], "RescaleSlope", "RescaleIntercept", "RescaleType"
    )
    frames = []
    for number, single in enumerate(slices, 1):
        frame = Dataset()
        frame.PlanePositionSequence = _group(single, "ImagePositionPatient")
        content = Dataset()
        content.StackID, content.InStackPositionNumber = "1", number
        content.FrameComments = content.FrameLabel = SECRET
        content.FrameAcquisitionDateTime = "19010203012345"
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    image.PixelData = b"".join(single.PixelData for single in slices)
    (tmp_path / "multi").mkdir()
    image.save_as(tmp_path / "multi" / "1.dcm", enforce_file_format=True)
    [copy] = copy_of(tmp_path / "multi", tmp_path / "out")
    assert copy.NumberOfFrames == 3 and copy.PixelData == image.PixelData
    assert copy.SOPClassUID == image.SOPClassUID
    content = copy.PerFrameFunctionalGroupsSequence[2].FrameContentSequence[0]
    assert (content.StackID, content.InStackPositionNumber) == ("1", 3)
    assert SECRET.encode() not in (tmp_path / "out" / "IM00001.dcm").read_bytes()
    [before], [after] = find_series(tmp_path / "multi"), find_series(tmp_path / "out")
    assert np.array_equal(after.hu, before.hu) and after.spacing_mm == before.spacing_mm


def _group(single: Dataset, *keywords: str) -> Sequence:
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, single[keyword].value)
    return Sequence([item])
