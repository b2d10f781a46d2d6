"""Files that are foreign, cut short, too large or no files at all."""

import os
import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ct_keras.dicom import Limits, ReadOptions, read_series
from ct_keras.errors import CtKerasError


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


class TestFiles:
    def test_empty_folder(self, tmp_path):
        error = refusal(tmp_path)
        assert (error.code, error.exit_code) == ("CTK-E001", 2)

    def test_only_foreign_files(self, tmp_path):
        (tmp_path / "a.txt").write_text("hello")
        (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
        (tmp_path / "c").write_bytes(b"")
        error = refusal(tmp_path)
        assert error.code == "CTK-E001"
        assert "3 files" in str(error)

    def test_foreign_files_are_counted(self, factory, tmp_path):
        factory.folder(tmp_path)
        (tmp_path / "SECRETX.txt").write_text("hello")
        assert "CTK-W001" in codes(tmp_path)

    def test_missing_folder(self, tmp_path):
        error = refusal(tmp_path / "nowhere")
        assert (error.code, error.exit_code) == ("CTK-E005", 5)

    def test_no_preamble(self, factory, tmp_path):
        path = factory.folder(tmp_path, 1) / "000.dcm"
        path.write_bytes(path.read_bytes()[132:])
        assert refusal(tmp_path).code == "CTK-E002"

    @pytest.mark.parametrize("kept", [0.5, 0.95])
    def test_cut_pixels_name_the_bytes(self, factory, tmp_path, kept):
        path = factory.folder(tmp_path) / "002.dcm"
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content))])
        error = refusal(tmp_path)
        assert (error.code, error.exit_code) == ("CTK-E003", 4)
        received = 8192 - (len(content) - int(kept * len(content)))
        assert f"file #3 is truncated: {received} of 8192 pixel bytes" in str(error)

    @pytest.mark.parametrize("position", [140, 200, 350, 500, 700])
    def test_cut_header(self, factory, tmp_path, position):
        path = factory.folder(tmp_path) / "002.dcm"
        path.write_bytes(path.read_bytes()[:position])
        assert refusal(tmp_path).code in ("CTK-E003", "CTK-E007", "CTK-E010")

    def test_longer_pixels_warn(self, factory, tmp_path):
        longer = factory.image().tobytes() + bytes(100)
        factory.folder(tmp_path, PixelData=longer)
        assert codes(tmp_path) == ["CTK-W003"]
        assert np.array_equal(read_series(tmp_path).read(0).stored, factory.image())

    def test_float_pixels(self, factory, tmp_path):
        floats = np.zeros((64, 64), "<f4").tobytes()
        factory.folder(tmp_path, PixelData=None, FloatPixelData=floats)
        assert refusal(tmp_path).code == "CTK-E047"

    def test_links_are_not_followed(self, factory, tmp_path):
        factory.folder(tmp_path / "elsewhere")
        factory.folder(tmp_path / "in", 3)
        (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in" / "x.dcm").symlink_to(tmp_path / "elsewhere" / "004.dcm")
        assert len(read_series(tmp_path / "in")) == 3
        assert codes(tmp_path / "in") == ["CTK-W005"]

    def test_pipes_are_refused(self, factory, tmp_path):
        factory.folder(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        error = refusal(tmp_path)
        assert (error.code, error.exit_code) == ("CTK-E005", 5)

    def test_too_many_files(self, factory, tmp_path):
        factory.folder(tmp_path)
        assert (
            refusal(tmp_path, options=ReadOptions(limits=Limits(max_files=4))).code
            == "CTK-E006"
        )

    def test_too_deep(self, factory, tmp_path):
        factory.folder(tmp_path / "1/2/3")
        assert (
            len(read_series(tmp_path, options=ReadOptions(limits=Limits(max_depth=3))))
            == 5
        )
        assert (
            refusal(tmp_path, options=ReadOptions(limits=Limits(max_depth=2))).code
            == "CTK-E006"
        )

    def test_large_header(self, factory, tmp_path):
        factory.folder(tmp_path, ImageComments="x" * 3000)
        error = refusal(
            tmp_path, options=ReadOptions(limits=Limits(max_header_bytes=2000))
        )
        assert error.code == "CTK-E007"

    def test_large_series(self, factory, tmp_path):
        factory.folder(tmp_path)
        assert refusal(
            tmp_path, options=ReadOptions(limits=Limits(max_series_bytes=9000))
        ).code == ("CTK-E041")

    def test_nested_sequences(self, factory, tmp_path):
        path = factory.save(factory.dataset(), tmp_path / "a.dcm")
        content = path.read_bytes()
        marker = struct.pack("<HH2s", 0x0008, 0x0060, b"CS")  # Modality
        start = struct.pack("<HH2sHI", 0x0008, 0x0051, b"SQ", 0, 0xFFFFFFFF)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        bomb = (start + item) * 3000
        path.write_bytes(content.replace(marker, bomb + marker, 1))
        assert refusal(tmp_path).code in ("CTK-E003", "CTK-E007")

    def test_unfinished_output_is_no_input(self, factory, tmp_path):
        factory.folder(tmp_path / ".ctk-tmp-abc")
        assert refusal(tmp_path).code == "CTK-E001"

    def test_dicomdir_is_passed_over(self, factory, tmp_path):
        factory.folder(tmp_path)
        directory = Dataset()
        directory.SOPClassUID = "1.2.840.10008.1.3.10"
        directory.SOPInstanceUID = "1.2.3.99"
        factory.save(directory, tmp_path / "DICOMDIR")
        assert codes(tmp_path) == []


def test_flipped_header_bytes_never_escape(factory, tmp_path):
    """Success or CtKerasError, whatever a header holds."""
    path = factory.save(factory.dataset(), tmp_path / "a.dcm")
    content = path.read_bytes()
    header = len(content) - 8192
    rng = np.random.default_rng(7)
    for _ in range(250):
        bent = bytearray(content)
        for position in rng.integers(132, header, rng.integers(1, 4)):
            bent[position] ^= int(rng.integers(1, 256))
        path.write_bytes(bent)
        try:
            series = read_series(path)
            series.read(0)
        except CtKerasError as error:
            assert "SECRETX" not in str(error)
