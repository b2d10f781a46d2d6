"""Channelised Hotelling observer: detection of an exactly known signal in images.

It is trained on one half of the images and tested on the other, over many random
halves: training and testing on the same images overestimates the AUC, especially with
few images. It does not assume a linear system and needs only images with and without
the signal.

Reference:
    Barrett et al., Proc Natl Acad Sci 90(21), 9758-9765, 1993,
    doi:10.1073/pnas.90.21.9758.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ct_keras.errors import CtKerasError
from ct_keras.metrics.statistics import auc, percentile_interval

SPLITS, RESAMPLES = 200, 500
#: Random halves per bootstrap sample; the images contribute most of the spread.
_SPLITS_PER_RESAMPLE = 10
_CHUNK = 128
#: Minimum images of each kind: a covariance needs two.
_FEWEST_TO_TRAIN = 2


@dataclass(frozen=True, eq=False)
class ObserverResult:
    """How well an observer distinguishes images with a signal from images without.

    Attributes:
        auc: Area under the ROC curve, the mean over random halves.
        auc_interval: Its 95 % bootstrap interval over images.
        dprime: d' of the decision variable, the mean over random halves.
        dprime_interval: Its interval.
        images: Number of images (present, absent).
        replicates: AUC of every bootstrap sample. With the same seed and number of
            images, the samples of two methods are paired; see `auc_difference`.
    """

    auc: float
    auc_interval: tuple[float, float]
    dprime: float
    dprime_interval: tuple[float, float]
    images: tuple[int, int]
    replicates: np.ndarray = field(repr=False)


def hotelling_template(present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Returns w = S^-1 (mean present - mean absent) of channel responses.

    Args:
        present: (images, channels) responses to images with the signal.
        absent: (images, channels) responses to images without.

    Raises:
        CtKerasError: CTK-E041, for fewer than two images of a kind.
    """
    if min(len(present), len(absent)) < _FEWEST_TO_TRAIN:
        raise CtKerasError(
            "CTK-E041",
            "too few images to train an observer",
            received=(len(present), len(absent)),
            expected=f"{_FEWEST_TO_TRAIN} or more of each kind",
        )
    ones = [np.ones((1, len(values))) for values in (present, absent)]
    return _templates(present, absent, *ones)[0]


def cho(
    present: np.ndarray,
    absent: np.ndarray,
    channels: np.ndarray,
    *,
    splits: int = SPLITS,
    resamples: int = RESAMPLES,
    subtract_mean: bool = True,
    seed: int = 0,
) -> ObserverResult:
    """Runs a channelised Hotelling observer.

    The interval is a bootstrap over the images for training and testing: copies of an
    image stay in the same half. A bootstrap sample has fewer distinct images, which
    lowers its AUC, so only its spread is used, centred on the estimate.

    Args:
        present: (images, rows, columns) HU, with the signal.
        absent: (images, rows, columns) HU, without.
        channels: (rows * columns, channels); see `get_channels`.
        splits: Number of random halves.
        resamples: Number of bootstrap samples.
        subtract_mean: Whether to subtract the mean of every region first, as LCD-CT
            does.
        seed: Seed of the halves and of the bootstrap.

    Raises:
        CtKerasError: CTK-E041, for shapes that do not match or fewer than four images.
    """
    _check(present, absent, channels)
    responses = [
        _respond(images, channels, subtract_mean) for images in (present, absent)
    ]
    sizes = (len(present), len(absent))
    generator = np.random.default_rng([int(seed), *sizes])
    halves = [_random_halves(count, splits, generator) for count in sizes]
    counts = [np.ones((splits, count)) for count in sizes]
    judged = _judge(responses, halves, counts)
    area, dprime = (_mean(values[None])[0] for values in judged)
    repeats = _SPLITS_PER_RESAMPLE
    halves = [_random_halves(count, resamples * repeats, generator) for count in sizes]
    counts = [
        np.repeat(
            generator.multinomial(count, np.full(count, 1 / count), size=resamples),
            repeats,
            axis=0,
        )
        for count in sizes
    ]
    found = _judge(responses, halves, counts)
    aucs, dprimes = (_mean(values.reshape(resamples, -1)) for values in found)
    aucs = np.clip(aucs + area - _mean(aucs[None]), 0, 1)
    dprimes = dprimes + dprime - _mean(dprimes[None])
    return ObserverResult(
        float(area),
        _interval(aucs, sizes),
        float(dprime),
        _interval(dprimes, sizes),
        sizes,
        aucs,
    )


