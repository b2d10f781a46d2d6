"""Hostile files are refused by a look at their lengths, before anything is parsed."""

import os
import struct
import tracemalloc

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ct_keras.dicom import Limits, ReadOptions, read_series, write_series
from ct_keras.errors import CtKerasError

MOST_BYTES = 100 * 2**20
PIXELS = {
    ExplicitVRLittleEndian: struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"),
    ImplicitVRLittleEndian: struct.pack("<HHI", 0x7FE0, 0x0010, 8192),
}


def refusal(folder, **options) -> CtKerasError:
    """The refusal of a folder, whose reading must not take much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(CtKerasError) as caught:
            read_series(folder, **options)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return caught.value


def insert(path, extra: bytes, before: bytes) -> None:
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, extra + before))


def stretch(path, head: bytes, length: int, before: bytes) -> None:
    """Puts an element of so many zeros into a file, without filling the disk."""
    content = path.read_bytes()
    place = content.index(before)
    with open(path, "wb") as file:
        file.write(content[:place] + head)
        file.seek(length, os.SEEK_CUR)
        file.write(content[place:])


def nested(depth: int, *, tag=(0x0040, 0x0275), defined=True, explicit=True) -> bytes:
    """A sequence in a sequence in a sequence."""
    body = b""
    form = "<HH2sHI" if explicit else "<HHI"
    vr = (b"SQ", 0) if explicit else ()
    for _ in range(depth):
        size = len(body) if defined else 0xFFFFFFFF
        end = b"" if defined else struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, size) + body + end
        size = len(item) if defined else 0xFFFFFFFF
        end = b"" if defined else struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        body = struct.pack(form, *tag, *vr, size) + item + end
    return body


class TestNesting:
    @pytest.mark.parametrize("syntax", list(PIXELS))
    @pytest.mark.parametrize("defined", [True, False])
    @pytest.mark.parametrize("depth", [33, 300])
    def test_too_deep(self, factory, tmp_path, syntax, defined, depth):
        path = factory.save(factory.dataset(), tmp_path / "a.dcm", syntax=syntax)
        explicit = syntax == ExplicitVRLittleEndian
        bomb = nested(depth, defined=defined, explicit=explicit)
        insert(path, bomb, PIXELS[syntax])
        error = refusal(tmp_path)
        assert error.code == "CTK-E007"
        assert "nested deeper than 32" in str(error)

    @pytest.mark.parametrize("defined", [True, False])
    def test_as_deep_as_allowed(self, factory, tmp_path, defined):
        path = factory.save(factory.dataset(), tmp_path / "in" / "a.dcm")
        insert(path, nested(32, defined=defined), PIXELS[ExplicitVRLittleEndian])
        series = read_series(tmp_path / "in")
        write_series(series, tmp_path / "out")
        written = read_series(tmp_path / "out").header
        for _ in range(32):
            (written,) = written[0x0040, 0x0275].value

    def test_sequences_of_unknown_elements_count_too(self, factory, tmp_path):
        path = factory.save(
            factory.dataset(), tmp_path / "a.dcm", syntax=ImplicitVRLittleEndian
        )
        bomb = nested(40, tag=(0x0041, 0x1001), explicit=False)
        insert(path, bomb, PIXELS[ImplicitVRLittleEndian])
        assert "nested deeper" in str(refusal(tmp_path))

    def test_binary_values_are_no_sequences(self, factory, tmp_path):
        icon = Dataset()
        icon.Rows = icon.Columns = 64
        icon.add_new("PixelData", "OW", nested(100)[:8192].ljust(8192, b"\xfe"))
        private = nested(60)
        data = factory.dataset(IconImageSequence=Sequence([icon]))
        data.add_new((0x0009, 0x0010), "LO", "MAKER")
        data.add_new((0x0009, 0x1010), "OB", private)
        factory.save(data, tmp_path / "a.dcm")
        assert read_series(tmp_path).header[0x0009, 0x1010].value == private


class TestSizes:
    @pytest.mark.parametrize(
        ("head", "before"),
        [
            # ImageType behind an implicit head, 2.5 GB; an element of the file meta
            (struct.pack("<HHI", 0x0008, 0x0008, 2_500_000_000), b"\x08\0\x16\0"),
            (
                struct.pack("<HH2sHI", 0x0002, 0x0102, b"OB", 0, 1_500_000_000),
                b"\x08\0\x08\0",
            ),
            (
                struct.pack("<HH2sHI", 0x0041, 1, b"UN", 0, 2**31),
                PIXELS["1.2.840.10008.1.2.1"],
            ),
        ],
    )
    def test_elements_of_gigabytes(self, factory, tmp_path, head, before):
        path = factory.save(factory.dataset(), tmp_path / "a.dcm")
        length = struct.unpack("<I", head[-4:])[0]
        stretch(path, head, length, before)
        error = refusal(tmp_path)
        assert error.code == "CTK-E007"
        assert "header over 16 MiB" in str(error) or "list of values" in str(error)

    def test_gigabytes_of_zeros(self, tmp_path):
        path = tmp_path / "a.dcm"
        path.write_bytes(b"\0" * 128 + b"DICM")
        os.truncate(path, 2 * 2**30)
        assert (
            refusal(
                tmp_path, options=ReadOptions(limits=Limits(max_elements=10_000))
            ).code
            == "CTK-E007"
        )

    def test_millions_of_empty_elements(self, factory, tmp_path):
        path = factory.save(factory.dataset(), tmp_path / "a.dcm")
        empty = struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 0)
        insert(path, empty * 20_000, PIXELS[ExplicitVRLittleEndian])
        assert len(read_series(tmp_path)) == 1
        error = refusal(
            tmp_path, options=ReadOptions(limits=Limits(max_elements=20_000))
        )
        assert error.code == "CTK-E007"
        assert "more than 20000 elements" in str(error)

    def test_lists_of_millions_of_numbers(self, factory, tmp_path):
        path = factory.save(
            factory.dataset(PixelSpacing=None),
            tmp_path / "a.dcm",
            syntax=ImplicitVRLittleEndian,
        )
        numbers = b"1\\" * 500_000
        spacing = struct.pack("<HHI", 0x0028, 0x0030, len(numbers)) + numbers
        insert(path, spacing, PIXELS[ImplicitVRLittleEndian])
        assert "list of values" in str(refusal(tmp_path))

    def test_a_short_file_that_claims_gigabytes_is_truncated(self, factory, tmp_path):
        path = factory.save(factory.dataset(), tmp_path / "a.dcm")
        claim = struct.pack("<HH2sHI", 0x0041, 0x0001, b"UN", 0, 0xFFFFFFF0)
        insert(path, claim, PIXELS[ExplicitVRLittleEndian])
        assert refusal(tmp_path).code in ("CTK-E003", "CTK-E007")

    def test_large_objects_of_another_kind_are_skipped(self, factory, tmp_path):
        factory.folder(tmp_path)
        data = factory.dataset(
            9, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT"
        )
        path = factory.save(data, tmp_path / "rs.dcm")
        head = struct.pack("<HH2sHI", 0x3006, 0x0039, b"OB", 0, 2**25)
        stretch(path, head, 2**25, PIXELS[ExplicitVRLittleEndian])
        series = read_series(tmp_path)
        assert len(series) == 5
        assert "CTK-W021" in [finding.code for finding in series.findings]
