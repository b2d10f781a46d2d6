"""The Denoiser: HU in, HU out, any size, and files that open without ct_keras."""

import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.denoising.model_files import load_keras
from ct_keras.errors import CtKerasError
from ct_keras.models import RedCNN, SizeRule

SIZES = [(1, 1), (7, 9), (33, 57), (511, 513), (512, 512)]


def _ct_like(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 200, shape).astype(np.float32)


@pytest.fixture(scope="module")
def denoiser():
    keras.utils.set_random_seed(3)
    return ct_keras.Denoiser(RedCNN(width=4))


@pytest.fixture(scope="module")
def identity():
    return ct_keras.Denoiser(RedCNN(width=4, initializer="identity"))


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (512, 512), (3, 20, 30)])
def test_identity_network_returns_its_input(identity, shape):
    x = np.rint(_ct_like(shape))
    x.flat[0] = 3071
    assert np.array_equal(identity(x), x)


def test_pixels_outside_the_circle_come_back_bit_for_bit(denoiser):
    x = _ct_like((40, 40))
    x[:5] = -3024
    x[5:7] = -1500.5
    y = denoiser(x)
    assert np.array_equal(y[:7], x[:7])
    assert not np.array_equal(y[7:], x[7:])


@pytest.fixture(scope="module")
def smoother():
    """A network that averages 3 x 3 pixels."""
    low_dose = keras.Input((None, None, 1))
    means = keras.layers.AveragePooling2D(3, strides=1, padding="same")(low_dose)
    return ct_keras.Denoiser(keras.Model(low_dose, means, name="smoother"))


def test_noise_in_air_is_denoised_below_the_floor_too(smoother):
    air = np.random.default_rng(0).normal(-1000, 60, (64, 64)).astype(np.float32)
    assert np.mean(air < -1024) > 0.3
    denoised = smoother(air)
    assert not np.any(denoised == air)
    assert denoised.std() < 0.4 * air.std()


def test_metal_beyond_the_range_of_networks_comes_back(smoother):
    image = np.full((20, 20), 40, np.float32)
    image[8:11, 8:11] = 8000
    image[9, 9] = 3072
    denoised = smoother(image)
    metal = image > 3072
    assert (denoised[metal] == 8000).all()
    assert denoised[9, 9] == pytest.approx((8 * 8000 + 3072) / 9)
    assert (denoised[7, 7:12] > 40).all()


def test_padding_below_the_floor_reaches_the_network_as_air(denoiser):
    x = _ct_like((60, 60))
    x[:8] = -3024
    floored = np.maximum(x, -1024)
    assert np.array_equal(denoiser(x)[8:], denoiser(floored)[8:])


def _padded_by_numpy(x, minimum, multiple=1):
    pads = []
    for size in x.shape:
        blocks = max(-(-size // multiple), -(-minimum // multiple))
        pads.append(blocks * multiple - size)
    for axis, pad in enumerate(pads):
        widths = [(0, 0), (0, 0)]
        widths[axis] = (0, pad)
        x = np.pad(x, widths, mode="reflect" if pad < x.shape[axis] else "edge")
    return x


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (11, 30), (20, 21), (33, 57)])
def test_small_images_are_reflected_or_replicated(denoiser, shape):
    x = _ct_like(shape)
    padded = _padded_by_numpy(x, 21)
    assert min(padded.shape) >= 21
    expected = denoiser(padded)[: shape[0], : shape[1]]
    assert denoiser(x) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 3), (17, 8), (31, 32), (33, 50)])
