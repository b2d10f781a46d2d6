"""Guards: scans that a model does not know, and structure in what it took away."""

import builtins
import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from real_ct import PATIENTS
from scipy import ndimage

import ct_keras
from ct_keras import filters
from ct_keras.data import training_ranges
from ct_keras.denoising import Identity, read_card
from ct_keras.dicom import ReadOptions, find_series, read_series
from ct_keras.errors import CtKerasError
from ct_keras.image_quality import noise_frequency_per_cm, noise_level_hu
from ct_keras.image_quality.anatomy import shows_head, skull_share
from ct_keras.phantoms import LABELS, make_phantom, write_phantom
from ct_keras.serving.guards import Audit, check_series
from ct_keras.serving.guards.measured import noise_findings
from ct_keras.serving.series import denoise_series

RANGES = {
    "noise_index_hu": [10.0, 20.0],
    "noise_frequency_per_cm": [1.0, 8.0],
    "pixel_spacing_mm": [0.7, 0.9],
    "slice_thickness_mm": [3.0, 5.0],
}


@dataclass
class Scan:
    """A body of soft tissue in air, with white noise; read like a series."""

    volume: np.ndarray
    spacing_mm: tuple = (5.0, 0.8, 0.8)
    slice_thickness_mm: float = 5.0
    kernel: str | None = None
    kvp: float | None = None
    body_part: str | None = None
    manufacturer: str | None = None
    contrast_agent: str | None = None
    scale: None = None

    def __len__(self):
        return len(self.volume)

    def read_ahead(self, index):
        hu = self.volume[index]
        return SimpleNamespace(hu=hu, padding=hu <= -3000)


def body(size=192):
    rows, columns = np.indices((size, size)) - size // 2
    return np.where(np.hypot(rows, columns * 0.8) < 0.4 * size, 50.0, -1000.0)


def head(size=192):
    """A skull, which may pass for soft tissue where the values are too low."""
    rows, columns = np.indices((size, size)) - size // 2
    distance = np.hypot(rows, columns * 0.8) / size
    skull = (distance > 0.36) & (distance < 0.4)
    return np.where(skull, 1000.0, body(size))


def noise(sigma, slices=3):
    return np.random.default_rng(4).normal(0, sigma, (slices, 192, 192))


def scan(sigma=15.0, *, blur=0.0, slices=3, **header):
    random = np.random.default_rng(4)
    noise = random.normal(size=(slices, 192, 192))
    if blur:
        noise = ndimage.gaussian_filter(noise, (0, blur, blur))
    noise *= sigma / noise.std()
    return Scan((body() + noise).astype(np.float32), **header)


def codes(entrance):
    return [finding.code for finding in entrance.findings]


def check(series, **options):
    return check_series(series, RANGES, model="a_model", **options)


def test_known_scan_passes_in_silence():
    entrance = check(scan(15.0))
    assert entrance.findings == [] and entrance.overridden == []
    assert entrance.noise_index_hu == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize(
    "volume",
    [
        np.random.default_rng(0).uniform(0, 1200, (3, 192, 192)),  # like MR
        (body()[None] + 1024) / 4096,  # network units
        body()[None] + 1024,  # the classic: rescale intercept forgotten
        np.full((3, 64, 64), -1000.0),  # nothing but air
        np.full((3, 64, 64), -3024.0),  # nothing but padding
        head() - 1024 + noise(15),  # the intercept twice
        head() - 1000 + noise(15),
        np.where(np.arange(192) < 20, -3024, head() - 1024 + noise(15)),
        head() / 2 - 500 + noise(7),  # another slope
    ],
    ids=[
        *("mr", "network units", "1024 too high", "air", "padding"),
        *("1024 too low", "1000 too low", "1024 too low beside padding", "half"),
    ],
)
def test_values_that_are_no_hounsfield_units_are_refused(volume):
    series = Scan(volume.astype(np.float32))
    with pytest.raises(CtKerasError) as refusal:
        check_series(series, None, model="input")
    assert refusal.value.code == "CTK-E044"


@pytest.mark.parametrize("sigma", [5.0, 60.0, 150.0])
def test_hounsfield_units_of_a_head_pass_however_noisy(sigma):
    """Noise that nothing clips takes many pixels of air below -1100 HU."""
    volume = head() + noise(sigma)
    assert (np.mean(volume < -1100) > 0.05) == (sigma > 100)
    volume[:, :, :20] = -3024
    entrance = check_series(Scan(volume.astype(np.float32)), None, model="input")
    assert entrance.findings == entrance.overridden == []


