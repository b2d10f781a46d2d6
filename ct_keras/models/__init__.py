"""The zoo: one file per paper, and the registry of them all.

Every builder returns a functional `keras.Model` of stock layers that works in network
units (see `ct_keras.hu`); `ct_keras.Denoiser` wraps one for Hounsfield units.
"""

from __future__ import annotations

import logging

import keras

from ct_keras.models import (
    adl,
    pix2pix,
    quiet_net,
    red_cnn,
    red_net,
    seo_resnet,
    wgan_vgg,
)
from ct_keras.models.adl import Adl3dDenoiser, AdlDenoiser, AdlDiscriminator
from ct_keras.models.adl_training import Adl, AdlSettings
from ct_keras.models.cost import count_macs
from ct_keras.models.pix2pix import PatchGAN, Pix2Pix, Pix2PixGenerator
from ct_keras.models.quiet_net import QuietNet
from ct_keras.models.recipes import Recipe
from ct_keras.models.red_cnn import RedCNN
from ct_keras.models.red_net import RedNet10, RedNet20, RedNet30
from ct_keras.models.registry import ModelSpec
from ct_keras.models.seo_resnet import DilatedBackprop, SeoAdam, SeoResNet
from ct_keras.models.sizes import SizeRule, halo_of, largest_output, size_rule_of
from ct_keras.models.systems import TrainingSystem, TwoPlayerSystem
from ct_keras.models.wgan_vgg import WganVgg, WganVggCritic, WganVggGenerator
from ct_keras.registry import Registry

__all__ = [
    "Adl",
    "Adl3dDenoiser",
    "AdlDenoiser",
    "AdlDiscriminator",
    "AdlSettings",
    "DilatedBackprop",
    "ModelSpec",
    "PatchGAN",
    "Pix2Pix",
    "Pix2PixGenerator",
    "QuietNet",
    "Recipe",
    "RedCNN",
    "RedNet10",
    "RedNet20",
    "RedNet30",
    "SeoAdam",
    "SeoResNet",
    "SizeRule",
    "TrainingSystem",
    "TwoPlayerSystem",
    "WganVgg",
    "WganVggCritic",
    "WganVggGenerator",
    "build",
    "count_macs",
    "get_spec",
    "halo_of",
    "largest_output",
    "list_models",
    "size_rule_of",
]


def _set_keras() -> None:
    """Sets channels last and float32: builders and losses need both."""
    settings = keras.config
    for found, needed, choose in (
        (settings.image_data_format(), "channels_last", settings.set_image_data_format),
        (settings.floatx(), "float32", settings.set_floatx),
    ):
        if found != needed:
            choose(needed)
            logging.getLogger(__name__).warning(
                "CTK-W093 Keras was set to %s; ct_keras works with %s, and has set it "
                "for this process",
                found,
                needed,
            )


_set_keras()

#: Adding a paper: one file in this folder, one line here.
_SPECS = Registry(
    "model",
    (
        red_cnn.SPEC,
        quiet_net.SPEC,
        *red_net.SPECS,
        pix2pix.SPEC,
        wgan_vgg.SPEC,
        adl.SPEC,
        adl.SPEC_3D,
        seo_resnet.SPEC,
    ),
)


def list_models() -> list[str]:
    """Returns the names of all networks."""
    return list(_SPECS)


def get_spec(name: str) -> ModelSpec:
    """Returns the zoo's entry for a network.

    Raises:
        CtKerasError: CTK-E092, if there is no network of that name.
    """
    return _SPECS.find(name)


def build(name: str, /, **options) -> keras.Model:
    """Builds an untrained network in network units.

    Args:
        name: One of `list_models()`.
        **options: Arguments of its builder, for example `width`.

    Returns:
        From `low_dose` to `denoised`, float32 (batch, rows, columns, 1).

    Raises:
        CtKerasError: CTK-E092, if there is no network of that name.
    """
    return get_spec(name).builder(**options)
