"""Quiet-Net: a residual U at half resolution and below, made to be cheap.

This project's own network. Ronneberger's U (https://arxiv.org/abs/1505.04597) with the
residual blocks of He et al. (https://arxiv.org/abs/1512.03385), without normalisation
(Lim et al., https://arxiv.org/abs/1707.02921), and no layer at full resolution but the
first and the last: 15 GMAC for a slice of 512x512 pixels, where RED-CNN takes 458.

Three scales, at a half, a quarter and an eighth of the resolution, with one, two and
four times the width; a block costs the same at each. The way up adds what the way down
had. What comes out is a correction of the input, zero before training.
"""

from __future__ import annotations

import keras
from keras import layers

from ct_keras.hu import OFFSET_HU, SCALE_HU
from ct_keras.models.recipes import Recipe, quick_recipe
from ct_keras.models.registry import ModelSpec

#: What the layers see is in hundreds of HU: noise and contrasts of organs are about 1.
UNIT_HU = 100.0
#: Share of the variance that the last layer of a block starts with.
_BLOCK_GAIN = 0.1


def QuietNet(
    width: int = 32,
    *,
    blocks: tuple[int, int, int] = (2, 2, 4),
    name: str = "quiet_net",
) -> keras.Model:
    """Builds Quiet-Net.

    Args:
        width: Feature maps at half resolution; twice and four times as many at the two
            coarser scales.
        blocks: Residual blocks at a half (on the way down and again on the way up), at
            a quarter (likewise) and at an eighth of the resolution.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units, rows and columns multiples of 8.

    Example:
        >>> QuietNet().count_params()
        1633345
    """
    low_dose = keras.Input((None, None, 1), name="low_dose")
    x = layers.Rescaling(
        SCALE_HU / UNIT_HU, offset=-OFFSET_HU / UNIT_HU, dtype="float32", name="scale"
    )(low_dose)
    # Half precision has steps of several HU: the ends are always float32.
    fine = _down(x, width, size=4, name="down1", dtype="float32")
    fine = _blocks(fine, width, blocks[0], name="down1")
    middle = _down(fine, 2 * width, size=2, name="down2")
    middle = _blocks(middle, 2 * width, blocks[1], name="down2")
    x = _down(middle, 4 * width, size=2, name="down3")
    x = _blocks(x, 4 * width, blocks[2], name="down3")
    x = _up(x, 2 * width, middle, name="up2")
    x = _blocks(x, 2 * width, blocks[1], name="up2")
    x = _up(x, width, fine, name="up1")
    x = _blocks(x, width, blocks[0], name="up1")
    x = layers.Conv2DTranspose(
        1,
        4,
        strides=2,
        padding="same",
        kernel_initializer="zeros",
        dtype="float32",
        name="correction",
    )(x)
    x = layers.Rescaling(UNIT_HU / SCALE_HU, dtype="float32", name="unscale")(x)
    denoised = layers.Add(dtype="float32", name="denoised")([low_dose, x])
    return keras.Model(low_dose, denoised, name=name)


def _down(x, width: int, *, size: int, name: str, dtype: str | None = None):
    """Halves the resolution."""
    return layers.Conv2D(
        width,
        size,
        strides=2,
        padding="same",
        kernel_initializer="he_normal",
        dtype=dtype,
        name=f"{name}_conv",
    )(x)


def _up(x, width: int, shortcut, *, name: str):
    """Doubles the resolution and adds the features of the way down."""
    x = layers.Conv2DTranspose(
        width,
        2,
        strides=2,
        padding="same",
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _blocks(x, width: int, count: int, *, name: str):
    """Adds corrections by two convolutions each, small at the start."""
    small = {"scale": _BLOCK_GAIN, "mode": "fan_in"}
    for index in range(1, count + 1):
        block = f"{name}_block{index}"
        inner = layers.Conv2D(
            width,
            3,
            padding="same",
            kernel_initializer="he_normal",
            name=f"{block}_conv1",
        )(x)
        inner = layers.ReLU(name=f"{block}_relu")(inner)
        inner = layers.Conv2D(
            width,
            3,
            padding="same",
            kernel_initializer=keras.initializers.VarianceScaling(**small),
            name=f"{block}_conv2",
        )(inner)
        x = layers.Add(name=f"{block}_add")([x, inner])
    return x


SPEC = ModelSpec(
    name="quiet_net",
    builder=QuietNet,
    title="Residual U at half resolution and below",
    paper="This project; blocks of He et al. 2016, "
    "https://doi.org/10.1109/CVPR.2016.90",
    file="ct_keras/models/quiet_net.py",
    receptive_field=None,
    recipes=(
        Recipe(
            name="report",
            description="Not in the comparison report. A night on two CPU "
            "cores: 96x96 patches, batch 16, 50 epochs of 1,000 steps, Adam with a "
            "warm-up to 1e-3 and a cosine to 1e-5, gradients clipped to 1.",
            patch_size=96,
            batch_size=16,
            epochs=50,
            steps_per_epoch=1000,
            learning_rate=1e-3,
            final_learning_rate=1e-5,
            schedule="cosine",
            warmup_steps=500,
            clip_norm=1.0,
        ),
        Recipe(
            name="paper",
            description="As an accelerator trains the published weights, but on the "
            "pairs of the records: 128x128 patches, batch 64, 100 epochs of 1,000 "
            "steps, Adam with a warm-up to 1e-3 and a cosine to 1e-5, gradients "
            "clipped to 1.",
            patch_size=128,
            batch_size=64,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-3,
            final_learning_rate=1e-5,
            schedule="cosine",
            warmup_steps=1000,
            clip_norm=1.0,
        ),
        quick_recipe(
            "Minutes on two CPU cores: 16 maps, 64x64 patches, batch 16, "
            "Adam with a warm-up to 1e-3 and a cosine to 5e-5.",
            options={"width": 16},
            epochs=12,
            steps_per_epoch=250,
            clip_norm=1.0,
            epsilon=1e-7,
        ),
    ),
)