@pytest.mark.parametrize("region", ["thorax", "abdomen"])
def test_series_with_the_intercept_applied_twice_is_refused(region, tmp_path):
    """All of the air around the patient is padding then, as the reader finds it."""
    phantom = make_phantom(
        2, region=region, shape=(3, 128, 128), spacing_mm=(5.0, 3.0, 3.0)
    )
    write_phantom(phantom, tmp_path)
    check_series(read_series(tmp_path), None, model="input")
    for path in tmp_path.glob("*.dcm"):
        dataset = dcmread(path)
        dataset.RescaleIntercept = float(dataset.RescaleIntercept) - 1024
        dataset.save_as(path)
    with pytest.raises(CtKerasError) as refusal:
        check_series(
            read_series(tmp_path, options=ReadOptions(force_hu=True)),
            None,
            model="input",
        )
    assert refusal.value.code == "CTK-E044"


def test_noise_level_warns_and_then_refuses():
    assert codes(check(scan(24.0))) == []  # inside the tolerance of a quarter
    assert codes(check(scan(30.0))) == ["CTK-W061"]
    (finding,) = check(scan(6.5)).findings
    assert finding.code == "CTK-W061" and "already low noise" in finding.text
    for sigma in (45.0, 450.0, 700.0):
        loud = scan(sigma)
        loud.volume = np.maximum(loud.volume, -1024)  # as scanners do
        with pytest.raises(CtKerasError) as refusal:
            check(loud)
        assert refusal.value.code == "CTK-E061"
        assert refusal.value.exit_code == 9
    overridden = check(scan(45.0), override=True).overridden
    assert [text.split()[0] for text in overridden] == ["CTK-E061"]


#: Better than a filter but for the loudest of fine noise; nothing is known below 10 HU
#: above 4 per cm.
LOSSES = {
    "noise_index_hu": [5, 10, 40, 160],
    "noise_frequency_per_cm": [1, 4, 8, 12, 16],
    "loss_db": [
        [-1.0, None, None, None],
        [-1.0, -0.2, None, None],
        [0.4, 1.8, None, None],
    ],
    "usual_db": 0.0,
    "margin_db": 0.5,
    "strength": 0.75,
}


@pytest.mark.parametrize(
    ("noise", "frequency", "expected"),
    [
        (20.0, 3.0, None),
        (100.0, 3.0, None),  # each value alone is as above; together they are not
        (20.0, 6.0, None),
        (100.0, 6.0, "CTK-W062 a_model at strength 0.75 was 1.8 dB worse"),
        (100.0, 10.0, "CTK-W062 a_model at strength 0.75 was 1.8 dB worse"),
        (7.0, 6.0, None),  # not measured, its neighbours are harmless
        (20.0, 10.0, "CTK-W062 a_model at strength 0.75 was 1.8 dB worse"),
        (7.0, 14.0, "CTK-W062 a_model was not measured"),
        (200.0, 3.0, "CTK-W062 a_model was not measured"),
        (20.0, 0.5, "CTK-W062 a_model was not measured"),
        (20.0, 16.0, "CTK-W062 a_model was not measured"),
        (3.0, 3.0, "CTK-W061 noise index 3 HU at 3.0 per cm: already low noise"),
        (None, 3.0, None),
        (20.0, None, None),
    ],
)
def test_noise_and_texture_are_judged_together(noise, frequency, expected):
    found = [str(each) for each in noise_findings(noise, frequency, LOSSES, "a_model")]
    assert len(found) == (expected is not None)
    assert all(text.startswith(expected) for text in found)


def test_more_than_the_usual_loss_is_told():
    losses = LOSSES | {"usual_db": 1.2, "margin_db": 1.7}
    (worse,) = noise_findings(100.0, 6.0, losses, "a_model")
    assert worse.text.endswith(" (usually 1.2 dB)")
    assert noise_findings(100.0, 3.0, losses, "a_model") == []


