"""The networks of the lecture that keras.applications provides, for CT slices.

VGG-16 (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556), ResNet-50 (He et
al. 2016, https://doi.org/10.1109/CVPR.2016.90), DenseNet-121 (Huang et al. 2017,
https://doi.org/10.1109/CVPR.2017.243) and Inception (Szegedy et al. 2016,
https://doi.org/10.1109/CVPR.2016.308). These are Keras's variants, not the originals:
its ResNet-50 has biases in its convolutions, and its Inception is version 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import keras
from keras import applications, layers

from ct_keras.tasks.recipes import TaskSpec
from ct_keras.tasks.vgg import image_input, probabilities

_IMAGENET_CLASSES = 1000
#: Mean and standard deviation of ImageNet's red, green and blue on a scale of 0 to 1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Blue, green and red means on a scale of 0 to 255, for weights converted from Caffe.
_CAFFE_MEAN = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class _Family:
    """A builder of keras.applications and the scaling its ImageNet weights expect."""

    title: str
    builder: str
    image_size: tuple[int, int]
    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]


_CAFFE = (255.0, tuple(-mean for mean in _CAFFE_MEAN))
_TORCH = (
    tuple(1 / std for std in _STD),
    tuple(-mean / std for mean, std in zip(_MEAN, _STD, strict=True)),
)
FAMILIES = {
    "vgg16": _Family("VGG-16", "VGG16", (224, 224), *_CAFFE),
    "resnet50": _Family("ResNet-50", "ResNet50", (224, 224), *_CAFFE),
    "densenet121": _Family("DenseNet-121", "DenseNet121", (224, 224), *_TORCH),
    "inception_v3": _Family("Inception v3", "InceptionV3", (299, 299), 2.0, -1.0),
}


def Application(
    family: str,
    *,
    classes: int = 1000,
    image_size: tuple[int, int] | None = None,
    weights: str | None = None,
    window_hu: tuple[float, float] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a network of keras.applications for single-channel images.

    Without weights its first convolution takes one channel. ImageNet weights need
    three: the image is repeated, scaled as those weights expect, and the last layer is
    replaced unless there are 1,000 classes.

    Args:
        family: "vgg16", "resnet50", "densenet121" or "inception_v3".
        classes: Number of classes.
        image_size: Rows and columns; None for those of the paper. ImageNet weights of
            VGG-16 require those of the paper.
        weights: None, "imagenet" (Keras downloads them) or a file of ImageNet weights
            with the top.
        window_hu: HU window that is mapped to 0 to 1 and clipped; None keeps network
            units. Use a window with ImageNet weights: soft tissue has almost no
            contrast in network units.
        name: Name of the model; None for `family`.

    Returns:
        From `image`, network units (batch, rows, columns, 1), to `probabilities`,
        float32 (batch, classes).
    """
    kind = FAMILIES[family]
    image, x = image_input(image_size or kind.image_size, window_hu)
    if weights is not None:
        x = layers.Concatenate(name="three_copies")([x, x, x])
        x = layers.Rescaling(kind.scale, kind.offset, name="imagenet_scale")(x)
    network = getattr(applications, kind.builder)(
        include_top=True,
        weights=weights,
        input_tensor=x,
        classes=classes if weights is None else _IMAGENET_CLASSES,
        classifier_activation=None,
    )
    if weights is None or classes == _IMAGENET_CLASSES:
        logits = network.output
    else:
        features = network.layers[-2].output
        logits = layers.Dense(classes, name="predictions")(features)
    return keras.Model(image, probabilities(logits), name=name or family)


SPECS = tuple(
    TaskSpec(
        name=name,
        builder=partial(Application, name),
        kind="classification",
        title=f"{family.title} of keras.applications with one channel",
        paper="see ct_keras/tasks/applications.py",
        file="ct_keras/tasks/applications.py",
    )
    for name, family in FAMILIES.items()
)
