"""The channelised Hotelling observer: closed forms, another implementation, LCD-CT."""

import math

import numpy as np
import pytest
from scipy.linalg import pinv
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from ct_keras.errors import CtKerasError
from ct_keras.image_quality import (
    auc_difference,
    cho,
    difference_of_gaussians,
    gabor,
    get_channels,
    hotelling_template,
    laguerre_gauss,
    read_lcd_ct,
)
from ct_keras.image_quality.cho import _judge
from ct_keras.metrics.statistics import auc

EXPECTED = 8 * math.sqrt(math.pi) * 4 / 20
SIZE, NOISE_HU = 41, 20.0
WIDTH = 4 * math.sqrt(2 * math.pi)


def _signal():
    places = np.arange(SIZE) - (SIZE - 1) / 2
    return 8 * np.exp(-(places[:, None] ** 2 + places**2) / (2 * 4**2))


def _images(count, seed):
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, NOISE_HU, (2, count, SIZE, SIZE))
    return noise[0] + _signal(), noise[1]


def _responses(count, seed):
    """Channel responses drawn from their own distribution, as images of one row."""
    channels = laguerre_gauss(SIZE, WIDTH)
    factor = np.linalg.cholesky(channels.T @ channels) * NOISE_HU
    drawn = np.random.default_rng(seed).normal(size=(2, count, 5)) @ factor.T
    drawn[0] += _signal().ravel() @ channels
    return drawn[0][:, None], drawn[1][:, None]


def _dprime(present, absent):
    pooled = (present.var(ddof=1) + absent.var(ddof=1)) / 2
    return (present.mean() - absent.mean()) / math.sqrt(pooled)


def test_laguerre_gauss_channels_are_orthonormal_and_hold_the_signal():
    channels = laguerre_gauss(121, 20.0, count=6)
    assert channels.T @ channels == pytest.approx(np.eye(6), abs=1e-9)
    first = laguerre_gauss(SIZE, WIDTH)[:, 0].reshape(SIZE, SIZE)
    assert first / first.max() == pytest.approx(_signal() / 8)
    # LCD-CT's laguerre_gaussian_2d at 2 pixels from the middle, h = 6.
    lcd_ct = [0.166251807164, 0.050186150268, -0.025364949402, -0.069829657426]
    found = laguerre_gauss(9, 6.0, count=4).reshape(9, 9, 4)[4, 6]
    assert found == pytest.approx(lcd_ct, abs=1e-11)
    shifted = laguerre_gauss(9, 6.0, center=(3, 5)).reshape(9, 9, 5)
    assert shifted[3, 7] == pytest.approx(laguerre_gauss(9, 6.0).reshape(9, 9, 5)[4, 6])


def test_the_hotelling_observer_of_known_statistics_is_the_ideal_one():
    channels = laguerre_gauss(SIZE, WIDTH)
    mean = _signal().ravel() @ channels
    covariance = NOISE_HU**2 * channels.T @ channels
    assert math.sqrt(mean @ np.linalg.solve(covariance, mean)) == pytest.approx(
        EXPECTED, rel=1e-4
    )
    assert pytest.approx(2.8359, abs=1e-4) == EXPECTED


def test_difference_of_gaussians_channels_are_rings_of_frequency():
    size = 65
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency)
    for kind, count in (("dense", 10), ("sparse", 3)):
        channels = difference_of_gaussians(size, kind)
        assert channels.shape == (size * size, count)
    third = difference_of_gaussians(size, "dense")[:, 3].reshape(size, size)
    spectrum = np.fft.fft2(np.fft.ifftshift(third)).real
    a = 0.005 * 1.4**3
    expected = np.exp(-((radius / (1.67 * a)) ** 2) / 2) - np.exp(
        -((radius / a) ** 2) / 2
    )
    assert spectrum == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [33, 34, 64])
def test_difference_of_gaussians_channels_lie_in_the_middle(size):
    places = np.arange(size) - (size - 1) / 2
    squared = places[:, None] ** 2 + places**2
    for kind, first, growth, ratio in (
        ("dense", 0.005, 1.4, 1.67),
        ("sparse", 0.015, 2, 2),
    ):
        channels = difference_of_gaussians(size, kind)
        for index, flat in enumerate(channels.T):
            channel = flat.reshape(size, size)
            assert channel == pytest.approx(channel[::-1, ::-1], abs=1e-15)
            assert channel == pytest.approx(channel.T, abs=1e-15)
            assert channel.sum() == pytest.approx(0, abs=1e-12)
            width = first * growth**index
            if not 1.5 / size < width < 0.09:
                continue  # it reaches over the edge, or beyond half a cycle per pixel
            expected = sum(
                sign * 2 * np.pi * s**2 * np.exp(-2 * (np.pi * s) ** 2 * squared)
                for sign, s in ((1, ratio * width), (-1, width))
            )
            assert channel == pytest.approx(expected, abs=0.01 * expected.max())


