"""Derived series: every attribute, every pixel, or nothing at all."""

import os

import numpy as np
import pydicom
import pytest
from real_ct import PATIENTS

from ct_keras.dicom import (
    Derivation,
    SeriesWriter,
    create_series,
    find_series,
    read_series,
    write_series,
)
from ct_keras.errors import CtKerasError

NETWORK = Derivation.network(
    "red_cnn",
    model_version="1.2",
    weights_sha256="ab" * 32,
    parameters={"strength": 1.0},
)


def headers(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.glob("IM*.dcm"))]


@pytest.fixture
def series(factory, tmp_path):
    return read_series(factory.folder(tmp_path / "in"))


@pytest.mark.parametrize("patient", PATIENTS)
def test_identity_gives_back_every_stored_pixel(few_slices, patient, tmp_path):
    found = find_series(few_slices(patient, 8))
    assert sum(map(len, found)) == (2 if patient.startswith("val") else 8)
    for number, series in enumerate(found):
        out = tmp_path / str(number)
        write_series(series.with_hu(series.hu), out, derivation=NETWORK)
        copy = read_series(out)
        assert copy.spacing_mm == series.spacing_mm
        for index, source in enumerate(series.sources):
            old, new = series.read(index), copy.read(index)
            assert old.stored.dtype == new.stored.dtype
            assert np.array_equal(old.stored, new.stored)
            assert np.array_equal(old.padding, new.padding)
            assert source.bits_stored == copy.sources[index].bits_stored


@pytest.mark.parametrize("slope", [1, 0.5, 2, 1.0001, 0.488281])
def test_identity_is_exact_for_other_slopes(factory, tmp_path, slope):
    factory.folder(tmp_path / "in", 2, RescaleSlope=slope)
    series = read_series(tmp_path / "in")
    write_series(series.with_hu(series.hu), tmp_path / "out")
    for index in range(2):
        stored = read_series(tmp_path / "out").read(index).stored
        assert np.array_equal(stored, factory.image(index))


def test_padding_survives_any_network(factory, tmp_path):
    image = factory.image()
    image[:5] = -2000
    factory.folder(tmp_path / "in", 2, PixelData=image.tobytes())
    series = read_series(tmp_path / "in")
    write_series(series.with_hu(np.full(series.shape, 7.0)), tmp_path / "out")
    pixels = read_series(tmp_path / "out").read(0)
    assert (pixels.stored[:5] == -2000).all()
    assert (pixels.hu[5:] == 7).all()


class TestPixelFormat:
    def write(self, factory, tmp_path, offset, **changes):
        image = factory.image().astype("<u2").tobytes()
        factory.folder(
            tmp_path / "in", 2, PixelRepresentation=0, PixelData=image, **changes
        )
        series = read_series(tmp_path / "in")
        hu = series.hu.copy()
        hu[1, 32, 32] = offset
        with SeriesWriter(series, tmp_path / "out") as writer:
            for index in range(2):
                writer.write(index, hu[index])
        first = headers(tmp_path / "out")[0]
        layout = (first.BitsStored, first.HighBit, first.PixelRepresentation)
        return writer, layout, read_series(tmp_path / "out").hu[1, 32, 32]

    def test_values_that_fit_keep_the_format(self, factory, tmp_path):
        twelve = {"BitsStored": 12, "HighBit": 11}
        writer, layout, value = self.write(factory, tmp_path, 3071, **twelve)
        assert (writer.clipped, layout, value) == (0, (12, 11, 0), 3071)

    @pytest.mark.parametrize("hu", [-1030, 3072])
    def test_other_values_make_it_16_bit_signed(self, factory, tmp_path, hu):
        twelve = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 63536}
        writer, layout, value = self.write(factory, tmp_path, hu, **twelve)
        assert (writer.clipped, layout, value) == (0, (16, 15, 1), hu)
        padding = headers(tmp_path / "out")[0]["PixelPaddingValue"]
        assert (padding.VR, padding.value) == ("SS", -2000)

    def test_what_fits_nowhere_is_clipped_and_counted(self, factory, tmp_path):
        twelve = {"BitsStored": 12, "HighBit": 11}
        writer, layout, value = self.write(factory, tmp_path, -50_000, **twelve)
        assert (writer.clipped, layout) == (1, (16, 15, 1))
        assert value == -32768 - 1024

    def test_large_unsigned_values_stay_unsigned(self, factory, tmp_path):
        image = (factory.image().astype("<u2") + 40_000).tobytes()
        factory.folder(
            tmp_path / "in",
            2,
            PixelRepresentation=0,
            RescaleIntercept=-41_024,
            PixelData=image,
        )
        series = read_series(tmp_path / "in")
        hu = series.hu.copy()
        hu[0, 5, 5] = -60_000
        with SeriesWriter(series, tmp_path / "out") as writer:
            for index in range(2):
                writer.write(index, hu[index])
        out = read_series(tmp_path / "out")
        assert writer.clipped == 1
        assert out.read(0).stored[5, 5] == 0
        assert np.array_equal(out.read(1).stored, series.read(1).stored)


