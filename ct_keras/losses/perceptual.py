"""Perceptual loss: the distance between features rather than pixels.

Johnson J, Alahi A, Fei-Fei L. Perceptual Losses for Real-Time Style Transfer and
Super-Resolution. ECCV 2016. https://arxiv.org/abs/1603.08155. For low-dose CT as in
Yang et al. 2018, https://doi.org/10.1109/TMI.2018.2827462: features of VGG-19
(Simonyan and Zisserman, https://arxiv.org/abs/1409.1556) after its 16th convolution.
"""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from ct_keras import hu
from ct_keras.errors import CtKerasError

IMAGENET = "imagenet"
FILTER_BANK = "filter_bank"
#: The 16th convolution of VGG-19, its ReLU included.
VGG_LAYER = "block5_conv4"
#: Means that the Keras weights of VGG-19 expect to be subtracted, blue first.
VGG_MEANS = (103.939, 116.779, 123.68)
#: Unit of the filter bank's features: tens of HU.
BANK_UNIT_HU = 10.0


def perceptual_loss(*, reference, prediction, features):
    """Mean square difference of features: ||phi(x) - phi(y)||^2 / (w h d).

    The perceptual loss of Yang et al. 2018, with the mean over the batch.

    Args:
        reference: Images in network units, (batch, rows, columns, 1).
        prediction: Images of the same shape.
        features: Function from images to features; see `feature_network`.

    Returns:
        A float32 scalar.
    """
    ours = features(ops.cast(prediction, "float32"), training=False)
    wanted = features(ops.cast(reference, "float32"), training=False)
    difference = ops.cast(ours, "float32") - ops.cast(wanted, "float32")
    return ops.mean(ops.square(difference))


def feature_network(
    extractor: keras.Model | str | os.PathLike | None = None,
    *,
    window_hu: tuple[float, float] | None = None,
) -> keras.Model:
    """Builds the network from images in network units to features.

    Args:
        extractor: A model from (batch, rows, columns, 1 or 3) to features, or an
            argument of `load_extractor`. With three channels it gets the input that the
            Keras weights of VGG-19 expect: the image repeated, times 255, minus the
            ImageNet means, blue first. With one channel it gets the image unchanged.
        window_hu: HU that are first mapped to 0 and 1, without clipping; None keeps
            network units, in which soft tissue has almost no contrast for VGG.

    Returns:
        From (batch, rows, columns, 1), float32 network units, to the features. Its
        weights are frozen.

    Raises:
        CtKerasError: CTK-E000 for another number of channels; CTK-E005 as
            `load_extractor`.
    """
    if not isinstance(extractor, keras.Model):
        extractor = load_extractor(extractor)
    shape = extractor.input_shape
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise CtKerasError(
            "CTK-E000",
            "the feature extractor does not take images of one or three channels",
            received=f"input {shape}",
            expected="(batch, rows, columns, 1) or (batch, rows, columns, 3)",
        )
    image = x = keras.Input((*shape[1:3], 1), name="image", dtype="float32")
    if window_hu is not None:
        low, high = window_hu
        x = layers.Rescaling(
            hu.SCALE_HU / (high - low),
            (-hu.OFFSET_HU - low) / (high - low),
            dtype="float32",
            name="window",
        )(x)
    if shape[-1] == 3:
        x = layers.Concatenate(dtype="float32", name="grey_to_colour")([x, x, x])
        x = layers.Rescaling(
            255.0, [-mean for mean in VGG_MEANS], dtype="float32", name="vgg_means"
        )(x)
    return keras.Model(image, extractor(x), name="features")


def load_extractor(source: str | os.PathLike | None = None) -> keras.Model:
    """Loads a frozen feature extractor, never one with random weights.

    Args:
        source: None or "imagenet" for VGG-19 up to conv5_4 with the weights that
            keras.applications downloads once; a file with the weights of VGG-19 without
            the top (`.h5` or `.weights.h5`); or "filter_bank" for `filter_bank`.

    Returns:
        A float32 model from images to features.

    Raises:
        CtKerasError: CTK-E005, if the weights are not available.
    """
    if source == FILTER_BANK:
        return filter_bank()
    return vgg19_conv5_4(IMAGENET if source is None else source)


