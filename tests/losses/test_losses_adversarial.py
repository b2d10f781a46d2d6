"""Adversarial losses: closed forms, and Keras' own cross-entropy."""

import keras
import numpy as np
import pytest

from ct_keras import losses

LN2 = 0.693147


def _logits(seed):
    return np.random.default_rng(seed).normal(0, 3, (2, 5, 4, 1)).astype(np.float32)


def test_a_discriminator_that_cannot_tell_has_the_loss_ln_2():
    zero = np.zeros((1, 30, 30, 1))
    loss = losses.discriminator_cross_entropy(real_logits=zero, fake_logits=zero)
    assert float(loss) == pytest.approx(LN2, abs=1e-6)
    assert float(losses.generator_cross_entropy(fake_logits=zero)) == pytest.approx(
        LN2, abs=1e-6
    )


def test_cross_entropies_equal_those_of_keras():
    real, fake = _logits(0), _logits(1)
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    to_real = float(keras_loss(np.ones_like(real), real))
    to_fake = float(keras_loss(np.zeros_like(fake), fake))
    label_flipped = float(keras_loss(np.ones_like(fake), fake))
    assert float(losses.cross_entropy_to_real(real)) == pytest.approx(to_real, rel=1e-5)
    assert float(losses.cross_entropy_to_fake(fake)) == pytest.approx(to_fake, rel=1e-5)
    assert float(
        losses.discriminator_cross_entropy(real_logits=real, fake_logits=fake)
    ) == pytest.approx((to_real + to_fake) / 2, rel=1e-5)
    assert float(losses.generator_cross_entropy(fake_logits=fake)) == pytest.approx(
        label_flipped, rel=1e-5
    )


def test_certain_logits_neither_overflow_nor_vanish():
    high, low = np.full((3, 1), 1e4), np.full((3, 1), -1e4)
    right = losses.discriminator_cross_entropy(real_logits=high, fake_logits=low)
    wrong = losses.discriminator_cross_entropy(real_logits=low, fake_logits=high)
    assert float(right) == 0
    assert float(wrong) == pytest.approx(1e4)


def test_hinge_by_hand():
    real = np.array([[2.0], [0.5], [-1.0]])  # 0, 0.5, 2
    fake = np.array([[-3.0], [0.0], [1.0]])  # 0, 1, 2
    loss = losses.discriminator_hinge(real_logits=real, fake_logits=fake)
    assert float(loss) == pytest.approx(2.5 / 3 + 3 / 3, rel=1e-6)
    assert float(losses.generator_hinge(fake_logits=fake)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_half_precision_logits_give_float32(name):
    logits = _logits(2).astype(np.float16)
    of_discriminator = getattr(losses, f"discriminator_{name}")
    of_generator = getattr(losses, f"generator_{name}")
    for loss in (
        of_discriminator(real_logits=logits, fake_logits=logits),
        of_generator(fake_logits=logits),
    ):
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
