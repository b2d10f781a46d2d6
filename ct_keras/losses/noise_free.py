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

import keras
from keras import ops

from ct_keras.hu import SCALE_HU

#: Added to the noise of a patch, so that a patch without noise has a scale too.
_LEAST_SCALE = 5.0 / SCALE_HU


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


@keras.saving.register_keras_serializable(package="ct_keras")
class NoiseFreeLoss(keras.losses.Loss):
    """`robust_noise_free_loss` for `compile` and `fit`, in network units.

    The scale of a patch is the SD of its inserted noise plus 5 HU. The targets have
    three channels: full dose, low dose, and the noise share in every pixel, as
    `training_patches` gives them with `noise_free_targets`.

    Example:
        >>> loss = NoiseFreeLoss()
        >>> float(loss(ops.zeros((1, 4, 4, 3)), ops.zeros((1, 4, 4, 1))))
        0.0
    """

    def __init__(self, name: str = "noise_free", **options):
        super().__init__(name=name, **options)

    def call(self, y_true, y_pred):
        """Compares (batch, rows, columns, 1) with targets of three channels."""
        reference, low_dose, share = ops.split(y_true, 3, axis=-1)
        inserted = ops.std(low_dose - reference, axis=(1, 2, 3))
        return robust_noise_free_loss(
            denoised=y_pred,
            low_dose=low_dose,
            reference=reference,
            dose_fraction=ops.mean(share, axis=(1, 2, 3)),
            scale=inserted + _LEAST_SCALE,
        )


def _per_image(values, images):
    """Reshapes one number per image for broadcasting over the image."""
    ones = (1,) * (len(images.shape) - 1)
    return ops.reshape(ops.cast(values, "float32"), (-1, *ones))
