"""Guards: scans that a model does not know, and structure in what it took away."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

import ct_keras
from ct_keras.data import training_ranges
from ct_keras.dicom import find_series, noise_level_hu, read_series
from ct_keras.dicom.noise_texture import noise_frequency
from ct_keras.errors import CtKerasError
from ct_keras.serving import read_card
from ct_keras.serving.denoiser import Identity
from ct_keras.serving.guards import Audit, check_series
from ct_keras.serving.series import denoise_series
from ct_keras.simulation import LABELS, make_phantom, write_phantom

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

    def __len__(self):
        return len(self.volume)

    def read(self, index):
        return SimpleNamespace(hu=self.volume[index])


def body(size=192):
    rows, columns = np.indices((size, size)) - size // 2
    return np.where(np.hypot(rows, columns * 0.8) < 0.4 * size, 50.0, -1000.0)


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
    ],
    ids=["mr", "network units", "1024 too high", "air"],
)
def test_values_that_are_no_hounsfield_units_are_refused(volume):
    series = Scan(volume.astype(np.float32))
    with pytest.raises(CtKerasError) as refusal:
        check_series(series, None, model="input")
    assert refusal.value.code == "CTK-E044"


def test_noise_level_warns_and_then_refuses():
    assert codes(check(scan(24.0))) == []  # inside the tolerance of a quarter
    assert codes(check(scan(30.0))) == ["CTK-W061"]
    (finding,) = check(scan(6.5)).findings
    assert finding.code == "CTK-W061" and "already low noise" in finding.text
    with pytest.raises(CtKerasError) as refusal:
        check(scan(45.0))
    assert refusal.value.code == "CTK-E061"
    assert refusal.value.exit_code == 9
    overridden = check(scan(45.0), override=True).overridden
    assert [text.split()[0] for text in overridden] == ["CTK-E061"]


def test_mean_frequency_of_white_noise_is_that_of_the_grid():
    grid = np.fft.fftfreq(24, 0.08)
    frequency = np.hypot(grid[:, None], grid[None, :])
    expected = frequency.sum() / (24 * 24 - 1)
    measured = noise_frequency(scan(15.0).volume, (0.8, 0.8))
    assert measured == pytest.approx(expected, rel=0.03)
    # Twice the pixel, half the frequency.
    wide = noise_frequency(scan(15.0).volume, (1.6, 1.6))
    assert wide == pytest.approx(measured / 2, rel=1e-6)


def test_mean_frequency_of_blurred_noise_is_that_of_its_spectrum():
    sigma_cm = 1.5 * 0.08
    grid = np.fft.fftfreq(24, 0.08)
    frequency = np.hypot(grid[:, None], grid[None, :])
    power = np.exp(-((2 * np.pi * sigma_cm * frequency) ** 2))
    power[0, 0] = 0
    expected = (frequency * power).sum() / power.sum()
    measured = noise_frequency(scan(15.0, blur=1.5, slices=8).volume, (0.8, 0.8))
    # Quiet pieces without a plane hold a little less of the lowest frequencies.
    assert expected < measured < 1.2 * expected


def test_other_texture_and_header_are_told():
    smooth = noise_frequency(scan(15.0, blur=4.0).volume, (0.8, 0.8))
    ranges = RANGES | {"noise_frequency_per_cm": [2 * smooth, 4 * smooth]}
    entrance = check_series(scan(15.0, blur=4.0), ranges, model="a_model")
    assert "CTK-W062" in codes(entrance)
    thin = scan(15.0, slice_thickness_mm=1.0)
    (finding,) = check(thin).findings
    assert (finding.code, "slice thickness 1 mm" in finding.text) == ("CTK-W060", True)


def test_ranges_are_those_of_the_records(phantom_records, phantom_patients):
    ranges = training_ranges(phantom_records)
    series = read_series(next((phantom_patients / "train").iterdir()))
    assert ranges["slice_thickness_mm"] == [series.slice_thickness_mm] * 2
    assert ranges["pixel_spacing_mm"] == pytest.approx(
        [series.spacing_mm[1]] * 2, abs=1e-3
    )
    assert ranges["kernels"] == [series.kernel]
    if ranges["noise_index_hu"] and noise_level_hu(series):
        assert ranges["noise_index_hu"][0] > noise_level_hu(series)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_real_scans_pass_in_silence(shared_ct, split):
    ranges = read_card("red_cnn")["ranges"]
    for series in find_series(shared_ct / split):
        entrance = check_series(series, ranges, model="red_cnn")
        assert (entrance.findings, entrance.overridden) == ([], [])


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
    result = audit((low, clean))
    assert result.findings == []
    assert result.peaks[0] < 6
    assert result.noise_left < 0.2
    assert abs(result.correlation) < 0.1


@pytest.mark.parametrize(("sigma", "contrast"), [(10.0, 20.0), (20.0, -25.0)])
def test_planted_lesion_is_found_and_placed(sigma, contrast):
    low, clean = noisy_and_clean(sigma)
    invented = planted(clean, 150, 100, contrast=contrast)
    result = audit((low, clean), (low, invented))
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
    result = audit((low, np.where(clean > 0, clean + 3, clean)))
    assert result.bias_hu["soft"] == pytest.approx(3.0, abs=0.3)
    assert result.bias_hu["air"] == pytest.approx(0.0, abs=0.3)
    assert [finding.code for finding in result.findings] == ["CTK-W064"]
    louder = audit((low, clean + 2 * (low - clean)))
    assert louder.noise_left == pytest.approx(2.0, rel=0.05)


class Inventor:
    """A stand-in for a network that hallucinates: it adds a lesion to one slice."""

    def __init__(self, at):
        self.identity, self.card = Identity("inventor"), {}
        self.calls, self.at = 0, at

    def __call__(self, hu, *, strength=1.0):
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