class TestRefusals:
    def test_not_finite(self, series, tmp_path):
        hu = series.hu.copy()
        hu[3, 2, 2] = np.nan
        with pytest.raises(CtKerasError, match="CTK-E070 slice 4") as caught:
            write_series(series.with_hu(hu), tmp_path / "out")
        assert caught.value.exit_code == 9
        assert sorted(os.listdir(tmp_path)) == ["in"]

    def test_missing_slices(self, series, tmp_path):
        with (
            pytest.raises(CtKerasError, match="CTK-E075 4 of 5"),
            SeriesWriter(series, tmp_path / "out") as writer,
        ):
            writer.write(2, series.read(2).hu)
        assert sorted(os.listdir(tmp_path)) == ["in"]

    def test_an_error_on_the_way_leaves_nothing(self, series, tmp_path):
        with (
            pytest.raises(KeyError),
            SeriesWriter(series, tmp_path / "out") as writer,
        ):
            writer.write(0, series.read(0).hu)
            raise KeyError
        assert sorted(os.listdir(tmp_path)) == ["in"]

    def test_wrong_shape(self, series, tmp_path):
        with (
            pytest.raises(CtKerasError, match="CTK-E000"),
            SeriesWriter(series, tmp_path / "out") as writer,
        ):
            writer.write(0, np.zeros((3, 3)))

    @pytest.mark.parametrize("name", ["in", "in/below", "full", "."])
    def test_output_path(self, series, tmp_path, name):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "other.txt").write_text("keep")
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(CtKerasError, match="CTK-E071"):
            write_series(series, tmp_path / name)
        assert sorted(tmp_path.rglob("*")) == before

    def test_damage_between_writing_and_reading_back(
        self, series, tmp_path, monkeypatch
    ):
        from ct_keras.dicom import writer as module

        def save_badly(header, frames, count, path):
            real(header, (frame ^ 1 for frame in frames), count, path)

        real = module.save_file
        monkeypatch.setattr(module, "save_file", save_badly)
        with pytest.raises(CtKerasError, match="CTK-E074 IM00001"):
            write_series(series, tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == ["in"]

    def test_a_full_disk_is_not_told_as_an_odd_header(
        self, series, tmp_path, monkeypatch
    ):
        from ct_keras.dicom import writer as module

        def full(header, frames, count, path):
            # As pydicom raises it again, without the number.
            raise OSError(f"[Errno 28] {os.strerror(28)}")

        monkeypatch.setattr(module, "save_file", full)
        with pytest.raises(CtKerasError, match=r"CTK-E073.*disk full") as caught:
            write_series(series, tmp_path / "out")
        assert caught.value.exit_code == 7
        assert sorted(os.listdir(tmp_path)) == ["in"]

    def test_two_writers_of_one_folder(self, series, tmp_path):
        with SeriesWriter(series, tmp_path / "out") as writer:
            with pytest.raises(CtKerasError, match="CTK-E071 another run"):
                write_series(series, tmp_path / "out", overwrite=True)
            for index in range(len(series)):
                writer.write(index, series.read(index).hu)
        assert len(read_series(tmp_path / "out")) == len(series)


def test_slices_may_come_in_any_order_and_name_their_neighbours(series, tmp_path):
    with SeriesWriter(series, tmp_path / "out", neighbours=1) as writer:
        for index in (3, 0, 4, 1, 2):
            writer.write(index, series.read(index).hu)
    out = read_series(tmp_path / "out")
    assert np.array_equal(out.hu, series.hu)
    counts = [len(data.SourceImageSequence) for data in headers(tmp_path / "out")]
    assert counts == [2, 3, 3, 3, 2]
    assert out.series_uid == writer.series_uid


def test_memory_does_not_grow_with_slices(tmp_path):
    import tracemalloc

    def peak(slices):
        hu = np.full((slices, 128, 128), -1000.0)
        hu[:, 30:90, 30:90] = 40
        source, out = tmp_path / f"in{slices}", tmp_path / f"out{slices}"
        create_series(hu, (1, 1, 1), source, patient_id="1", series_description="x")
        series = read_series(source)
        del hu
        tracemalloc.start()
        with SeriesWriter(series, out) as writer:
            for index in range(slices):
                writer.write(index, series.read(index).hu)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(3)  # warm up
    assert peak(24) < peak(6) + 128 * 128 * 8


def test_a_source_is_opened_once_to_look_and_once_to_write(
    factory, tmp_path, monkeypatch
):
    """What was read to see whether the values are HU is not read again."""
    import builtins
    from collections import Counter

    opened = Counter()
    really_open = builtins.open

    def counting(file, *arguments, **options):
        opened[str(file)] += 1
        return really_open(file, *arguments, **options)

    factory.folder(tmp_path / "in", slices=8)
    monkeypatch.setattr(builtins, "open", counting)
    series = read_series(tmp_path / "in")
    write_series(series, tmp_path / "out")
    monkeypatch.undo()
    counts = [opened[str(source.path)] for source in series.sources]
    assert counts == [2] * 8


def test_slices_in_any_order_keep_their_headers(factory, tmp_path):
    series = read_series(factory.folder(tmp_path / "in"))
    with SeriesWriter(series, tmp_path / "out") as writer:
        for index in (3, 0, 4, 1, 2, 3):
            writer.write(index, series.read(index).hu, series.read(index))
    result = read_series(tmp_path / "out")
    for ours, theirs in zip(result.sources, series.sources, strict=True):
        assert ours.position == theirs.position
        assert ours.instance_number == theirs.instance_number
