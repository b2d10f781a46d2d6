"""Rotation, shear and scaling: places that are known, and the same for the truth."""

import numpy as np

from ct_keras import tasks
from ct_keras.hu import to_network
from ct_keras.tasks.affine import random_affine, warp
from ct_keras.tasks.training import Batches


def spot(row: int, column: int, edge: int = 41) -> np.ndarray:
    image = np.zeros((edge, edge), np.float32)
    image[row, column] = 1
    return image


def test_places_move_as_the_matrix_says():
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert np.array_equal(warp(spot(20, 30), quarter), spot(30, 20))
    wide = warp(spot(30, 25), np.diag([2.0, 1.0]))
    assert np.array_equal(wide[30, 29:32], [0.5, 1, 0.5])
    sheared = warp(spot(30, 20), np.array([[1.0, 0.5], [0.0, 1.0]]))
    assert np.array_equal(sheared, spot(30, 25))


def test_draws_stay_within_their_ends():
    rng = np.random.default_rng(0)
    matrices = np.array([random_affine(rng) for _ in range(500)])
    areas = np.linalg.det(matrices)
    assert 0.81 < areas.min() < 0.87 and 1.14 < areas.max() < 1.21
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert -10 < angles.min() < -9 and 9 < angles.max() < 10


def test_image_and_truth_move_alike_and_differ_between_epochs():
    truth = np.zeros((2, 40, 40), np.uint8)
    truth[0, 8:20, 10:30], truth[1, 20:36, 5:12] = 3, 3
    hu_in = truth.astype(np.float32) * 100
    data = tasks.TaskData(hu_in, truth, np.ones(2), np.arange(2), ())
    batches, seen = Batches(data, 2, "affine", seed=3), []
    for _ in range(4):
        inputs, classes = batches[0]
        expected = to_network(classes.astype(np.float32) * 100)
        far = np.abs(inputs[..., 0] - expected) > 0.02
        assert far.mean() < 0.06  # along the edges, which images interpolate
        assert set(np.unique(classes)) == {0, 3} and classes.dtype == np.uint8
        seen.append(classes.tobytes())
        batches.on_epoch_end()
    assert len(set(seen)) == 4
    again = Batches(data, 2, "affine", seed=3)
    assert again[0][1].tobytes() == seen[0]
    labels = tasks.TaskData(hu_in, np.array([0, 1]), np.ones(2), np.arange(2), ())
    inputs, classes = Batches(labels, 2, "affine", seed=3)[0]
    assert sorted(classes) == [0, 1] and inputs.shape == (2, 40, 40, 1)