def test_gabor_channels_are_bands_in_four_directions():
    size = 129
    channels = gabor(size).reshape(size, size, 4, 4)
    frequency = np.fft.fftfreq(size)
    for band in range(4):
        spectrum = np.abs(np.fft.fft2(channels[:, :, band, 0]))
        row, column = np.unravel_index(np.argmax(spectrum), spectrum.shape)
        assert frequency[row] == 0
        assert abs(frequency[column]) == pytest.approx(3 / 32 / 2**band, abs=0.008)
        assert channels[:, :, band, 2] == pytest.approx(channels[:, :, band, 0].T)


def test_split_samples_find_the_closed_form():
    found = cho(
        *_images(300, 1),
        laguerre_gauss(SIZE, WIDTH),
        subtract_mean=False,
        splits=40,
        resamples=50,
    )
    assert found.dprime == pytest.approx(EXPECTED, abs=0.3)
    assert found.auc == pytest.approx(0.9775, abs=0.015)
    low, high = found.auc_interval
    assert low < found.auc < high
    assert 0.005 < high - low < 0.04


def test_halves_are_unbiased_where_the_same_images_are_not():
    halves, same = [], []
    for seed in range(60):
        present, absent = _responses(200, seed)
        found = cho(
            present, absent, np.eye(5), subtract_mean=False, splits=4, resamples=2
        )
        halves.append(found.dprime)
        trained = present[:100, 0], absent[:100, 0]
        template = hotelling_template(*trained)
        same.append(_dprime(*(values @ template for values in trained)))
    assert np.mean(halves) == pytest.approx(EXPECTED, abs=0.08)
    assert np.mean(same) == pytest.approx(2.907, abs=0.06)


def test_one_half_against_another_implementation():
    present, absent = (values[:, 0] for values in _responses(40, 3))
    half = np.arange(40) % 2 == 0
    covariance = [np.cov(v[half], rowvar=False) for v in (present, absent)]
    difference = present[half].mean(axis=0) - absent[half].mean(axis=0)
    expected = np.linalg.solve((covariance[0] + covariance[1]) / 2, difference)
    template = hotelling_template(present[half], absent[half])
    assert template == pytest.approx(expected)
    scores = np.concatenate([present[~half], absent[~half]]) @ template
    truth = np.repeat([1, 0], 20)
    assert auc(scores[:20], scores[20:]) == pytest.approx(roc_auc_score(truth, scores))


def test_many_halves_against_a_plain_loop():
    present, absent = (values[:, 0] for values in _responses(12, 5))
    present = absent + 0.3 * (present - absent)
    generator, aucs = np.random.default_rng(0), []
    for _ in range(800):
        one, two = generator.permutation(12), generator.permutation(12)
        train = present[one[:6]], absent[two[:6]]
        covariance = sum(np.cov(v, rowvar=False) for v in train) / 2
        template = pinv(covariance) @ (train[0].mean(axis=0) - train[1].mean(axis=0))
        scores = np.concatenate([present[one[6:]], absent[two[6:]]]) @ template
        aucs.append(roc_auc_score(np.repeat([1, 0], 6), scores))
    found = cho(
        present[:, None],
        absent[:, None],
        np.eye(5),
        subtract_mean=False,
        splits=800,
        resamples=2,
    )
    assert found.auc == pytest.approx(np.mean(aucs), abs=0.02)


def test_the_interval_covers_what_another_sample_gives():
    results = [
        cho(
            *_responses(20, seed),
            np.eye(5),
            subtract_mean=False,
            splits=20,
            resamples=100,
        )
        for seed in range(40)
    ]
    true = np.mean([result.auc for result in results])
    covered = sum(r.auc_interval[0] <= true <= r.auc_interval[1] for r in results)
    assert covered >= 34
    widths = [r.auc_interval[1] - r.auc_interval[0] for r in results]
    assert np.mean(widths) < 8 * np.std([r.auc for r in results])


def test_noise_alone_is_a_guess():
    noise = np.random.default_rng(2).normal(size=(2, 200, 1, 5))
    found = cho(noise[0], noise[1], np.eye(5), subtract_mean=False, resamples=40)
    assert found.auc == pytest.approx(0.5, abs=0.06)


def test_a_method_that_only_scales_loses_nothing():
    present, absent = _images(30, 7)
    channels = get_channels("laguerre-gauss", SIZE, diameter=1.5 * WIDTH)
    assert channels == pytest.approx(laguerre_gauss(SIZE, WIDTH))
    plain = cho(present, absent, channels, splits=20, resamples=40)
    scaled = cho(3 * present + 50, 3 * absent + 90, channels, splits=20, resamples=40)
    # Every region loses its mean, so an offset is nothing that can be seen.
    difference, interval = auc_difference(scaled, plain)
    assert (difference, *interval) == pytest.approx((0, 0, 0), abs=1e-12)
    hidden = cho(
        0.2 * present + 0.8 * absent, absent, channels, splits=20, resamples=40
    )
    difference, (_, high) = auc_difference(hidden, plain)
    assert difference < high < 0


