"""A network in another precision: bfloat16 inside, or float32 everywhere."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

_CONVOLUTIONS = (
    *(layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D),
    *(layers.Conv3D, layers.Conv3DTranspose, layers.SeparableConv2D),
)
_POLICY = "mixed_bfloat16"


def in_bfloat16(network: keras.Model) -> keras.Model:
    """Returns a copy whose inner layers compute in bfloat16; weights stay float32.

    The layers after the first convolution and before the last one are the inner ones.
    The ends stay as they are: in soft tissue bfloat16 has steps of 8 HU.

    Args:
        network: A functional model in network units.
    """
    convolutions = [
        index
        for index, layer in enumerate(network.layers)
        if isinstance(layer, _CONVOLUTIONS)
    ]
    ends = convolutions[:1] + convolutions[-1:]
    inner = {layer.name for layer in network.layers[slice(*ends)][1:]} if ends else {}
    return _copied(network, lambda layer: _POLICY if layer.name in inner else None)


def in_float32(network: keras.Model) -> keras.Model:
    """Returns the network if all of it computes in float32, otherwise such a copy.

    Args:
        network: A functional model in network units, perhaps of a mixed policy.
    """
    if {layer.compute_dtype for layer in network.layers} == {"float32"}:
        return network
    return _copied(network, lambda layer: "float32")


def _copied(
    network: keras.Model, policy: Callable[[keras.Layer], str | None]
) -> keras.Model:
    """A copy with the same weights, each layer with this policy; None keeps its own."""

    def copied(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if chosen := policy(layer):
            config["dtype"] = chosen
        return type(layer).from_config(config)

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy
