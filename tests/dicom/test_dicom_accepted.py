"""What is refused by default and accepted by an option: told, recorded, and right."""

import numpy as np
import pytest
from compressed import encode
from multi_frame import ENHANCED_CT, enhanced, save_compressed
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from ct_keras.dicom import (
    Limits,
    ReadOptions,
    SeriesWriter,
    find_series,
    read_series,
    write_series,
)
from ct_keras.dicom.finder import left_out
from ct_keras.errors import LEFT_OUT, CtKerasError

#: Of the default intercept.
LOWEST = -1024


def refusal(folder, **accepted) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        read_series(folder, options=ReadOptions(**accepted))
    assert "SECRETX" not in str(caught.value)
    return caught.value


def accepted(folder, option: str, code: str):
    """The series, which is refused with a code unless the option is given.

    A series that lacks something has a code of its own.
    """
    error = refusal(folder)
    lacks = code == LEFT_OUT
    assert error.code == ("CTK-E003" if lacks else code.replace("-W", "-E"))
    assert f"{option}=True" in error.fix
    assert "--" + option.replace("_", "-") in error.fix
    series = read_series(folder, options=ReadOptions(**{option: True}))
    told = [each for each in series.findings if each.option == option]
    assert [each.code for each in told] == [code]
    assert series.accepted == (option,)
    return series


def headers(folder) -> list[Dataset]:
    return [dcmread(path) for path in sorted(folder.glob("IM*.dcm"))]


def recorded(series, out, option: str) -> list[Dataset]:
    """What is written of a series, every file of which names the option."""
    write_series(series, out)
    written = headers(out)
    assert all(f"accepted {option}" in h.DerivationDescription for h in written)
    return written


class TestHounsfieldUnits:
    def test_values_that_do_not_look_like_it(self, factory, tmp_path):
        folder = factory.folder(tmp_path / "in", RescaleIntercept=0)
        series = accepted(folder, "force_hu", "CTK-W044")
        recorded(series, tmp_path / "out", "force_hu")

    def test_an_option_that_is_not_needed_is_not_recorded(self, factory, tmp_path):
        folder = factory.folder(tmp_path / "in")
        options = {name: True for name in ReadOptions().to_plain() if name != "limits"}
        series = read_series(folder, options=ReadOptions(**options))
        assert (series.accepted, series.findings) == ((), [])
        write_series(series, tmp_path / "out")
        assert "accepted" not in headers(tmp_path / "out")[0].DerivationDescription

    @pytest.mark.parametrize("slope", [None, "", 0])
    def test_stored_values_that_are_hu_already(self, factory, tmp_path, slope):
        pixels = lambda i: (factory.image(i) + LOWEST).tobytes()  # noqa: E731
        changes = {"RescaleSlope": slope, "RescaleIntercept": None}
        folder = factory.folder(tmp_path / "in", PixelData=pixels, **changes)
        series = accepted(folder, "assume_hu", "CTK-W040")
        assert np.array_equal(series.hu[2], factory.image(2) + LOWEST)
        for header in recorded(series, tmp_path / "out", "assume_hu"):
            assert (header.RescaleSlope, header.RescaleIntercept) == (1, 0)
        assert np.array_equal(read_series(tmp_path / "out").hu, series.hu)

    def test_stored_values_that_are_not_hu(self, factory, tmp_path):
        folder = factory.folder(tmp_path, RescaleSlope=None, RescaleIntercept=None)
        error = refusal(folder, assume_hu=True)
        assert (error.code, error.exit_code) == ("CTK-E044", 9)

    def test_frames_without_rescale(self, factory, tmp_path):
        def bare(number, group):
            del group.PixelValueTransformationSequence

        slices = [
            factory.dataset(i, PixelData=(factory.image(i) + LOWEST).tobytes())
            for i in range(3)
        ]
        (tmp_path / "in").mkdir()
        factory.save(enhanced(slices, change=bare), tmp_path / "in" / "a.dcm")
        series = accepted(tmp_path / "in", "assume_hu", "CTK-W040")
        write_series(series, tmp_path / "out")
        again = read_series(tmp_path / "out")
        assert again.sources[0].file.sop_class_uid == ENHANCED_CT
        assert np.array_equal(again.hu, series.hu)


class TestWithoutPreamble:
    def bare(self, factory, folder, *, syntax, kept: int):
        """Files from a position on: 128 keeps the magic, 132 the file meta."""
        for index in range(3):
            data = factory.dataset(index)
            path = factory.save(data, folder / f"{index}.dcm", syntax=syntax)
            content = path.read_bytes()
            start = kept or content.index(b"\x08\x00\x08\x00", 132)
            path.write_bytes(content[start:])
        return folder

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    @pytest.mark.parametrize("kept", [0, 132])
    def test_pixels_and_header(self, factory, tmp_path, syntax, kept):
        folder = self.bare(factory, tmp_path / "in", syntax=syntax, kept=kept)
        series = accepted(folder, "allow_no_preamble", "CTK-W002")
        assert np.array_equal(series.read(1).stored, factory.image(1))
        assert series.header.KVP == 120
        written = recorded(series, tmp_path / "out", "allow_no_preamble")
        assert {header.file_meta.TransferSyntaxUID for header in written} == {
            ExplicitVRLittleEndian
        }

    def test_pixels_that_do_not_fit_the_matrix(self, factory, tmp_path):
        syntax = ImplicitVRLittleEndian
        folder = self.bare(factory, tmp_path, syntax=syntax, kept=0)
        longer = factory.dataset(1, PixelData=factory.image(1).tobytes() + b"\0\0")
        path = factory.save(longer, folder / "1.dcm", syntax=syntax)
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\x00\x08\x00", 132) :])
        assert refusal(folder, allow_no_preamble=True).code == "CTK-E002"

    @pytest.mark.parametrize("accepted", [True, False])
    def test_a_class_that_is_none_is_not_shown(
        self, factory, tmp_path, accepted, caplog, recwarn
    ):
        folder = self.bare(factory, tmp_path, syntax=ExplicitVRLittleEndian, kept=0)
        known, odd = b"1.2.840.10008.5.1.4.1.1.2\0", b"SECRETX^PATIENT...........\0"
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes().replace(known, odd[: len(known)]))
        assert refusal(folder, allow_no_preamble=accepted).code == "CTK-E001"
        assert "SECRETX" not in caplog.text
        assert not list(recwarn)