def test_sizes_fit_a_multiple(shape):
    """A network that stamps every 16x16 block tells which padded image it saw."""
    image = keras.Input((None, None, 1), name="low_dose")
    x = keras.layers.AveragePooling2D(16)(image)
    x = keras.layers.UpSampling2D(16, name="denoised")(x)
    blocks = ct_keras.Denoiser(
        keras.Model(image, x, name="blocks"), size_rule=SizeRule(16, 30)
    )
    x = _ct_like(shape) / 10
    padded = _padded_by_numpy(x, 30, 16)
    means = padded.reshape(padded.shape[0] // 16, 16, -1, 16).mean((1, 3))
    expected = np.kron(means, np.ones((16, 16)))[: shape[0], : shape[1]]
    assert blocks(x) == pytest.approx(expected, abs=2e-3)


def test_volume_is_its_slices(denoiser):
    volume = _ct_like((3, 24, 31))
    slices = [denoiser(image) for image in volume]
    assert np.array_equal(denoiser(volume), np.stack(slices))


def test_strength(denoiser):
    x = _ct_like((30, 30))
    x[0] = -3024.25
    assert np.array_equal(denoiser(x, strength=0), x)
    half = denoiser(x, strength=0.5)
    assert half == pytest.approx((x + denoiser(x)) / 2, abs=1e-3)
    with pytest.raises(CtKerasError) as refusal:
        denoiser(x, strength=1.5)
    assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.zeros(5), "CTK-E041"),
        (np.zeros((0, 4)), "CTK-E041"),
        (np.full((4, 4), np.nan), "CTK-E044"),
    ],
)
def test_bad_input_is_refused(denoiser, value, code):
    with pytest.raises(CtKerasError) as refusal:
        denoiser(value)
    assert refusal.value.code == code


def test_output_that_is_not_finite_is_refused():
    network = RedCNN(width=2)
    network.set_weights([np.full(w.shape, np.inf) for w in network.weights])
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.Denoiser(network)(np.zeros((30, 30)))
    assert refusal.value.code == "CTK-E070"


