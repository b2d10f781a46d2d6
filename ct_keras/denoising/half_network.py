"""A network in half precision: bfloat16 inside, float32 at its ends."""

from __future__ import annotations

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

    def copied(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in inner:
            config["dtype"] = _POLICY
        return type(layer).from_config(config)

    half = keras.models.clone_model(network, clone_function=copied)
    half.set_weights(network.get_weights())
    return half
