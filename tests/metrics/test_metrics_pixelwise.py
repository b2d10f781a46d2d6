"""Golden values of every protocol, closed forms, and refusals."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ct_keras.arrays import as_hu
from ct_keras.errors import CtKerasError
from ct_keras.metrics import (
    PROTOCOLS,
    SSIM_NAMES,
    body_mask,
    evaluate,
    hu_errors,
    psnr,
    rmse,
    ssim,
    tissue_masks,
    vif,
)
from ct_keras.metrics.protocols import evaluate_slice


@pytest.fixture(scope="module")
def golden():
    """The pair that the published golden values were computed from."""
    i, j = np.mgrid[:128, :128].astype(np.float64)
    reference = 40 + 300 * np.sin(2 * np.pi * i / 64) * np.cos(2 * np.pi * j / 48)
    reference[:16] = -1000
    reference[112:] = 900
    test = reference + 25 * np.sin(2 * np.pi * (7 * i + 11 * j) / 32) + 3
    return reference, test


@pytest.fixture(scope="module")
def found(golden):
    reference, test = golden
    return evaluate(test, reference)


@pytest.fixture(scope="module")
def noisy():
    generator = np.random.default_rng(5)
    reference = ndimage.gaussian_filter(generator.normal(0, 900, (61, 75)), 2)
    return reference, reference + generator.normal(0, 30, reference.shape)


GOLDEN = {
    "psnr": "29.4808",
    "ssim": "0.917615",
    "rmse_hu": "13.4283",
    "psnr_dugan600": "31.9898",
    "ssim_dugan600": "0.917985",
    "rmse_dugan600": "0.025148",
    "rmse_hu_dugan600": "15.0890",
    "psnr_corediff2000": "40.6982",
    "ssim_corediff2000": "0.939833",
    "rmse_hu_corediff2000": "17.5326",
    "psnr_ldctbench_chest": "40.1576",
    "psnr_ldctbench_abdomen": "29.4754",
    "psnr_ldctbench_neuro": "20.9847",
    "ssim_ldctbench_chest": "0.957106",
    "ssim_ldctbench_abdomen": "0.938972",
    "ssim_ldctbench_neuro": "0.881211",
    "psnr_ldctbench2924": "44.2477",
    "ssim_ldctbench2924": "0.973747",
    "rmse_hu_ldctbench2924": "17.9304",
    "psnr_full4096": "47.1754",
    "ssim_full4096": "0.984405",
    "rmse_hu_full4096": "17.9304",
    "psnr_wide2000": "41.1437",
    "ssim_wide2000": "0.953876",
    "vif": "0.537454",
    "vif_swapped": "0.534833",
    "bias_hu": "3.0000",
}


@pytest.mark.parametrize("key", GOLDEN)
def test_golden(found, key):
    digits = len(GOLDEN[key].split(".")[1])
    assert f"{found[key]:.{digits}f}" == GOLDEN[key]


def test_golden_with_another_ssim_definition(golden):
    reference, test = (np.clip(image, -160, 240) for image in golden)
    value = ssim(
        reference=reference, test=test, data_range=400, definition="gauss-valid"
    )
    assert f"{value:.6f}" == "0.906860"


def test_corediff_takes_the_range_of_the_reference(golden):
    reference, test = (PROTOCOLS["corediff2000"].map(image) for image in golden)
    assert reference.max() - reference.min() == pytest.approx(242.25)
    fixed = psnr(reference=reference, test=test, data_range=255)
    assert f"{fixed:.4f}" == "41.1437"


def test_identical_pair(golden):
    reference, _ = golden
    same = evaluate(reference, reference)
    assert same["psnr"] == same["psnr_wide2000"] == math.inf
    for key in ("ssim", "ssim_dugan600", "ssim_ldctbench_neuro", "vif", "vif_swapped"):
        assert same[key] == pytest.approx(1, abs=1e-9)
    assert same["rmse_hu"] == same["bias_hu"] == same["mae_hu"] == 0


def test_constant_shift_is_a_closed_form():
    reference = np.zeros((64, 64))
    shifted = evaluate(reference + 4, reference)
    assert shifted["psnr"] == pytest.approx(20 * math.log10(400 / 4))
    assert shifted["psnr_ldctbench2924"] == pytest.approx(20 * math.log10(2924 / 4))
    assert shifted["psnr_wide2000"] == pytest.approx(20 * math.log10(2000 / 4))
    assert shifted["bias_hu_soft"] == shifted["rmse_hu"] == 4
    c1 = (0.01 * 2924) ** 2
    luminance = (2 * 1024 * 1028 + c1) / (1024**2 + 1028**2 + c1)
    assert shifted["ssim_ldctbench2924"] == pytest.approx(luminance, abs=1e-12)


def test_windows_of_ldctbench():
    limits = {
        name: (PROTOCOLS[f"ldctbench_{name}"].low_hu, PROTOCOLS[f"ldctbench_{name}"])
        for name in ("chest", "abdomen", "neuro")
    }
    assert {name: (low, p.high_hu) for name, (low, p) in limits.items()} == {
        "chest": (-1350, 149),
        "abdomen": (-150, 249),
        "neuro": (0, 79),
    }


def test_vif_tells_blur_from_noise_and_its_arguments_apart(noisy):
    reference, _ = noisy
    blurred = cv2.GaussianBlur(reference, (0, 0), 2)
    right = vif(reference=reference, test=blurred)
    swapped = vif(reference=blurred, test=reference)
    assert right < swapped
    assert vif(reference=reference, test=1.3 * reference) > 1
    assert math.isnan(vif(reference=reference[:40], test=blurred[:40]))


def test_vif_of_a_gain_is_a_closed_form():
    # Without noise t = g r, so every scale adds log(1 + g^2 v / 2) over log(1 + v / 2),
    # which tends to 1 for a large variance v and to g^2 for a small one.
    small = np.random.default_rng(0).normal(0, 1e-3, (64, 64))
    assert vif(reference=small, test=0.5 * small) == pytest.approx(0.25, rel=1e-3)


def test_flat_images_have_no_vif_but_no_crash():
    flat = np.full((64, 64), 10.0)
    assert math.isnan(vif(reference=flat, test=flat))


def test_tissues_and_body():
    hu = np.full((100, 120), -1000.0)
    hu[20:80, 20:100] = 50
    hu[30:60, 30:60] = -800
    hu[40:44, 70:90] = 700
    hu[90:92, :] = 300  # the table
    hu[:4, :] = -2000  # padding
    body = body_mask(hu)
    assert body.sum() == pytest.approx(60 * 80, abs=20)
    assert body[45, 45]
    assert not body[91].any()
    masks = tissue_masks(hu)
    assert masks["lung"].sum() == 26 * 26
    assert not masks["bone"].any()
    assert not masks["air"][:6].any()
    errors = hu_errors(reference=hu, test=np.where(masks["lung"], hu - 7, hu + 2))
    assert errors["bias_hu_lung"] == -7
    assert errors["bias_hu_soft"] == errors["bias_hu_air"] == 2
    assert math.isnan(errors["bias_hu_bone"])


def test_no_body_at_all():
    air = np.full((32, 32), -1000.0)
    assert math.isnan(evaluate(air + 1, air)["bias_hu"])
    assert math.isnan(evaluate(air, air)["psnr_corediff2000"])


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (3, 40)])
def test_small_images_give_what_is_defined(shape):
    reference = np.random.default_rng(1).normal(0, 100, shape)
    found = evaluate(reference + 5, reference)
    assert found["psnr"] > 0
    assert math.isfinite(found["ssim"])
    assert math.isnan(found["vif"])
    assert math.isnan(found["ssim_wide2000"])


def test_volume_is_the_mean_of_slices_without_identical_ones(golden):
    reference, test = golden
    one = evaluate(test, reference)
    volume = evaluate(
        np.stack([test, reference, reference + 2 * (test - reference)]),
        np.stack([reference] * 3),
    )
    other = evaluate(reference + 2 * (test - reference), reference)
    assert volume["psnr"] == pytest.approx((one["psnr"] + other["psnr"]) / 2)
    assert volume["rmse_hu"] == pytest.approx((one["rmse_hu"] + other["rmse_hu"]) / 3)
    assert evaluate(reference[None], reference[None])["psnr"] == math.inf


def test_integers_and_float32_measure_like_float64(golden):
    reference, test = (np.rint(image) for image in golden)
    expected = evaluate(test, reference)
    for dtype in (np.int16, np.float32):
        found = evaluate(test.astype(dtype), reference.astype(dtype))
        np.testing.assert_allclose(list(found.values()), list(expected.values()))


@pytest.mark.parametrize(
    ("denoised", "reference"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5))),
        (np.zeros(4), np.zeros(4)),
        (np.zeros((0, 4)), np.zeros((0, 4))),
        (np.full((4, 4), np.nan), np.zeros((4, 4))),
        (np.zeros((4, 4)), np.full((4, 4), np.inf)),
    ],
)
def test_what_cannot_be_compared_is_refused(denoised, reference):
    with pytest.raises(CtKerasError, match=r"CTK-E04[14]"):
        evaluate(denoised, reference)


def test_metrics_take_no_positional_images(golden):
    for function in (psnr, ssim, vif, rmse, evaluate_slice):
        with pytest.raises(TypeError):
            function(*golden)


def test_every_protocol_has_its_keys(found):
    for protocol in PROTOCOLS.values():
        assert protocol.ssim in SSIM_NAMES
        for metric in ("psnr", "ssim", "rmse_hu"):
            assert protocol.key(metric) in found
        high, low = protocol.map(np.array([1e5, -1e5]))
        if protocol.range_hu is not None:
            assert high - low == pytest.approx(protocol.data_range)


def test_the_room_does_without_tensorflow():
    code = "import sys, ct_keras.evaluation; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("level", [-1024.0, 0.0, 40.0, 1000.1])
def test_a_flat_image_has_no_information(level):
    """Rounding errors gave 0.02 to 2.4, also for two equal images."""
    flat = np.full((64, 64), level)
    assert math.isnan(vif(reference=flat, test=flat))
    assert math.isnan(evaluate(flat + 5, flat)["vif"])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((8, 8)) + 1j,
        np.full((8, 8), "4"),
        np.ma.masked_array(np.zeros((8, 8)), mask=np.eye(8)),
    ],
    ids=["complex", "text", "masked"],
)
def test_what_a_conversion_would_drop_is_refused(values):
    plain = np.zeros((8, 8))
    for call in (
        lambda: evaluate(values, plain),
        lambda: evaluate(plain, values),
        lambda: as_hu(values),
    ):
        with pytest.raises(CtKerasError, match="CTK-E047 the values are not plain"):
            call()
    assert evaluate(plain.astype(object), plain.tolist())["rmse_hu"] == 0