class TestDamagedSlices:
    def test_the_rest_is_written_and_marked(self, factory, tmp_path):
        path = factory.folder(tmp_path / "in") / "002.dcm"
        path.write_bytes(path.read_bytes()[:-100])
        series = accepted(tmp_path / "in", "skip_bad_slices", LEFT_OUT)
        assert len(series) == 4 and series.incomplete
        assert "CTK-E003 file #3 is truncated" in left_out([series])[0]
        written = recorded(series, tmp_path / "out", "skip_bad_slices")
        assert len(written) == 4
        assert all("INCOMPLETE SERIES" in header.ImageComments for header in written)

    def test_a_cut_header_hides_the_series(self, factory, tmp_path):
        path = factory.folder(tmp_path / "in") / "002.dcm"
        path.write_bytes(path.read_bytes()[:200])
        series = accepted_several(tmp_path / "in", "skip_bad_slices")
        assert len(series) == 4 and series.incomplete
        assert left_out([series], chosen=True)

    def test_a_frame_that_cannot_be_decoded(self, factory, tmp_path):
        for index in range(4):
            frame = encode(factory.image(index), JPEGLSLossless, 16)
            if index == 1:
                frame = frame[: len(frame) // 2]
            path = tmp_path / "in" / f"{index}.dcm"
            data = factory.dataset(index)
            save_compressed(factory, data, path, [frame], JPEGLSLossless)
        series = read_series(tmp_path / "in", options=ReadOptions(skip_bad_slices=True))
        assert [source.number for source in series.sources] == [1, 3, 4]
        assert series.incomplete

    def test_a_series_of_nothing_else_is_refused(self, factory, tmp_path):
        for path in factory.folder(tmp_path, 2).iterdir():
            path.write_bytes(path.read_bytes()[:-100])
        assert refusal(tmp_path, skip_bad_slices=True).code == "CTK-E003"

    def test_what_is_wrong_with_a_series_is_no_damage(self, factory, tmp_path):
        factory.folder(tmp_path, 4)
        factory.save(factory.dataset(4, RescaleType="ED"), tmp_path / "004.dcm")
        assert refusal(tmp_path, skip_bad_slices=True).code == "CTK-E042"


def accepted_several(folder, option: str):
    """As `accepted`, where several findings name the option."""
    assert f"{option}=True" in refusal(folder).fix
    (series,) = find_series(folder, options=ReadOptions(**{option: True}))
    assert series.accepted == (option,)
    return series


class TestFloatingPoint:
    @pytest.mark.parametrize(("kind", "element"), [("f4", ""), ("f8", "Double")])
    def test_rounded_to_a_quarter(self, factory, tmp_path, kind, element):
        def pixels(index):
            values = (factory.image(index) - 24.6) / 2
            return values.astype("<" + kind).tobytes()

        gone = ("PixelData", "BitsStored", "HighBit", "PixelRepresentation")
        changes = dict.fromkeys(gone) | {f"{element}FloatPixelData": pixels}
        bits = {"BitsAllocated": 8 * int(kind[1]), "RescaleSlope": 2}
        folder = factory.folder(tmp_path / "in", **changes | bits)
        series = accepted(folder, "allow_float", "CTK-W047")
        expected = np.rint(4 * (factory.image(3) - 24.6 - 1024)) / 4
        assert np.array_equal(series.hu[3], expected)
        for header in recorded(series, tmp_path / "out", "allow_float"):
            assert "PixelData" in header and f"{element}FloatPixelData" not in header
        again = read_series(tmp_path / "out")
        assert np.array_equal(again.hu, series.hu)
        pixel = headers(tmp_path / "out")[0]
        assert (pixel.BitsAllocated, pixel.PixelRepresentation) == (16, 1)

    def test_values_that_are_not_numbers(self, factory, tmp_path):
        values = np.full((64, 64), np.nan, "<f4").tobytes()
        changes = {"PixelData": None, "FloatPixelData": values, "BitsAllocated": 32}
        folder = factory.folder(tmp_path, **changes)
        assert refusal(folder, allow_float=True).code == "CTK-E044"

    @pytest.mark.parametrize(("limit", "rows"), [(None, 4), (-2900.0, 6)])
    def test_padding(self, factory, tmp_path, limit, rows):
        def pixels(index):
            values = factory.image(index).astype("<f4")
            values[:4, :4], values[4:6, :4] = -3000, -2950
            values[30:33, 30] = -2980, -3000, 77  # inside the circle
            return values.tobytes()

        changes = {"PixelData": None, "BitsAllocated": 32, "FloatPixelData": pixels}
        changes["FloatPixelPaddingValue"] = -3000.0
        changes["FloatPixelPaddingRangeLimit"] = limit
        folder = factory.folder(tmp_path / "in", **changes)
        series = read_series(folder, options=ReadOptions(allow_float=True))
        padding = series.read(0).padding
        assert padding[:rows, :4].all()
        assert list(padding[30:33, 30]) == [limit is not None, True, False]
        write_series(series, tmp_path / "out")
        assert np.array_equal(read_series(tmp_path / "out").read(0).padding, padding)

    def test_values_that_are_clipped_are_told(self, factory, tmp_path):
        def pixels(index):
            values = factory.image(index).astype("<f4")
            values[20:22, 20] = 20000 + 1024, 12287.75 + 1024
            values[22, 20] = 12287.5 + 1024
            return values.tobytes()

        changes = {"PixelData": None, "BitsAllocated": 32, "FloatPixelData": pixels}
        folder = factory.folder(tmp_path / "in", **changes)
        series = read_series(folder, options=ReadOptions(allow_float=True))
        assert list(series.hu[0, 20:23, 20]) == [12287.75, 12287.75, 12287.5]
        told = {str(each) for each in (*series.findings, *series.value_findings())}
        count = len(series)
        text = f"{2 * count} floating-point values of {count} slices were clipped to "
        assert f"CTK-W072 {text}-4096..12287.8 HU" in told
        assert series.value_findings() == []

    def test_no_mapping_of_the_floating_point_values_is_left(self, factory, tmp_path):
        """Readers that prefer it would see stored values as HU."""
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0, 0.0

        def pixels(index):
            return (factory.image(index) - 1024).astype("<f4").tobytes()

        changes = {"PixelData": None, "BitsAllocated": 32, "FloatPixelData": pixels}
        changes["RealWorldValueMappingSequence"] = [mapping]
        folder = factory.folder(tmp_path / "in", RescaleIntercept=0, **changes)
        series = read_series(folder, options=ReadOptions(allow_float=True))
        write_series(series, tmp_path / "out")
        for header in headers(tmp_path / "out"):
            assert "RealWorldValueMappingSequence" not in header


class TestVolumes:
    def test_gaps_cut_a_stack_into_runs(self, factory, tmp_path):
        places = [0, 5, 10, 25, 30]
        folder = factory.folder(
            tmp_path / "in", ImagePositionPatient=lambda i: [0, 0, places[i]]
        )
        series = read_series(folder)
        assert series.runs == [slice(0, 5)]
        with pytest.raises(CtKerasError, match=r"CTK-E032 .*allow_gaps=True") as caught:
            series.require_volume()
        assert caught.value.exit_code == 4
        series = read_series(folder, options=ReadOptions(allow_gaps=True))
        (finding,) = series.require_volume()
        assert (finding.code, finding.option) == ("CTK-W032", "allow_gaps")
        assert "2 runs" in finding.text
        assert series.runs == [slice(0, 3), slice(3, 5)]
        with SeriesWriter(series, tmp_path / "out", neighbours=2) as writer:
            for index in range(5):
                writer.write(index, series.read(index).hu)
        used = [len(each.SourceImageSequence) for each in headers(tmp_path / "out")]
        assert used == [3, 3, 3, 2, 2]

    def test_tilt(self, factory, tmp_path):
        folder = factory.folder(tmp_path, ImagePositionPatient=lambda i: [0, i, 5 * i])
        with pytest.raises(CtKerasError, match=r"CTK-E033 .*--allow-tilt of denoise"):
            read_series(folder).require_volume()
        series = read_series(folder, options=ReadOptions(allow_tilt=True))
        (finding,) = series.require_volume()
        assert (finding.code, finding.option) == ("CTK-W033", "allow_tilt")
        assert series.accepted == ("allow_tilt",)


class TestLimits:
    def test_a_larger_matrix(self, factory, tmp_path):
        image = factory.image(size=128).tobytes()
        folder = factory.folder(tmp_path, Rows=128, Columns=128, PixelData=image)
        error = refusal(folder, limits=Limits(max_matrix=100))
        assert error.code == "CTK-E041" and "--max-matrix" in error.fix
        assert len(read_series(folder, options=ReadOptions(limits=Limits()))) == 5

    def test_a_larger_file(self, factory, tmp_path):
        folder = factory.folder(tmp_path)
        error = refusal(folder, limits=Limits(max_file_bytes=8000))
        assert error.code == "CTK-E041" and "--max-image-mib" in error.fix


@pytest.mark.parametrize("kind", ["bare", "float", "no rescale"])
def test_flipped_bytes_never_escape_whatever_is_accepted(factory, tmp_path, kind):
    changes = {}
    if kind == "float":
        pixels = (factory.image() - 1024).astype("<f4").tobytes()
        changes = {"PixelData": None, "FloatPixelData": pixels, "BitsAllocated": 32}
    if kind == "no rescale":
        changes = {"RescaleSlope": None}
    path = factory.save(factory.dataset(**changes), tmp_path / "a.dcm")
    content = path.read_bytes()[132 if kind == "bare" else 0 :]
    names = [name for name in ReadOptions().to_plain() if name != "limits"]
    options = ReadOptions(**dict.fromkeys(names, True))
    rng = np.random.default_rng(11)
    for _ in range(80):
        bent = bytearray(content)
        for position in rng.integers(0, len(content) - 8192, rng.integers(1, 4)):
            bent[position] ^= int(rng.integers(1, 256))
        path.write_bytes(bent)
        try:
            series = read_series(path, options=options)
            assert np.isfinite(series.hu).all()
        except CtKerasError as error:
            assert "SECRETX" not in str(error)
