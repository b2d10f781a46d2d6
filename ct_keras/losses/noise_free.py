"""Learning the noise-free image from noisy references.

A scan at full dose is ``y = x + n``, anatomy plus its own noise; the low dose is
``z = y + m``, where the inserted noise m has the texture of n and ``1/d - 1`` times its
variance. A network trained to minimise the error against y keeps part of the noise,
because n is in both images. Given z, the expected n is the share d of the total noise,
``E[n | z] = d (z - E[x | z])``, so the mean of ``(1 - d) f(z) + d z - y`` is zero
exactly if ``f(z) = E[x | z]``: its mean square is least for the noise-free image. A
reference without noise has ``d = 0``, which leaves the usual error.

Reference:
    Moran et al., Noisier2Noise, CVPR 2020, https://arxiv.org/abs/1910.11908, with the
    dose fraction in place of its weight of added noise.
"""

from __future__ import annotations

from keras import ops


def noise_free_residual(*, denoised, low_dose, reference, dose_fraction):
    """Returns ``(1 - d) f(z) + d z - y``, with zero mean for the noise-free image.

    Args:
        denoised: (batch, ..., channels), the network's output for `low_dose`.
        low_dose: The same shape and unit: `reference` with noise added.
        reference: The same shape and unit, with the noise of full dose.
        dose_fraction: (batch,), the variance of the reference's noise over that of the
            low dose, from 0 (noise-free reference) to below 1.

    Returns:
        float32, the shape and unit of the images.
    """
    denoised, low_dose, reference = (
        ops.cast(images, "float32") for images in (denoised, low_dose, reference)
    )
    share = _per_image(dose_fraction, denoised)
    return denoised + share * (low_dose - denoised) - reference


def noise_free_loss(*, denoised, low_dose, reference, dose_fraction):
    """Mean square of `noise_free_residual`.

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
    """Charbonnier loss of `noise_free_residual`, relative to a scale for each image.

    With a scale that grows with the noise, all doses have similar weight, and a few
    large errors at bone and metal do not dominate.

    Args:
        denoised: See `noise_free_residual`.
        low_dose: See `noise_free_residual`.
        reference: See `noise_free_residual`.
        dose_fraction: See `noise_free_residual`.
        scale: (batch,), the divisor of each image's residuals, in their unit; for
            example the SD of the inserted noise plus 5 HU.
        softness: Share of the scale below which the loss is quadratic; above, it is
            linear.

    Returns:
        A dimensionless float32 scalar.
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
    """Reshapes one number per image for broadcasting over the image."""
    ones = (1,) * (len(images.shape) - 1)
    return ops.reshape(ops.cast(values, "float32"), (-1, *ones))
