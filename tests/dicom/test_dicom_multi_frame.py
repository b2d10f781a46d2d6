"""Enhanced CT is read by its functional groups and written as the same class."""

import copy
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from compressed import encode
from multi_frame import ENHANCED_CT, LEGACY_CT, enhanced, save_compressed
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from test_dicom_validators import validate

from ct_keras.dicom import (
    Derivation,
    Limits,
    ReadOptions,
    SeriesWriter,
    find_series,
    read_series,
    scan_folder,
    write_series,
)
from ct_keras.errors import CtKerasError

FRAMES = 5


@pytest.fixture(scope="module")
def slices(factory) -> list[Dataset]:
    """Single-frame images, head first, with a rescale of their own each."""
    return [
        factory.dataset(
            index,
            RescaleIntercept=-1024 + index,
            RescaleSlope=1 + index / 2,
            RescaleType="HU",
            XRayTubeCurrent=200 + 10 * index,
        )
        for index in reversed(range(FRAMES))
    ]


@pytest.fixture
def save(factory, slices, tmp_path):
    """Writes the slices as one multi-frame file and returns its folder."""

    def save(folder="in", **options):
        image = enhanced(slices, **options)
        factory.save(image, tmp_path / folder / "a.dcm")
        return tmp_path / folder

    return save


