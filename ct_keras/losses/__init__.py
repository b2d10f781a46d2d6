"""Losses of the papers in the zoo, in network units and `keras.ops` only."""

from ct_keras.losses.adversarial import (
    cross_entropy_to_fake,
    cross_entropy_to_real,
    discriminator_cross_entropy,
    discriminator_hinge,
    generator_cross_entropy,
    generator_hinge,
)
from ct_keras.losses.histogram import histogram_counts, histogram_loss
from ct_keras.losses.noise_free import (
    NoiseFreeLoss,
    noise_free_loss,
    noise_free_residual,
    robust_noise_free_loss,
)
from ct_keras.losses.perceptual import (
    feature_network,
    filter_bank,
    load_extractor,
    perceptual_loss,
)
from ct_keras.losses.pyramid import atrous_pyramid, pyramidal_textural_loss
from ct_keras.losses.segmentation import (
    SegmentationLoss,
    dice_coefficient,
    dice_loss,
    pixelwise_cross_entropy,
)
from ct_keras.losses.wasserstein import (
    critic_loss,
    generator_loss,
    gradient_penalty,
)

__all__ = [
    "NoiseFreeLoss",
    "SegmentationLoss",
    "atrous_pyramid",
    "critic_loss",
    "cross_entropy_to_fake",
    "cross_entropy_to_real",
    "dice_coefficient",
    "dice_loss",
    "discriminator_cross_entropy",
    "discriminator_hinge",
    "feature_network",
    "filter_bank",
    "generator_cross_entropy",
    "generator_hinge",
    "generator_loss",
    "gradient_penalty",
    "histogram_counts",
    "histogram_loss",
    "load_extractor",
    "noise_free_loss",
    "noise_free_residual",
    "perceptual_loss",
    "pixelwise_cross_entropy",
    "pyramidal_textural_loss",
    "robust_noise_free_loss",
]