def test_halves_of_one_image_train_no_observer():
    present, absent = (values[:, 0] for values in _responses(4, 1))
    halves = [np.array([[True, True, False, False]] * 5)] * 2
    drawn = [(1, 1, 1, 1), (1, 0, 2, 1), (0, 0, 2, 2), (0, 2, 1, 1), (0, 2, 1, 1)]
    others = [(1, 1, 1, 1)] * 4 + [(3, 0, 0, 1)]
    counts = [np.array(others), np.array(drawn)]
    # The fourth has copies of one image of a kind, the last of both kinds.
    auc, _ = _judge((present, absent), halves, counts)
    assert np.isnan(auc).tolist() == [False, True, True, False, True]
    for few in ((present[:1], absent), (present, absent[:1])):
        with pytest.raises(CtKerasError) as refusal:
            hotelling_template(*few)
        assert refusal.value.code == "CTK-E041"


def test_an_offset_that_all_images_share_changes_nothing():
    present, absent = (values[..., :1] for values in _responses(5, 4))
    settings = {"subtract_mean": False, "splits": 20, "resamples": 60}
    plain = cho(present, absent, np.eye(1), **settings)
    moved = cho(present + 4096, absent + 4096, np.eye(1), **settings)
    assert moved.replicates == pytest.approx(plain.replicates, nan_ok=True)
    assert moved.auc_interval == pytest.approx(plain.auc_interval)


def test_what_cannot_be_observed_is_refused():
    images, channels = np.zeros((4, 6, 6)), np.zeros((36, 2))
    for given in (
        (images[:3], images, channels),
        (images, images[:, :5], channels),
        (images, images, channels[:30]),
    ):
        with pytest.raises(CtKerasError) as refusal:
            cho(*given)
        assert refusal.value.code == "CTK-E041"
    for call in (
        lambda: get_channels("wavelet", 8, diameter=3),
        lambda: laguerre_gauss(8, 0.0),
    ):
        with pytest.raises(CtKerasError) as refusal:
            call()
        assert refusal.value.code == "CTK-E000"


# LCD-CT's Python observers (commit fe94e61) on its own images at full dose: region of
# 29 x 29 around the disc, its diameter, then AUC and SNR with random_state=3.
LCD_CT = {
    (94, 160, 4): ((0.52, -0.033239), (0.44, -0.264270), (0.64, 0.633999)),
    (95, 95, 7): ((0.52, -0.114470), (0.48, -0.148237), (0.60, 0.088787)),
    (160, 95, 10): ((0.80, 1.210001), (0.68, 0.554772), (0.76, 0.572425)),
    (160, 160, 14): ((0.72, 0.754980), (0.72, 0.863361), (0.68, 0.961766)),
}


@pytest.mark.parametrize("place", list(LCD_CT))
def test_one_half_of_lcd_ct_gives_what_lcd_ct_finds(shared_ct, place):
    study = read_lcd_ct(shared_ct / "lcd_ct")
    row, column, diameter = place
    window = slice(row - 14, row + 15), slice(column - 14, column + 15)
    stacks = [stack[1.0][:, *window] for stack in (study.present, study.absent)]
    train, test = train_test_split(np.arange(10), train_size=0.5, random_state=3)
    names = ("laguerre-gauss", "dog-dense", "gabor")
    for name, (area, snr) in zip(names, LCD_CT[place], strict=True):
        channels = get_channels(name, 29, diameter=diameter)
        flat = [stack.reshape(10, -1).astype(np.float64) for stack in stacks]
        seen = [(v - v.mean(axis=1, keepdims=True)) @ channels for v in flat]
        template = hotelling_template(*(values[train] for values in seen))
        scores = [values[test] @ template for values in seen]
        assert auc(*scores) == pytest.approx(area, abs=1e-9)
        assert _dprime(*scores) == pytest.approx(snr, abs=1e-5)


#: Mean AUC of LCD-CT's measure_LCD with 200 readers, LG_CHO_2D, the discs in order.
LCD_CT_MEANS = {
    0.1: (0.506, 0.428, 0.652, 0.592),
    1.0: (0.558, 0.449, 0.711, 0.739),
}


@pytest.mark.parametrize("dose", [0.1, 1.0])
def test_the_mean_of_lcd_ct_lies_in_our_interval(shared_ct, dose):
    study = read_lcd_ct(shared_ct / "lcd_ct")
    for insert, expected in zip(study.inserts, LCD_CT_MEANS[dose], strict=True):
        regions = study.regions(insert, study.present[dose], study.absent[dose])
        size = regions[0].shape[-1]
        channels = get_channels("laguerre-gauss", size, diameter=insert.diameter)
        found = cho(*regions, channels)
        low, high = found.auc_interval
        assert low < expected < high
        assert high - low < 0.6