def refusal(folder, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        read_series(folder, **options)
    assert "SECRETX" not in str(caught.value)
    return caught.value


class TestReading:
    def test_frames_are_the_slices_of_single_frame_files(
        self, save, slices, factory, tmp_path
    ):
        for index, single in enumerate(slices):
            factory.save(single, tmp_path / "single" / f"{index}.dcm")
        single, several = read_series(tmp_path / "single"), read_series(save())
        assert several.shape == (FRAMES, 64, 64)
        assert np.array_equal(several.hu, single.hu)
        assert np.array_equal(several.read(3).stored, factory.image(3))
        for name in ("spacing_mm", "kvp", "kernel", "slice_thickness_mm"):
            assert getattr(several, name) == getattr(single, name)
        for name in ("tube_current_ma", "exposure_mas", "tilt_degrees", "findings"):
            assert getattr(several, name) == getattr(single, name)
        for one, other in zip(several.sources, single.sources, strict=True):
            assert (one.position, one.intercept) == (other.position, other.intercept)
            assert one.tube_current_ma == other.tube_current_ma
        assert [source.frame for source in several.sources] == [4, 3, 2, 1, 0]

    def test_a_group_of_a_frame_goes_before_the_shared_one(self, save):
        def thicker(number, group):
            item = Dataset()
            item.PixelSpacing, item.SliceThickness = [0.25, 0.25], 3
            group.PixelMeasuresSequence = Items([item])

        series = read_series(save(change=thicker))
        assert series.spacing_mm == (5, 0.25, 0.25)
        assert series.slice_thickness_mm == 3

    def test_converted_elements_without_a_group(self, save):
        """A converted image keeps kVp and padding in groups of odds and ends."""

        def move(number, group):
            item = Dataset()
            item.KVP, item.PixelPaddingValue = "80", 24
            group.UnassignedPerFrameConvertedAttributesSequence = Items([item])
            del group.CTXRayDetailsSequence

        series = read_series(save(change=move, sop_class=LEGACY_CT))
        assert series.kvp == 80
        assert series.sources[0].padding == (24, 24)

    def test_two_phases_at_the_same_positions(self, slices, factory, tmp_path):
        def phase(number, group):
            group.FrameContentSequence[0].TemporalPositionIndex = number // FRAMES + 1

        brighter = [copy.deepcopy(single) for single in slices]
        for single in brighter:
            pixels = np.frombuffer(single.PixelData, "<i2") + np.int16(7)
            single["PixelData"] = DataElement("PixelData", "OW", pixels.tobytes())
        folder = tmp_path / "in"
        factory.save(enhanced([*slices, *brighter], change=phase), folder / "a.dcm")
        first, second = find_series(folder)
        assert (len(first), len(second)) == (FRAMES, FRAMES)
        assert "CTK-W035" in [finding.code for finding in first.findings]
        assert np.array_equal(second.read(2).stored, first.read(2).stored + 7)

    def test_a_gap_and_a_localizer_frame(self, save):
        def odd(number, group):
            if number == 0:
                item = Dataset()
                item.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
                group.CTImageFrameTypeSequence = Items([item])
            if number == FRAMES - 1:
                group.PlanePositionSequence[0].ImagePositionPatient = [-32, -32, -10]

        series = read_series(save(change=odd))
        assert len(series) == FRAMES - 1
        codes = [finding.code for finding in series.findings]
        assert codes == ["CTK-W022", "CTK-W032"]

    @pytest.mark.parametrize("layout", ["one", "starts", "table", "extended"])
    @pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
    def test_compressed_frames(self, factory, slices, tmp_path, layout, syntax):
        """Fragments belong to frames by number, by how they start, or by a table."""
        order = range(FRAMES - 1, -1, -1)
        frames = [encode(factory.image(index), syntax, 16) for index in order]
        frames = [frame + b"\0" * (len(frame) % 2) for frame in frames]
        parts = [[frame] for frame in frames]
        if layout != "one":
            parts = [[frame[:1000], frame[1000:]] for frame in frames]
        sizes = [sum(len(part) + 8 for part in split) for split in parts]
        offsets = [sum(sizes[:index]) for index in range(FRAMES)]
        image = enhanced(slices)
        if layout == "extended":
            image.ExtendedOffsetTable = np.array(offsets, "<u8").tobytes()
            image.ExtendedOffsetTableLengths = np.array(sizes, "<u8").tobytes()
        path = save_compressed(
            factory,
            image,
            tmp_path / "in" / "a.dcm",
            [part for split in parts for part in split],
            syntax,
            offsets=offsets if layout == "table" else (),
        )
        series = read_series(path)
        for index in range(FRAMES):
            assert np.array_equal(series.read(index).stored, factory.image(index))
        write_series(series, tmp_path / "out")
        written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
        assert "ExtendedOffsetTable" not in written
        assert np.array_equal(written.pixel_array[0], factory.image(FRAMES - 1))
        group = written.PerFrameFunctionalGroupsSequence[0]
        described = group.DerivationImageSequence[0].DerivationDescription
        assert f"decoded by {series.decoders[0]}" in described

    def test_fragments_that_belong_to_no_frame(self, factory, slices, tmp_path):
        frame = encode(factory.image(), JPEG2000Lossless, 16)
        path = save_compressed(
            factory,
            enhanced(slices),
            tmp_path / "a.dcm",
            [frame[:100], frame[100:]],
            JPEG2000Lossless,
        )
        assert refusal(path).code == "CTK-E049"


def without(*names):
    def change(number, group):
        if number == 2:
            for name in names:
                del group[name]

    return change


def rescale(**values):
    def change(number, group):
        if number == 2:
            for name, value in values.items():
                setattr(group.PixelValueTransformationSequence[0], name, value)

    return change


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"change": without("PixelValueTransformationSequence")}, "CTK-E040"),
            ({"change": rescale(RescaleSlope=0)}, "CTK-E040"),
            ({"change": rescale(RescaleType="ED")}, "CTK-E042"),
            ({"change": rescale(RescaleType="US")}, "CTK-E042"),
            ({"change": rescale(RescaleIntercept=30000)}, "CTK-E044"),
            ({"NumberOfFrames": None}, "CTK-E048"),
            ({"NumberOfFrames": 0}, "CTK-E048"),
            ({"NumberOfFrames": FRAMES - 1}, "CTK-E048"),
            ({"NumberOfFrames": 10**9}, "CTK-E048"),
            ({"PerFrameFunctionalGroupsSequence": None}, "CTK-E048"),
            ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "CTK-E047"),
            ({"PixelData": bytes(1000)}, "CTK-E003"),
            ({"PixelData": bytes(range(1, 129)) * 64 * (FRAMES + 1)}, "CTK-E048"),
            ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, "CTK-E048"),
        ],
    )
    def test_one_bad_frame_refuses_the_file(self, save, options, code):
        assert refusal(save(**options)).code == code

    def test_a_unit_of_its_own_can_be_accepted(self, save):
        folder = save(change=rescale(RescaleType="US"))
        assert len(read_series(folder, options=ReadOptions(force_hu=True))) == FRAMES

    def test_a_converted_image_may_not_know_its_unit(self, save):
        """Converters write US where the single-frame images say nothing."""

        def us(number, group):
            item = group.PixelValueTransformationSequence[0]
            item.RescaleType, item.RescaleSlope = "US", 1
            item.RescaleIntercept = -1024

        series = read_series(save(change=us, sop_class=LEGACY_CT))
        assert "CTK-W042" in [finding.code for finding in series.findings]

    def test_a_perfusion_map_is_refused_for_its_unit(self, shared_ct):
        folder = shared_ct / "hard" / "multiframe"
        error = refusal(folder / "enhanced_2frames.dcm")
        assert error.code == "CTK-E042" and "'US'" in str(error)

    def test_too_many_bytes(self, save):
        limits = Limits(max_file_bytes=4 * 64 * 64 * 2)
        assert refusal(save(), options=ReadOptions(limits=limits)).code == "CTK-E041"