_WITHOUT_CT_KERAS = """
import sys
import numpy as np, keras, tensorflow as tf
reloaded = keras.saving.load_model(sys.argv[1])
served = tf.saved_model.load(sys.argv[2]).signatures["serving_default"]
results = {}
with np.load(sys.argv[3]) as inputs:
    for name in inputs.files:
        x = inputs[name][None, ..., None]
        results["keras " + name] = reloaded(x)["denoised_hu"].numpy()[0, ..., 0]
        y = served(tf.constant(x))["denoised_hu"]
        results["saved " + name] = y.numpy()[0, ..., 0]
assert not any(name.startswith("ct_keras") for name in sys.modules)
np.savez(sys.argv[4], **results)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "sizes"), [(96, SIZES[:3]), (8, SIZES)])
def test_keras_file_and_savedmodel_agree_in_a_process_without_ct_keras(
    tmp_path, width, sizes
):
    keras.utils.set_random_seed(1)
    denoiser = ct_keras.Denoiser(RedCNN(width=width))
    paths = [tmp_path / name for name in ("m.keras", "sm", "in.npz", "out.npz")]
    denoiser.model.save(paths[0])
    assert ct_keras.export(denoiser, paths[1]) <= 1e-3
    inputs = {f"{rows}x{columns}": _ct_like((rows, columns)) for rows, columns in sizes}
    np.savez(paths[2], **inputs)
    subprocess.run(
        [sys.executable, "-P", "-c", _WITHOUT_CT_KERAS, *paths],
        check=True,
        cwd=tmp_path,
    )
    with np.load(paths[3]) as outputs:
        for name, x in inputs.items():
            expected = denoiser(x)
            assert np.abs(expected - x).max() > 0.1
            for kind in ("keras", "saved"):
                assert np.abs(outputs[f"{kind} {name}"] - expected).max() <= 1e-3


@pytest.fixture(scope="module")
def exported(denoiser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "sm"
    ct_keras.export(denoiser.at_strength(0.75), folder)
    return folder


@pytest.fixture(scope="module")
def served(exported):
    import tensorflow as tf

    return tf.saved_model.load(exported)


def test_savedmodel_endpoints(denoiser, exported, served):
    import tensorflow as tf

    signature = served.signatures["serving_default"]
    assert list(signature.structured_outputs) == ["denoised_hu"]
    assert list(signature.structured_input_signature[1]) == ["low_dose_hu"]
    stored = np.rint(_ct_like((25, 40))).astype("<i2")
    slope, intercept = 0.5, -24.0
    values = stored * np.float32(slope) + np.float32(intercept)
    denoised = denoiser(values, strength=0.75).astype(np.float64)
    assert np.abs(denoised - denoiser(values)).max() > 1
    expected = np.rint((denoised - intercept) / slope)
    as_int16 = served.denoise_int16(
        tf.constant(stored[None]), tf.constant(slope), tf.constant(intercept)
    )["stored"].numpy()[0]
    assert np.abs(as_int16 - expected).max() <= 1
    assert (as_int16 == expected).mean() > 0.999
    as_bytes = served.denoise_bytes(
        tf.constant(stored.tobytes()),
        25,
        40,
        tf.constant(slope),
        tf.constant(intercept),
    )["pixels_bytes"].numpy()
    assert np.array_equal(np.frombuffer(as_bytes, "<i2").reshape(25, 40), as_int16)
    weights = 4 * denoiser.network.count_params()
    files = (exported / "variables").iterdir()
    size = sum(path.stat().st_size for path in files)
    assert weights < size < 1.5 * weights + 5000  # each once
    info = served.signatures["info"]()
    assert "Not for diagnostic use" in info["notice"].numpy().decode()
    assert info["strength"].numpy() == 0.75
    assert info["weights_sha256"].numpy().decode() == denoiser.identity.weights_sha256


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((0, 8, 8, 1)), "ct_keras: empty input"),
        (np.full((1, 8, 8, 1), np.nan), "ct_keras: input holds NaN"),
    ],
)
def test_savedmodel_refuses_inside_its_graph(served, value, text):
    import tensorflow as tf

    serve = served.signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        serve(tf.constant(value, tf.float32))


def test_unknown_export_format(denoiser, tmp_path):
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.export(denoiser, tmp_path / "x", format="pickle")
    assert refusal.value.code == "CTK-E000"
    assert list(tmp_path.iterdir()) == []


def test_keras_file_is_loaded_by_path(denoiser, tmp_path):
    path = tmp_path / "mine.keras"
    denoiser.model.save(path)
    x = _ct_like((50, 40))
    loaded = ct_keras.load(path)
    assert loaded.name == "red_cnn"
    assert np.array_equal(loaded(x), denoiser(x))


def test_damaged_and_dangerous_keras_files_are_refused(denoiser, tmp_path):
    good = tmp_path / "good.keras"
    denoiser.model.save(good)
    cut, flipped, more, evil = (tmp_path / f"{n}.keras" for n in "abcd")
    data = good.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    middle = len(data) // 2
    flipped.write_bytes(
        data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    )
    more.write_bytes(data)
    with zipfile.ZipFile(more, "a") as archive:
        archive.writestr("../outside", "x")
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(evil)
    for path in (cut, flipped, more, evil):
        with pytest.raises(CtKerasError) as refusal:
            load_keras(path)
        assert refusal.value.code == "CTK-E091"


@pytest.mark.parametrize("name", ["red_cmm", "no/such/folder"])
def test_unknown_models_are_refused(name):
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.load(name)
    assert refusal.value.code == "CTK-E092"


def test_a_saved_file_holds_the_weights_and_no_optimiser(tmp_path):
    network = RedCNN(width=4)
    network.compile("adam", "mse")
    network.optimizer.build(network.trainable_variables)
    model = ct_keras.Denoiser(network).model
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        archive.extract("model.weights.h5", tmp_path)
    with h5py.File(tmp_path / "model.weights.h5") as weights:
        sizes = []
        weights.visititems(
            lambda name, item: sizes.append(item.size if hasattr(item, "size") else 0)
        )
    assert sum(sizes) == network.count_params()
