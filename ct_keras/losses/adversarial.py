"""Losses of generative adversarial networks, from logits.

Cross-entropy: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, with the
non-saturating loss of the generator. Hinge: Lim and Ye 2017,
https://arxiv.org/abs/1705.02894. A logit is the discriminator's output before a
sigmoid; each pixel of a patch discriminator's map counts as one decision. All results
are float32 scalars, means over every axis.
"""

from __future__ import annotations

from keras import ops


def cross_entropy_to_real(logits):
    """Mean binary cross-entropy of logits to the label "real": -log sigmoid."""
    return ops.mean(ops.softplus(-ops.cast(logits, "float32")))


def cross_entropy_to_fake(logits):
    """Mean binary cross-entropy of logits to the label "fake": -log(1 - sigmoid)."""
    return ops.mean(ops.softplus(ops.cast(logits, "float32")))


def discriminator_cross_entropy(*, real_logits, fake_logits):
    """The discriminator's loss: the mean of its losses on real and fake images.

    Isola et al. 2017, section 3.3, halve the sum to slow the discriminator down. A
    discriminator at chance (all logits 0) has the loss ln 2 = 0.693.

    Args:
        real_logits: Logits of references, any shape.
        fake_logits: Logits of generated images, any shape.
    """
    return 0.5 * (
        cross_entropy_to_real(real_logits) + cross_entropy_to_fake(fake_logits)
    )


def generator_cross_entropy(*, fake_logits):
    """The generator's non-saturating loss: cross-entropy of its images to "real".

    Args:
        fake_logits: Logits of generated images, any shape.
    """
    return cross_entropy_to_real(fake_logits)


def discriminator_hinge(*, real_logits, fake_logits):
    """The discriminator's hinge loss: mean relu(1 - real) + mean relu(1 + fake).

    Args:
        real_logits: Logits of references, any shape.
        fake_logits: Logits of generated images, any shape.
    """
    real = ops.relu(1.0 - ops.cast(real_logits, "float32"))
    fake = ops.relu(1.0 + ops.cast(fake_logits, "float32"))
    return ops.mean(real) + ops.mean(fake)


def generator_hinge(*, fake_logits):
    """The generator's hinge loss: -mean fake.

    Args:
        fake_logits: Logits of generated images, any shape.
    """
    return -ops.mean(ops.cast(fake_logits, "float32"))
