"""Order, geometry, Hounsfield units and padding of what is read."""

import numpy as np
import pydicom
import pytest

from ct_keras.dicom import create_series, find_series, read_series, scan_folder
from ct_keras.errors import CtKerasError
from ct_keras.image_quality import noise as noise_module
from ct_keras.image_quality import noise_level_hu
from ct_keras.image_quality.noise import deviation_mode, soft_tissue_deviations

# Folder, slices, spacing (slice, row, column), kernel, mAs from mA x s, HU range.
GOLDEN = [
    ("train/LIDC-IDRI-0314", 60, (1, 0.78125), "D", None, 23),
    ("train/R01-001", 60, (1, 0.693359375), "B45f", 155.25, 30),
    ("train/CRLM-CT-1004", 41, (5, 0.796875), "STANDARD", 265.0, 9),
    ("test/CRLM-CT-1006", 51, (5, 0.804688), None, None, 10),
]


@pytest.mark.parametrize(
    ("folder", "slices", "spacing", "kernel", "mas", "noise"), GOLDEN
)
def test_golden_geometry(shared_ct, folder, slices, spacing, kernel, mas, noise):
    series = read_series(shared_ct / folder)
    assert series.shape == (slices, 512, 512)
    slice_mm, pixel_mm = spacing
    assert series.spacing_mm == (slice_mm, pixel_mm, pixel_mm)
    assert (series.kernel, series.kvp, series.exposure_mas) == (kernel, 120, mas)
    heights = [source.position[2] for source in series.sources]
    assert heights == sorted(heights)
    assert series.tilt_degrees == 0
    # ct/README.md gives an upper bound made in another way.
    assert noise_level_hu(series) == pytest.approx(noise, rel=0.25)


