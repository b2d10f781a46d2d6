"""What is written can be decoded by others; what cannot be written is told before."""

import struct

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

from ct_keras.dicom import SeriesWriter, read_series
from ct_keras.dicom.writer import write_series
from ct_keras.errors import CtKerasError


def save_unwritable(factory, path) -> None:
    """Writes a slice with half a number, which reads well and cannot be written."""
    factory.save(factory.dataset(2), path, syntax=ImplicitVRLittleEndian)
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HHI", 0x7FE0, 0x0010, 8192))
    half = struct.pack("<HHI4x", 0x0018, 0x9306, 4)  # SingleCollimationWidth, a double
    path.write_bytes(content[:pixels] + half + content[pixels:])


class TestDecoding:
    @pytest.mark.parametrize(
        "changes",
        [
            {"SamplesPerPixel": None},
            {"NumberOfFrames": "0"},
            {"PlanarConfiguration": 1},
            {"PhotometricInterpretation": "MONOCHROME2 "},
            {"PhotometricInterpretation": "monochrome1"},
            {"ExtendedOffsetTable": b"\0" * 8},
            {"BitsStored": 12, "HighBit": 11},
        ],
    )
    def test_pydicom_decodes_every_output(self, factory, tmp_path, changes):
        series = read_series(factory.folder(tmp_path / "in", 4, **changes))
        write_series(series, tmp_path / "out")
        for index, path in enumerate(sorted((tmp_path / "out").glob("*.dcm"))):
            decoded = pydicom.dcmread(path).pixel_array
            np.testing.assert_array_equal(decoded, series.read(index).stored)

    def test_a_wrong_vr_of_the_source_is_not_kept(self, factory, tmp_path):
        path = factory.folder(tmp_path / "in", 1) / "000.dcm"
        rows = b"\x28\x00\x10\x00US\x02\x00"
        content = path.read_bytes()
        assert content.count(rows) == 1
        path.write_bytes(content.replace(rows, rows.replace(b"US", b"SS")))
        write_series(read_series(tmp_path / "in"), tmp_path / "out")
        written = pydicom.dcmread(next((tmp_path / "out").glob("*.dcm")))
        assert written["Rows"].VR == "US"
        assert written.pixel_array.shape == (64, 64)

    def test_what_cannot_be_decoded_is_refused(self, factory, tmp_path, monkeypatch):
        from ct_keras.dicom import writer

        def undecodable(header, file):
            header.PhotometricInterpretation = "NONE"
            write(header, file)

        write = writer.write_header
        monkeypatch.setattr(writer, "write_header", undecodable)
        series = read_series(factory.folder(tmp_path / "in", 2))
        with pytest.raises(CtKerasError, match="CTK-E074"):
            write_series(series, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestUnwritable:
    def test_it_is_told_before_the_work_with_the_name_of_the_element(
        self, factory, tmp_path
    ):
        folder = factory.folder(tmp_path / "in", 5)
        save_unwritable(factory, folder / "002.dcm")
        series = read_series(folder)
        with (
            pytest.raises(CtKerasError, match="CTK-E007") as caught,
            SeriesWriter(series, tmp_path / "out"),
        ):
            raise AssertionError("the work began")
        assert caught.value.received == "SingleCollimationWidth"
        assert "SECRETX" not in str(caught.value)
        assert not (tmp_path / "out").exists()
