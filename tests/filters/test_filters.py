"""Classical filters: closed forms, other implementations, and what all must keep."""

import numpy as np
import pytest
from scipy import ndimage

from ct_keras import filters
from ct_keras.errors import CtKerasError


def _noisy(shape=(64, 64), sd=20.0, seed=0):
    return np.random.default_rng(seed).normal(40, sd, shape).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_gaussian_is_that_of_scipy(sigma):
    image = _noisy()
    expected = ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=4)
    mine = filters.get("gaussian", sigma=sigma)(image)
    assert mine == pytest.approx(expected, abs=1e-3)


def test_gaussian_lowers_white_noise_by_its_closed_form():
    sigma = 1.5
    smooth = filters.get("gaussian", sigma=sigma)(_noisy((512, 512), 20))
    assert smooth.std() == pytest.approx(20 / (2 * np.sqrt(np.pi) * sigma), rel=0.03)


@pytest.mark.parametrize("size", [3, 5])
def test_median_is_that_of_scipy(size):
    image = _noisy()
    expected = ndimage.median_filter(image, size, mode="nearest")
    assert np.array_equal(filters.get("median", size=size)(image), expected)


def test_nlm_scales_with_the_noise_it_finds():
    """Ten times the contrast and noise must give ten times the result."""
    image = _noisy((96, 96), 20) - 40
    once = filters.get("nlm")(image)
    twice = filters.get("nlm")(image * 2)
    assert once.std() < image.std() / 2
    assert twice.std() == pytest.approx(2 * once.std(), rel=0.1)


def test_nlm_keeps_an_edge_better_than_a_gaussian_of_equal_smoothing():
    step = np.where(np.arange(96) < 48, -100, 100) * np.ones((96, 1))
    noisy = (step + _noisy((96, 96), 15) - 40).astype(np.float32)
    errors = {
        name: np.abs(filters.get(name)(noisy) - step)[:, 46:50].mean()
        for name in ("nlm", "gaussian")
    }
    assert errors["nlm"] < errors["gaussian"] / 2


@pytest.mark.parametrize("name", filters.list_filters())
def test_a_constant_image_is_unchanged(name):
    image = np.full((40, 50), 55, np.float32)
    assert filters.get(name)(image) == pytest.approx(image, abs=1e-3)


@pytest.mark.parametrize("name", filters.list_filters())
def test_padding_is_kept_and_does_not_bleed(name):
    image = _noisy((60, 60), 5)
    image[:10] = -3024
    filtered = filters.get(name)(image)
    assert np.array_equal(filtered[:10], image[:10])
    assert filtered[10:].min() > -1024


@pytest.mark.parametrize("name", ["mean", "gaussian", "nlm", "bm3d"])
def test_noise_in_air_is_filtered_below_the_floor_too(name):
    air = np.random.default_rng(0).normal(-1000, 60, (64, 64)).astype(np.float32)
    filtered = filters.get(name)(air)
    assert np.mean(filtered == air) < 0.01
    assert filtered.mean() == pytest.approx(air.mean(), abs=1.0)
    assert filtered.std() < 0.9 * air.std()


@pytest.mark.parametrize("name", filters.list_filters())
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 20, 30)])
def test_any_size_and_volumes_slice_by_slice(name, shape):
    image = _noisy(shape)
    filtered = filters.get(name)(image)
    assert filtered.dtype == np.float32
    assert filtered.shape == shape
    if image.ndim == 3:
        assert np.array_equal(filtered[1], filters.get(name)(image[1]))


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_opposite_borders_of_wavelets_never_touch(levels):
    """Nothing reaches further than 7 taps of all levels and half a window."""
    from ct_keras.filters.wavelet import wavelet

    reach = 7 * (2**levels - 1) + 3
    image = _noisy((4 * reach, 24), 20)
    changed = image.copy()
    changed[:reach] += _noisy((reach, 24), 100, 1)
    before, after = (wavelet(each, levels, noise_sd=20) for each in (image, changed))
    moved = np.abs(after - before).max(axis=1)
    assert moved[:reach].min() > 10
    assert moved[2 * reach :].max() < 1e-3


def test_noise_sd_is_that_of_the_noise():
    from ct_keras.filters.noise import noise_sd

    assert noise_sd(_noisy((256, 256), 17)) == pytest.approx(17, rel=0.1)
    lung = _noisy((256, 256), 17) - 800
    assert noise_sd(lung) == pytest.approx(17, rel=0.1)


def test_tuning_finds_the_grid_value_with_the_least_error():
    from types import SimpleNamespace

    clean = ndimage.gaussian_filter(_noisy((128, 128), 900, 1), 6)
    low = clean + _noisy((128, 128), 20, 2) - 40
    pairs = [SimpleNamespace(low_hu=low.astype(np.float32), full_hu=clean)]
    tuned = filters.tune(filters.get("gaussian"), pairs)
    errors = {
        sigma: np.sqrt(
            np.mean((filters.get("gaussian", sigma=sigma)(low) - clean) ** 2)
        )
        for sigma in tuned.grid["sigma"]
    }
    assert tuned.parameters["sigma"] == min(errors, key=errors.get)
    assert len(set(errors.values())) == len(errors)