def test_measured_losses_replace_the_ranges():
    """Outside of the range of either, and yet measured: there is nothing to warn of."""
    ranges = RANGES | {"noise_frequency_per_cm": [0.1, 0.2]}
    assert codes(check_series(scan(30.0), ranges, model="a_model")) == [
        *("CTK-W061", "CTK-W062")
    ]
    known = LOSSES | {"loss_db": [[-1.0] * 4] * 3}
    ranges |= {"losses": known}
    assert codes(check_series(scan(30.0), ranges, model="a_model")) == []
    ranges |= {"losses": known | {"loss_db": [[1.0] * 4] * 3}}
    assert codes(check_series(scan(30.0), ranges, model="a_model")) == ["CTK-W062"]


def test_mean_frequency_of_white_noise_is_that_of_the_grid():
    grid = np.fft.fftfreq(24, 0.08)
    frequency = np.hypot(grid[:, None], grid[None, :])
    expected = frequency.sum() / (24 * 24 - 1)
    measured = noise_frequency_per_cm(scan(15.0).volume, (0.8, 0.8))
    assert measured == pytest.approx(expected, rel=0.03)
    # Twice the pixel, half the frequency.
    wide = noise_frequency_per_cm(scan(15.0).volume, (1.6, 1.6))
    assert wide == pytest.approx(measured / 2, rel=1e-6)


def test_mean_frequency_of_blurred_noise_is_that_of_its_spectrum():
    sigma_cm = 1.5 * 0.08
    grid = np.fft.fftfreq(24, 0.08)
    frequency = np.hypot(grid[:, None], grid[None, :])
    power = np.exp(-((2 * np.pi * sigma_cm * frequency) ** 2))
    power[0, 0] = 0
    expected = (frequency * power).sum() / power.sum()
    measured = noise_frequency_per_cm(scan(15.0, blur=1.5, slices=8).volume, (0.8, 0.8))
    # Quiet pieces without a plane hold a little less of the lowest frequencies.
    assert expected < measured < 1.2 * expected


def test_other_texture_and_header_are_told():
    smooth = noise_frequency_per_cm(scan(15.0, blur=4.0).volume, (0.8, 0.8))
    ranges = RANGES | {"noise_frequency_per_cm": [2 * smooth, 4 * smooth]}
    entrance = check_series(scan(15.0, blur=4.0), ranges, model="a_model")
    assert "CTK-W062" in codes(entrance)
    thin = scan(15.0, slice_thickness_mm=1.0)
    (finding,) = check(thin).findings
    assert (finding.code, "slice thickness 1 mm" in finding.text) == ("CTK-W060", True)


@pytest.mark.parametrize("spacing", [(0.8, 1.6), (1.6, 0.8), (1.6, 1.6)])
def test_both_spacings_are_looked_at(spacing):
    (finding,) = check(scan(15.0, spacing_mm=(5.0, *spacing))).findings
    assert finding.code == "CTK-W060"
    assert "pixel spacing 1.6 mm is outside 0.7-0.9 mm" in finding.text


def test_what_is_not_known_of_a_header_is_not_judged():
    nothing = {"spacing_mm": (np.nan,) * 3, "slice_thickness_mm": None}
    entrance = check(scan(15.0, **nothing))
    assert entrance.findings == []
    assert entrance.noise_frequency_per_cm is None


def test_another_kernel_is_told_where_both_are_known():
    def told(kernel, kernels):
        ranges = RANGES | {"kernels": kernels}
        return check_series(scan(15.0, kernel=kernel), ranges, model="m").findings

    (finding,) = told("B70s", ["B30f", "STANDARD"])
    assert str(finding) == (
        "CTK-W060 kernel B70s is not among the training kernels of m"
    )
    for text in ("\x1b[31mB\u202e" + 40 * "x", "SECRETX 30"):
        (free,) = told(text, ["B30f"])
        assert free.text == "the kernel is not among the training kernels of m"
    for kernel, kernels in (
        ("B30f", ["B30f"]),
        ("standard", ["B30f", "STANDARD"]),
        (None, ["B30f"]),
        ("B70s", []),
        ("B70s", None),
    ):
        assert told(kernel, kernels) == []