def vgg19_conv5_4(weights: str | os.PathLike) -> keras.Model:
    """VGG-19 up to its 16th convolution, frozen: 20,024,384 parameters.

    Args:
        weights: "imagenet" or a file.

    Returns:
        From (batch, rows, columns, 3), blue first, 0 to 255 minus the ImageNet means,
        to (batch, rows/16, columns/16, 512).

    Raises:
        CtKerasError: CTK-E005, if the weights are not available.
    """
    known = weights == IMAGENET
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        if not known and not Path(weights).is_file():
            raise FileNotFoundError("no such file")
        vgg = keras.applications.VGG19(
            include_top=False,
            weights=IMAGENET if known else os.fspath(weights),
            input_shape=(None, None, 3),
        )
    except Exception as error:  # Keras raises bare Exception for a failed download
        raise CtKerasError(
            "CTK-E005",
            f"the weights of VGG-19 are not available ({type(error).__name__})",
            received=IMAGENET if known else Path(weights).name,
            expected='"imagenet" and network access for the first download, or a file '
            "with weights of VGG-19 without the top",
            fix="let Keras download them on a machine with network access and copy the "
            "file, pass another Keras model as feature_extractor, or train without "
            "the perceptual loss (perceptual_weight=0)",
        ) from error
    finally:
        keras.config.set_dtype_policy(policy)
    extractor = keras.Model(
        vgg.input, vgg.get_layer(VGG_LAYER).output, name="vgg19_conv5_4"
    )
    extractor.trainable = False
    return extractor


def filter_bank() -> keras.Model:
    """A fixed two-level bank of derivative filters, which needs no download.

    Six Gaussian derivatives (order 0 to 2) and their negatives, ReLU, 2x2 average
    pooling, and the same six on each of the twelve responses, ReLU: the strength of
    edges and texture, and its spatial variation. It is not VGG and was not learned from
    photographs, so results with it are not those of the paper.

    Returns:
        From (batch, rows, columns, 1), network units, to
        (batch, rows/2, columns/2, 72) in tens of HU.
    """
    kernels = _gaussian_derivatives()
    both_signs = np.concatenate([kernels, -kernels], axis=-1)
    count, responses = kernels.shape[-1], both_signs.shape[-1]
    second = np.zeros((5, 5, responses, responses * count), np.float32)
    for index in range(responses):
        second[:, :, index, index * count : (index + 1) * count] = kernels
    image = keras.Input((None, None, 1), name="image", dtype="float32")
    x = layers.Rescaling(
        hu.SCALE_HU / BANK_UNIT_HU,
        -hu.OFFSET_HU / BANK_UNIT_HU,
        dtype="float32",
        name="tens_of_hu",
    )(image)
    x = _fixed_convolution(both_signs[:, :, None, :], "level1")(x)
    x = layers.AveragePooling2D(2, dtype="float32", name="pool")(x)
    x = _fixed_convolution(second, "level2")(x)
    return keras.Model(image, x, name=FILTER_BANK)


def _fixed_convolution(kernel: np.ndarray, name: str) -> layers.Layer:
    return layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[:2],
        padding="same",
        activation="relu",
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(kernel),
        trainable=False,
        dtype="float32",
        name=name,
    )


def _gaussian_derivatives() -> np.ndarray:
    """Gaussian derivatives of standard deviation 1, (5, 5, 6), of unit L1 norm."""
    at = np.arange(-2.0, 3.0)
    smooth = np.exp(-(at**2) / 2)
    second = (at**2 - 1) * smooth
    second -= smooth * second.sum() / smooth.sum()  # no response to a constant
    orders = [smooth, -at * smooth, second]
    kernels = [
        np.outer(orders[rows], orders[columns])
        for rows, columns in ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
    ]
    kernels = [kernel / np.abs(kernel).sum() for kernel in kernels]
    return np.stack(kernels, axis=-1).astype(np.float32)
