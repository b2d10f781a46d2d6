"""K-SVD: sparse coding of patches over a dictionary learned from the noisy image.

Written from M. Aharon, M. Elad, A. Bruckstein, "K-SVD: an algorithm for designing
overcomplete dictionaries for sparse representation", IEEE Trans. Signal Process. 54
(2006), https://doi.org/10.1109/TSP.2006.881199, and M. Elad, M. Aharon, "Image
denoising via sparse and redundant representations over learned dictionaries", IEEE
Trans. Image Process. 15 (2006), https://doi.org/10.1109/TIP.2006.881969. The mean of a
patch is removed first and never shrunk, as HU have no natural zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

from ct_keras.filters.noise import given_or_estimated

PATCH = 8
ATOMS = 256
TRAINING_PATCHES = 16384
ITERATIONS = 10
#: A patch is coded when its residual is at most this many noise SDs per pixel.
ERROR_GAIN = 1.15
MOST_ATOMS = 32  # half of the dimension of a patch
#: Share of a signal's energy below which a residual is rounding error; fitting it would
#: need nearly identical atoms.
_ROUNDING = 1e-10
#: Weight of the noisy pixel against the mean of the patches that cover it: the paper's
#: 30 / sigma at sigma 25, over 64 patches.
NOISY_WEIGHT = 1.2 / 64
_CHUNK = 16384
_SQUARINGS = 8


def ksvd(
    image: np.ndarray,
    noise_sd: float | None = None,
    strength: float = 1.0,
    iterations: int = ITERATIONS,
) -> np.ndarray:
    """Approximates each patch by a few atoms of a dictionary learned from the image.

    Args:
        image: float32 (rows, columns), HU.
        noise_sd: Standard deviation of the noise in HU; None estimates it.
        strength: Factor on the noise level.
        iterations: Rounds of sparse coding and dictionary update.

    Returns:
        float32 of the same shape, HU.
    """
    sigma = strength * given_or_estimated(image, noise_sd)
    if sigma == 0:
        return image
    rows, columns = image.shape
    missing = [(0, max(0, PATCH - length)) for length in image.shape]
    noisy = np.pad(np.asarray(image, np.float32), missing, mode="symmetric")
    tolerance = float(PATCH**2 * (ERROR_GAIN * sigma) ** 2)
    patches = _training_patches(noisy)
    # Thousands of products of small matrices are faster without BLAS threads.
    with threadpool_limits(1, user_api="blas"):
        dictionary = learn_dictionary(
            patches, dct_dictionary(ATOMS), tolerance, int(iterations)
        )
        return _reconstruct(noisy, dictionary, tolerance)[:rows, :columns]


def learn_dictionary(
    signals: np.ndarray,
    dictionary: np.ndarray,
    tolerance: float,
    iterations: int,
    *,
    most_atoms: int = MOST_ATOMS,
) -> np.ndarray:
    """Fits a dictionary to signals, alternating sparse coding and atom updates.

    Args:
        signals: float32 (signals, dimension).
        dictionary: (dimension, atoms) of unit norm to start from.
        tolerance: Squared error at which a signal counts as represented.
        iterations: Number of times that both steps are repeated.
        most_atoms: Largest number of atoms for a signal, regardless of its error.

    Returns:
        float32 (dimension, atoms), unit norm.
    """
    dictionary = dictionary.astype(np.float32)
    for _ in range(iterations):
        codes = sparse_codes(signals, dictionary, tolerance, most_atoms=most_atoms)
        dictionary, _ = update_dictionary(signals, dictionary, codes)
    return dictionary


def update_dictionary(
    signals: np.ndarray, dictionary: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Updates one atom after the other, together with its coefficients.

    An atom is fitted to the residuals, without it, of the signals that use it; the best
    fit is their first singular vector (Aharon et al., equation 22). An unused atom is
    replaced by the signal with the largest error.

    Args:
        signals: (signals, dimension).
        dictionary: (dimension, atoms), unit norm.
        codes: (signals, atoms), zero where an atom is not used.

    Returns:
        The dictionary and the codes after the update; the same coefficients are zero.
    """
    dictionary, codes = dictionary.copy(), codes.copy()
    error = signals - codes @ dictionary.T
    badness = np.einsum("nd,nd->n", error, error)
    for atom in range(dictionary.shape[1]):
        users = np.flatnonzero(codes[:, atom])
        if len(users) == 0:
            worst = int(np.argmax(badness))
            if badness[worst] > 0:
                badness[worst] = 0
                norm = np.linalg.norm(signals[worst])
                dictionary[:, atom] = signals[worst] / norm
            continue
        own = error[users] + np.outer(codes[users, atom], dictionary[:, atom])
        dictionary[:, atom] = _first_singular_vector(own)
        codes[users, atom] = own @ dictionary[:, atom]
        error[users] = own - np.outer(codes[users, atom], dictionary[:, atom])
    return dictionary, codes


def _first_singular_vector(rows: np.ndarray) -> np.ndarray:
    """Returns the first right singular vector (d,) of rows (n, d).

    The power method by repeated squaring, several times faster than a decomposition for
    matrices of this size.
    """
    power = (rows.T @ rows).astype(np.float64)
    for _ in range(_SQUARINGS):
        power /= np.trace(power)
        power = power @ power
    vector = power[:, np.argmax(np.diag(power))]
    return vector / np.linalg.norm(vector)


