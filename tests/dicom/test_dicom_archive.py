"""Zip archives and DICOMDIR files as input, benign and hostile."""

import struct
import zipfile

import numpy as np
import pytest
from multi_frame import enhanced
from pydicom import dcmread
from pydicom.dataset import Dataset

from ct_keras.dicom import Limits, ReadOptions, find_series, read_series, write_series
from ct_keras.dicom.finder import left_out
from ct_keras.errors import LEFT_OUT, CtKerasError


@pytest.fixture
def archive(factory, tmp_path):
    """An archive of a series and a text file, in folders with names of its own."""
    folder = factory.folder(tmp_path / "plain")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for number, file in enumerate(sorted(folder.iterdir())):
            made.write(file, f"SECRETX/{9 - number}/../../IM{number}")
        made.writestr("SECRETX/readme.txt", "hello")
        made.writestr("SECRETX/empty/", "")
    return path


def refusal(path, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        read_series(path, **options)
    assert "SECRETX" not in str(caught.value)
    assert str(path.parent) not in str(caught.value)
    return caught.value


def rewrite(path, change, **info):
    """Writes an archive with one member, whose directory entry may lie."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.dcm", change)
        for name, value in info.items():
            setattr(made.filelist[0], name, value)
    return path


class TestBenign:
    def test_the_series_is_that_of_the_folder(self, archive, factory, tmp_path):
        plain, series = read_series(tmp_path / "plain"), read_series(archive)
        assert np.array_equal(series.hu, plain.hu)
        assert series.spacing_mm == plain.spacing_mm
        codes = [finding.code for finding in series.findings]
        assert codes == ["CTK-W001"]

    def test_derived_series_beside_the_archive(self, archive, tmp_path):
        before = {path for path in tmp_path.rglob("*")}
        write_series(read_series(archive), tmp_path / "out")
        new = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} - {
            path.relative_to(tmp_path) for path in before
        }
        assert {path.parts[0] for path in new} == {"out"}
        hu = read_series(tmp_path / "out").hu
        assert np.array_equal(hu, read_series(tmp_path / "plain").hu)

    def test_the_archive_is_no_output(self, archive):
        with pytest.raises(CtKerasError, match="CTK-E071"):
            write_series(read_series(archive), archive, overwrite=True)
        assert zipfile.is_zipfile(archive)

    def test_frames_in_an_archive(self, factory, tmp_path):
        slices = [factory.dataset(index, RescaleType="HU") for index in range(3)]
        factory.save(enhanced(slices), tmp_path / "a.dcm")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
            made.write(tmp_path / "a.dcm", "1")
        series = read_series(tmp_path / "a.zip")
        assert np.array_equal(series.read(2).stored, factory.image(2))
        write_series(series, tmp_path / "out")
        assert np.array_equal(read_series(tmp_path / "out").hu, series.hu)

    def test_a_slice_of_air_may_be_packed_well(self, factory, tmp_path):
        air = factory.dataset(Rows=512, Columns=512, PixelData=bytes(2 * 512 * 512))
        factory.save(air, tmp_path / "a.dcm")
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
            made.write(tmp_path / "a.dcm", "a.dcm")
            (member,) = made.infolist()
        assert member.file_size > 200 * member.compress_size
        assert (read_series(tmp_path / "a.zip").hu == -1024).all()

    def test_an_archive_in_a_folder_is_told(self, archive):
        folder = archive.parent / "only"
        folder.mkdir()
        archive.rename(folder / "a.zip")
        error = refusal(folder)
        assert error.code == "CTK-E001"
        assert "zip archive" in str(error) and "give a zip archive" in str(error)

    def test_an_archive_that_changes(self, archive):
        series = read_series(archive)
        with zipfile.ZipFile(archive, "a") as made:
            made.writestr("more", "x")
        with pytest.raises(CtKerasError, match=r"CTK-E005 .*changed"):
            series.read(3)

    def test_directory_of_a_medium(self, factory, tmp_path):
        """Its files are looked at; where it points to does not matter."""
        folder = factory.folder(tmp_path / "medium" / "IMAGES")
        listed = factory.dataset(SOPClassUID="1.2.840.10008.1.3.10")
        path = factory.save(listed, tmp_path / "medium" / "DICOMDIR")
        series = read_series(path)
        assert np.array_equal(series.hu, read_series(folder).hu)

    @pytest.mark.parametrize("damage", [None, "no records", "not of this series"])
    def test_images_that_a_directory_lists_and_are_not_there(
        self, factory, tmp_path, damage
    ):
        """The last slice leaves no gap: nothing else tells that it is lost."""
        folder = factory.folder(tmp_path / "medium" / "IMAGES")
        files = sorted(folder.glob("*.dcm"))
        first = dcmread(files[0])
        series = Dataset()
        series.DirectoryRecordType = "SERIES"
        series.SeriesInstanceUID = "1.2.9" if damage else first.SeriesInstanceUID
        listed = factory.dataset(SOPClassUID="1.2.840.10008.1.3.10")
        records = [series, *map(directory_record, files)]
        listed.DirectoryRecordSequence = [] if damage == "no records" else records
        path = factory.save(listed, tmp_path / "medium" / "DICOMDIR")
        assert LEFT_OUT not in {each.code for each in read_series(path).findings}
        files[-1].unlink()
        found = read_series(path)
        text = f"the DICOMDIR lists {len(files)} images of the series; 1 are not there"
        assert left_out([found]) == ([] if damage else [text])


def directory_record(path) -> Dataset:
    image, record = dcmread(path), Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["..", "..", "nowhere"]
    record.ReferencedSOPClassUIDInFile = image.SOPClassUID
    record.ReferencedSOPInstanceUIDInFile = image.SOPInstanceUID
    return record


class TestHostile:
    def test_a_member_that_expands_too_much(self, tmp_path):
        path = rewrite(tmp_path / "a.zip", bytes(2**24))
        error = refusal(path)
        assert (error.code, error.exit_code) == ("CTK-E008", 4)
        assert "expands more than 200-fold" in str(error)

    def test_members_that_are_large_together(self, archive):
        error = refusal(
            archive, options=ReadOptions(limits=Limits(max_series_bytes=2**14))
        )
        assert error.code == "CTK-E008"

    def test_a_large_member(self, archive):
        few = Limits(max_file_bytes=2**12, max_header_bytes=2**10)
        assert refusal(archive, options=ReadOptions(limits=few)).code == "CTK-E008"

    def test_too_many_members(self, archive):
        assert (
            refusal(archive, options=ReadOptions(limits=Limits(max_files=3))).code
            == "CTK-E006"
        )

    @pytest.mark.parametrize("claimed", [100, 9000])
    def test_a_size_that_is_a_lie(self, factory, tmp_path, claimed):
        content = factory.save(factory.dataset(), tmp_path / "a.dcm").read_bytes()
        path = rewrite(tmp_path / "a.zip", content, file_size=claimed)
        assert refusal(path).code in ("CTK-E003", "CTK-E008")

    def test_an_encrypted_member(self, archive):
        content = bytearray(archive.read_bytes())
        place = content.index(b"PK\x01\x02")
        content[place + 8] |= 1
        archive.write_bytes(content)
        error = refusal(archive)
        assert error.code == "CTK-E008" and "encrypted" in str(error)

    def test_a_link(self, factory, tmp_path):
        path = rewrite(tmp_path / "a.zip", "/etc/passwd", external_attr=0o120777 << 16)
        error = refusal(path)
        assert error.code == "CTK-E008" and "links" in str(error)

    def test_an_archive_in_an_archive(self, archive, tmp_path):
        with zipfile.ZipFile(tmp_path / "outer.zip", "w") as made:
            made.write(archive, "inner.zip")
        error = refusal(tmp_path / "outer.zip")
        assert error.code == "CTK-E008" and "archive in an archive" in str(error)

    @pytest.mark.parametrize("kept", [10, 200, 0.5, 0.9])
    def test_a_cut_archive(self, archive, kept):
        content = archive.read_bytes()
        size = kept if kept > 1 else int(kept * len(content))
        archive.write_bytes(content[:size])
        assert refusal(archive).code == "CTK-E003"

    def test_a_member_without_a_name(self, archive):
        content = bytearray(archive.read_bytes())
        place = content.index(b"PK\x01\x02")
        (length,) = struct.unpack_from("<H", content, place + 28)
        struct.pack_into("<HHH", content, place + 28, 0, 0, length)  # a comment instead
        archive.write_bytes(content)
        assert refusal(archive).code == "CTK-E003"

    def test_a_member_that_is_elsewhere(self, archive):
        content = bytearray(archive.read_bytes())
        place = content.index(b"PK\x01\x02")
        struct.pack_into("<I", content, place + 42, 77)
        archive.write_bytes(content)
        assert refusal(archive).code == "CTK-E003"

    def test_a_member_before_the_beginning(self, archive):
        content = bytearray(archive.read_bytes())
        del content[60:70]  # so that the first member begins before the file
        archive.write_bytes(content)
        assert refusal(archive).code == "CTK-E003"

    def test_a_damaged_member(self, archive):
        content = bytearray(archive.read_bytes())
        content[2000:2010] = b"\xff" * 10
        archive.write_bytes(content)
        assert refusal(archive).code in ("CTK-E003", "CTK-E007")

    @pytest.mark.parametrize("bytes_claimed", [2**26, 0xFFFFFFFF])
    def test_a_directory_that_would_fill_the_memory(self, archive, bytes_claimed):
        content = bytearray(archive.read_bytes())
        end = content.rindex(b"PK\x05\x06")
        struct.pack_into("<I", content, end + 12, bytes_claimed)
        archive.write_bytes(content)
        assert refusal(archive).code in ("CTK-E003", "CTK-E008")

    def test_names_are_not_paths(self, factory, tmp_path):
        """A member named like a file of the system is a member, no more."""
        content = factory.save(factory.dataset(), tmp_path / "a.dcm").read_bytes()
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
            made.writestr("/etc/passwd", content)
            made.writestr("../../../outside", content)
        before = sorted(tmp_path.parent.iterdir())
        (series,) = find_series(tmp_path / "a.zip")
        assert np.array_equal(series.read(0).stored, factory.image())
        assert sorted(tmp_path.parent.iterdir()) == before