class TestConcatenation:
    """One image in several files."""

    @pytest.fixture
    def parts(self, factory, slices, tmp_path):
        def save(total):
            for number in (1, 2, 3):
                image = enhanced(
                    slices[2 * number - 2 : 2 * number],
                    SOPInstanceUID=f"1.2.3.90{number}",
                    ConcatenationUID="1.2.9",
                    InConcatenationNumber=number,
                    InConcatenationTotalNumber=total,
                )
                factory.save(image, tmp_path / f"{number}.dcm")
            return tmp_path

        return save

    def test_all_parts(self, parts):
        series = read_series(parts(3))
        assert len(series) == FRAMES
        assert "CTK-W009" not in [each.code for each in series.findings]

    @pytest.mark.parametrize(("lost", "total"), [(3, 3), (1, 3), (2, None)])
    def test_a_missing_part_is_a_loss(self, parts, lost, total):
        folder = parts(total)
        (folder / f"{lost}.dcm").unlink()
        error = refusal(folder)
        assert error.code == "CTK-E003"
        assert "1 of 3 parts of a multi-frame image are missing" in str(error)
        series = read_series(folder, options=ReadOptions(skip_bad_slices=True))
        assert "CTK-W009" in [each.code for each in series.findings]


class TestWriting:
    def test_the_same_class_in_one_file(self, save, tmp_path):
        def private(number, group):
            group.add_new(0x00091001, "LO", "SECRETX in a private element")

        folder = save(change=private, ConcatenationUID="1.2.3.77")
        series = read_series(folder)
        write_series(series, tmp_path / "out", derivation=Derivation.network("net"))
        (path,) = (tmp_path / "out").glob("*.dcm")
        source = pydicom.dcmread(folder / "a.dcm")
        written = pydicom.dcmread(path)
        assert written.SOPClassUID == ENHANCED_CT
        assert written.file_meta.MediaStorageSOPClassUID == ENHANCED_CT
        assert written.PixelData == source.PixelData
        assert written.NumberOfFrames == FRAMES
        assert list(written.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
        shared = written.SharedFunctionalGroupsSequence[0]
        assert shared.CTImageFrameTypeSequence[0].FrameType[:2] == [
            "DERIVED",
            "PRIMARY",
        ]
        assert written.ConcatenationUID not in ("", "1.2.3.77")
        for number, group in enumerate(written.PerFrameFunctionalGroupsSequence):
            (derived,) = group.DerivationImageSequence
            assert derived.DerivationDescription.startswith("Noise reduction by neural")
            (used,) = derived.SourceImageSequence
            assert used.ReferencedSOPInstanceUID == source.SOPInstanceUID
            assert used.ReferencedSOPClassUID == ENHANCED_CT
            assert used.ReferencedFrameNumber == number + 1
            item = group.PixelValueTransformationSequence[0]
            assert item.RescaleIntercept == -1024 + FRAMES - 1 - number
        (evidence,) = written.SourceImageEvidenceSequence
        (reference,) = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert b"SECRETX in a private element" not in path.read_bytes()
        again = read_series(tmp_path / "out")
        assert np.array_equal(again.hu, series.hu)
        assert again.denoised and again.spacing_mm == series.spacing_mm

    def test_a_rescale_that_no_frame_has_is_not_kept(self, save, tmp_path):
        """Other programs believe it before they look into the groups."""
        series = read_series(save(RescaleSlope=1, RescaleIntercept=0))
        write_series(series, tmp_path / "out")
        written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
        assert "RescaleSlope" not in written and "RescaleIntercept" not in written
        assert np.array_equal(read_series(tmp_path / "out").hu, series.hu)

    def test_uids_follow_from_the_content(self, save, tmp_path):
        series = read_series(save())
        uids = []
        for name, change in (("a", 0), ("b", 0), ("c", 1)):
            write_series(series.with_hu(series.hu + change), tmp_path / name)
            written = pydicom.dcmread(tmp_path / name / "IM00001.dcm")
            uids.append((written.SOPInstanceUID, written.SeriesInstanceUID))
        assert uids[0] == uids[1]
        assert not set(uids[0]) & set(uids[2])

    def test_neighbours_are_named_by_frame(self, save, tmp_path):
        series = read_series(save())
        with SeriesWriter(series, tmp_path / "out", neighbours=1) as writer:
            for index in range(FRAMES):
                writer.write(index, series.read(index).hu)
        written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
        used = [
            [
                item.ReferencedFrameNumber
                for item in group.DerivationImageSequence[0].SourceImageSequence
            ]
            for group in written.PerFrameFunctionalGroupsSequence
        ]
        assert used == [[2, 1], [3, 2, 1], [4, 3, 2], [5, 4, 3], [5, 4]]

    def test_a_second_derivation_follows_the_first(self, save, tmp_path):
        simulated = Derivation.simulated_dose(0.25)
        write_series(read_series(save()), tmp_path / "1", derivation=simulated)
        write_series(read_series(tmp_path / "1"), tmp_path / "2")
        written = pydicom.dcmread(tmp_path / "2" / "IM00001.dcm")
        codes = [
            item.DerivationCodeSequence[0].CodeValue
            for item in written.PerFrameFunctionalGroupsSequence[
                0
            ].DerivationImageSequence
        ]
        assert codes == ["SIMULATE-DOSE", "DENOISE-NN"]
        assert len(written.SourceImageEvidenceSequence) == 2

    def test_values_that_do_not_fit_widen_all_frames(self, save, tmp_path):
        def even(number, group):
            item = group.PixelValueTransformationSequence[0]
            item.RescaleSlope, item.RescaleIntercept = 1, -1024

        twelve = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
        series = read_series(save(change=even, PixelPaddingValue=24, **twelve))
        write_series(series.with_hu(series.hu - 40), tmp_path / "out")
        written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
        assert (written.BitsStored, written.PixelRepresentation) == (16, 1)
        hu = read_series(tmp_path / "out").hu
        expected = np.where(series.hu == -1000, series.hu, series.hu - 40)
        assert np.array_equal(hu, expected)

    def test_a_file_that_changes_after_the_scan(self, save, tmp_path):
        folder = save()
        series = read_series(folder)
        content = (folder / "a.dcm").read_bytes()
        changed = pytest.raises(CtKerasError, match=r"CTK-E005 .*changed")
        with changed, SeriesWriter(series, tmp_path / "out") as writer:
            for index in range(FRAMES):
                writer.write(index, series.read(index).hu)
            (folder / "a.dcm").write_bytes(content + b"\0\0")
        assert not (tmp_path / "out").exists()


class TestOtherPrograms:
    """What is read of the derived file is what is read of its source."""

    @pytest.fixture
    def pair(self, save, tmp_path):
        folder = save()
        write_series(
            read_series(folder), tmp_path / "out", derivation=Derivation.network("net")
        )
        return folder / "a.dcm", tmp_path / "out" / "IM00001.dcm"

    @pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing")
    def test_dciodvfy_finds_nothing_new(self, pair):
        source, written = (validate(path) for path in pair)
        ours = "Unrecognized defined term = <99CTKERAS>"
        assert all(ours in line for line in written - source), written - source

    @pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is missing")
    def test_dcm2niix_sees_the_same_volume(self, pair, tmp_path):
        images = []
        for number, path in enumerate(pair):
            target = tmp_path / f"nii{number}"
            target.mkdir()
            line = ["dcm2niix", "-b", "n", "-f", "x", "-o", target, path.parent]
            subprocess.run(line, check=True, capture_output=True)
            (image,) = target.glob("*.nii")
            images.append(image.read_bytes())
        old, new = images
        for part in (slice(40, 56), slice(76, 120), slice(252, 328)):
            assert old[part] == new[part]
        assert old[352:] == new[352:]

    def test_gdcm_sees_the_same_volume(self, pair):
        gdcm = pytest.importorskip("gdcm")
        found = []
        for path in pair:
            reader = gdcm.ImageReader()
            reader.SetFileName(str(path))
            assert reader.Read()
            image = reader.GetImage()
            found.append(
                [
                    image.GetDimensions(),
                    [image.GetSpacing(axis) for axis in range(3)],
                    [image.GetOrigin(axis) for axis in range(3)],
                    image.GetBuffer().encode("utf-8", "surrogateescape"),
                ]
            )
        assert found[0] == found[1]
        assert found[0][0] == [64, 64, FRAMES]


class TestHighdicom:
    """A converter of single-frame series that shares no code with ours."""

    def test_a_converted_series_gives_the_same_hu(self, factory, tmp_path):
        highdicom = pytest.importorskip("highdicom")
        single = tmp_path / "single"
        for index in range(FRAMES):
            dataset = factory.dataset(
                index,
                RescaleIntercept=-1024 - index,
                RescaleType="HU",
                PositionReferenceIndicator="",
                AccessionNumber="1",
                StudyID="1",
                PatientSex="O",
                Laterality="",
                BurnedInAnnotation="NO",
            )
            for event in ("Study", "Series", "Content", "Acquisition"):
                setattr(dataset, f"{event}Date", "20260101")
                setattr(dataset, f"{event}Time", "120000")
            factory.save(dataset, single / f"{index}.dcm")
        converted = highdicom.legacy.LegacyConvertedEnhancedCTImage(
            legacy_datasets=[pydicom.dcmread(path) for path in single.iterdir()],
            series_instance_uid="1.2.3.4.5",
            series_number=9,
            sop_instance_uid="1.2.3.4.6",
            instance_number=1,
        )
        (tmp_path / "in").mkdir()
        converted.save_as(tmp_path / "in" / "a.dcm")
        expected, series = read_series(single), read_series(tmp_path / "in")
        assert np.array_equal(series.hu, expected.hu)
        assert series.spacing_mm == expected.spacing_mm
        assert (series.kvp, series.kernel) == (expected.kvp, expected.kernel)
        assert series.tube_current_ma == expected.tube_current_ma
        write_series(series, tmp_path / "out")
        image = highdicom.imread(tmp_path / "out" / "IM00001.dcm")
        assert image.SOPClassUID == LEGACY_CT
        for number in range(1, FRAMES + 1):
            hu = image.get_frame(number)  # with the rescale of the frame
            places = [source.frame for source in series.sources]
            assert np.array_equal(hu, expected.hu[places.index(number - 1)])


def test_real_slices_as_one_multi_frame_file(shared_ct, tmp_path, factory):
    folder = shared_ct / "hard" / "tilt" / "philips_minus18_5"
    paths = sorted(folder.iterdir())
    single = read_series(folder)
    slices = [pydicom.dcmread(path) for path in paths]
    factory.save(enhanced(slices), tmp_path / "in" / "a.dcm")
    series = read_series(tmp_path / "in")
    assert np.array_equal(series.hu, single.hu)
    assert series.tilt_degrees == single.tilt_degrees
    assert series.spacing_mm == single.spacing_mm
    assert not scan_folder(tmp_path / "in").refusals
