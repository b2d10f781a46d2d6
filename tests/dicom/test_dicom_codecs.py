"""Compressed, big-endian and deflated files give the pixels that were encoded."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from compressed import encode
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ct_keras import filters
from ct_keras.codecs.decoders import DECODERS
from ct_keras.data import convert
from ct_keras.dicom import Derivation, find_series, read_series, write_series
from ct_keras.errors import CtKerasError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
#: The least that a slice of real CT shows in a test of encoders: signed, and unsigned.
REAL = ("hard/signs_padding/ge_phantom_padding.dcm", "test/CRLM-CT-1006/0001.dcm")


def save(
    factory, path: Path, frame: bytes, syntax: str, *, index=0, parts=1, **changes
):
    """Writes a slice whose compressed frame lies in so many fragments."""
    dataset = factory.dataset(index, **changes)
    del dataset.PixelData
    factory.save(dataset, path, syntax=syntax)
    value = encapsulate([frame], fragments_per_frame=parts, has_bot=False)
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    path.write_bytes(path.read_bytes() + head + value + end)
    return path


def layout(image: np.ndarray, bits_stored: int) -> dict:
    signed = int(image.dtype.kind == "i")
    return {
        "BitsStored": bits_stored,
        "HighBit": bits_stored - 1,
        "PixelRepresentation": signed,
        "RescaleIntercept": -1024 if image.min() >= 0 else 0,
    }


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(
    ("dtype", "bits_stored", "offset"),
    [("u2", 16, 0), ("u2", 12, 0), ("i2", 16, 1024), ("i2", 12, 1024)],
)
def test_lossless_syntaxes(factory, tmp_path, syntax, dtype, bits_stored, offset):
    image = (factory.image() - offset).astype(dtype)
    frame = encode(image, syntax, bits_stored)
    path = tmp_path / "a.dcm"
    save(factory, path, frame, syntax, **layout(image, bits_stored))
    series = read_series(path)
    assert np.array_equal(series.read(0).stored, image)
    assert series.read(0).stored.dtype == image.dtype
    (decoder,) = series.decoders
    assert decoder.startswith(DECODERS[syntax].package + " ")


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg_2000(factory, tmp_path, syntax):
    """Encoded by OpenJPH, which shares no code with the decoder."""
    frame = (FIXTURES / "htj2k_64.j2c").read_bytes()
    path = save(factory, tmp_path / "a.dcm", frame, syntax)
    assert np.array_equal(read_series(path).read(0).stored, factory.image())


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_bits_above_bits_stored_do_not_count(factory, tmp_path, syntax):
    image = factory.image() - 1024
    garbage = np.random.default_rng(3).integers(0, 16, image.shape) << 12
    dirty = (image & 0x0FFF | garbage).astype("u2")
    path = tmp_path / "a.dcm"
    save(factory, path, encode(dirty, syntax, 16), syntax, **layout(image, 12))
    assert np.array_equal(read_series(path).read(0).stored, image)


def test_a_frame_in_fragments(factory, tmp_path):
    frame = encode(factory.image(), JPEG2000Lossless, 16)
    path = save(factory, tmp_path / "a.dcm", frame, JPEG2000Lossless, parts=3)
    assert np.array_equal(read_series(path).read(0).stored, factory.image())


def test_bytes_behind_the_end_of_a_frame(factory, tmp_path):
    frame = encode(factory.image(), JPEGLSLossless, 16) + b"junk" * 8
    path = save(factory, tmp_path / "a.dcm", frame, JPEGLSLossless)
    assert np.array_equal(read_series(path).read(0).stored, factory.image())


@pytest.mark.parametrize("syntax", [JPEGLSNearLossless, JPEGLSLossless])
def test_near_lossless_source_stays_marked(factory, tmp_path, syntax):
    """Even if the header of the source forgets to say so, or says lossless."""
    image = factory.image()
    frame = encode(image, JPEGLSNearLossless, 16, jls_error=2)
    path = save(factory, tmp_path / "in" / "a.dcm", frame, syntax)
    series = read_series(path)
    assert 0 < np.abs(series.read(0).stored - image).max() <= 2
    assert series.lossy and series.findings[0].code == "CTK-W011"
    write_series(series, tmp_path / "out")
    written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
    assert written.LossyImageCompression == "01"
    assert written.LossyImageCompressionMethod == "ISO_14495_1"
    ratio = 2 * image.size / (len(frame) + len(frame) % 2)
    assert float(written.LossyImageCompressionRatio) == pytest.approx(ratio, abs=0.06)


def test_jpeg_2000_with_losses_is_told_whatever_it_is_declared_as(factory, tmp_path):
    frame = encode(factory.image(), JPEG2000, 16, j2k_cr=[8])
    path = save(factory, tmp_path / "a.dcm", frame, JPEG2000Lossless)
    series = read_series(path)
    assert np.abs(series.read(0).stored - factory.image()).max() > 2
    assert series.lossy and [each.code for each in series.findings] == ["CTK-W011"]
    exact = encode(factory.image(), JPEG2000Lossless, 16)
    path = save(factory, tmp_path / "b.dcm", exact, JPEG2000Lossless)
    assert not read_series(path).lossy


def test_records_name_the_decoder(factory, tmp_path):
    for index in range(2):
        frame = encode(factory.image(index), JPEGLSLossless, 16)
        path = tmp_path / "in" / f"{index}.dcm"
        save(factory, path, frame, JPEGLSLossless, index=index)
    records = tmp_path / "records"
    manifest = convert(tmp_path / "in", records, layout="single", split="1,0,0")
    assert manifest.tools["pyjpegls"].startswith("1.")


def test_a_missing_decoder_is_named(factory, tmp_path, monkeypatch):
    monkeypatch.setattr("ct_keras.dicom.checks.has_decoder", lambda syntax: False)
    frame = encode(factory.image(), JPEGLSLossless, 16)
    path = save(factory, tmp_path / "a.dcm", frame, JPEGLSLossless)
    with pytest.raises(CtKerasError, match=r"CTK-E010 .*JPEG-LS.*pip.*pyjpegls"):
        read_series(path)


def test_words_of_a_big_endian_header_are_turned_around(factory, tmp_path):
    table = np.arange(0, 1024, 4, np.uint16)
    dataset = factory.dataset()
    dataset.add_new("RedPaletteColorLookupTableDescriptor", "US", [256, 0, 16])
    dataset.add_new(
        "RedPaletteColorLookupTableData", "OW", table.astype(">u2").tobytes()
    )
    pixels = factory.image().astype(">i2").tobytes()
    dataset.add_new("PixelData", "OW", pixels)
    path = tmp_path / "in" / "a.dcm"
    factory.save(dataset, path)  # for the file meta
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    options = {"implicit_vr": False, "little_endian": False}
    pydicom.dcmwrite(path, dataset, enforce_file_format=True, **options)
    series = read_series(path)
    assert np.array_equal(series.read(0).stored, factory.image())
    write_series(series, tmp_path / "out")
    written = pydicom.dcmread(tmp_path / "out" / "IM00001.dcm")
    assert np.array_equal(written.pixel_array, factory.image())
    words = np.frombuffer(written.RedPaletteColorLookupTableData, "<u2")
    assert np.array_equal(words, table)
    assert written.Rows == 64


class TestRealSlice:
    """One slice in every family of transfer syntaxes, by independent encoders."""

    encoders = (
        ("dcmconv", "+ti"),
        ("dcmconv", "+tb"),
        ("dcmconv", "+td"),
        ("dcmcrle",),
        ("dcmcjpeg", "+e1"),
        ("dcmcjpeg", "+el"),
        ("dcmcjpls",),
        *(("gdcmconv", kind) for kind in ("--rle", "--jpeg", "--jpegls", "--j2k")),
    )

    def encoded(self, source: Path, folder: Path) -> dict[str, Path]:
        """The slice by each program that is installed, and by pydicom."""
        files = {}
        for command in self.encoders:
            if shutil.which(command[0]) is None:
                continue
            name = " ".join(command)
            files[name] = folder / f"{name.replace(' ', '')}.dcm"
            line = [*command, str(source), str(files[name])]
            subprocess.run(line, check=True, capture_output=True)
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            dataset = pydicom.dcmread(source)
            dataset.compress(syntax, generate_instance_uid=False)
            files[syntax.name] = folder / f"{syntax}.dcm"
            dataset.save_as(files[syntax.name], enforce_file_format=True)
        return files

    @pytest.mark.parametrize("name", REAL)
    def test_every_family_gives_the_same_pixels(self, shared_ct, tmp_path, name):
        source = read_series(shared_ct / name)
        expected = source.read(0).stored
        smooth = filters.get("gaussian")
        (tmp_path / "in").mkdir()
        files = self.encoded(shared_ct / name, tmp_path / "in")
        assert len(files) >= 3
        derivation = Derivation.filtered("gaussian")
        write_series(
            source.with_hu(smooth(source.hu)), tmp_path / "0", derivation=derivation
        )
        first = pydicom.dcmread(tmp_path / "0" / "IM00001.dcm")
        for number, (made_by, path) in enumerate(files.items(), start=1):
            series = read_series(path)
            assert np.array_equal(series.read(0).stored, expected), made_by
            out = tmp_path / str(number)
            write_series(series.with_hu(smooth(series.hu)), out, derivation=derivation)
            written = pydicom.dcmread(out / "IM00001.dcm")
            assert written.PixelData == first.PixelData, made_by
            described = f"; decoded by {series.sources[0].decoder};"
            compressed = pydicom.dcmread(path).file_meta.TransferSyntaxUID in DECODERS
            assert (described in f"{written.DerivationDescription};") == compressed

    def test_public_files_in_odd_encodings(self, shared_ct):
        """The HU of four encodings of one slice, and of JPEG 2000 of three makers."""
        folder = shared_ct / "hard" / "encodings"
        plain = read_series(folder / "ct_le_implicit.dcm").hu
        for name in ("ct_be_explicit", "ct_deflated", "ct_jpeg_p14_lossless"):
            assert np.array_equal(read_series(folder / f"{name}.dcm").hu, plain)
        for name in ("j2k_toshiba", "j2k_un_vr", "j2k_with_jp2_header"):
            path = folder / f"{name}.dcm"
            values = pydicom.dcmread(path)
            stored = read_series(path).read(0).stored
            assert np.array_equal(stored, values.pixel_array)
        unsigned = shared_ct / "hard/signs_padding/j2k_siz0_pixrep1.dcm"
        assert read_series(unsigned).read(0).stored.min() == -2048
        with pytest.raises(CtKerasError, match="CTK-E043"):
            find_series(shared_ct / "hard/signs_padding/j2k_siz1_pixrep0.dcm")
