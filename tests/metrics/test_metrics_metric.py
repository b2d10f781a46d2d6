"""The table of metrics: complete, and right about directions."""

import numpy as np
import pytest

from ct_keras.metrics import METRICS, evaluate

ROWS, COLUMNS = np.mgrid[:96, :96] - 47.5
#: A disc of soft tissue with fat, lung and bone, so that every error is defined.
REFERENCE = np.where(np.hypot(ROWS, COLUMNS) < 44, 40.0, -1000.0)
for _row, _hu in ((20, -100.0), (36, -700.0), (58, 600.0)):
    REFERENCE[_row : _row + 12, 40:56] = _hu


@pytest.fixture(scope="module")
def better_and_worse():
    noise = np.random.default_rng(0).normal(2, 20, REFERENCE.shape)
    return [evaluate(REFERENCE + part * noise, REFERENCE) for part in (0.5, 1)]


def test_every_number_of_evaluate_is_in_the_table(better_and_worse):
    assert METRICS.keys() == better_and_worse[0].keys()


@pytest.mark.parametrize("key", METRICS)
def test_less_noise_is_worth_more(better_and_worse, key):
    worths = [METRICS[key].worth(found[key]) for found in better_and_worse]
    if key == "vif_swapped":
        assert worths == [None, None]
    else:
        assert worths[0] > worths[1]


def test_heads_hold_the_unit():
    assert METRICS["rmse_hu_hu"].head == "RMSE (HU)"
    assert METRICS["ssim"].head == "SSIM"
