"""The mean over eight turns, as an option of the Denoiser."""

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.denoising import Identity
from ct_keras.models import RedCNN


def _ct_like(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 200, shape).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return RedCNN(width=4)


#: The eight turns of a square and what undoes each.
TURNS = [
    (lambda x: x, lambda y: y),
    (lambda x: x[..., ::-1, :], lambda y: y[..., ::-1, :]),
    (lambda x: x[..., ::-1], lambda y: y[..., ::-1]),
    (lambda x: x[..., ::-1, ::-1], lambda y: y[..., ::-1, ::-1]),
    (lambda x: x.swapaxes(-1, -2), lambda y: y.swapaxes(-1, -2)),
    (
        lambda x: x.swapaxes(-1, -2)[..., ::-1, :],
        lambda y: y[..., ::-1, :].swapaxes(-1, -2),
    ),
    (
        lambda x: x.swapaxes(-1, -2)[..., ::-1],
        lambda y: y[..., ::-1].swapaxes(-1, -2),
    ),
    (
        lambda x: x.swapaxes(-1, -2)[..., ::-1, ::-1],
        lambda y: y[..., ::-1, ::-1].swapaxes(-1, -2),
    ),
]


def test_it_is_the_mean_of_the_eight_turns(network):
    plain = ct_keras.Denoiser(network)
    ensemble = ct_keras.Denoiser(network, self_ensemble=True)
    x = _ct_like((25, 40))
    expected = np.mean([undo(plain(turn(x))) for turn, undo in TURNS], axis=0)
    assert ensemble(x) == pytest.approx(expected, abs=1e-3)
    assert np.abs(plain(x) - expected).max() > 1


def test_it_commutes_with_every_turn(network):
    ensemble = ct_keras.Denoiser(network, self_ensemble=True)
    x = _ct_like((30, 30))
    for turn, undo in TURNS[1:]:
        assert undo(ensemble(turn(x))) == pytest.approx(ensemble(x), abs=1e-3)


def test_equal_turns_have_exactly_their_value_as_mean():
    network = RedCNN(width=4, initializer="identity")
    ensemble = ct_keras.Denoiser(network, self_ensemble=True)
    x = np.rint(_ct_like((3, 23, 31)))
    x[:, :4] = -3000.3
    assert np.array_equal(ensemble(x), x)


def test_strength_and_volumes_go_with_it(network):
    ensemble = ct_keras.Denoiser(network, self_ensemble=True)
    x = _ct_like((2, 21, 24))
    whole = ensemble(x)
    assert np.array_equal(whole[1], ensemble(x[1]))
    half = x + np.float32(0.5) * (whole - x)
    assert ensemble(x, strength=0.5) == pytest.approx(half, abs=1e-3)


def test_networks_of_volumes_turn_in_the_plane():
    image = keras.Input((None, None, None, 1), name="low_dose")
    kernel = np.zeros((3, 3, 3, 1, 1), np.float32)
    kernel[0, 1, 0] = 1  # from the slice before and the column before
    layer = keras.layers.Conv3D(1, 3, padding="same", use_bias=False, name="denoised")
    network = keras.Model(image, layer(image), name="shift")
    layer.set_weights([kernel])
    x = np.rint(_ct_like((3, 6, 7)))
    y = ct_keras.Denoiser(network, self_ensemble=True)(x)
    inner = x[0]
    expected = inner[:-2, 1:-1] + inner[2:, 1:-1] + inner[1:-1, :-2] + inner[1:-1, 2:]
    assert y[1, 1:-1, 1:-1] == pytest.approx(expected / 4, abs=1e-3)
    assert y[0] == pytest.approx(-1024)


def test_the_identity_tells_it(network):
    assert ct_keras.Denoiser(network).identity.parameters == {}
    given = Identity("n", version="1", parameters={"a": 1})
    ensemble = ct_keras.Denoiser(network, self_ensemble=True, identity=given)
    assert ensemble.identity == Identity(
        "n", version="1", parameters={"a": 1, "self_ensemble": True}
    )
    assert given.parameters == {"a": 1}


def test_what_is_exported_is_the_network_alone(network, tmp_path, caplog):
    import tensorflow as tf

    ensemble = ct_keras.Denoiser(network, self_ensemble=True)
    assert ct_keras.export(ensemble, tmp_path / "SM") <= 1e-3
    assert "CTK-W094" in caplog.text
    x = _ct_like((24, 31))
    exported = tf.saved_model.load(str(tmp_path / "SM")).signatures["serving_default"]
    y = exported(tf.constant(x[None, ..., None]))["denoised_hu"].numpy()[0, ..., 0]
    assert y == pytest.approx(ct_keras.Denoiser(network)(x), abs=1e-3)
    assert np.abs(y - ensemble(x)).max() > 1