@pytest.mark.parametrize("folder", ["train/R01-001", "test/CRLM-CT-1006"])
def test_values_agree_with_pydicom(shared_ct, folder):
    series = read_series(shared_ct / folder)
    for index in (0, len(series) // 2, len(series) - 1):
        pixels = series.read(index)
        dataset = pydicom.dcmread(series.sources[index].path)
        assert np.array_equal(pixels.stored, dataset.pixel_array)
        hu = dataset.pixel_array * float(dataset.RescaleSlope)
        assert np.array_equal(pixels.hu, hu + float(dataset.RescaleIntercept))
        assert pixels.hu.dtype == np.float32


@pytest.mark.parametrize(
    ("folder", "padding"),
    [("test/CRLM-CT-1006", -3024), ("train/CRLM-CT-1004", -3024)],
)
def test_padding_with_and_without_a_tag(shared_ct, folder, padding):
    """CRLM-CT-1004 declares -2000, CRLM-CT-1006 has such pixels without a tag."""
    series = read_series(shared_ct / folder)
    for index in (0, len(series) - 1):
        pixels = series.read(index)
        assert np.array_equal(pixels.padding, pixels.hu == padding)
        assert pixels.padding.sum() == 55_772
        assert pixels.hu[~pixels.padding].min() >= -1024


@pytest.mark.parametrize("folder", ["train/LIDC-IDRI-0314", "train/R01-001"])
def test_scans_that_fill_the_square_have_no_padding(shared_ct, folder):
    assert not read_series(shared_ct / folder).read(0).padding.any()


def test_two_scans_in_a_folder_stay_apart(shared_ct):
    series = find_series(shared_ct / "val/SBU-A048383")
    assert [len(one) for one in series] == [1, 1]
    assert [one.spacing_mm for one in series] == [
        (5, 0.8125, 0.8125),
        (5, 0.703125, 0.703125),
    ]
    assert [one.tube_current_ma for one in series] == [286, 203]


def test_tilt_is_computed_from_positions(shared_ct):
    series = read_series(shared_ct / "hard/tilt/philips_minus18_5")
    assert series.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert series.spacing_mm[0] == pytest.approx(2.5 * np.cos(np.radians(18.5)), 1e-3)


def test_spacing_oddities_of_real_series(shared_ct):
    gap = read_series(shared_ct / "hard/spacing/increment_5_5_10")
    assert gap.spacing_mm[0] == 5
    assert any("10.0 mm after slice 3" in finding.text for finding in gap.findings)
    overlap = read_series(shared_ct / "hard/spacing/overlap_1_25_at_1")
    assert (overlap.spacing_mm[0], overlap.slice_thickness_mm) == (1.0, 1.25)


def test_hard_folder_is_told_without_an_exception(shared_ct):
    scan = scan_folder(shared_ct / "hard")
    codes = {refusal.error.code for refusal in scan.refusals}
    assert {"CTK-E010", "CTK-E003", "CTK-E041", "CTK-E043"} <= codes
    found = {source.path.parent.name for each in scan.series for source in each.sources}
    assert {"signs_padding", "increment_5_5_10", "overlap_1_25_at_1"} <= found
    assert "encodings" in found
    assert not {"multiframe", "nonimage"} & found


class TestOrder:
    def test_position_decides_not_name_or_number(self, factory, tmp_path):
        for index, name in enumerate("cadbe"):
            factory.save(factory.dataset(index), tmp_path / f"{name}.dcm")
        series = read_series(tmp_path)
        assert [source.position[2] for source in series.sources] == [0, 5, 10, 15, 20]
        assert np.array_equal(series.read(3).stored, factory.image(3))

    def test_descending_rows_turn_the_normal(self, factory, tmp_path):
        factory.folder(tmp_path, ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
        heights = [source.position[2] for source in read_series(tmp_path).sources]
        assert heights == [20, 15, 10, 5, 0]

    def test_slice_location_where_positions_are_missing(self, factory, tmp_path):
        factory.folder(
            tmp_path, ImagePositionPatient=None, SliceLocation=lambda i: 7.5 * (9 - i)
        )
        series = read_series(tmp_path)
        assert series.spacing_mm == (7.5, 0.5, 0.75)
        assert np.array_equal(series.read(0).stored, factory.image(4))
        assert "SliceLocation" in series.findings[0].text

    def test_instance_number_as_last_resort(self, factory, tmp_path):
        factory.folder(tmp_path, ImagePositionPatient=None, SliceLocation=None)
        series = read_series(tmp_path)
        assert [source.instance_number for source in series.sources] == [6, 7, 8, 9, 10]
        assert series.spacing_mm[0] == 5  # SliceThickness, nothing else tells

    def test_unknown_pixel_spacing_is_nan(self, factory, tmp_path):
        series = read_series(factory.folder(tmp_path, PixelSpacing=None))
        assert np.isnan(series.spacing_mm[1:]).all()


class TestPixels:
    def test_each_slice_has_its_own_rescale(self, factory, tmp_path):
        factory.folder(
            tmp_path,
            RescaleSlope=lambda i: (1, 0.5, 2, 1.0001, 0.488281)[i],
            RescaleIntercept=lambda i: -1024.5 + i,
        )
        series = read_series(tmp_path)
        for index, slope in enumerate((1, 0.5, 2, 1.0001, 0.488281)):
            expected = factory.image(index).astype(float) * slope - 1024.5 + index
            assert np.abs(series.hu[index] - expected).max() < 1e-3

    @pytest.mark.parametrize("signed", [0, 1])
    def test_high_bits_are_cleared(self, factory, tmp_path, signed):
        values = factory.image().astype(np.int32) - 500 * signed
        garbage = (values & 0x0FFF) | 0xA000
        factory.folder(
            tmp_path,
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=signed,
            RescaleIntercept=-1024 + 500 * signed,
            PixelData=garbage.astype("<u2").tobytes(),
        )
        stored = read_series(tmp_path).read(0).stored
        assert np.array_equal(stored, values)
        assert stored.dtype == (np.int16 if signed else np.uint16)

    def test_unsigned_16_bit(self, factory, tmp_path):
        values = factory.image().astype(np.uint16) + 40_000
        factory.folder(
            tmp_path,
            PixelRepresentation=0,
            RescaleIntercept=-41_024,
            PixelData=values.astype("<u2").tobytes(),
        )
        assert np.array_equal(read_series(tmp_path).read(0).stored, values)

    def test_implicit_syntax(self, factory, tmp_path):
        data = factory.dataset()
        implicit = pydicom.uid.ImplicitVRLittleEndian
        factory.save(data, tmp_path / "a.dcm", syntax=implicit)
        assert np.array_equal(read_series(tmp_path).read(0).stored, factory.image())

    @pytest.mark.parametrize(
        ("vr", "value", "limit"),
        [
            ("SS", -2000, None),
            ("US", 63536, None),  # the same bits under the wrong sign
            ("SS", -2000, -1990),
            ("US", 63546, 63536),
        ],
    )
    def test_tagged_padding(self, factory, tmp_path, vr, value, limit):
        image = factory.image()
        image[:4] = -2000
        image[30, 30] = -2000  # tagged padding counts wherever it lies
        if limit is not None:
            image[4] = -1995
        data = factory.dataset(PixelData=image.tobytes())
        data.add_new("PixelPaddingValue", vr, value)
        if limit is not None:
            data.add_new("PixelPaddingRangeLimit", vr, limit)
        factory.save(data, tmp_path / "a.dcm")
        pixels = read_series(tmp_path).read(0)
        assert np.array_equal(pixels.padding, image < -1000)

    def test_untagged_padding_lies_outside_the_circle(self, factory, tmp_path):
        image = factory.image()
        image[0, 0] = -500  # -1524 HU in a corner
        image[32, 32] = -400  # as low, but in the patient and not the corner's value
        factory.folder(tmp_path, 1, PixelData=image.tobytes())
        padding = read_series(tmp_path).read(0).padding
        assert padding[0, 0]
        assert padding.sum() == 1

    def test_a_file_that_shrinks_after_the_scan(self, factory, tmp_path):
        series = read_series(factory.folder(tmp_path))
        path = series.sources[1].path
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(CtKerasError, match=r"CTK-E003 .* 8092 of 8192"):
            series.read(1)
        path.unlink()
        with pytest.raises(CtKerasError, match="CTK-E005"):
            series.read(1)

    def test_with_hu_replaces_values_only(self, factory, tmp_path):
        series = read_series(factory.folder(tmp_path))
        other = series.with_hu(series.hu + 5)
        assert np.array_equal(other.read(1).hu, series.read(1).hu + 5)
        assert np.array_equal(other.read(1).stored, series.read(1).stored)
        assert other.sources == series.sources
        with pytest.raises(CtKerasError, match="CTK-E000"):
            series.with_hu(series.hu[1:])


class TestNoiseLevel:
    @pytest.mark.parametrize("sigma", [5, 20, 60, 380, 600, 3000])
    def test_white_noise_in_water(self, sigma):
        noise = np.random.default_rng(1).normal(0, sigma, (300, 300))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(noise_module, "PADDING_HU", -1e6)
            deviations = soft_tissue_deviations(50 + noise, (0.7, 0.7))
        assert deviation_mode(deviations) == pytest.approx(sigma, rel=0.04)

    def test_the_reach_of_the_histogram_does_not_move_it(self):
        quiet = np.random.default_rng(1).normal(20, 1, 9000)
        edges = np.random.default_rng(2).uniform(0, 2000, 1000)
        alone = deviation_mode(quiet)
        assert alone == pytest.approx(20, abs=0.5)
        assert deviation_mode(np.append(quiet, edges)) == alone

    @pytest.mark.parametrize("level", [1e-3, 1e5, 1e12])
    def test_no_level_is_too_small_or_too_large(self, level):
        deviations = np.random.default_rng(1).normal(1, 0.05, 2000) * level
        assert deviation_mode(deviations) == pytest.approx(level, rel=0.04, abs=0.2)

    def test_no_contrast_and_few_windows(self):
        assert 0 < deviation_mode(np.zeros(500)) < 0.25
        assert deviation_mode(np.full(499, 10.0)) is None
        assert deviation_mode(soft_tissue_deviations(np.zeros((9, 9)), (1, 1))) is None

    def test_edges_do_not_raise_it(self):
        noise = np.random.default_rng(1).normal(0, 10, (300, 300))
        hu = 40 + noise
        hu[:, ::30] += 150
        deviations = soft_tissue_deviations(hu, (0.7, 0.7))
        assert deviation_mode(deviations) == pytest.approx(10, rel=0.06)

    def test_no_soft_tissue_no_estimate(self, tmp_path):
        hu = np.full((2, 64, 64), -1000.0)
        create_series(hu, (1, 1, 1), tmp_path, patient_id="1", series_description="air")
        assert noise_level_hu(read_series(tmp_path)) is None


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
class TestSpellings:
    """Header values come in many spellings of one meaning."""

    @pytest.mark.parametrize(
        "image_type",
        [
            ["ORIGINAL", "PRIMARY", "LOCALIZER"],
            ["ORIGINAL", "PRIMARY", "localizer "],
            ["ORIGINAL", "PRIMARY", "LOCALISER"],
            ["ORIGINAL", "PRIMARY", "PROJECTION IMAGE"],
            ["ORIGINAL", "PRIMARY", "SCOUT VIEW", "CT_SOM5 TOP"],
            ["ORIGINAL", "PRIMARY", "TOPOGRAM"],
            ["DERIVED", "SECONDARY", "SURVIEW"],
        ],
    )
    def test_localizers_are_left_out(self, factory, tmp_path, image_type):
        factory.folder(tmp_path)
        scout = factory.dataset(9, ImageType=image_type)
        factory.save(scout, tmp_path / "scout.dcm")
        series = read_series(tmp_path)
        assert len(series) == 5
        assert any(finding.code == "CTK-W022" for finding in series.findings)

    @pytest.mark.parametrize(
        "image_type",
        [
            ["ORIGINAL", "PRIMARY", "AXIAL"],
            ["DERIVED", "SECONDARY", "MAXIMUM INTENSITY PROJECTION"],
            ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        ],
    )
    def test_slices_are_kept(self, factory, tmp_path, image_type):
        factory.folder(tmp_path, ImageType=image_type)
        assert len(read_series(tmp_path)) == 5

    @pytest.mark.parametrize(
        "changes",
        [
            {"Modality": "ct"},
            {"Modality": " CT"},
            {"PhotometricInterpretation": "monochrome2 "},
            {"RescaleType": "hu "},
            {"RescaleType": "H.U."},
            {"RescaleType": "Hounsfield Units"},
            {"RescaleType": "Houndsfield"},
        ],
    )
    def test_meaning_is_the_same(self, factory, tmp_path, changes):
        factory.folder(tmp_path, **changes)
        assert len(read_series(tmp_path)) == 5

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"LossyImageCompression": "1"}, "CTK-W011"),
            ({"LossyImageCompression": "YES"}, "CTK-W011"),
            ({"PhotometricInterpretation": "Monochrome1"}, "CTK-W045"),
            ({"ImageType": ["Derived ", "PRIMARY", "AXIAL"]}, "CTK-W050"),
        ],
    )
    def test_findings_are_the_same(self, factory, tmp_path, changes, code):
        factory.folder(tmp_path, **changes)
        codes = {finding.code for finding in read_series(tmp_path).findings}
        assert code in codes

    def test_spelling_of_a_kernel_splits_no_series(self, factory, tmp_path):
        names = ["B30f", "B30f ", "B30F", "B30f", "b30f"]
        factory.folder(tmp_path, ConvolutionKernel=lambda index: names[index])
        assert read_series(tmp_path).kernel == "B30f"

    def test_age_in_small_letters(self, factory, tmp_path):
        factory.folder(tmp_path, PatientAge="018m")
        assert read_series(tmp_path).patient_age_years == 1.5