ALL = filters.list_filters(hu_preserving=None)


def test_all_filters_of_the_survey_are_there():
    assert set(filters.list_filters()) == {
        *("mean", "gaussian", "gaussian_5x5", "blur", "median", "sigma", "wiener"),
        *("bilateral", "tv", "wavelet", "nlm", "bm3d", "ksvd"),
    }
    assert set(ALL) - set(filters.list_filters()) == {"clahe", "outline"}


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_is_documented_and_tuning_stays_among_them(name):
    chosen = filters.get(name)
    assert set(chosen.meanings) == set(chosen.parameters)
    assert all(len(meaning) > 10 for meaning in chosen.meanings.values())
    assert set(chosen.grid) <= set(chosen.parameters)
    assert chosen.title


WITH_NOISE_LEVEL = [
    name
    for name in filters.list_filters()
    if "noise_sd" in filters.get(name).parameters
]


def test_filters_that_need_a_noise_level_take_one():
    needs = {"sigma", "wiener", "bilateral", "tv", "wavelet", "nlm", "bm3d", "ksvd"}
    assert set(WITH_NOISE_LEVEL) == needs


@pytest.mark.parametrize("name", WITH_NOISE_LEVEL)
def test_the_noise_level_is_estimated_unless_given(name):
    from ct_keras.filters.noise import noise_sd

    image = _noisy((60, 60), 20)
    image[20:40, 20:40] += 40
    alone = filters.get(name)(image)
    given = filters.get(name, noise_sd=noise_sd(image))(image)
    assert np.array_equal(alone, given)
    weak = filters.get(name, noise_sd=2)(image)
    assert np.abs(weak - image).mean() < 0.7 * np.abs(alone - image).mean()
    assert filters.get(name, noise_sd=0)(image) == pytest.approx(image, abs=1e-3)


@pytest.mark.parametrize("name", ["mean", "gaussian", "median", "nlm", "bm3d", "tv"])
def test_less_noise_remains_and_the_mean_stays(name):
    image = _noisy((64, 64), 20)
    filtered = filters.get(name)(image)
    assert filtered.std() < 0.6 * image.std()
    assert filtered.mean() == pytest.approx(image.mean(), abs=1)


@pytest.mark.parametrize("name", ["clahe", "outline"])
def test_what_gives_no_hu_is_refused_where_hu_are_expected(name):
    from ct_keras.denoising.methods import get_method

    assert filters.get(name)(_noisy()).shape == (64, 64)
    for call in (
        lambda: filters.get_denoiser(name),
        lambda: filters.tune(filters.get(name), [None]),
        lambda: get_method(f"filter:{name}"),
    ):
        with pytest.raises(CtKerasError, match="display only") as caught:
            call()
        assert caught.value.code == "CTK-E000"


@pytest.mark.parametrize("name", filters.list_filters())
def test_every_denoiser_goes_by_its_name_on_the_command_line(name):
    from ct_keras.denoising.methods import get_method

    image = _noisy((24, 30))
    method = get_method(f"filter:{name}")
    assert method.identity.name == f"filter:{name}"
    assert np.array_equal(method(image), filters.get(name)(image))


def test_what_does_not_exist_is_refused():
    for call in (
        lambda: filters.get("bm4d"),
        lambda: filters.get("median", sigma=1),
        lambda: filters.get("median")(np.zeros(4)),
        lambda: filters.get("bm3d", noise_sd=-1)(np.zeros((9, 9))),
        lambda: filters.tune(filters.get("median"), []),
    ):
        with pytest.raises(CtKerasError):
            call()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tv", {"weight": -1}),
        ("tv", {"iterations": 0}),
        ("sigma", {"reach": -1}),
        ("bilateral", {"sigma": np.inf}),
        ("bm3d", {"strength": np.nan}),
        ("nlm", {"patch_size": 0}),
        ("clahe", {"tiles": 0}),
        ("gaussian", {"sigma": -1}),
    ],
)
def test_impossible_parameters_are_refused(name, parameters):
    with pytest.raises(CtKerasError, match="CTK-E000 invalid") as refusal:
        filters.get(name, **parameters)
    assert next(iter(parameters)) in str(refusal.value)


def test_zero_leaves_the_image_as_it_is():
    image = np.random.default_rng(0).normal(40, 20, (24, 24)).astype(np.float32)
    for name, parameter in (("gaussian", "sigma"), ("tv", "weight"), ("nlm", "h")):
        unchanged = filters.get(name, **{parameter: 0})(image)
        np.testing.assert_allclose(unchanged, image, atol=1e-3)