@pytest.mark.parametrize(
    ("header", "known", "told"),
    [
        ({"kvp": 80.0}, {"kvp": [100.0, 140.0]}, "kVp 80 is outside 100-140"),
        ({"kvp": 97.0}, {"kvp": [100.0, 140.0]}, None),  # nominal values
        ({"body_part": "ANKLE"}, {"body_parts": ["chest"]}, "body part limb is not"),
        ({"body_part": "CHESTABDPELVIS"}, {"body_parts": ["chest"]}, None),
        ({"body_part": "LIVER"}, {"body_parts": ["trunk"]}, None),
        ({"body_part": "Mr. Smith"}, {"body_parts": ["chest"]}, None),
        (
            {"manufacturer": "TOSHIBA"},
            {"manufacturers": ["GE", "Siemens"]},
            "manufacturer Canon is not in the training data of m (GE, Siemens)",
        ),
        ({"manufacturer": "GE MEDICAL SYSTEMS"}, {"manufacturers": ["GE"]}, None),
        ({"manufacturer": "ct_keras"}, {"manufacturers": ["GE"]}, None),
        ({"manufacturer": "Acme"}, {"manufacturers": ["GE"]}, "manufacturer other"),
        ({"contrast_agent": "OMNI 350"}, {"contrast": False}, "a contrast agent"),
        ({"contrast_agent": "NONE"}, {"contrast": False}, None),
        ({"contrast_agent": "OMNI 350"}, {"contrast": True}, None),
    ],
)
def test_what_the_card_does_not_know_is_told(header, known, told):
    entrance = check_series(scan(15.0, **header), RANGES | known, model="m")
    found = [str(finding) for finding in entrance.findings]
    assert len(found) == (told is not None)
    if told:
        assert found[0].startswith(f"CTK-W060 {told}")
    assert check_series(scan(15.0, **header), RANGES, model="m").findings == []


@pytest.mark.parametrize("examined", [None, "CHEST", "HEAD"])
def test_a_head_is_told_whatever_the_header_says(examined):
    ranges = RANGES | {"body_parts": ["abdomen", "chest"], "noise_index_hu": None}
    volume = (head() + noise(15)).astype(np.float32)
    series = Scan(volume, body_part=examined)
    (finding,) = check_series(series, ranges, model="m").findings
    assert str(finding) == (
        "CTK-W060 body part head (seen in the images) is not in the training data of "
        "m (abdomen, chest)"
    )


def test_a_skull_is_a_closed_ring_of_bone():
    spacing_mm = (0.8, 0.8)
    assert skull_share(head(), spacing_mm) == 1
    assert skull_share(body(), spacing_mm) == 0
    half = np.where(np.arange(192) < 96, head(), np.minimum(head(), 50))
    assert skull_share(half, spacing_mm) == pytest.approx(0.5, abs=0.03)
    assert skull_share(head(), (2.4, 2.4)) == 0  # a pelvis at most
    assert skull_share(head(), (np.nan, np.nan)) == 0


