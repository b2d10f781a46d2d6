"""bfloat16 inside networks: where it computes, what it changes, when it is chosen."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.cli import main
from ct_keras.denoising import computation
from ct_keras.denoising.computation import choose_computation, sample_places
from ct_keras.denoising.half_network import in_bfloat16
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import read_series
from ct_keras.errors import CtKerasError
from ct_keras.models import AdlDenoiser, QuietNet, RedCNN
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.serving.series import denoise_series


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision") / "in"
    shape, spacing_mm = (4, 128, 128), (5.0, 3.0, 3.0)
    write_phantom(
        make_phantom(4, region="abdomen", shape=shape, spacing_mm=spacing_mm), folder
    )
    return folder


@pytest.fixture(scope="module")
def hu(study):
    return read_series(study).hu


@pytest.fixture(scope="module")
def quiet_net():
    return ct_keras.load("quiet_net")


@pytest.fixture
def fast(monkeypatch):
    """A processor with bfloat16."""
    monkeypatch.setattr(computation, "bfloat16_is_fast", lambda: True)


def rms(difference):
    return np.sqrt(np.mean(np.square(difference, dtype=np.float64)))


@pytest.mark.parametrize("network", [QuietNet(width=8), RedCNN(width=4)])
def test_the_ends_of_a_network_stay_float32(network):
    half = in_bfloat16(network)
    convolutions = [layer for layer in half.layers if "Conv" in type(layer).__name__]
    kinds = [layer.compute_dtype for layer in convolutions]
    assert kinds == ["float32", *["bfloat16"] * (len(kinds) - 2), "float32"]
    for layer in half.layers[half.layers.index(convolutions[-1]) :]:
        assert layer.compute_dtype == "float32"
    assert half.outputs[0].dtype == "float32"
    for mine, own in zip(half.weights, network.weights, strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_array_equal(mine, own)


def test_the_default_network_hardly_changes(quiet_net, hu):
    half = quiet_net.in_bfloat16()
    difference = half(hu, strength=1.0) - quiet_net(hu, strength=1.0)
    assert 0.01 < rms(difference) < computation.LIMIT_HU
    assert half.identity.parameters["precision"] == "bfloat16"
    assert half.identity.weights_sha256 == quiet_net.identity.weights_sha256
    assert half.ranges == quiet_net.ranges


def test_what_is_measured_is_the_difference(quiet_net, hu):
    chosen, computed = choose_computation(
        quiet_net, [hu[1:2], hu[3:]], precision="bfloat16"
    )
    exact, rounded = quiet_net(hu), chosen(hu)
    each = [rms(rounded[index] - exact[index]) for index in (1, 3)]
    assert computed.rms_difference_hu == pytest.approx(max(each), rel=1e-6)
    largest = np.abs(rounded[[1, 3]] - exact[[1, 3]]).max()
    assert computed.largest_difference_hu == pytest.approx(largest, rel=1e-5)
    assert (computed.precision, computed.samples) == ("bfloat16", 2)
    assert computed.findings == []


def test_half_the_strength_is_half_the_difference(quiet_net, hu):
    one, other = (
        choose_computation(
            quiet_net, [hu[:1]], precision="bfloat16", strength=strength
        )[1]
        for strength in (0.25, 1.0)
    )
    ratio = one.rms_difference_hu / other.rms_difference_hu
    assert ratio == pytest.approx(0.25, rel=1e-3)


def test_auto_takes_bfloat16_where_it_is_fast_and_harmless(quiet_net, hu, fast):
    chosen, computed = choose_computation(quiet_net, [hu[:1]], precision="auto")
    assert chosen is quiet_net.in_bfloat16()
    assert computed.precision == "bfloat16"


def test_auto_keeps_float32_where_the_network_would_change(hu, fast):
    keras.utils.set_random_seed(1)
    coarse = ct_keras.Denoiser(
        AdlDenoiser(filters=(4, 4, 4, 4), initializer="identity")
    )
    chosen, computed = choose_computation(coarse, [hu[:1]], precision="auto")
    assert chosen is coarse
    assert computed.precision == "float32"
    chosen, computed = choose_computation(coarse, [hu[:1]], precision="bfloat16")
    assert chosen is coarse.in_bfloat16()
    assert [finding.code for finding in computed.findings] == ["CTK-W066"]
    assert computed.rms_difference_hu > computation.LIMIT_HU


@pytest.mark.parametrize("name", ["filter:gaussian", "input"])
def test_auto_leaves_alone_what_is_no_network(name, hu, fast):
    method = get_method(name)
    assert choose_computation(method, [hu[:1]], precision="auto")[0] is method


def test_nothing_is_computed_on_a_processor_without_bfloat16(
    quiet_net, hu, monkeypatch
):
    monkeypatch.setattr(computation, "bfloat16_is_fast", lambda: False)
    monkeypatch.setattr(computation, "_compare", None)
    chosen, computed = choose_computation(quiet_net, [hu[:1]], precision="auto")
    assert chosen is quiet_net
    assert (computed.precision, computed.samples) == ("float32", 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f", False),
        ("fpu avx512f avx512_bf16 clzero", True),
        ("amx_bf16 avx512f", True),
        ("avx512_bf16_not", False),
    ],
)
def test_the_processor_is_asked(flags, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(computation, "_CPU_FILE", tmp_path / "cpuinfo")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert computation.bfloat16_is_fast.__wrapped__() is expected
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not computation.bfloat16_is_fast.__wrapped__()


def test_a_block_of_a_volume_is_compared():
    keras.utils.set_random_seed(2)
    network = AdlDenoiser(filters=(2, 2, 2, 2), dimensions=3, initializer="identity")
    places = sample_places((20, 512, 100), 3)
    assert places == [(slice(6, 14), slice(192, 320), slice(0, 100))]
    volume = np.random.default_rng(0).normal(0, 50, (8, 16, 16))
    denoiser = ct_keras.Denoiser(network)
    chosen, computed = choose_computation(denoiser, [volume], precision="bfloat16")
    assert chosen.tiling == denoiser.tiling
    assert computed.rms_difference_hu > 0


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("filter:median", {"precision": "bfloat16"}),
        ("filter:median", {"engine": "onnx"}),
        ("quiet_net", {"precision": "float16"}),
        ("quiet_net", {"engine": "abacus"}),
        ("quiet_net", {"precision": "bfloat16", "engine": "openvino"}),
    ],
)
def test_refusals(model, wanted, hu):
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.denoise(hu, model=model, **wanted)
    assert refusal.value.code == "CTK-E000"


PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.mark.parametrize("engine", PACKAGES)
def test_a_missing_engine_says_how_to_install_it(engine, quiet_net, hu, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[engine], None)  # as if not installed
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.denoise(hu, model=quiet_net, engine=engine)
    assert refusal.value.code == "CTK-E093"
    assert f'pip install "ct_keras[{engine}]"' in refusal.value.fix


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("engine", PACKAGES)
def test_other_engines_compute_the_same(engine, dimensions, hu):
    pytest.importorskip("tf2onnx")
    pytest.importorskip(PACKAGES[engine])
    keras.utils.set_random_seed(3)
    network = AdlDenoiser(filters=(2, 2, 2, 2), dimensions=dimensions)
    denoiser = ct_keras.Denoiser(network)
    image = hu[:3, :33, :57]
    chosen, computed = choose_computation(denoiser, [image], engine=engine)
    assert (computed.engine, computed.precision) == (engine, "float32")
    assert computed.largest_difference_hu < 0.01
    np.testing.assert_allclose(chosen(image[1]), denoiser(image[1]), atol=0.01)
    assert chosen.identity.parameters["engine"] == engine


def test_arrays_are_denoised_in_either_precision(quiet_net, hu):
    exact = ct_keras.denoise(hu, model=quiet_net)
    np.testing.assert_array_equal(exact, quiet_net(hu))
    half = ct_keras.denoise(hu[0], model=quiet_net, precision="bfloat16")
    np.testing.assert_array_equal(half, quiet_net.in_bfloat16()(hu[0]))


def test_a_series_has_the_pixels_of_its_slices(quiet_net, study, hu, tmp_path):
    for name, method in {
        "float32": quiet_net,
        "bfloat16": quiet_net.in_bfloat16(),
    }.items():
        done = denoise_series(
            read_series(study),
            tmp_path / name,
            quiet_net,
            precision=name,
            quality_control=tmp_path / "qc",
            overwrite=True,
        )
        derived = read_series(tmp_path / name)
        expected = np.stack([method(image) for image in hu])
        np.testing.assert_array_equal(derived.hu, np.rint(expected))
        measured = json.loads((tmp_path / "qc" / "qc.json").read_text())["computation"]
        assert measured == vars(done.computation)
        assert measured["precision"] == name
        described = derived.header.DerivationDescription
        assert ("bfloat16" in described) is (name == "bfloat16")


def test_the_command_says_what_it_computed_in(study, tmp_path, capsys, fast):
    arguments = ["denoise", str(study), str(tmp_path / "out"), "--json"]
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 0
    printed = capsys.readouterr()
    computed = json.loads(printed.out)["series"][0]["computation"]
    assert computed["precision"] == "bfloat16"
    assert 0 < computed["rms_difference_hu"] <= computation.LIMIT_HU
    assert f"{computed['rms_difference_hu']:.2f} HU RMS from float32" in printed.err


def test_a_filter_denoises_a_series_without_tensorflow(study, tmp_path):
    """TensorFlow takes five seconds and most of the memory."""
    script = (
        "import sys; from ct_keras.cli import main\n"
        "try: main.main(sys.argv[1:])\n"
        "finally: print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, "denoise", study, tmp_path / "out"]
    command += ["--model", "filter:gaussian"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