def sparse_codes(
    signals: np.ndarray,
    dictionary: np.ndarray,
    tolerance: float,
    *,
    most_atoms: int = MOST_ATOMS,
) -> np.ndarray:
    """Codes all signals at once by orthogonal matching pursuit.

    Args:
        signals: float32 (signals, dimension).
        dictionary: float32 (dimension, atoms), unit norm.
        tolerance: Squared error at which a signal counts as represented.
        most_atoms: Largest number of atoms for a signal, regardless of its error.

    Returns:
        float32 (signals, atoms), zero where an atom is not used.
    """
    codes = np.zeros((len(signals), dictionary.shape[1]), np.float32)
    for part in _parts(len(signals)):
        _, support = _pursue(signals[part], dictionary, tolerance, most_atoms)
        own, chunk = codes[part], signals[part]
        counts = (support >= 0).sum(axis=1)
        for count in np.unique(counts[counts > 0]):
            members = np.flatnonzero(counts == count)
            atoms = support[members, :count]
            basis = dictionary.T[atoms]
            gram = basis @ basis.transpose(0, 2, 1)
            right = np.einsum("nkd,nd->nk", basis, chunk[members])
            own[members[:, None], atoms] = np.linalg.solve(gram, right[..., None])[
                ..., 0
            ]
    return codes


def _pursue(
    signals: np.ndarray, dictionary: np.ndarray, tolerance: float, most_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal matching pursuit by Gram-Schmidt, until the error is small enough.

    It stops at the tolerance, or at the rounding error of single precision.

    Returns:
        The residuals, and the chosen atoms (signals, most_atoms), padded with -1.
    """
    left = signals.copy()
    support = np.full((len(signals), most_atoms), -1)
    power = np.einsum("nd,nd->n", left, left)
    enough = np.maximum(tolerance, _ROUNDING * power)
    active = np.flatnonzero(power > enough)
    basis = np.empty((len(active), 0, signals.shape[1]), np.float32)
    for step in range(min(most_atoms, *dictionary.shape)):
        if len(active) == 0:
            break
        error = left[active]
        chosen = np.abs(error @ dictionary).argmax(axis=1)
        support[active, step] = chosen
        direction = _orthogonal(dictionary.T[chosen], basis)
        error -= np.einsum("nd,nd->n", error, direction)[:, None] * direction
        left[active] = error
        go_on = np.einsum("nd,nd->n", error, error) > enough[active]
        active = active[go_on]
        basis = np.concatenate([basis[go_on], direction[go_on, None]], axis=1)
    return left, support


def _orthogonal(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Unit vectors of (n, d) after projecting out an orthonormal basis (n, k, d)."""
    inside = basis @ vectors[..., None]
    outside = vectors - (basis.transpose(0, 2, 1) @ inside)[..., 0]
    norm = np.linalg.norm(outside, axis=1, keepdims=True)
    return outside / np.maximum(norm, np.finfo(np.float32).tiny)


def _training_patches(noisy: np.ndarray) -> np.ndarray:
    """Patches without their means, at random positions: float32 (patches, 64)."""
    blocks = sliding_window_view(noisy, (PATCH, PATCH))
    total = blocks.shape[0] * blocks.shape[1]
    generator = np.random.default_rng(0)
    chosen = generator.choice(total, min(TRAINING_PATCHES, total), replace=False)
    rows, columns = np.unravel_index(np.sort(chosen), blocks.shape[:2])
    patches = blocks[rows, columns].reshape(-1, PATCH**2)
    return patches - patches.mean(axis=1, keepdims=True)


def _reconstruct(
    noisy: np.ndarray, dictionary: np.ndarray, tolerance: float
) -> np.ndarray:
    """Codes all patches of the image and averages them where they overlap."""
    blocks = sliding_window_view(noisy, (PATCH, PATCH))
    height, width = blocks.shape[:2]
    total, counts = np.zeros_like(noisy), np.zeros_like(noisy)
    together = max(1, _CHUNK // width)
    for top in range(0, height, together):
        bottom = min(top + together, height)
        patches = blocks[top:bottom].reshape(-1, PATCH**2)
        signals = patches - patches.mean(axis=1, keepdims=True)
        left, _ = _pursue(signals, dictionary, tolerance, MOST_ATOMS)
        coded = (patches - left).reshape(bottom - top, width, PATCH, PATCH)
        for row, column in np.ndindex(PATCH, PATCH):
            target = (slice(top + row, bottom + row), slice(column, column + width))
            total[target] += coded[:, :, row, column]
            counts[target] += 1
    return (total / counts + NOISY_WEIGHT * noisy) / (1 + NOISY_WEIGHT)


def dct_dictionary(atoms: int) -> np.ndarray:
    """An overcomplete separable DCT dictionary (64, atoms), atoms a square number."""
    side = round(atoms**0.5)
    phase = np.outer(np.arange(PATCH), np.arange(side)) * np.pi / side
    waves = np.cos(phase)
    waves[:, 1:] -= waves[:, 1:].mean(axis=0)
    waves /= np.linalg.norm(waves, axis=0)
    return np.kron(waves, waves)


def _parts(count: int) -> Iterator[slice]:
    """Yields slices that limit how many signals are coded at once."""
    for start in range(0, count, _CHUNK):
        yield slice(start, start + _CHUNK)
