"""Losses of segmentation networks: pixelwise cross-entropy and soft Dice.

As in the lecture (NPTEL, Medical Image Analysis, lecture 56): the cross-entropy is
summed over pixels and averaged over images; the Dice loss has squared denominators
(Milletari et al., V-Net, 2016, https://doi.org/10.1109/3DV.2016.79) and is summed over
classes.
"""

from __future__ import annotations

import keras
from keras import ops

from ct_keras.errors import CtKerasError

#: Avoids logarithms of zero and division by zero.
EPSILON = 1e-7


def pixelwise_cross_entropy(*, reference, prediction, reduction: str = "sum"):
    """Cross-entropy of class probabilities, averaged over images.

    ``-(1/N) sum_images sum_pixels sum_classes p log q``.

    Args:
        reference: One-hot p of the shape of `prediction`, or class numbers without the
            last axis.
        prediction: Probabilities q, (batch, rows, columns, classes).
        reduction: Over pixels: "sum" (the lecture) or "mean".

    Returns:
        A float32 scalar.

    Raises:
        CtKerasError: CTK-E000 for an unknown reduction.
    """
    _check("reduction", reduction, ("sum", "mean"))
    p, q = _pair(reference, prediction)
    per_pixel = -ops.sum(p * ops.log(ops.maximum(q, EPSILON)), axis=-1)
    reduce = ops.sum if reduction == "sum" else ops.mean
    return ops.mean(reduce(per_pixel, axis=tuple(range(1, len(per_pixel.shape)))))


def dice_coefficient(*, reference, prediction):
    """Dice coefficient ``2 sum(t p) / (sum t + sum p)`` of each class.

    Args:
        reference: One-hot t of the shape of `prediction`, or class numbers without the
            last axis.
        prediction: Probabilities or masks p, (batch, rows, columns, classes).

    Returns:
        float32 (classes,), over all images; 0 for a class absent from both.
    """
    t, p = _pair(reference, prediction)
    axes = tuple(range(len(p.shape) - 1))
    return _overlap(t, p, axes, "linear")


def dice_loss(
    *, reference, prediction, denominators: str = "squared", over: str = "image"
):
    """Soft Dice loss ``1 - 2 sum(t p) / (sum t^2 + sum p^2)``, summed over classes.

    A class absent from an image adds 1 to the loss, without a gradient; with `over` =
    "batch" the sums run over all images of a batch, so that this is less frequent.

    Args:
        reference: One-hot t of the shape of `prediction`, or class numbers without the
            last axis.
        prediction: Probabilities p, (batch, rows, columns, classes).
        denominators: "squared" (the lecture's loss) or "linear" (``sum t + sum p``).
        over: "image", averaged over images, or "batch".

    Returns:
        A float32 scalar between 0 and the number of classes.

    Raises:
        CtKerasError: CTK-E000 for an unknown value of an option.
    """
    _check("denominators", denominators, ("squared", "linear"))
    _check("over", over, ("image", "batch"))
    t, p = _pair(reference, prediction)
    axes = tuple(range(1 if over == "image" else 0, len(p.shape) - 1))
    return ops.mean(ops.sum(1 - _overlap(t, p, axes, denominators), axis=-1))


@keras.saving.register_keras_serializable(package="ct_keras")
class SegmentationLoss(keras.losses.Loss):
    """Weighted sum of cross-entropy and Dice loss, for `compile`.

    Args:
        cross_entropy: Weight of `pixelwise_cross_entropy`.
        dice: Weight of `dice_loss`.
        pixels: Reduction of the cross-entropy over pixels, "sum" or "mean".
        denominators: Denominators of the Dice loss, "squared" or "linear".
        over: Range of the sums in the Dice loss, "image" or "batch".
        name: Name of the loss.

    Example:
        >>> SegmentationLoss(dice=0.0, pixels="sum").get_config()["pixels"]
        'sum'
    """

    def __init__(
        self,
        cross_entropy: float = 1.0,
        dice: float = 1.0,
        *,
        pixels: str = "mean",
        denominators: str = "squared",
        over: str = "image",
        name: str = "segmentation_loss",
        **options,
    ):
        super().__init__(name=name, **options)
        self.cross_entropy = cross_entropy
        self.dice = dice
        self.pixels = _check("pixels", pixels, ("sum", "mean"))
        self.denominators = _check("denominators", denominators, ("squared", "linear"))
        self.over = _check("over", over, ("image", "batch"))

    def call(self, y_true, y_pred):
        """Returns the weighted sum, a scalar."""
        pair = {"reference": y_true, "prediction": y_pred}
        total = 0.0
        if self.cross_entropy:
            total += self.cross_entropy * pixelwise_cross_entropy(
                **pair, reduction=self.pixels
            )
        if self.dice:
            total += self.dice * dice_loss(
                **pair, denominators=self.denominators, over=self.over
            )
        return total

    def get_config(self):
        """Returns the arguments to rebuild the loss."""
        names = ("cross_entropy", "dice", "pixels", "denominators", "over")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _overlap(t, p, axes, denominators: str):
    if denominators == "squared":
        sizes = ops.sum(t * t, axis=axes) + ops.sum(p * p, axis=axes)
    else:
        sizes = ops.sum(t, axis=axes) + ops.sum(p, axis=axes)
    return 2 * ops.sum(t * p, axis=axes) / ops.maximum(sizes, EPSILON)


def _pair(reference, prediction):
    """Returns both as float32 of the same shape."""
    prediction = ops.cast(prediction, "float32")
    reference = ops.convert_to_tensor(reference)
    if len(reference.shape) == len(prediction.shape) - 1:
        classes = prediction.shape[-1]
        reference = ops.one_hot(ops.cast(reference, "int32"), classes)
    return ops.cast(reference, "float32"), prediction


def _check(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise CtKerasError(
            "CTK-E000",
            f"unknown {name} of a segmentation loss",
            received=value,
            expected=" or ".join(allowed),
        )
    return value
