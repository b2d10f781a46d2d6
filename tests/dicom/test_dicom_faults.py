"""Every odd input meets its code and exit status, and no message names a person."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ct_keras.dicom import ReadOptions, find_series, read_series, scan_folder
from ct_keras.dicom.geometry import require_volume
from ct_keras.errors import CtKerasError

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SYNTAX = "1.2.840.10008.1.2."


def refusal(folder, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        read_series(folder, **options)
    assert "SECRETX" not in str(caught.value)
    assert str(folder) not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def codes(folder, **options) -> list[str]:
    findings = read_series(folder, **options).findings
    assert "SECRETX" not in " ".join(map(str, findings))
    return [finding.code for finding in findings]


# One element of every slice is changed: keyword -> value, code, exit status.
HEADER_FAULTS = [
    ({"Modality": "MR"}, "CTK-E020", 2),
    ({"Modality": "SECRETX"}, "CTK-E020", 2),
    ({"SOPClassUID": SECONDARY_CAPTURE}, "CTK-E001", 2),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "CTK-E001", 2),
    ({"PixelData": None}, "CTK-E003", 4),
    ({"SOPInstanceUID": None}, "CTK-E007", 4),
    ({"StudyInstanceUID": None}, "CTK-E007", 4),
    ({"RescaleSlope": None}, "CTK-E040", 9),
    ({"RescaleSlope": 0}, "CTK-E040", 9),
    ({"RescaleIntercept": None}, "CTK-E040", 9),
    ({"RescaleIntercept": ""}, "CTK-E040", 9),
    ({"ModalityLUTSequence": Sequence([Dataset()])}, "CTK-E040", 9),
    ({"RescaleType": "OD"}, "CTK-E042", 9),
    ({"RescaleType": "SECRETX"}, "CTK-E042", 9),
    ({"RescaleIntercept": 0}, "CTK-E044", 9),  # no air
    ({"RescaleSlope": 40}, "CTK-E044", 9),  # a third beyond 32767 HU
    ({"HighBit": 14}, "CTK-E046", 4),
    ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "CTK-E047", 4),
    ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "CTK-E047", 4),
    ({"BitsAllocated": 12}, "CTK-E047", 4),
    ({"BitsStored": 0}, "CTK-E047", 4),
    ({"PixelRepresentation": None}, "CTK-E047", 4),
    ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "CTK-E047", 4),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "CTK-E047", 4),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "CTK-E048", 4),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.2"}, "CTK-E048", 4),
    ({"NumberOfFrames": 2}, "CTK-E048", 4),
    ({"Rows": 8, "Columns": 8}, "CTK-E041", 4),
    ({"Rows": 5000}, "CTK-E041", 4),
    ({"Rows": 128}, "CTK-E003", 4),  # more pixels than the file holds
    ({"PatientID": lambda i: f"SECRETX-{i % 2}"}, "CTK-E051", 9),
    ({"StudyInstanceUID": lambda i: f"1.2.4.{i % 2}"}, "CTK-E051", 9),
    ({"ConvolutionKernel": lambda i: f"B{30 + i % 2}f"}, "CTK-E035", 4),
    ({"ImagePositionPatient": [0, 0, 0]}, "CTK-E031", 4),
]


@pytest.mark.parametrize(("changes", "code", "status"), HEADER_FAULTS)
def test_header_fault_is_refused(factory, tmp_path, changes, code, status):
    error = refusal(factory.folder(tmp_path / "in", **changes))
    assert (error.code, error.exit_code) == (code, status)


@pytest.mark.parametrize("code", ["CTK-E040", "CTK-E042"])
def test_one_bad_slice_refuses_the_series(factory, tmp_path, code):
    change = {"RescaleSlope": 0} if code == "CTK-E040" else {"RescaleType": "ED"}
    factory.folder(tmp_path / "in", 4)
    factory.folder(tmp_path / "in", 1, start=4, **change)
    assert refusal(tmp_path / "in").code == code


def declare(path, suffix: str) -> None:
    """Changes the transfer syntax in the file meta, and nothing else."""
    plain, other = (SYNTAX + s + "\0" * (len(SYNTAX + s) % 2) for s in ("1", suffix))
    element = struct.Struct("<HH2sH")
    old = element.pack(2, 0x10, b"UI", len(plain)) + plain.encode()
    new = element.pack(2, 0x10, b"UI", len(other)) + other.encode()
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("suffix", ["4.50", "4.52", "4.110", "77"])
def test_transfer_syntaxes_without_decoder_are_named(factory, tmp_path, suffix):
    path = factory.save(factory.dataset(), tmp_path / "in" / "a.dcm")
    declare(path, suffix)
    error = refusal(path.parent)
    assert (error.code, error.exit_code) == ("CTK-E010", 4)
    assert SYNTAX + suffix in str(error)


@pytest.mark.parametrize("suffix", ["1.99", "2"])
def test_a_header_in_another_encoding_is_refused(factory, tmp_path, suffix):
    path = factory.save(factory.dataset(), tmp_path / "in" / "a.dcm")
    declare(path, suffix)
    assert refusal(path.parent).code in ("CTK-E003", "CTK-E007")


@pytest.mark.parametrize("suffix", ["5", "4.57", "4.70", "4.80", "4.90", "4.201"])
def test_native_pixels_declared_as_compressed(factory, tmp_path, suffix):
    """Some programs decompress the pixels and leave the file meta as it was."""
    folder = factory.folder(tmp_path / "in", 2)
    for path in folder.iterdir():
        declare(path, suffix)
    series = read_series(folder)
    assert [finding.code for finding in series.findings] == ["CTK-W007"]
    assert np.array_equal(series.read(1).stored, factory.image(1))
    factory.save(factory.dataset(2, PixelData=bytes(5000)), folder / "short.dcm")
    declare(folder / "short.dcm", suffix)
    assert refusal(folder).code == "CTK-E007"


def test_mixed_sizes_become_stacks(factory, tmp_path):
    factory.folder(tmp_path, 4)
    large = factory.image(size=128).tobytes()
    factory.folder(tmp_path, 2, start=4, Rows=128, Columns=128, PixelData=large)
    small, large = find_series(tmp_path)
    assert (small.shape, large.shape) == ((4, 64, 64), (2, 128, 128))
    texts = [finding.text for finding in small.findings]
    assert "series split into 2 stacks by image size" in texts


def test_mixed_pixel_spacings_become_stacks(factory, tmp_path):
    sizes = lambda i: [0.5 + i % 2 + i * 1e-5, 0.75]  # noqa: E731
    factory.folder(tmp_path, 6, PixelSpacing=sizes)
    even, odd = find_series(tmp_path)
    assert (len(even), len(odd)) == (3, 3)
    assert (even.spacing_mm[:2], odd.spacing_mm[0]) == ((10, 0.5), 10)
    texts = [finding.text for finding in even.findings]
    assert "series split into 2 stacks by pixel spacing" in texts


class TestSeries:
    def test_other_objects_are_counted(self, factory, tmp_path):
        factory.folder(tmp_path)
        capture = factory.dataset(
            9, SOPClassUID=SECONDARY_CAPTURE, SeriesInstanceUID="1.9"
        )
        factory.save(capture, tmp_path / "capture.dcm")
        assert codes(tmp_path) == ["CTK-W021"]

    def test_localizer_is_left_out(self, factory, tmp_path):
        factory.folder(tmp_path)
        scout = factory.dataset(9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        factory.save(scout, tmp_path / "scout.dcm")
        assert codes(tmp_path) == ["CTK-W022"]
        assert len(read_series(tmp_path)) == 5

    def test_several_series_need_a_choice(self, factory, tmp_path):
        factory.folder(tmp_path / "a")
        factory.folder(tmp_path / "b", 3, start=20, SeriesInstanceUID="1.2.7")
        error = refusal(tmp_path)
        assert error.code == "CTK-E030"
        assert "1.2.5" not in str(error)
        assert len(read_series(tmp_path, series=2)) == 3
        assert len(read_series(tmp_path, series="1.2.5")) == 5
        assert refusal(tmp_path, series="SECRETX").code == "CTK-E030"

    def test_a_refused_neighbour_is_told(self, factory, tmp_path):
        factory.folder(tmp_path / "a")
        factory.folder(tmp_path / "b", SeriesInstanceUID="1.2.7", RescaleType="OD")
        (series,) = find_series(tmp_path)
        (finding,) = series.findings
        assert finding.code == "CTK-W030"
        assert "CTK-E042" in finding.text

    def test_duplicates_are_dropped(self, factory, tmp_path):
        factory.folder(tmp_path / "a")
        factory.folder(tmp_path / "b", 2, start=1)
        assert len(read_series(tmp_path)) == 5
        assert codes(tmp_path) == ["CTK-W031"]

    def test_phases_become_stacks(self, factory, tmp_path):
        factory.folder(tmp_path / "a")
        noisy = lambda i: factory.image(i + 50).tobytes()  # noqa: E731
        factory.folder(
            tmp_path / "b",
            AcquisitionNumber=2,
            PixelData=noisy,
            SOPInstanceUID=lambda i: f"1.2.8.{i}",
        )
        first, second = find_series(tmp_path)
        assert (len(first), len(second)) == (5, 5)
        assert first.series_key != second.series_key
        assert np.array_equal(second.read(2).stored, factory.image(52))

    def test_two_voltages_become_stacks(self, factory, tmp_path):
        factory.folder(tmp_path, 6, KVP=lambda i: 80 if i < 3 else 140)
        low, high = find_series(tmp_path)
        assert (low.kvp, high.kvp) == (80, 140)
        assert "CTK-W035" in [finding.code for finding in low.findings]

    def test_small_group_of_another_orientation_is_a_localizer(self, factory, tmp_path):
        factory.folder(tmp_path)
        coronal = [1, 0, 0, 0, 0, -1]
        factory.folder(tmp_path, 2, start=9, ImageOrientationPatient=coronal)
        assert len(read_series(tmp_path)) == 5
        assert codes(tmp_path) == ["CTK-W022"]

    @pytest.mark.parametrize(
        "orientation", [[-1, 0, 0, 0, -1, 0], [1, 0, 0, 0, 0.9962, 0.0872]]
    )
    def test_a_slice_along_the_others_is_no_localizer(
        self, factory, tmp_path, orientation
    ):
        """A localizer lies across the slices; turned or tilted ones are not lost."""
        factory.folder(tmp_path)
        factory.folder(tmp_path, 1, start=2, ImageOrientationPatient=orientation)
        found = find_series(tmp_path)
        assert [len(series) for series in found] == [4, 1]
        assert "CTK-W034" in [finding.code for finding in found[0].findings]

    def test_two_orientations_become_stacks(self, factory, tmp_path):
        factory.folder(tmp_path)
        factory.folder(
            tmp_path,
            4,
            start=9,
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            ImagePositionPatient=lambda i: [0, 3 * i, 0],
        )
        axial, coronal = find_series(tmp_path)
        assert (len(axial), len(coronal)) == (5, 4)
        assert coronal.spacing_mm[0] == 3
        assert "CTK-W034" in [finding.code for finding in axial.findings]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"LossyImageCompression": "01"}, "CTK-W011"),
            ({"PhotometricInterpretation": "MONOCHROME1"}, "CTK-W045"),
            ({"ImageType": ["DERIVED", "SECONDARY"]}, "CTK-W050"),
            ({"ImageType": None}, "CTK-I022"),
            ({"SliceThickness": None}, "CTK-I038"),
            ({"SpacingBetweenSlices": -16}, "CTK-I038"),
        ],
    )
    def test_findings(self, factory, tmp_path, changes, code):
        assert codes(factory.folder(tmp_path, **changes)) == [code]

    def test_implausible_values_can_be_forced(self, factory, tmp_path):
        factory.folder(tmp_path, RescaleIntercept=0)
        series = read_series(tmp_path, options=ReadOptions(force_hu=True))
        assert series.read(0).hu.min() > -500


class TestVolume:
    @pytest.mark.parametrize(
        ("changes", "warning", "error"),
        [
            (
                {"ImagePositionPatient": lambda i: [0, 0, 5 * i + 5 * (i > 2)]},
                "CTK-W032",
                "CTK-E032",
            ),
            (
                {"ImagePositionPatient": lambda i: [0, i, 5 * i]},
                "CTK-I033",
                "CTK-E033",
            ),
            ({"ImagePositionPatient": None}, "CTK-W036", "CTK-E036"),
            ({"FrameOfReferenceUID": lambda i: f"1.2.{i % 2}"}, "CTK-W036", "CTK-E036"),
            ({"PixelSpacing": None}, "CTK-W037", "CTK-E037"),
            ({"PixelSpacing": [0, 0]}, "CTK-W037", "CTK-E037"),
        ],
    )
    def test_findings_become_refusals(self, factory, tmp_path, changes, warning, error):
        series = read_series(factory.folder(tmp_path, **changes))
        assert [finding.code for finding in series.findings] == [warning]
        with pytest.raises(CtKerasError) as caught:
            require_volume(series.sources)
        assert caught.value.code == error

    def test_an_unknown_frame_of_reference_is_no_other_one(self, factory, tmp_path):
        frames = {"FrameOfReferenceUID": lambda i: None if i == 2 else "1.2.3"}
        series = read_series(factory.folder(tmp_path, **frames))
        assert not series.findings
        assert require_volume(series.sources) == []

    def test_the_gap_is_described(self, factory, tmp_path):
        factory.folder(
            tmp_path, ImagePositionPatient=lambda i: [0, 0, 5 * i + 5 * (i > 2)]
        )
        (finding,) = read_series(tmp_path).findings
        assert finding.text == (
            "slice gap 10.0 mm after slice 3 (median 5.0): probably 1 missing slice"
        )


def test_scan_tells_everything_at_once(factory, tmp_path):
    factory.folder(tmp_path / "good")
    factory.folder(tmp_path / "bad", SeriesInstanceUID="1.9", RescaleType="OD")
    path = factory.folder(tmp_path / "cut", 1, SeriesInstanceUID="1.8") / "000.dcm"
    path.write_bytes(path.read_bytes()[:-5])
    scan = scan_folder(tmp_path)
    assert (scan.files, len(scan.series)) == (11, 1)
    assert {refusal.error.code for refusal in scan.refusals} == {"CTK-E042", "CTK-E003"}
