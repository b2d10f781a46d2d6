"""The loss that learns the noise-free image from noisy references."""

import numpy as np
import pytest

from ct_keras.losses import (
    noise_free_loss,
    noise_free_residual,
    robust_noise_free_loss,
)

CONTRAST, NOISE, COUNT = 40.0, 15.0, 200_000


def _draw(dose, seed=0):
    """Anatomy, reference and low dose of independent pixels with known variances."""
    generator = np.random.default_rng(seed)
    anatomy, noise, inserted = generator.standard_normal((3, 1, COUNT, 1, 1))
    reference = CONTRAST * anatomy + NOISE * noise
    low = reference + NOISE * np.sqrt(1 / dose - 1) * inserted
    return CONTRAST * anatomy, reference, low


def _best_gain(loss, low):
    """The gain a for which ``loss(a * low)``, a parabola in a, is least."""
    zero, half, one = (float(loss(gain * low)) for gain in (0.0, 0.5, 1.0))
    curvature = 2 * (zero + one - 2 * half)
    slope = one - zero - curvature
    return -slope / (2 * curvature)


@pytest.mark.parametrize("dose", [0.05, 0.25, 0.5])
def test_the_minimum_is_the_estimate_of_the_truth_and_not_of_the_reference(dose):
    anatomy, reference, low = _draw(dose)
    images = {"low_dose": low, "reference": reference, "dose_fraction": [dose]}
    learnt = _best_gain(lambda f: noise_free_loss(denoised=f, **images), low)
    # Gaussian anatomy: the posterior mean is the Wiener gain, known in closed form.
    low_variance = CONTRAST**2 + NOISE**2 / dose
    of_the_truth = CONTRAST**2 / low_variance
    of_the_reference = (CONTRAST**2 + NOISE**2) / low_variance
    assert learnt == pytest.approx(of_the_truth, abs=0.005)
    images["dose_fraction"] = [0.0]
    plain = _best_gain(lambda f: noise_free_loss(denoised=f, **images), low)
    assert plain == pytest.approx(of_the_reference, abs=0.005)
    error = np.mean((learnt * low - anatomy) ** 2)
    assert error < np.mean((plain * low - anatomy) ** 2)


def test_the_plain_loss_keeps_noise_and_this_one_does_not():
    dose = 0.5
    anatomy, reference, low = _draw(dose, seed=1)
    noise = reference - anatomy
    images = {"low_dose": low, "reference": reference}

    def kept(share):
        loss = lambda f: noise_free_loss(denoised=f, dose_fraction=[share], **images)  # noqa: E731
        result = _best_gain(loss, low) * low
        # What is left of the noise beyond what any estimate of the truth keeps.
        wiener = CONTRAST**2 / (CONTRAST**2 + NOISE**2 / dose) * low
        return float(np.mean((result - wiener) * noise) / np.mean(noise**2))

    assert kept(dose) == pytest.approx(0, abs=0.01)
    assert kept(0.0) > 0.1


def test_robust_form_has_its_minimum_at_the_same_place():
    dose = 0.25
    _, reference, low = _draw(dose, seed=2)
    truth = CONTRAST**2 / (CONTRAST**2 + NOISE**2 / dose)
    images = {"low_dose": low, "reference": reference, "dose_fraction": [dose]}
    losses = [
        float(
            robust_noise_free_loss(
                denoised=(truth + change) * low, scale=[2 * NOISE], **images
            )
        )
        for change in (-0.05, 0.0, 0.05)
    ]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]


def test_each_image_has_its_own_dose_and_scale():
    generator = np.random.default_rng(3)
    denoised, low, reference = generator.normal(size=(3, 2, 4, 5, 1))
    images = {"denoised": denoised, "low_dose": low, "reference": reference}
    residual = noise_free_residual(dose_fraction=[0.0, 0.5], **images)
    first, second = denoised[0] - reference[0], (denoised + low)[1] / 2 - reference[1]
    np.testing.assert_allclose(residual, np.stack([first, second]), atol=1e-6)
    robust = robust_noise_free_loss(
        dose_fraction=[0.0, 0.5], scale=[1.0, 4.0], softness=0.1, **images
    )
    relative = np.stack([first, second / 4])
    expected = np.mean(np.sqrt(relative**2 + 0.01) - 0.1)
    assert float(robust) == pytest.approx(expected, rel=1e-5)


def test_a_trained_network_is_unbiased_and_that_of_the_mse_is_not():
    """The same linear filter, trained on phantoms whose references hold noise."""
    import keras

    from ct_keras.losses import NoiseFreeLoss
    from ct_keras.phantoms import make_phantom

    dose, sd = 0.4, 40.0
    truth = make_phantom(5, shape=(2, 128, 128)).hu.reshape(-1, 32, 128)
    truth = truth.reshape(-1, 32, 4, 32).transpose(0, 2, 1, 3).reshape(-1, 32, 32)
    truth = np.tile(truth[truth.mean(axis=(1, 2)) > -300], (8, 1, 1)).clip(-150, 150)
    generator = np.random.default_rng(3)
    noise, inserted = generator.normal(0, sd, (2, *truth.shape))
    reference = truth + noise
    low = reference + np.sqrt(1 / dose - 1) * inserted
    images = [hu[..., None] / sd for hu in (reference, low)]
    targets = np.concatenate([*images, np.full_like(images[0], dose)], axis=-1)

    def trained(loss, given):
        keras.utils.set_random_seed(1)
        network = keras.Sequential([keras.layers.Conv2D(1, 9, padding="same")])
        rate = keras.optimizers.schedules.CosineDecay(1e-2, 750)
        network.compile(keras.optimizers.Adam(rate), loss)
        network.fit(images[1], given, epochs=30, batch_size=8, verbose=0)
        output = network.predict(images[1], verbose=0)[..., 0] * sd
        part = np.s_[:, 8:-8, 8:-8]
        error, noise = (output - truth)[part], (low - truth)[part]
        return np.mean(error * noise) / np.mean(noise**2), np.mean(error**2)

    plain_slope, plain_error = trained("mse", images[0])
    slope, error = trained(NoiseFreeLoss(), targets)
    # A noisy reference keeps the share d of what the noise-free image lacks.
    assert plain_slope == pytest.approx(dose + (1 - dose) * slope, abs=0.05)
    assert slope < 0.3
    assert error < 0.8 * plain_error
