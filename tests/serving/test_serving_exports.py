"""Exports for other runtimes, reloaded by each in a process without ct_keras."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import ct_keras
from ct_keras.errors import CtKerasError
from ct_keras.files.marker import write_marker
from ct_keras.models import AdlDenoiser, RedCNN
from ct_keras.serving import runtimes, savedmodel
from ct_keras.serving.parity import check_parity

RUNTIMES = sorted(runtimes.RUNTIMES)
#: Not multiples of what the networks need, and smaller than it.
SIZES = ((3, 5), (45, 70), (66, 129))
_RUN = {
    "onnx": "import onnxruntime as ort\n"
    "session = ort.InferenceSession(sys.argv[1] + '/model.onnx')\n"
    "run = lambda x: session.run(['denoised_hu'], {'low_dose_hu': x})[0]",
    "openvino": "import json, openvino\n"
    "options = json.load(open(sys.argv[1] + '/info.json'))['options']\n"
    "path = sys.argv[1] + '/model.xml'\n"
    "model = openvino.Core().compile_model(path, 'CPU', options)\n"
    "run = lambda x: model({'low_dose_hu': x})['denoised_hu']",
    "litert": "from ai_edge_litert.interpreter import Interpreter\n"
    "interpreter = Interpreter(model_path=sys.argv[1] + '/model.tflite')\n"
    "served = interpreter.get_signature_runner('serving_default')\n"
    "run = lambda x: served(low_dose_hu=x)['denoised_hu']",
}


def needs_packages(name):
    for module in runtimes.RUNTIMES[name].packages:
        pytest.importorskip(module, reason=f'pip install "ct_keras[{name}]"')


@pytest.fixture(scope="module")
def denoiser():
    """A three-level network, whose sizes must be multiples, with random weights."""
    keras.utils.set_random_seed(3)
    return ct_keras.Denoiser(AdlDenoiser(filters=(3, 4, 4, 4)))


def ct_like(size, seed=0):
    """Body, air, padding and metal with noise, HU."""
    generator = np.random.default_rng(seed)
    hu = generator.normal(40, 60, size).astype(np.float32)
    hu[0, 0], hu[-1, -1], hu[-1, 0] = -2000, 8000, -1024
    return hu


def reloaded(name, folder, images, tmp_path):
    """What the runtime gives in a process that cannot import ct_keras."""
    given, returned = tmp_path / "given.npz", tmp_path / "returned.npz"
    np.savez(given, *images)
    code = (
        "import sys\nimport numpy as np\nsys.modules['ct_keras'] = None\n"
        f"{_RUN[name]}\n"
        "given = np.load(sys.argv[2])\n"
        "found = [run(given[key][None, ..., None])[0, ..., 0] for key in given.files]\n"
        "np.savez(sys.argv[3], *found)"
    )
    line = [sys.executable, "-P", "-c", code, folder, given, returned]
    subprocess.run(list(map(str, line)), check=True, cwd=tmp_path)
    with np.load(returned) as found:
        return [found[key] for key in found.files]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNTIMES)
def test_an_export_runs_without_ct_keras_at_three_sizes(denoiser, tmp_path, name):
    needs_packages(name)
    out = tmp_path / "out"
    denoiser = denoiser.at_strength(0.75)
    difference = ct_keras.export(denoiser, out, format=name)
    images = [ct_like(size, seed) for seed, size in enumerate(SIZES)]
    for image, found in zip(images, reloaded(name, out, images, tmp_path), strict=True):
        expected = denoiser(image, strength=0.75)
        assert np.abs(expected - image).max() > 10  # it is not the identity
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)
        assert found[0, 0] == -2000 and found[-1, -1] == 8000
    info = json.loads((out / "info.json").read_text())
    assert info["strength"] == 0.75
    assert info["largest_difference_hu"] == difference <= 0.02
    assert info["weights_sha256"] == denoiser.identity.weights_sha256
    assert info["inputs"] == {
        "low_dose_hu": "float32 (batch, rows, columns, 1), HU, any size"
    }
    assert (out / info["file"]).is_file()


def test_exports_of_a_network_of_pictures_name_their_scale(tmp_path, monkeypatch):
    card = {"ranges": {"scale": "picture"}}
    denoiser = ct_keras.Denoiser(RedCNN(width=2), card=card)
    units = "grey values of pictures, 4096 value / 2**bits - 1024"
    for module in (runtimes, savedmodel):  # here the words count, not the numbers
        monkeypatch.setattr(module, "check_parity", lambda *_, **__: 0.0)
    ct_keras.export(denoiser, tmp_path / "saved")
    told = tf.saved_model.load(tmp_path / "saved").signatures["info"]()
    assert told["units"].numpy().decode() == units
    touch = replace(
        runtimes.RUNTIMES["onnx"], write=lambda _, path: path.touch(), packages=()
    )
    runtimes.export_for_runtime(denoiser, tmp_path / "onnx", runtime=touch)
    info = json.loads((tmp_path / "onnx" / "info.json").read_text())
    tensor = f"float32 (batch, rows, columns, 1), {units}, any size"
    assert info["inputs"] == {"low_dose_hu": tensor}
    assert info["outputs"] == {"denoised_hu": tensor}


def test_axes_of_an_onnx_file_have_names(tmp_path):
    needs_packages("onnx")
    import onnxruntime

    ct_keras.export(ct_keras.Denoiser(RedCNN(width=2)), tmp_path / "o", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "o" / "model.onnx")
    (image,), (denoised,) = session.get_inputs(), session.get_outputs()
    for tensor, name in ((image, "low_dose_hu"), (denoised, "denoised_hu")):
        assert (tensor.name, tensor.type) == (name, "tensor(float)")
        assert tensor.shape == ["batch", "rows", "columns", 1]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_is_told_with_the_command(
    denoiser, monkeypatch, tmp_path, name
):
    load = importlib.import_module
    missing = runtimes.RUNTIMES[name].packages[-1]

    def without(module, *rest):
        if module == missing:
            raise ModuleNotFoundError(module)
        return load(module, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    for package in runtimes.RUNTIMES[name].packages[:-1]:
        pytest.importorskip(package)
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.export(denoiser, tmp_path / "out", format=name)
    assert refusal.value.code == "CTK-E093"
    assert refusal.value.received == f"no module {missing}"
    assert refusal.value.fix == f'pip install "ct_keras[{name}]"'
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_differs_leaves_nothing(denoiser, tmp_path):
    """A converter that writes other weights."""
    needs_packages("onnx")
    other = ct_keras.Denoiser(RedCNN(width=2)).model
    whole = runtimes.RUNTIMES["onnx"]
    wrong = replace(whole, write=lambda _, path: whole.write(other, path))
    with pytest.raises(CtKerasError) as refusal:
        runtimes.export_for_runtime(denoiser, tmp_path / "out", runtime=wrong)
    assert refusal.value.code == "CTK-E094"
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_does_not_run_is_refused(denoiser, tmp_path):
    with pytest.raises(CtKerasError) as refusal:
        check_parity(
            denoiser, tmp_path, loading="raise SystemExit('broken')", tolerance_hu=1.0
        )
    assert refusal.value.code == "CTK-E094"
    assert "broken" in str(refusal.value)


def test_networks_of_volumes_do_not_fit_into_litert(tmp_path):
    needs_packages("litert")
    volumes = ct_keras.Denoiser(ct_keras.models.build("adl3d", filters=(2, 2, 2, 2)))
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.export(volumes, tmp_path / "out", format="litert")
    assert refusal.value.code == "CTK-E094"
    assert refusal.value.fix == "choose savedmodel, onnx or openvino"
    assert list(tmp_path.iterdir()) == []


def test_overwrite_replaces_an_export_of_another_format(denoiser, tmp_path):
    needs_packages("litert")
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").touch()
    write_marker(out, "export")
    ct_keras.export(denoiser, out, format="litert", overwrite=True)
    names = {path.name for path in out.iterdir()}
    assert names == {"model.tflite", "info.json", ".ct_keras"}
