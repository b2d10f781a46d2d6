"""What archives hold beside plain CT, and CT that says less or other than it should."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ct_keras.data import convert
from ct_keras.dicom import Limits, ReadOptions, find_series, read_series
from ct_keras.dicom.finder import left_out, list_files, scan_folder
from ct_keras.dicom.writer import write_series
from ct_keras.errors import CtKerasError

BIG_ENDIAN = b"1.2.840.10008.1.2.2"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"


def refused(code, folder, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        find_series(folder, **options)
    assert caught.value.code == code
    return caught.value


def codes(series) -> list[str]:
    return [finding.code for finding in series.findings]


def expected_hu(factory, slices=5) -> np.ndarray:
    return np.stack([factory.image(i) for i in range(slices)]).astype("f4") - 1024


class TestPadding:
    """Padding may have any value; the checks of HU leave it out."""

    @pytest.mark.parametrize(
        ("sign", "vr", "tag", "value"),
        [
            (1, "SS", -32768, -32768),
            (1, "US", 32768, -32768),  # the same bits under the wrong sign
            (0, "US", 65535, 65535),
            (1, None, None, -32768),  # untagged, in the corners
        ],
    )
    def test_far_padding_is_no_reason_to_refuse(
        self, factory, tmp_path, sign, vr, tag, value
    ):
        y, x = np.mgrid[:64, :64] - 31.5
        outside = x * x + y * y > 32**2
        for index in range(4):
            stored = factory.image(index).astype("<i4")
            stored[outside] = value
            data = factory.dataset(index, PixelRepresentation=sign)
            data.PixelData = stored.astype("<i2" if sign else "<u2").tobytes()
            if vr:
                data.add_new("PixelPaddingValue", vr, tag)
            factory.save(data, tmp_path / f"{index}.dcm")
        series = read_series(tmp_path)
        assert (series.read(0).padding == outside).all()
        assert series.read(0).hu[0, 0] == value - 1024

    def test_padding_is_the_only_air_of_a_field_of_view_inside_the_body(
        self, factory, tmp_path
    ):
        for index in range(4):
            stored = np.full((64, 64), 1074, "<i2")
            stored[:4, :4] = stored[-4:, -4:] = -2000
            stored[::2] += index
            data = factory.dataset(index, PixelData=stored.tobytes())
            factory.save(data, tmp_path / f"{index}.dcm")
        assert len(read_series(tmp_path)) == 4

    def test_far_values_that_are_no_padding_are_refused(self, factory, tmp_path):
        def spoil(index):
            stored = factory.image(index)
            stored[20:30] = -32768
            return stored.tobytes()

        refused("CTK-E044", factory.folder(tmp_path / "in", PixelData=spoil))


class TestEncoding:
    """The encoding follows what is found in the file, not what its meta says."""

    @pytest.mark.parametrize("implicit", [True, False])
    @pytest.mark.parametrize("tail", [b"", b"\xfc\xff\xfc\xff\x40\0\0\0" + b"\0" * 64])
    def test_misdeclared_files_give_their_own_hu(
        self, factory, tmp_path, implicit, tail
    ):
        declared = ExplicitVRLittleEndian if implicit else ImplicitVRLittleEndian
        for index in range(5):
            path = tmp_path / "in" / f"{index}.dcm"
            factory.save(factory.dataset(index), path, syntax=declared)
            data = factory.dataset(index)
            meta = path.read_bytes()
            body = tmp_path / "body"
            dcmwrite(body, data, implicit_vr=implicit, little_endian=True)
            start = meta.index(b"\x08\x00\x08\x00", 132)
            path.write_bytes(meta[:start] + body.read_bytes() + tail)
        series = read_series(tmp_path / "in")
        np.testing.assert_array_equal(series.hu, expected_hu(factory))
        assert "CTK-W007" in codes(series)
        write_series(series, tmp_path / "out")
        np.testing.assert_array_equal(read_series(tmp_path / "out").hu, series.hu)
        with pytest.raises(CtKerasError, match="CTK-E007"):
            convert(
                tmp_path / "in", tmp_path / "records", layout="single", split="1,0,0"
            )

    @pytest.mark.parametrize("little", [True, False])
    def test_the_other_byte_order_is_told(self, factory, tmp_path, little):
        path = factory.save(factory.dataset(), tmp_path / "in" / "a.dcm")
        meta = path.read_bytes()
        if little:
            meta = meta.replace(ExplicitVRLittleEndian.encode(), BIG_ENDIAN)
        body = tmp_path / "body"
        dcmwrite(body, factory.dataset(), implicit_vr=False, little_endian=little)
        start = meta.index(b"\x08\x00\x08\x00", 132)
        path.write_bytes(meta[:start] + body.read_bytes())
        assert "byte order" in str(refused("CTK-E007", path.parent))


class TestOtherObjects:
    """What is no CT is skipped and told, whatever it is encoded in."""

    def other(self, sop_class=STRUCTURES, modality="RTSTRUCT") -> Dataset:
        data = Dataset()
        data.SOPClassUID, data.SOPInstanceUID = sop_class, "1.2.77"
        data.Modality, data.PatientID = modality, "SECRETX-1"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.4", "1.2.78"
        return data

    def skipped(self, folder) -> bool:
        (series,) = find_series(folder)
        return len(series) == 5 and "CTK-W021" in codes(series)

    def test_deflated(self, factory, tmp_path):
        factory.folder(tmp_path)
        data = self.other()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
        assert self.skipped(tmp_path)

    @pytest.mark.parametrize("implicit", [True, False])
    def test_without_preamble(self, factory, tmp_path, implicit):
        factory.folder(tmp_path)
        dcmwrite(
            tmp_path / "rs.dcm", self.other(), implicit_vr=implicit, little_endian=True
        )
        assert self.skipped(tmp_path)

    def test_a_ct_image_without_preamble_is_not_skipped(self, factory, tmp_path):
        factory.folder(tmp_path)
        data = factory.dataset(7)
        dcmwrite(tmp_path / "x.dcm", data, implicit_vr=True, little_endian=True)
        refused("CTK-E002", tmp_path)

    def test_without_sop_class(self, factory, tmp_path):
        factory.folder(tmp_path)
        data = Dataset()
        data.PatientID = "SECRETX"
        body = tmp_path / "body"
        dcmwrite(body, data, implicit_vr=True, little_endian=True)
        (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + body.read_bytes())
        body.unlink()
        assert self.skipped(tmp_path)

    def test_an_image_without_sop_class_is_not_skipped(self, factory, tmp_path):
        factory.folder(tmp_path)
        data = factory.dataset(7, SOPClassUID=None)
        body = tmp_path / "body"
        dcmwrite(body, data, implicit_vr=True, little_endian=True)
        (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + body.read_bytes())
        body.unlink()
        refused("CTK-E003", tmp_path)

    def test_a_cut_file_meta_is_not_told_as_a_missing_decoder(self, factory, tmp_path):
        path = factory.folder(tmp_path / "in") / "002.dcm"
        data = path.read_bytes()
        syntax = data.index(b"\x02\x00\x10\x00")
        path.write_bytes(data[:syntax])
        assert "decoder" not in str(refused("CTK-E007", tmp_path / "in"))
        without = data[:syntax] + data[syntax + 8 + data[syntax + 6] :]
        path.write_bytes(without)
        error = refused("CTK-E007", tmp_path / "in")
        assert "TransferSyntaxUID" in str(error)

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("003.dcm", b"", "is empty"),
            ("x.dcm", bytes(200), "is filled with zeros"),
            ("003.dcm", bytes(20_000), "is filled with zeros"),
            ("003.dcm", b"<html>404</html>", "is not DICOM"),
            ("003.dcm", bytes(200) + b"\1" * 9000, "is not DICOM"),
        ],
    )
    def test_a_slice_whose_content_never_came_is_a_loss(
        self, factory, tmp_path, name, content, problem
    ):
        (factory.folder(tmp_path / "in") / name).write_bytes(content)
        error = refused("CTK-E003", tmp_path / "in")
        assert f"{problem}, and its name is that of a slice" in str(error)
        left = 4 if name == "003.dcm" else 5
        options = ReadOptions(skip_bad_slices=True)
        series = read_series(tmp_path / "in", options=options)
        assert len(series) == left
        assert "CTK-W009" in codes(series)

    @pytest.mark.parametrize(
        ("slices", "lost", "other"),
        [
            ("IM-0001-{}", "IM-0001-77", "README"),
            ("1.2.840.99.{}", "1.2.840.99.1.5", "VERSION"),
            ("CT.1.2.99.{}.img", "CT.1.2.99.4.img", "header.txt"),
            ("0ae1bc4f{:024x}", "0ae1bc4f" + "5" * 24, "LOCKFILE.lock"),
        ],
    )
    def test_names_of_slices_differ_by_numbers(
        self, factory, tmp_path, slices, lost, other
    ):
        for index in range(5):
            path = tmp_path / slices.format(index)
            factory.save(factory.dataset(index), path)
        (tmp_path / other).write_text("any text")
        series = read_series(tmp_path)
        assert (len(series), codes(series)) == (5, ["CTK-W001"])
        (tmp_path / lost).write_bytes(b"any other content")
        refused("CTK-E003", tmp_path)

    @pytest.mark.parametrize(
        ("name", "beside", "lost"),
        [
            ("004.dcm.gz", False, True),
            ("004.dcm.gz", True, False),
            ("004.dcm.md5", True, False),
            ("004.txt", False, False),
        ],
    )
    def test_a_slice_with_one_more_suffix(self, factory, tmp_path, name, beside, lost):
        """Packed, or received in part; a checksum beside its slice is nothing."""
        factory.folder(tmp_path)
        if not beside:
            (tmp_path / "004.dcm").unlink()
        (tmp_path / name).write_bytes(b"any other content")
        if lost:
            refused("CTK-E003", tmp_path)
        else:
            assert codes(read_series(tmp_path)) == ["CTK-W001"]

    def test_a_link_in_place_of_a_slice(self, factory, tmp_path):
        factory.folder(tmp_path / "in")
        (tmp_path / "in" / "002.dcm").rename(tmp_path / "elsewhere.dcm")
        (tmp_path / "in" / "002.dcm").symlink_to(tmp_path / "elsewhere.dcm")
        error = refused("CTK-E003", tmp_path / "in")
        assert "is a link, which is not followed, and its name is that of" in str(error)
        options = ReadOptions(skip_bad_slices=True)
        series = read_series(tmp_path / "in", options=options)
        assert len(series) == 4
        assert codes(series) == ["CTK-W009", "CTK-W032", "CTK-W009"]

    def test_a_slice_of_another_modality(self, factory, tmp_path):
        """Its class is that of a CT image, and so is its series."""
        folder = factory.folder(tmp_path / "in")
        factory.save(factory.dataset(2, Modality="OT"), folder / "002.dcm")
        error = refused("CTK-E020", folder)
        assert "of a CT series, but its Modality is OT, not CT" in str(error)
        series = read_series(folder, options=ReadOptions(skip_bad_slices=True))
        assert len(series) == 4
        assert codes(series) == ["CTK-W009", "CTK-W032"]
        alone = factory.dataset(2, Modality="OT", SeriesInstanceUID="1.2.3")
        factory.save(alone, folder / "002.dcm")
        assert set(codes(read_series(folder))) == {"CTK-W021", "CTK-W032"}

    @pytest.mark.parametrize(
        ("names", "other", "code"),
        [
            (("k7q", "apple", "xyz"), "zebra.dcm", "CTK-E003"),
            (("k7q", "apple", "xyz"), ".zebra.dcm", "CTK-W001"),
            (("k7q", "apple", "xyz"), "zebra.txt", "CTK-W001"),
            (("IM1", "IM2", "xyz"), "zebra.dcm", "CTK-W001"),
            (("k7q",), "zebra.dcm", "CTK-W001"),
        ],
    )
    def test_where_names_follow_no_pattern_the_suffix_tells(
        self, factory, tmp_path, names, other, code
    ):
        for index, name in enumerate(names):
            factory.save(factory.dataset(index), tmp_path / f"{name}.dcm")
        (tmp_path / other).write_bytes(b"overwritten by something else")
        if code == "CTK-E003":
            refused(code, tmp_path)
        else:
            assert codes(read_series(tmp_path)) == [code]

    @pytest.mark.parametrize(
        "name", [".nobackup", ".DS_Store", "DICOMDIR", "notes.txt", "notes.bin"]
    )
    @pytest.mark.parametrize("content", [b"", bytes(200), b"some text"])
    def test_other_files_are_counted(self, factory, tmp_path, name, content):
        (factory.folder(tmp_path) / name).write_bytes(content)
        series = read_series(tmp_path)
        assert (len(series), codes(series)) == (5, ["CTK-W001"])


def test_a_repeated_instance_uid_is_not_repeated_in_the_output(factory, tmp_path):
    def uid(index):
        return "1.2.3.9" if index in (1, 2) else f"1.2.3.{index + 20}"

    same = {"PixelData": factory.image(0).tobytes(), "SOPInstanceUID": uid}
    series = read_series(factory.folder(tmp_path / "in", **same))
    assert "CTK-W007" in codes(series)
    for name in ("out", "again"):
        write_series(series, tmp_path / name)
    uids = [
        [source.sop_instance_uid for source in read_series(tmp_path / name).sources]
        for name in ("out", "again")
    ]
    assert len(set(uids[0])) == 5
    assert uids[0] == uids[1]


class TestUnspecifiedUnit:
    """RescaleType US, as GDCM and ITK write it for HU."""

    def test_hu_of_an_unspecified_unit_are_taken_with_a_warning(
        self, factory, tmp_path
    ):
        series = read_series(factory.folder(tmp_path / "in", RescaleType="US"))
        np.testing.assert_array_equal(series.hu, expected_hu(factory))
        assert "CTK-W042" in codes(series)

    @pytest.mark.parametrize(
        ("unit", "code"),
        [
            ("UNSPECIFIED", "CTK-W042"),
            ("n/a", "CTK-W042"),
            (["HU", "HU"], None),
            ("Hounsfield Units", None),
        ],
    )
    def test_other_words_for_it(self, factory, tmp_path, unit, code):
        series = read_series(factory.folder(tmp_path, RescaleType=unit))
        assert codes(series) == ([code] if code else [])

    def test_other_values_of_an_unspecified_unit_are_refused(self, factory, tmp_path):
        folder = factory.folder(
            tmp_path / "in", RescaleType="US", RescaleIntercept=-1300
        )
        error = refused("CTK-E042", folder)
        assert "--force-hu" in error.fix
        assert len(find_series(folder, options=ReadOptions(force_hu=True))[0]) == 5


class TestMissingValues:
    """An unknown value is not another value: no slice is split off or lost."""

    @pytest.mark.parametrize(
        "keyword", ["ImageOrientationPatient", "KVP", "SliceThickness", "PatientID"]
    )
    def test_one_slice_without_a_value_stays_in_its_series(
        self, factory, tmp_path, keyword
    ):
        factory.folder(tmp_path)
        factory.save(factory.dataset(2, **{keyword: None}), tmp_path / "002.dcm")
        (series,) = find_series(tmp_path)
        np.testing.assert_array_equal(series.hu, expected_hu(factory))
        assert np.allclose(series.spacing_mm, (5, 0.5, 0.75))
        assert not {"CTK-W022", "CTK-W032", "CTK-W035"} & set(codes(series))
        assert series.patient_key == "SECRETX-1"
        missing = keyword == "ImageOrientationPatient"
        assert ("CTK-W036" in codes(series)) == missing

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("KVP", ("80", "140", None)),
            ("SliceThickness", ("1", "5", None)),
            (
                "ImageOrientationPatient",
                ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], None),
            ),
        ],
    )
    def test_slices_that_may_belong_to_several_stacks_are_refused(
        self, factory, tmp_path, keyword, values
    ):
        for index in range(12):
            change = {keyword: values[0 if index < 5 else 1 if index < 11 else 2]}
            factory.save(factory.dataset(index, **change), tmp_path / f"{index}.dcm")
        refused("CTK-E036", tmp_path)


class TestNothingFound:
    """A folder without CT is told what it holds."""

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("ct.nii.gz", b"\x1f\x8b" + bytes(50), "NIfTI"),
            ("ct.nii", bytes(400), "NIfTI"),
            ("ct.nrrd", b"NRRD0004\n" + bytes(50), "NRRD"),
            ("ct.mha", b"ObjectType = Image\n", "MetaImage"),
            ("ct.mhd", b"ObjectType = Image\n", "MetaImage in two files"),
            ("ct.hdr", bytes(348), "Analyze"),
            ("a.mat", b"MATLAB 5.0" + bytes(50), "MATLAB"),
            ("a.rar", b"Rar!\x1a\x07\0" + bytes(50), "rar archive"),
            ("a.tar.xz", b"\xfd7zXZ\0" + bytes(50), "xz archive"),
            ("a.dcm.gz", b"\x1f\x8b" + bytes(50), "gzip archive"),
            ("L067.npy", b"\x93NUMPY\x01\0" + bytes(90), "NumPy"),
            ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(90), "PNG"),
            ("a.tif", b"II*\0" + bytes(90), "TIFF"),
            ("a.tar.gz", b"\x1f\x8b" + bytes(50), "tar archive"),
        ],
    )
    def test_other_files_are_named(self, tmp_path, name, content, what):
        (tmp_path / name).write_bytes(content)
        error = refused("CTK-E001", tmp_path)
        assert what in error.received
        assert "DICOM" in error.expected
        assert ("unpack" in error.fix) == ("archive" in what)
        other = what in ("MetaImage in two files", "Analyze", "MATLAB")
        assert ("write it as .nii.gz" in error.fix) == other

    def test_zip(self, factory, tmp_path):
        factory.folder(tmp_path / "dcm", 1)
        (tmp_path / "in").mkdir()
        with zipfile.ZipFile(tmp_path / "in" / "s.zip", "w") as archive:
            archive.write(tmp_path / "dcm" / "000.dcm", "a.dcm")
        error = refused("CTK-E001", tmp_path / "in")
        assert "zip" in error.received
        assert "unpack" in error.fix

    def test_links(self, factory, tmp_path):
        factory.folder(tmp_path / "dcm", 2)
        (tmp_path / "in").mkdir()
        for path in (tmp_path / "dcm").iterdir():
            os.symlink(
                os.path.relpath(path, tmp_path / "in"), tmp_path / "in" / path.name
            )
        error = refused("CTK-E001", tmp_path / "in")
        assert error.received == "2 x link"
        assert "not followed" in error.fix

    def test_a_secondary_capture_is_named_by_its_class(self, factory, tmp_path):
        folder = factory.folder(
            tmp_path / "in", 2, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"
        )
        error = refused("CTK-E001", folder)
        assert error.received == "2 x Secondary Capture Image Storage"

    def test_a_private_class_is_not_printed(self, factory, tmp_path):
        folder = factory.folder(tmp_path / "in", 2, SOPClassUID="1.2.752.24.3.1.19")
        assert "1.2.752" not in str(refused("CTK-E001", folder))

    def test_other_files_in_the_layout_images_are_told_what_is_read(self, tmp_path):
        for name in ("low", "full"):
            (tmp_path / "src" / name).mkdir(parents=True)
            (tmp_path / "src" / name / "L067_0.h5").write_bytes(b"\x89HDF" + bytes(99))
        with pytest.raises(CtKerasError, match="CTK-E001") as caught:
            convert(
                tmp_path / "src",
                tmp_path / "r",
                layout="images",
                low="low",
                full="full",
            )
        assert "PNG" in caught.value.expected
        assert "numpy.save" in caught.value.fix


def test_projections_beside_images_are_no_refused_series(factory, tmp_path):
    nowhere = dict.fromkeys(
        ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    raw = {"SeriesInstanceUID": "1.2.9", "RescaleSlope": "0.0002"} | nowhere
    raw["RescaleIntercept"] = "-0.05"
    factory.folder(tmp_path / "image", 3)
    for name, described in (("projections", "Full dose projections"), ("other", "raw")):
        changes = {"SOPInstanceUID": lambda i, n=name: f"1.2.{len(n)}.{i + 1}"}
        changes["SeriesDescription"] = described
        factory.folder(tmp_path / name, 3, **changes | raw)
    scan = scan_folder(tmp_path)
    assert [len(series) for series in scan.series] == [3]
    # What only lacks its place is refused; what also says that it is raw is skipped.
    assert [refusal.files for refusal in scan.refusals] == [3]
    texts = [str(finding) for finding in scan.findings]
    assert [text for text in texts if "skipped 3 objects" in text]
    shutil.rmtree(tmp_path / "other")
    (series,) = find_series(tmp_path)
    assert left_out([series]) == []


def test_the_files_of_a_patient_with_60_000_projections_are_listed(tmp_path):
    for number in range(60_000):
        os.mknod(tmp_path / f"{number:05d}")
    assert len(list_files(tmp_path, Limits())) == 60_000
