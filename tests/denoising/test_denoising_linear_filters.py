"""Linear filters exported like networks, by name and with their own parameters."""

import json

import numpy as np
import pytest
import tensorflow as tf

import ct_keras
from ct_keras import filters
from ct_keras.cli import main
from ct_keras.denoising.methods import as_method, get_method
from ct_keras.errors import CtKerasError

SIZES = [(1, 1), (7, 9), (33, 57), (5, 200)]


def _ct_like(shape, seed=0):
    image = np.random.default_rng(seed).uniform(-1000, 1500, shape)
    return image.astype(np.float32)


def _serve(served, image):
    signature = served.signatures["serving_default"]
    result = signature(low_dose_hu=tf.constant(image[None, ..., None]))
    assert list(result) == ["denoised_hu"]
    return result["denoised_hu"].numpy()[0, ..., 0]


def _info(served):
    info = {key: value.numpy() for key, value in served.signatures["info"]().items()}
    assert info.pop("strength") == 1
    return {key: value.decode() for key, value in info.items()}


def _exit_code(*arguments):
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_the_command_writes_the_filter_as_a_savedmodel(capsys, tmp_path):
    out = tmp_path / "SM"
    assert _exit_code("export", "filter:gaussian", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["largest_difference_hu"] <= 1e-3
    served = tf.saved_model.load(out)
    for size in SIZES:
        image = _ct_like(size)
        expected = filters.get("gaussian")(image)
        assert _serve(served, image) == pytest.approx(expected, abs=1e-3)
    outside = _ct_like((33, 57))
    outside[:6] = -3024
    expected = filters.get("gaussian")(outside)
    assert _serve(served, outside) == pytest.approx(expected, abs=1e-3)
    info = _info(served)
    assert info["name"] == "filter:gaussian"
    assert len(info["weights_sha256"]) == 64
    assert "Not for diagnostic use" in info["notice"]


def test_a_filter_is_exported_with_its_own_parameters(tmp_path):
    chosen = filters.get("gaussian", sigma=2)
    assert ct_keras.export(chosen, tmp_path / "SM") <= 1e-3
    served = tf.saved_model.load(tmp_path / "SM")
    for size in SIZES:
        image = _ct_like(size)
        assert _serve(served, image) == pytest.approx(chosen(image), abs=1e-3)
    stored = np.rint(_ct_like((20, 30))).astype(np.int16)
    as_int16 = served.denoise_int16(
        tf.constant(stored[None]), tf.constant(1.0), tf.constant(0.0)
    )["stored"].numpy()[0]
    assert np.abs(as_int16 - np.rint(chosen(stored))).max() <= 1


@pytest.mark.parametrize("name", ["mean", "gaussian", "blur", "gaussian_5x5"])
def test_what_is_exported_is_called_as_in_tables(name):
    method = get_method(f"filter:{name}")
    network = method.as_denoiser()
    assert network.name == network.identity.name == f"filter:{name}"
    assert network.identity.parameters == method.identity.parameters
    image = _ct_like((2, 19, 23))
    assert network(image) == pytest.approx(method(image), abs=1e-3)


def test_the_hash_tells_parameters_apart():
    hashes = [
        as_method(filters.get("gaussian", sigma=sigma))
        .as_denoiser()
        .identity.weights_sha256
        for sigma in (1, 1, 1.5)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_network_is_exported_as_it_is():
    denoiser = ct_keras.Denoiser(ct_keras.models.build("red_cnn", width=2))
    assert denoiser.as_denoiser() is denoiser


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("filter:median", "mean, gaussian, blur, gaussian_5x5"),
        ("filter:outline", "display only"),
        ("recon:sart", "mean, gaussian, blur, gaussian_5x5"),
        ("input", "filter:gaussian"),
    ],
)
def test_what_is_no_network_is_refused_and_nothing_is_written(
    capsys, tmp_path, model, text
):
    assert _exit_code("export", model, tmp_path / "SM") == 3
    told = capsys.readouterr().err
    assert told.startswith("CTK-E000")
    assert text in told
    assert list(tmp_path.iterdir()) == []


def test_outline_is_refused_from_python_too(tmp_path):
    with pytest.raises(CtKerasError, match="display only") as refusal:
        ct_keras.export(filters.get("outline"), tmp_path / "SM")
    assert refusal.value.code == "CTK-E000"
    assert list(tmp_path.iterdir()) == []