def auc_difference(
    ours: ObserverResult, theirs: ObserverResult
) -> tuple[float, tuple[float, float]]:
    """Returns the difference of two AUCs on the same images and its interval.

    Raises:
        CtKerasError: CTK-E041, if the observers used different numbers of images.
    """
    same = ours.images == theirs.images
    if not same or ours.replicates.shape != theirs.replicates.shape:
        raise CtKerasError(
            "CTK-E041",
            "two observers used different numbers of images",
            received=ours.images,
            expected=theirs.images,
        )
    return ours.auc - theirs.auc, _interval(
        ours.replicates - theirs.replicates, ours.images
    )


def _check(present, absent, channels) -> None:
    shapes = (np.shape(present), np.shape(absent), np.shape(channels))
    images = all(len(shape) == 3 and shape[0] >= 4 for shape in shapes[:2])
    if (
        images
        and shapes[0][1:] == shapes[1][1:]
        and shapes[2][:1] == (np.prod(shapes[0][1:]),)
    ):
        return
    raise CtKerasError(
        "CTK-E041",
        "an observer needs regions of equal size with and without the signal",
        received=shapes,
        expected="(4 or more, rows, columns) twice and (rows * columns, channels)",
    )


def _respond(images, channels, subtract_mean: bool) -> np.ndarray:
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    if subtract_mean:
        flat = flat - flat.mean(axis=1, keepdims=True)
    return flat @ channels


def _random_halves(count: int, runs: int, generator) -> np.ndarray:
    """Returns bool (runs, count), True for the training images."""
    halves = np.tile(np.arange(count) < count // 2, (runs, 1))
    return generator.permuted(halves, axis=1)


def _judge(responses, halves, counts) -> tuple[np.ndarray, np.ndarray]:
    """Returns the AUC and d' of every run; NaN if a half is too small."""
    found = []
    for start in range(0, len(halves[0]), _CHUNK):
        part = slice(start, start + _CHUNK)
        train = [c[part] * h[part] for c, h in zip(counts, halves, strict=True)]
        test = [c[part] * ~h[part] for c, h in zip(counts, halves, strict=True)]
        templates = _templates(*responses, *train)
        scores = [templates @ values.T for values in responses]
        weights = {"present_weights": test[0], "absent_weights": test[1]}
        areas = auc(*scores, **weights)
        areas[np.isnan(templates[:, 0])] = np.nan
        found.append((areas, _weighted_dprime(scores, test)))
    return tuple(np.concatenate(values) for values in zip(*found, strict=True))


def _templates(present, absent, present_counts, absent_counts) -> np.ndarray:
    """Returns (runs, channels) templates; counts (runs, images) are frequencies.

    They are NaN with too few distinct images of a kind.
    """
    means, covariances = [], []
    enough = np.ones(len(present_counts), bool)
    spread = np.zeros(len(present_counts), bool)
    for values, counts in ((present, present_counts), (absent, absent_counts)):
        total = np.maximum(counts.sum(axis=1), 2)[:, None]
        mean = counts @ values / total
        centred = values[None] - mean[:, None]
        weighted = (centred * counts[:, :, None]).transpose(0, 2, 1) @ centred
        covariances.append(weighted / (total[:, :, None] - 1))
        means.append(mean)
        enough &= counts.sum(axis=1) >= _FEWEST_TO_TRAIN
        spread |= np.count_nonzero(counts, axis=1) > 1
    pooled = (covariances[0] + covariances[1]) / 2
    # With few images, the covariance may be singular.
    inverse = np.linalg.pinv(
        pooled, rcond=pooled.shape[-1] * np.finfo(float).eps, hermitian=True
    )
    templates = np.einsum("rij,rj->ri", inverse, means[0] - means[1])
    return np.where((enough & spread)[:, None], templates, np.nan)


def _weighted_dprime(scores, counts) -> np.ndarray:
    """Returns d' of the decision variable, (runs,)."""
    means, variances = [], []
    for values, weight in zip(scores, counts, strict=True):
        total = weight.sum(axis=1)
        mean = (weight * values).sum(axis=1) / np.maximum(total, 1)
        spread = (weight * (values - mean[:, None]) ** 2).sum(axis=1)
        variances.append(np.where(total > 1, spread / np.maximum(total - 1, 1), np.nan))
        means.append(mean)
    pooled = (variances[0] + variances[1]) / 2
    positive = pooled > 0
    noise = np.sqrt(np.where(positive, pooled, 1))
    return np.where(positive, (means[0] - means[1]) / noise, np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean of every row without NaN; NaN for a row of NaN."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _interval(values: np.ndarray, images: tuple[int, int]) -> tuple[float, float]:
    return percentile_interval(values, patients=min(images)) or (np.nan, np.nan)
