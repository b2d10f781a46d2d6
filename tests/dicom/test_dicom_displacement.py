"""A wrong intercept is noticed: air, fat and soft tissue are not where they belong."""

import numpy as np
import pytest

from ct_keras.data import convert
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import find_series, read_series
from ct_keras.dicom.pixels import SlicePixels
from ct_keras.dicom.plausibility import displaced, displacement_hu
from ct_keras.serving.series import denoise_series


def slice_of(hu: np.ndarray) -> SlicePixels:
    noise = np.random.default_rng(0).normal(0, 15, hu.shape)
    hu = (hu + noise).astype("f4")
    return SlicePixels(hu.astype("i2"), hu, np.zeros(hu.shape, bool), b"")


def body(size: int = 128) -> np.ndarray:
    """Air, a ring of fat, muscle, a lung."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y) / size
    hu = np.where(radius < 0.4, -105.0, -1000.0)
    hu[radius < 0.35] = 50
    hu[np.hypot(x - 0.15 * size, y) < 0.1 * size] = -850
    return hu


class TestDisplacement:
    @pytest.mark.parametrize("shift", [0, -100, -50, 50, 100, 200, 1024])
    def test_the_shift_of_a_body_is_measured(self, shift):
        found = displacement_hu(slice_of(body() + shift))
        assert abs(found - shift) <= 10
        assert displaced(found) == (shift != 0)

    def test_water_is_where_it_belongs(self):
        water = np.where(body() > -1000, 0.0, -1000.0)
        assert not displaced(displacement_hu(slice_of(water)))

    def test_without_soft_tissue_nothing_is_said(self):
        ramp = np.tile(np.linspace(-1024, -770, 128), (128, 1))
        assert displacement_hu(slice_of(ramp)) is None
        assert displacement_hu(slice_of(np.full((64, 64), -1000.0))) is None

    def test_padding_does_not_count(self):
        pixels = slice_of(body() + 100)
        pixels.hu[:, :64] = 40
        pixels.padding[:, :64] = True
        assert abs(displacement_hu(pixels) - 100) <= 10

    @pytest.mark.parametrize(
        "case", ["CPTAC-PDA-C3L-00189", "CRLM-CT-1006", "LungFCP-01-0001"]
    )
    def test_real_scans(self, few_slices, case):
        (series,) = find_series(few_slices(f"test/{case}", 4))
        for index in range(len(series)):
            pixels = series.read(index)
            assert not displaced(displacement_hu(pixels))
            for shift in (-50, 50, 100, 200):
                shifted = pixels._replace(hu=pixels.hu + shift)
                assert displaced(displacement_hu(shifted))


def findings(series) -> list[str]:
    found = [*series.findings, *series.value_findings()]
    return [finding.text for finding in found if finding.code == "CTK-W044"]


class TestSeries:
    def stored(self, index: int) -> np.ndarray:
        return slice_of(body(64)).stored + 1024

    def folder(self, factory, path, **changes):
        pixels = {"PixelData": lambda index: self.stored(index).tobytes()}
        return factory.folder(path, 9, **pixels | changes)

    def test_a_good_series_is_not_warned_of(self, factory, tmp_path):
        (series,) = find_series(self.folder(factory, tmp_path))
        assert series.hu.shape == (9, 64, 64)
        assert findings(series) == []

    def test_a_wrong_intercept_is_told_by_the_scan(self, factory, tmp_path):
        folder = self.folder(factory, tmp_path, RescaleIntercept=-924)
        (text,) = findings(read_series(folder))
        assert "3 slices of 3 looked at" in text
        shift = int(text.split(" HU")[0].split()[-1])
        assert abs(shift - 100) <= 10

    def test_one_slice_with_another_intercept_is_told_by_the_scan(
        self, factory, tmp_path
    ):
        raw = {"RescaleIntercept": lambda index: 0 if index == 2 else -1024}
        (text,) = findings(read_series(self.folder(factory, tmp_path, **raw)))
        assert "slice 3 of 4 looked at" in text
        assert "+1020 HU" in text or "+1025 HU" in text

    def test_one_raw_slice_is_told_when_it_is_denoised(self, factory, tmp_path):
        def pixels(index):
            return (self.stored(index) + 100 * (index == 2)).tobytes()

        series = read_series(self.folder(factory, tmp_path / "in", PixelData=pixels))
        assert findings(series) == []
        done = denoise_series(series, tmp_path / "out", get_method("filter:gaussian"))
        (text,) = [each.text for each in done.findings if each.code == "CTK-W044"]
        assert "slice 3 of 9 looked at" in text

    @pytest.mark.parametrize("value", [0, 0xFF])
    def test_a_slice_whose_pixels_never_came_is_told(self, factory, tmp_path, value):
        def pixels(index):
            stored = self.stored(index).tobytes()
            return bytes([value]) * len(stored) if index == 2 else stored

        series = read_series(self.folder(factory, tmp_path, PixelData=pixels))
        assert findings(series) == []
        assert series.hu.shape == (9, 64, 64)
        told = "all pixels of slice 3 of 9 looked at have one value: they may be lost"
        assert findings(series) == [told]
        assert series.value_findings() == []

    def test_a_slice_of_padding_is_not_lost(self, factory, tmp_path):
        def pixels(index):
            stored = self.stored(index)
            return (stored if index else np.full_like(stored, -2000)).tobytes()

        series = read_series(self.folder(factory, tmp_path, PixelData=pixels))
        assert series.hu.shape == (9, 64, 64)
        assert findings(series) == []

    def test_conversion_tells_it(self, factory, tmp_path):
        def pixels(index):
            return (self.stored(index) + 100 * (index == 2)).tobytes()

        low = self.folder(factory, tmp_path / "low" / "p", PixelData=pixels)
        manifest = convert(
            tmp_path / "low",
            tmp_path / "records",
            layout="pairs",
            low=low.parent,
            full=low.parent,
            split="1,0,0",
            workers=1,
        )
        (text,) = [each for each in manifest.findings if "CTK-W044" in each]
        assert "of 1 slices" in text
