"""Learning the noise-free image from references that hold noise.

A scan at full dose is ``y = x + n``, anatomy and its own noise; the low dose is
``z = y + m``, where the inserted noise m has the texture of n and ``1/d - 1`` times its
variance. The network that minimises the error against y keeps a share of the noise,
because n is part of both. Given z, the noise n is on the mean the share d of all that
is not anatomy, ``E[n | z] = d (z - E[x | z])``, so that the mean of
``(1 - d) f(z) + d z - y`` is zero just where ``f(z) = E[x | z]``: the error of this mix
is least for the image without noise. A reference without noise has ``d = 0``, and the
usual error is left.

Reference:
    Moran et al., Noisier2Noise, CVPR 2020, https://arxiv.org/abs/1910.11908, with the
    dose fraction in the place of its weight of added noise.
"""

from __future__ import annotations

from keras import ops


def noise_free_residual(*, denoised, low_dose, reference, dose_fraction):
    """Returns ``(1 - d) f(z) + d z - y``, zero on the mean for the noise-free image.

    Args:
        denoised: (batch, ..., channels), what the network made of `low_dose`.
        low_dose: The same shape and unit: `reference` with noise added.
        reference: The same shape and unit, with the noise of full dose.
        dose_fraction: (batch,), the variance of the reference's noise over that of the
            low dose, from 0 (the reference holds no noise) to below 1.

    Returns:
        float32, the shape and unit of the images.
    """
    denoised, low_dose, reference = (
        ops.cast(images, "float32") for images in (denoised, low_dose, reference)
    )
    share = _per_image(dose_fraction, denoised)
    return denoised + share * (low_dose - denoised) - reference


def noise_free_loss(*, denoised, low_dose, reference, dose_fraction):
    """Mean square of `noise_free_residual`; see there.

    Returns:
        A float32 scalar.
    """
    residual = noise_free_residual(
        denoised=denoised,
        low_dose=low_dose,
        reference=reference,
        dose_fraction=dose_fraction,
    )
    return ops.mean(ops.square(residual))


def robust_noise_free_loss(
    *, denoised, low_dose, reference, dose_fraction, scale, softness: float = 0.1
):
    """Charbonnier mean of `noise_free_residual` over a scale of each image.

    Every dose counts about the same when the scale grows with its noise, and a few
    large errors at bone and metal do not outvote the rest.

    Args:
        denoised: See `noise_free_residual`.
        low_dose: See there.
        reference: See there.
        dose_fraction: See there.
        scale: (batch,), what residuals of each image are divided by, in their unit; for
            example the SD of the inserted noise plus 5 HU.
        softness: Share of the scale up to which errors count by their square; larger
            ones count by their size.

    Returns:
        A float32 scalar without unit.
    """
    residual = noise_free_residual(
        denoised=denoised,
        low_dose=low_dose,
        reference=reference,
        dose_fraction=dose_fraction,
    )
    relative = residual / _per_image(scale, residual)
    return ops.mean(ops.sqrt(ops.square(relative) + softness**2) - softness)


def _per_image(values, images):
    """Shapes one number for each image so that it spreads over the image."""
    ones = (1,) * (len(images.shape) - 1)
    return ops.reshape(ops.cast(values, "float32"), (-1, *ones))
