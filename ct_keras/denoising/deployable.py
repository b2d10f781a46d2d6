"""The deployable model: Hounsfield units in and out, any size, plain Keras.

A network works in network units, on sizes that it supports. `wrap` adds the conversion
of units and the padding, with stock Keras layers only, so that the saved `.keras` file
opens where ct_keras is not installed.
"""

from __future__ import annotations

import keras
from keras import ops

from ct_keras import hu
from ct_keras.models import SizeRule

INPUT_NAME = "low_dose_hu"
OUTPUT_NAME = "denoised_hu"


def wrap(network: keras.Model, size_rule: SizeRule) -> keras.Model:
    """Wraps a network as a deployable model.

    The graph pads at the end of each axis by reflection (by edge replication where the
    image is smaller than the padding) up to the network's size rule, scales to network
    units, floors at -1024 HU, runs the network, scales back and crops. Pixels below
    -1500 HU, which hold no measurement, and above 3072 HU, which not every network can
    return, come back unchanged.

    Args:
        network: Maps (batch, rows, columns, 1) or (batch, slices, rows, columns, 1) to
            the same shape, float32 network units.
        size_rule: The sizes that the network accepts.

    Returns:
        A functional model named like the network, from `low_dose_hu` to a dict with
        `denoised_hu`, float32 of the network's dimensions, HU, every size >= 1.
    """
    dimensions = dimensions_of(network)
    image = _image_input(dimensions, name=INPUT_NAME)
    to_network_units = keras.layers.Rescaling(
        1 / hu.SCALE_HU,
        hu.OFFSET_HU / hu.SCALE_HU,
        dtype="float32",
        name="to_network_units",
    )
    to_hu = keras.layers.Rescaling(
        hu.SCALE_HU, -hu.OFFSET_HU, dtype="float32", name="to_hu"
    )
    x = to_network_units(_fit_size(dimensions, size_rule)(image))
    x = keras.layers.ReLU(name="floor", dtype="float32")(x)
    # The same layers without the state of `compile`, so that files hold no optimiser.
    core = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    x = to_hu(core(x))
    x = _original_size(dimensions)([x, image])
    x = _restore_ends(dimensions)([x, image])
    x = keras.layers.Identity(name=OUTPUT_NAME, dtype="float32")(x)
    return keras.Model(image, {OUTPUT_NAME: x}, name=network.name)


def blended(model: keras.Model, strength: float) -> keras.Model:
    """Returns a deployable model whose output is blended with its input.

    Args:
        model: From `wrap`.
        strength: 0 (the input) to 1 (the model itself).
    """
    if strength == 1:
        return model
    image = _image_input(dimensions_of(model), name=INPUT_NAME)
    denoised = image + strength * (model(image)[OUTPUT_NAME] - image)
    denoised = keras.layers.Identity(name=OUTPUT_NAME, dtype="float32")(denoised)
    return keras.Model(image, {OUTPUT_NAME: denoised}, name=model.name)


def is_deployable(model: keras.Model) -> bool:
    """Whether a model was made by `wrap`."""
    inputs = getattr(model, "inputs", None) or []
    inside = model.name in [layer.name for layer in model.layers]
    return [image.name for image in inputs] == [INPUT_NAME] and inside


def dimensions_of(model: keras.Model) -> int:
    """Returns 2 for a model of slices and 3 for a model of volumes."""
    return len(model.inputs[0].shape) - 2


def _image_input(dimensions: int, name: str | None = None) -> keras.KerasTensor:
    return keras.Input((None,) * dimensions + (1,), name=name, dtype="float32")


def _fit_size(dimensions: int, rule: SizeRule) -> keras.Model:
    """Pads an image to the sizes of the rule."""
    image = x = _image_input(dimensions)
    for axis in range(1, dimensions + 1):
        x = ops.take(x, _padded_indices(image, axis, rule), axis=axis)
    return keras.Model(image, x, name="fit_size")


def _original_size(dimensions: int) -> keras.Model:
    """Crops its first input to the size of the second."""
    result, image = inputs = [_image_input(dimensions), _image_input(dimensions)]
    for axis in range(1, dimensions + 1):
        own = ops.cumsum(_ones(image, axis)) - 1.0
        result = ops.take(result, ops.cast(own, "int32"), axis=axis)
    return keras.Model(inputs, result, name="original_size")


def _restore_ends(dimensions: int) -> keras.Model:
    """Returns the second input where it is padding or metal, otherwise the first."""
    result, image = inputs = [_image_input(dimensions), _image_input(dimensions)]
    padding = ops.less(image, hu.NO_MEASUREMENT_HU)
    metal = ops.greater(image, hu.CEILING_HU)
    result = ops.where(ops.logical_or(padding, metal), image, result)
    return keras.Model(inputs, result, name="restore_ends")


def _ones(image, axis: int):
    """A vector of ones along an axis whose size is known at run time only.

    keras.ops cannot return the size of a symbolic tensor, but a sum of ones can.
    """
    others = tuple(set(range(len(image.shape))) - {axis})
    return ops.max(ops.ones_like(image), axis=others)


def _padded_indices(image, axis: int, rule: SizeRule):
    """Indices along `axis` that pad the image to the size rule."""
    inside = ops.pad(_ones(image, axis), ((0, max(rule.multiple, rule.minimum)),))
    position = ops.cumsum(ops.ones_like(inside)) - 1.0
    last = ops.max(ops.cumsum(inside)) - 1.0
    whole = ops.ceil((last + 1.0) / rule.multiple) * rule.multiple
    smallest = -(-rule.minimum // rule.multiple) * rule.multiple
    wanted = ops.maximum(whole, float(smallest))
    fits = ops.less_equal(wanted - 1.0, 2.0 * last)
    beyond = ops.where(fits, 2.0 * last - position, last + 0.0 * position)
    index = ops.where(ops.less_equal(position, last), position, beyond)
    kept = ops.nonzero(ops.less(position, wanted))[0]
    return ops.take(ops.cast(index, "int32"), kept, axis=0)
