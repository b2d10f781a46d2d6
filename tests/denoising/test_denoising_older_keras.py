"""Published weights load where Keras does not know the newest settings of layers."""

import json
import zipfile

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.denoising.loading import published_folder
from ct_keras.denoising.older_keras import NEUTRAL, without_newer


def _refuse_newer(monkeypatch, *classes) -> None:
    """Lets classes refuse what an older Keras does not know."""
    for each in classes:
        build = each.from_config.__func__

        def from_config(cls, config, build=build):
            if newer := set(NEUTRAL) & set(config):
                raise TypeError(f"unexpected keyword arguments {newer}")
            return build(cls, config)

        monkeypatch.setattr(each, "from_config", classmethod(from_config))


@pytest.mark.parametrize("name", ["seo_resnet", "pix2pix"])
def test_an_older_keras_loads_published_weights(monkeypatch, name):
    hu = np.random.default_rng(0).normal(40, 30, (32, 32)).astype(np.float32)
    expected = ct_keras.load(name)(hu)
    chosen = keras.initializers
    _refuse_newer(
        monkeypatch,
        *(chosen.GlorotUniform, chosen.HeNormal, chosen.RandomNormal),
        *(chosen.TruncatedNormal, keras.layers.BatchNormalization),
    )
    assert np.array_equal(ct_keras.load(name)(hu), expected)


def test_no_published_file_needs_a_newer_setting():
    for path in sorted(published_folder().glob("*/*.keras")):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        older = json.dumps(without_newer(config))
        assert not [name for name in NEUTRAL if f'"{name}"' in older], path.name


def test_a_setting_that_changes_something_stays():
    config = {"layers": [{"config": {"renorm": True, "input_axes": None}}]}
    assert without_newer(config) == {"layers": [{"config": {"renorm": True}}]}
