"""BM3D: its transforms, a slow second implementation, and what it reaches."""

import numpy as np
import pytest
from scipy.fft import dctn

from ct_keras import filters
from ct_keras.filters import bm3d
from ct_keras.filters.transforms import bior_matrix, dct_matrix, haar_matrix

STANDARD_DEVIATION = 25.0


@pytest.fixture(scope="module")
def camera():
    """A photograph and the same with white noise."""
    from skimage.data import camera as photograph

    clean = photograph().astype(np.float32)
    noise = np.random.default_rng(0).normal(0, STANDARD_DEVIATION, clean.shape)
    return clean, (clean + noise).astype(np.float32)


def _psnr(clean, image):
    error = image.astype(np.float64) - clean
    return 10 * np.log10(255**2 / np.mean(error**2))


def test_transforms_along_and_within_blocks_are_what_they_are_called():
    for size in (1, 2, 4, 16, 32):
        haar = haar_matrix(size)
        assert haar @ haar.T == pytest.approx(np.eye(size), abs=1e-6)
        assert haar[0] == pytest.approx(np.full(size, size**-0.5))
    block = np.random.default_rng(0).normal(size=(8, 8))
    cosine = dct_matrix(8)
    assert cosine @ block @ cosine.T == pytest.approx(dctn(block, norm="ortho"))


def test_biorthogonal_wavelet_1_5():
    matrix = bior_matrix(8)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(1)
    # Only the low-pass row sees the mean.
    assert matrix @ np.ones(8) == pytest.approx([np.sqrt(8), *[0] * 7], abs=1e-12)
    # The finest details are differences of neighbours, as the dual is the Haar wavelet.
    assert matrix[4] == pytest.approx([0.5**0.5, -(0.5**0.5), 0, 0, 0, 0, 0, 0])
    assert np.linalg.cond(matrix) < 1.5


def _slow_stage(noisy, basic, sigma):
    """The paper's steps one block after the other."""
    second = basic is not None
    guide = basic if second else noisy
    matrix = dct_matrix(8) if second else bior_matrix(8)
    inverse = np.linalg.inv(matrix)
    kaiser = np.outer(np.kaiser(8, 2), np.kaiser(8, 2))
    rows, columns = (length - 7 for length in noisy.shape)
    total, weights = np.zeros(noisy.shape), np.zeros(noisy.shape)

    def block(image, row, column):
        return image[row : row + 8, column : column + 8].astype(float)

    def spectrum(image, places):
        blocks = [matrix @ block(image, *place) @ matrix.T for place in places]
        return np.tensordot(haar_matrix(len(places)).astype(float), blocks, 1)

    for row in sorted({*range(0, rows, 3), rows - 1}):
        for column in sorted({*range(0, columns, 3), columns - 1}):
            own = block(guide, row, column)
            found = [
                (((block(guide, r, c) - own) ** 2).sum(), (r, c))
                for r in range(max(0, row - 19), min(rows, row + 20))
                for c in range(max(0, column - 19), min(columns, column + 20))
            ]
            limit = (0.64 if second else 4.0) * sigma**2 * 64
            alike = sorted(entry for entry in found if entry[0] <= limit)
            size = 2 ** int(np.log2(min(len(alike), 32 if second else 16)))
            places = [place for _, place in alike[:size]]
            group = spectrum(noisy, places)
            if second:
                power = spectrum(basic, places) ** 2
                gain = power / (power + sigma**2)
            else:
                gain = (np.abs(group) > 2.7 * sigma).astype(float)
            gain[0, 0, 0] = 1
            weight = 1 / (gain**2).sum()
            haar = haar_matrix(size).astype(float)
            for (r, c), part in zip(
                places, np.tensordot(haar.T, group * gain, 1), strict=True
            ):
                filtered = inverse @ part @ inverse.T
                total[r : r + 8, c : c + 8] += weight * kaiser * filtered
                weights[r : r + 8, c : c + 8] += weight * kaiser
    return total / weights


def test_bm3d_is_that_of_a_plain_second_implementation():
    generator = np.random.default_rng(3)
    clean = np.add.outer(np.arange(33) * 2, 60 * (np.arange(42) > 20))
    noisy = (clean + generator.normal(0, 12, clean.shape)).astype(np.float32)
    basic = _slow_stage(noisy, None, 12)
    expected = _slow_stage(noisy, basic, 12)
    mine = filters.get("bm3d", noise_sd=12)(noisy)
    assert mine == pytest.approx(expected, abs=0.02)


def test_bm3d_knows_no_zero_and_no_scale():
    image = np.random.default_rng(0).normal(0, 10, (50, 50)).astype(np.float32)
    image[20:30] += 80
    once = filters.get("bm3d", noise_sd=10)(image)
    other = filters.get("bm3d", noise_sd=30)(3 * image + 500)
    assert other == pytest.approx(3 * once + 500, abs=0.1)
    half = filters.get("bm3d", noise_sd=5, strength=2)(image)
    assert np.array_equal(half, once)


def test_strips_do_not_show():
    """Taller than one strip of reference rows, which is 96 pixels."""
    image = np.random.default_rng(0).normal(0, 10, (230, 24)).astype(np.float32)
    whole = bm3d.bm3d(image, 10.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm3d, "STRIP", 7)
        assert bm3d.bm3d(image, 10.0) == pytest.approx(whole, abs=0.1)


def test_bm3d_is_well_above_tuned_non_local_means(camera):
    from skimage.restoration import denoise_nl_means

    clean, noisy = camera
    # The best of patches of 3, 5, 7 pixels, distances of 6 and 10, ten values of h, and
    # with or without the noise variance taken off.
    nlm = max(
        _psnr(
            clean,
            denoise_nl_means(
                noisy,
                patch_size=5,
                patch_distance=10,
                h=h * STANDARD_DEVIATION,
                sigma=STANDARD_DEVIATION,
                preserve_range=True,
            ),
        )
        for h in (0.55, 0.6)
    )
    assert nlm > 29
    mine = filters.get("bm3d", noise_sd=STANDARD_DEVIATION)(noisy)
    assert _psnr(clean, mine) >= nlm + 0.4
    assert _psnr(clean, mine) == pytest.approx(29.88, abs=0.1)


def test_ksvd_is_well_above_its_input(camera):
    clean, noisy = camera
    part = (slice(96, 352), slice(128, 384))
    clean, noisy = clean[part], noisy[part]
    mine = filters.get("ksvd", noise_sd=STANDARD_DEVIATION)(noisy)
    assert _psnr(clean, mine) >= _psnr(clean, noisy) + 5