def test_of_the_real_scans_only_the_head_is_one(shared_ct):
    found = {
        str(folder.relative_to(shared_ct))
        for patients in ("val", "test", "hard/tilt")
        for folder in (shared_ct / patients).iterdir()
        for series in find_series(folder)
        if shows_head([series.read(len(series) // 2).hu], series.spacing_mm[1:])
    }
    assert found == {"hard/tilt/philips_minus18_5"}


def test_ranges_of_drawn_doses_reach_to_the_full_dose(phantom_records):
    of_records = training_ranges(phantom_records)["noise_index_hu"]
    drawn = training_ranges(phantom_records, doses=(0.03, 1.0))["noise_index_hu"]
    below = training_ranges(phantom_records, doses=(0.03, 0.05))["noise_index_hu"]
    assert below == of_records
    assert drawn[0] < 0.7 * of_records[0]  # a quarter of the dose has twice the noise
    assert drawn[1] <= of_records[1]


def test_ranges_are_those_of_the_records(phantom_records, phantom_patients):
    ranges = training_ranges(phantom_records)
    series = read_series(next((phantom_patients / "train").iterdir()))
    assert ranges["slice_thickness_mm"] == [series.slice_thickness_mm] * 2
    assert ranges["pixel_spacing_mm"] == pytest.approx(
        [series.spacing_mm[1]] * 2, abs=1e-3
    )
    assert ranges["kernels"] == [series.kernel]
    assert (ranges["kvp"], ranges["body_parts"]) == ([120, 120], ["abdomen"])
    assert (ranges["manufacturers"], ranges["contrast"]) == ([], False)
    assert ranges["noise_index_hu"][0] > noise_level_hu(series)


def ranges_of(name: str) -> dict:
    """Those of a card, which judge noise and texture if no losses were measured."""
    return read_card(name)["ranges"] | {"losses": None}


#: What the ranges of wgan_vgg do not hold of scans that it was not made for.
UNKNOWN = {
    "train/ACRIN-FLT-Breast_001": ["CTK-W060 kVp 140", "CTK-W060 kernel SOFT"],
    "train/ACRIN-FLT-Breast_013": [
        "CTK-W060 pixel spacing 1.367 mm",
        "CTK-W060 kernel B10f",
        "CTK-W061 noise index 7 HU",
    ],
    "train/TCGA-17-Z029": [
        "CTK-W060 kVp 140",
        "CTK-W060 kernel B60f",
        "CTK-W062 noise texture",
    ],
    "val/C4KC-KiTS-00072": ["CTK-W060 kVp 130", "CTK-W060 kernel B30s"],
    "test/CPTAC-PDA-C3L-00189": ["CTK-W060 kernel LUNG"],
    "test/LungFCP-01-0001": ["CTK-W060 kVp 100", "CTK-W060 kernel B31f"],
}


@pytest.mark.parametrize("patient", PATIENTS)
def test_scans_that_the_card_names_pass_in_silence(shared_ct, patient):
    card = read_card("wgan_vgg")
    assert patient.split("/")[1].removeprefix("SBU-") in card["data"]
    found = find_series(shared_ct / patient)
    assert found
    for series in found:
        entrance = check_series(series, ranges_of("wgan_vgg"), model="wgan_vgg")
        assert (entrance.findings, entrance.overridden) == ([], [])


@pytest.mark.parametrize("patient", UNKNOWN)
def test_other_scans_get_what_is_true_of_them(shared_ct, patient):
    (series,) = find_series(shared_ct / patient)
    entrance = check_series(series, ranges_of("wgan_vgg"), model="wgan_vgg")
    found = [str(finding) for finding in entrance.findings]
    for text, beginning in zip(found, UNKNOWN[patient], strict=True):
        assert text.startswith(beginning)
    assert entrance.overridden == []


def noisy_and_clean(sigma=20.0, texture="ct"):
    random = np.random.default_rng(7)
    clean = np.kron(body(128), np.ones((2, 2)))
    clean[90:110, 120:140] += 60
    noise = random.normal(size=clean.shape)
    if texture != "white":
        noise = ndimage.gaussian_filter(noise, 0.7)
    if texture == "ct":  # little power at low frequencies, as the ramp filter leaves
        noise -= ndimage.gaussian_filter(noise, 2.5)
    return (clean + sigma * noise / noise.std()).astype(np.float32), clean


def with_a_little_noise(low, clean):
    """What a good filter leaves: a fifth of the noise."""
    return clean + 0.2 * (low - clean)


def audit(*pairs):
    looked = Audit((0.75, 0.75))
    for index, (low, out) in enumerate(pairs):
        looked.look(index, low, np.asarray(out, np.float32))
    return looked.result()


def planted(image, row, column, radius=6.0, contrast=25.0):
    rows, columns = np.indices(image.shape)
    disk = np.hypot(rows - row, columns - column) < radius
    return image + contrast * ndimage.gaussian_filter(disk.astype(np.float64), 0.7)


@pytest.mark.parametrize("texture", ["ct", "white", "smooth"])
def test_taking_noise_away_is_no_structure(texture):
    low, clean = noisy_and_clean(texture=texture)
    result = audit((low, with_a_little_noise(low, clean)))
    assert result.findings == []
    assert result.peaks[0] < 6
    assert result.noise_left == pytest.approx(0.2, abs=0.01)
    assert abs(result.correlation) < 0.1
    # White noise is noise in all bands; anatomy and, in CT, little noise in the coarse.
    assert result.removed_power[0] == pytest.approx(0.8**2, rel=0.02)
    assert max(result.removed_power) < 0.66


@pytest.mark.parametrize("left", [0.0, 0.02])
def test_output_without_any_noise_is_told(left):
    low, clean = noisy_and_clean()
    (finding,) = audit((low, clean + left * (low - clean))).findings
    assert finding.code == "CTK-W064" and "noise is left" in finding.text


def test_noise_of_a_rounding_is_none_to_miss():
    _, clean = noisy_and_clean()
    rounded = np.rint(clean + np.random.default_rng(1).normal(0, 0.4, clean.shape))
    result = audit((rounded.astype(np.float32), clean))
    assert result.findings == []
    # Rounding makes 0.46 HU of 0.4, audited as means of four pixels less those of 100.
    assert result.noise_left == pytest.approx(0.1 / (0.46 / 2 * 0.96**0.5), rel=0.05)


@pytest.mark.parametrize("again", [0.1, 0.2, 0.5, 1.0])
def test_noise_that_is_replaced_by_other_noise_is_told(again):
    """What was removed has 1 + again^2 of the power of the noise."""
    low, clean = noisy_and_clean()
    other = (low - clean)[::-1, ::-1]
    result = audit((low, clean + again * other))
    replaced = [f for f in result.findings if "added in its place" in f.text]
    assert [f.code for f in replaced] == ["CTK-W065"] * (again >= 0.5)
    assert result.removed_power[0] == pytest.approx(1 + again**2, rel=0.05)


def test_what_a_filter_does_to_an_image_without_noise_is_no_replacement():
    _, clean = noisy_and_clean()
    image = clean.astype(np.float32)
    assert audit((image, image)).removed_power == [0, 0, 0, 0]
    ripple = np.random.default_rng(1).normal(0, 0.5, image.shape)
    result = audit((image, image + ripple))
    assert not any("added in its place" in f.text for f in result.findings)


def test_output_that_is_no_number_is_told():
    low, clean = noisy_and_clean()
    holed = with_a_little_noise(low, clean)
    assert audit((low, holed)).findings == []
    holed[100, 100:103] = np.nan, np.inf, -np.inf
    result = audit((low, holed))
    (finding,) = result.findings
    assert str(finding) == "CTK-W064 3 values of the output are not numbers"
    assert np.isfinite([*result.peaks, result.noise_left, result.far_share]).all()
    gone = audit((low, np.full_like(low, np.nan)))
    assert gone.not_finite == low.size
    assert "CTK-W064" in [finding.code for finding in gone.findings]


def test_unknown_spacing_is_taken_as_usual():
    low, clean = noisy_and_clean()
    pair = low, np.asarray(with_a_little_noise(low, clean), np.float32)
    results = []
    for spacing_mm in ((np.nan, np.nan), (0.75, 0.75)):
        looked = Audit(spacing_mm)
        looked.look(0, *pair)
        results.append(looked.result())
    assert results[0] == results[1]


@pytest.mark.parametrize(("sigma", "contrast"), [(10.0, 20.0), (20.0, -25.0)])
def test_planted_lesion_is_found_and_placed(sigma, contrast):
    low, clean = noisy_and_clean(sigma)
    denoised = with_a_little_noise(low, clean)
    invented = planted(denoised, 150, 100, contrast=contrast)
    result = audit((low, denoised), (low, invented))
    assert [finding.code for finding in result.findings] == ["CTK-W065"]
    assert result.worst_slice == 1 and result.peaks[1] > 9 > 6 > result.peaks[0]
    assert np.hypot(*np.subtract(result.worst_place, (150, 100))) <= 6


def test_lesion_taken_away_is_found_too():
    low, clean = noisy_and_clean()
    result = audit((planted(low, 150, 100), clean))
    assert "CTK-W065" in [finding.code for finding in result.findings]


def test_blurred_edges_are_told():
    low, clean = noisy_and_clean(5.0)
    result = audit((low, ndimage.gaussian_filter(clean, 2.0)))
    assert result.correlation > 0.2
    assert any("follows edges" in finding.text for finding in result.findings)


def test_change_of_tissue_means_and_rise_of_noise_are_told():
    low, clean = noisy_and_clean(10.0)
    denoised = with_a_little_noise(low, clean)
    result = audit((low, np.where(clean > 0, denoised + 3, denoised)))
    assert result.bias_hu["soft"] == pytest.approx(3.0, abs=0.3)
    assert result.bias_hu["air"] == pytest.approx(0.0, abs=0.3)
    assert [finding.code for finding in result.findings] == ["CTK-W064"]
    louder = audit((low, clean + 2 * (low - clean)))
    assert louder.noise_left == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("change", [7, 0.1])
def test_a_constant_change_correlates_with_nothing(change):
    low = np.rint(noisy_and_clean(10.0)[0]).astype(np.float32)
    looked = Audit((1.5, 1.5))
    looked.look(0, low, low - np.float32(change))
    assert looked.result().correlation == pytest.approx(0, abs=0.05)


class Inventor:
    """A stand-in for a network that hallucinates: it adds a lesion to one slice."""

    def __init__(self, at):
        self.identity = Identity("inventor")
        self.calls, self.at = 0, at

    def __call__(self, hu):
        self.calls += 1
        smooth = ndimage.gaussian_filter(hu, 1.0)
        return planted(smooth, *self.at, 4, 40) if self.calls == 2 else smooth


def test_series_with_an_invented_lesion_is_told_and_pictured(tmp_path):
    phantom = make_phantom(
        5, region="abdomen", shape=(3, 256, 256), spacing_mm=(5.0, 1.5, 1.5)
    )
    write_phantom(phantom, tmp_path / "study")
    liver = ndimage.distance_transform_edt(phantom.labels[1] == LABELS["liver"])
    place = np.unravel_index(int(liver.argmax()), liver.shape)
    series, qc = read_series(tmp_path / "study"), tmp_path / "qc"
    result = denoise_series(
        series, tmp_path / "out", Inventor(place), quality_control=qc
    )
    document = json.loads((qc / "qc.json").read_text())
    assert [str(finding) for finding in result.findings] == [
        f"{finding['code']} {finding['text']}" for finding in document["findings"]
    ]
    assert "CTK-W065" in [finding.code for finding in result.findings]
    assert len(document["removed"]["peaks"]) == len(series)
    assert document["removed"]["worst_slice"] == 1
    assert np.hypot(*np.subtract(document["removed"]["worst_place"], place)) < 8
    assert (qc / "qc.png").read_bytes()[:4] == b"\x89PNG"
    assert document["decoders"] == []


def test_the_decoder_is_recorded(phantom_patients, tmp_path):
    source = next((phantom_patients / "test").iterdir())
    (tmp_path / "in").mkdir()
    for path in source.glob("*.dcm"):
        dataset = dcmread(path)
        dataset.compress(JPEGLSLossless)
        dataset.save_as(tmp_path / "in" / path.name, enforce_file_format=True)
    method, qc = filters.get("gaussian"), tmp_path / "qc"
    series = read_series(tmp_path / "in")
    denoise_series(series, tmp_path / "out", method, quality_control=qc)
    (decoder,) = json.loads((qc / "qc.json").read_text())["decoders"]
    assert decoder.startswith("pyjpegls 1.")
    written = read_series(tmp_path / "out")
    assert f"decoded by {decoder};" in written.header.DerivationDescription
    denoise_series(read_series(source), tmp_path / "plain", method)
    assert np.array_equal(read_series(tmp_path / "plain").hu, written.hu)


def test_overriding_a_refusal_is_recorded_in_the_series(phantom_patients, tmp_path):
    series = read_series(next((phantom_patients / "test").iterdir()))
    denoiser = ct_keras.Denoiser(ct_keras.models.build("red_cnn", width=2))
    level = noise_level_hu(series)
    denoiser.card = {"ranges": {"noise_index_hu": [level / 20, level / 10]}}
    with pytest.raises(CtKerasError) as refusal:
        denoise_series(series, tmp_path / "out", denoiser)
    assert refusal.value.code == "CTK-E061"
    assert not (tmp_path / "out").exists()
    denoise_series(series, tmp_path / "out", denoiser, override_guards=True)
    derived = read_series(tmp_path / "out").header
    assert "guards_overridden" in derived.DerivationDescription


class Opens:
    """Counts how often each source file is opened."""

    def __init__(self, folder, monkeypatch):
        self.counts = {str(path): 0 for path in folder.glob("*.dcm")}
        self._open = builtins.open
        monkeypatch.setattr(builtins, "open", self)

    def __call__(self, file, *args, **options):
        if str(file) in self.counts:
            self.counts[str(file)] += 1
        return self._open(file, *args, **options)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_source_is_opened_once_to_scan_and_once_to_denoise(
    tmp_path, monkeypatch, dimensions
):
    shape, spacing_mm = (7, 96, 96), (5.0, 4.0, 4.0)
    phantom = make_phantom(3, region="abdomen", shape=shape, spacing_mm=spacing_mm)
    write_phantom(phantom, tmp_path / "in")

    def method(hu):
        return hu - 1

    method.dimensions = dimensions
    opens = Opens(tmp_path / "in", monkeypatch)
    series = read_series(tmp_path / "in")
    denoise_series(series, tmp_path / "out", method)
    assert list(opens.counts.values()) == [2] * 7
    derived = read_series(tmp_path / "out")
    np.testing.assert_array_equal(derived.hu, series.hu - 1)
    assert derived.header.PatientID == series.header.PatientID
