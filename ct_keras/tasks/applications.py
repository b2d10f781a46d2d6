"""The networks of the lecture that keras.applications provides, for CT slices.

VGG-16 (Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556), ResNet-50 (He et
al. 2016, https://doi.org/10.1109/CVPR.2016.90), DenseNet-121 (Huang et al. 2017,
https://doi.org/10.1109/CVPR.2017.243), Inception v3 (Szegedy et al. 2016,
https://doi.org/10.1109/CVPR.2016.308), Inception-ResNet v2 (Szegedy et al. 2017,
https://arxiv.org/abs/1602.07261), MobileNet v1 to v3 (Howard et al. 2017,
https://arxiv.org/abs/1704.04861; Sandler et al. 2018, https://arxiv.org/abs/1801.04381;
Howard et al. 2019, https://arxiv.org/abs/1905.02244), NASNet (Zoph et al. 2018,
https://arxiv.org/abs/1707.07012) and EfficientNet (Tan and Le 2019,
https://arxiv.org/abs/1905.11946). These are Keras's variants, not the originals: its
ResNet-50, for example, has biases in its convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """A builder of keras.applications and the scaling its ImageNet weights expect.

    Attributes:
        title: A name for people.
        builder: Its function in keras.applications.
        image_size: Rows and columns of the paper.
        scale: Factor for values from 0 to 1.
        offset: Added after that.
        rescales: Whether the builder itself divides by 255, with any weights.
        before_top: Index of the last layer before those of the classes.
        options: Further arguments of the builder.
    """

    title: str
    builder: str
    image_size: tuple[int, int]
    scale: float | tuple[float, ...] = 2.0
    offset: float | tuple[float, ...] = -1.0
    rescales: bool = False
    before_top: int = -2
    options: Mapping[str, object] = field(default_factory=dict)


_CAFFE = (255.0, tuple(-mean for mean in _CAFFE_MEAN))
_TORCH = (
    tuple(1 / std for std in _STD),
    tuple(-mean / std for mean, std in zip(_MEAN, _STD, strict=True)),
)
FAMILIES = {
    "vgg16": _Family("VGG-16", "VGG16", (224, 224), *_CAFFE),
    "resnet50": _Family("ResNet-50", "ResNet50", (224, 224), *_CAFFE),
    "densenet121": _Family("DenseNet-121", "DenseNet121", (224, 224), *_TORCH),
    "inception_v3": _Family("Inception v3", "InceptionV3", (299, 299)),
    "inception_resnet_v2": _Family(
        "Inception-ResNet v2", "InceptionResNetV2", (299, 299)
    ),
    "mobilenet": _Family("MobileNet", "MobileNet", (224, 224), before_top=-4),
    "mobilenet_v2": _Family("MobileNet v2", "MobileNetV2", (224, 224)),
    "mobilenet_v3": _Family(
        "MobileNet v3, small",
        "MobileNetV3Small",
        (224, 224),
        before_top=-4,
        options={"include_preprocessing": False},
    ),
    "nasnet": _Family("NASNet, mobile", "NASNetMobile", (224, 224)),
    "efficientnet": _Family(
        "EfficientNet B0", "EfficientNetB0", (224, 224), 255.0, 0.0, rescales=True
    ),
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
        family: One of `FAMILIES`.
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
    elif kind.rescales:
        x = layers.Rescaling(kind.scale, kind.offset, name="grey_values")(x)
    network = getattr(applications, kind.builder)(
        include_top=True,
        weights=weights,
        input_tensor=x,
        classes=classes if weights is None else _IMAGENET_CLASSES,
        classifier_activation=None,
        **kind.options,
    )
    if weights is None or classes == _IMAGENET_CLASSES:
        logits = network.output
    else:
        features = network.layers[kind.before_top].output
        if len(features.shape) > 2:
            features = layers.Flatten(name="features")(features)
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
