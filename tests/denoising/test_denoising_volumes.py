"""Networks of volumes: overlapping blocks without seams, at any size, in every path."""

import itertools
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import ct_keras
from ct_keras.denoising.blocks import (
    BLOCK_SLICES,
    Tiling,
    denoise_blocks,
    voxels_within,
)
from ct_keras.denoising.model_files import load_keras
from ct_keras.dicom import create_series, find_series
from ct_keras.errors import CtKerasError
from ct_keras.evaluation import evaluate_models
from ct_keras.metrics import evaluate
from ct_keras.models import SizeRule, count_macs
from ct_keras.serving.series import denoise_series

RULE = SizeRule(multiple=4, minimum=8)
#: Of `small_network`, measured below.
HALO = 8


def small_network(width=3, name="small3d"):
    """Strided and transposed convolutions, as the networks of volumes have them."""
    image = x = keras.Input((None, None, None, 1), name="low_dose")
    skip = x = layers.Conv3D(width, 3, padding="same", name="conv1")(x)
    for index in (2, 3):
        x = layers.Conv3D(
            width, 3, 2, padding="same", use_bias=False, name=f"conv{index}"
        )(x)
        x = layers.BatchNormalization(name=f"norm{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(x)
    for index in (4, 5):
        x = layers.Conv3DTranspose(width, 3, 2, padding="same", name=f"up{index}")(x)
        x = layers.LeakyReLU(0.1, name=f"relu{index}")(x)
    x = layers.Concatenate(name="join")([skip, x])
    x = layers.Conv3D(1, 3, padding="same", name="denoised", dtype="float32")(x)
    return keras.Model(image, x, name=name)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(2)
    return small_network()


@pytest.fixture(scope="module")
def whole(network):
    """Takes volumes of a test whole: they are small enough."""
    return ct_keras.Denoiser(network, size_rule=RULE)


@pytest.fixture(scope="module")
def blocked(network):
    return ct_keras.Denoiser(network, size_rule=RULE, halo=HALO, block_voxels=24**3)


def _ct_like(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 200, shape).astype(np.float32)


def test_overlapping_blocks_have_no_seams(whole, blocked):
    volume = _ct_like((37, 46, 61))
    volume[:, :3] = -3024
    cut = blocked.tiling.cut(volume.shape)
    assert [len(pieces) for pieces in cut] == [3, 4, 6]
    together = whole(volume)
    assert np.abs(together - volume).max() > 50
    assert np.abs(blocked(volume) - together).max() <= 1e-4
    assert np.array_equal(together[:, :3], volume[:, :3])


def test_a_smaller_overlap_would_be_seen(network, whole):
    volume = _ct_like((37, 46, 61))
    narrow = ct_keras.Denoiser(network, size_rule=RULE, halo=4, block_voxels=24**3)
    assert np.abs(narrow(volume) - whole(volume)).max() > 0.1


def test_cuts_cover_every_axis_with_the_overlap():
    for length, size, multiple, halo in itertools.product(
        range(1, 90), (24, 40), (1, 4, 8), (0, 3, 4)
    ):
        tiling = Tiling(SizeRule(multiple), halo, 1)
        pieces = tiling.pieces(length, size)
        kept = [n for piece in pieces for n in range(piece.first, piece.last)]
        assert kept == list(range(length))
        for piece in pieces:
            assert piece.start % multiple == 0
            assert piece.stop - piece.start <= size
            assert piece.start == 0 or piece.first - piece.start >= halo
            # An inner part needs no padding; the last is padded like the whole.
            if piece.stop < length:
                assert piece.stop - piece.last >= halo
                assert (piece.stop - piece.start) % multiple == 0
            else:
                assert len(pieces) == 1 or piece.stop - piece.start > size - multiple


@pytest.mark.parametrize("shape", [(100, 512, 512), (1000, 512, 512), (5, 700, 512)])
def test_blocks_keep_to_the_memory(shape):
    tiling = Tiling(SizeRule(8), 48, 4_000_000)
    sizes = [max(p.stop - p.start for p in pieces) for pieces in tiling.cut(shape)]
    assert np.prod(sizes) <= 4_000_000
    assert sizes[0] <= BLOCK_SLICES
    computed = np.prod(
        [sum(p.stop - p.start for p in pieces) for pieces in tiling.cut(shape)]
    )
    # Cutting as evenly would cost more: 152 voxels a side, 56 of them kept.
    assert computed / np.prod(shape) < (152 / 56) ** 3


def test_a_network_too_large_for_the_memory_gets_the_smallest_blocks():
    cut = Tiling(SizeRule(8), 16, 1).cut((200, 200, 200))
    assert {p.stop - p.start for pieces in cut for p in pieces} == {48}


def test_memory_is_that_of_the_widest_layer(network):
    assert voxels_within(network, 10_000_000) == 10_000_000 // (4 * 3 * 6)


def test_only_a_window_of_slices_is_in_memory():
    references, most = [], 0

    def slices():
        nonlocal most
        for number in range(60):
            hu = np.full((8, 8), number, np.float32)
            references.append(weakref.ref(hu))
            most = max(most, sum(held() is not None for held in references))
            yield hu

    pieces = Tiling(SizeRule(4), 4, 1).pieces
    cut = pieces(60, 16), pieces(8, 16), pieces(8, 16)
    assert len(cut[0]) == 7
    numbers = [
        (int(low[0, 0]), float(denoised[0, 0]))
        for low, denoised in denoise_blocks(lambda block: block + 0.5, slices(), cut)
    ]
    assert numbers == [(n, n + 0.5) for n in range(60)]
    assert 16 <= most <= 20


def _padded_by_numpy(x, minimum, multiple):
    for axis, size in enumerate(x.shape):
        blocks = max(-(-size // multiple), -(-minimum // multiple))
        widths = [(0, 0)] * 3
        widths[axis] = (0, blocks * multiple - size)
        mode = "reflect" if widths[axis][1] < size else "edge"
        x = np.pad(x, widths, mode=mode)
    return x


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 9), (8, 12, 5), (2, 31, 17)])
def test_any_size_is_padded_on_the_three_axes(whole, shape):
    x = _ct_like(shape)
    padded = _padded_by_numpy(x, 8, 4)
    assert all(size >= 8 and size % 4 == 0 for size in padded.shape)
    expected = whole(padded)[tuple(slice(size) for size in shape)]
    assert whole(x) == pytest.approx(expected, abs=1e-4)


def test_blocks_of_a_rule_are_filled_by_reflection():
    """A network that stamps every 4x4x4 block tells which padded volume it saw."""
    image = keras.Input((None, None, None, 1), name="low_dose")
    x = layers.AveragePooling3D(4, name="pool")(image)
    x = layers.UpSampling3D(4, name="denoised")(x)
    stamp = keras.Model(image, x, name="stamp")
    x = _ct_like((6, 9, 3)) / 10
    padded = _padded_by_numpy(x, 8, 4)
    means = padded.reshape(2, 4, 3, 4, 2, 4).mean((1, 3, 5))
    expected = np.kron(means, np.ones((4, 4, 4)))[:6, :9, :3]
    assert ct_keras.Denoiser(stamp, size_rule=RULE)(x) == pytest.approx(
        expected, abs=2e-3
    )


def test_an_image_is_a_volume_of_one_slice(blocked):
    image = _ct_like((20, 30))
    assert blocked(image).shape == (20, 30)
    assert np.array_equal(blocked(image), blocked(image[None])[0])


def test_neighbouring_slices_matter(blocked):
    volume = _ct_like((12, 20, 20))
    assert not np.array_equal(blocked(volume)[6], blocked(volume[6]))


def test_strength(blocked):
    x = _ct_like((30, 20, 40))
    x[:, 0] = -3024.25
    assert np.array_equal(blocked(x, strength=0), x)
    half = blocked(x, strength=0.5)
    assert half == pytest.approx((x + blocked(x)) / 2, abs=1e-3)
    assert np.array_equal(half[:, 0], x[:, 0])


@pytest.mark.parametrize(
    ("value", "strength", "code"),
    [
        (np.zeros(5), 1, "CTK-E041"),
        (np.zeros((0, 4, 4)), 1, "CTK-E041"),
        (np.full((4, 4, 4), np.nan), 1, "CTK-E044"),
        (np.zeros((4, 4, 4)), 2, "CTK-E000"),
    ],
)
def test_bad_input_is_refused(blocked, value, strength, code):
    with pytest.raises(CtKerasError) as refusal:
        blocked(value, strength=strength)
    assert refusal.value.code == code


def test_output_that_is_not_finite_is_refused():
    network = small_network(width=1)
    network.set_weights([np.full(w.shape, np.inf) for w in network.weights])
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.Denoiser(network, size_rule=RULE)(np.zeros((8, 8, 8)))
    assert refusal.value.code == "CTK-E070"


@pytest.fixture(scope="module")
def dicom_series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom") / "series"
    create_series(
        np.rint(_ct_like((37, 64, 70))),
        (2.0, 1.0, 1.0),
        folder,
        patient_id="P",
        series_description="noise",
    )
    (series,) = find_series(folder)
    return series


def test_a_dicom_series_is_denoised_with_its_neighbours(
    whole, blocked, dicom_series, tmp_path
):
    result = denoise_series(dicom_series, tmp_path / "out", blocked)
    assert result.slices == 37
    (written,) = find_series(tmp_path / "out")
    expected = whole(dicom_series.hu)
    assert np.abs(written.hu - expected).max() <= 0.5 + 1e-3
    assert np.abs(expected - dicom_series.hu).max() > 50
    sources = [s.sop_instance_uid for s in dicom_series.sources]
    used = [
        item.ReferencedSOPInstanceUID for item in written.header.SourceImageSequence
    ]
    assert used == sources[: HALO + 1]


def test_a_dicom_series_comes_back_at_strength_zero(blocked, dicom_series, tmp_path):
    denoise_series(dicom_series, tmp_path / "out", blocked, strength=0)
    (written,) = find_series(tmp_path / "out")
    assert np.array_equal(written.hu, dicom_series.hu)


def _pairs(full, doses=(0.1, 0.25)):
    """Slices at all doses, one after the other; the third slice is missing."""
    for case, volume in enumerate(full):
        for index in [*range(2), *range(3, len(volume))]:
            for dose in doses:
                low = volume[index] + _ct_like(volume[index].shape, index) * (1 - dose)
                yield SimpleNamespace(
                    low_hu=low,
                    full_hu=volume[index],
                    case=f"case-{case}",
                    series="1",
                    slice_index=index,
                    dose_fraction=dose,
                    spacing_mm=(1.0, 1.0),
                    slice_thickness_mm=1.0,
                    kernel=None,
                )


def test_evaluation_gives_a_volume_its_context(blocked):
    full = [_ct_like((size, 24, 28), seed=size) / 4 for size in (9, 6)]
    shapes = []

    class Recorded:
        dimensions = 3

        def __call__(self, hu):
            shapes.append(hu.shape)
            return blocked(hu)

    pairs = list(_pairs(full))
    models = {"volumes": Recorded(), "half": lambda hu: hu / 2}
    document = evaluate_models(models, iter(pairs)).document
    # Both doses of both cases, before and after the slice that is missing.
    assert [shape[0] for shape in shapes] == [2, 2, 6, 6, 2, 2, 3, 3]
    rows = {row["model"]: row for row in document["rows"]}
    assert list(rows) == ["input", "volumes", "half"]
    found = {}
    for case, dose, first in itertools.product((0, 1), (0.1, 0.25), (True, False)):
        run = [
            pair
            for pair in pairs
            if (pair.case, pair.dose_fraction) == (f"case-{case}", dose)
            and (pair.slice_index < 2) == first
        ]
        denoised = blocked(np.stack([pair.low_hu for pair in run]))
        for pair, image in zip(run, denoised, strict=True):
            measured = evaluate(image, pair.full_hu)["rmse_hu_hu"]
            found.setdefault(case, []).append(measured)
    expected = np.mean([np.mean(values) for values in found.values()])
    assert rows["volumes"]["rmse_hu_hu"] == pytest.approx(expected)
    assert rows["half"]["slices"] == rows["volumes"]["slices"] == len(pairs)


def test_keras_file_is_loaded_by_path(network, blocked, tmp_path):
    path = tmp_path / "volumes.keras"
    blocked.model.save(path)
    loaded = ct_keras.load(path)
    x = _ct_like((9, 20, 17))
    assert loaded.dimensions == 3
    assert np.array_equal(loaded(x), ct_keras.Denoiser(network, size_rule=RULE)(x))


def test_savedmodel_endpoints(whole, tmp_path):
    import tensorflow as tf

    assert ct_keras.export(whole, tmp_path / "sm") <= 1e-3
    served = tf.saved_model.load(tmp_path / "sm")
    signature = served.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.dtype) == ("low_dose_hu", tf.float32)
    assert spec.shape.as_list() == [None, None, None, None, 1]
    assert list(signature.structured_outputs) == ["denoised_hu"]
    stored = np.rint(_ct_like((5, 9, 12))).astype("<i2")
    slope, intercept = 0.5, -24.0
    values = stored * np.float32(slope) + np.float32(intercept)
    expected = np.rint((whole(values).astype(np.float64) - intercept) / slope)
    scale = tf.constant(slope), tf.constant(intercept)
    as_int16 = served.denoise_int16(tf.constant(stored[None]), *scale)["stored"]
    assert np.abs(as_int16.numpy()[0] - expected).max() <= 1
    as_bytes = served.denoise_bytes(tf.constant(stored.tobytes()), 9, 12, *scale)
    returned = np.frombuffer(as_bytes["pixels_bytes"].numpy(), "<i2")
    assert np.array_equal(returned.reshape(5, 9, 12), as_int16.numpy()[0])


def _all_layers(dimensions: int):
    """Every stock layer that the zoo's networks are made of."""

    def make(kind, *arguments, **options):
        options.setdefault("name", kind.lower())
        name = f"{kind}{dimensions}D"
        return getattr(layers, name if hasattr(layers, name) else kind)(
            *arguments, **options
        )

    image = keras.Input((None,) * dimensions + (1,), name="low_dose")
    x = make("ZeroPadding", 1)(image)
    x = make("Conv", 4, 3, dilation_rate=1)(x)
    x = make("BatchNormalization")(x)
    a = make("LeakyReLU", 0.1)(x)
    x = make("GroupNormalization", 2)(a)
    x = make("SpatialDropout", 0.5)(x)
    x = make("Dropout", 0.5)(x)
    b = make("PReLU", shared_axes=list(range(1, dimensions + 1)))(x)
    x = make("Concatenate")([a, b])
    x = make("Conv", 4, 1, name="mix")(x)
    pooled = [make("MaxPooling", 2)(x), make("AveragePooling", 2)(x)]
    x = make("Average")(pooled)
    x = make("UpSampling", 2)(x)
    x = make("Conv", 8, 2, 2, name="down")(x)
    x = make(f"Conv{dimensions}DTranspose", 1, 2, 2, name="up")(x)
    gate = make("Activation", "sigmoid")(x)
    x = make("Multiply")([x, gate])
    x = make("Subtract")([image, x])
    x = make("Rescaling", 0.5, 0.25)(x)
    x = make("Cropping", 0)(x)
    x = make("ReLU")(x)
    x = make("Add", name="denoised")([x, image])
    return keras.Model(image, x, name="all_layers")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_files_of_all_stock_layers_are_loaded(dimensions, tmp_path):
    keras.utils.set_random_seed(dimensions)
    denoiser = ct_keras.Denoiser(_all_layers(dimensions), size_rule=SizeRule(2))
    path = tmp_path / "all.keras"
    denoiser.model.save(path)
    x = _ct_like((5, 8, 10))
    again = ct_keras.Denoiser(load_keras(path))
    assert again.dimensions == dimensions
    assert np.array_equal(again(x), denoiser(x))


def test_operations_of_volumes_are_counted_by_hand():
    image = keras.Input((None, None, None, 1), name="low_dose")
    x = layers.Conv3D(4, 3, 2, padding="same", name="conv")(image)
    x = layers.MaxPooling3D(2, name="pool")(x)
    x = layers.UpSampling3D(2, name="size")(x)
    x = layers.Conv3DTranspose(1, 2, 2, name="denoised")(x)
    network = keras.Model(image, x)
    # Outputs of the strided convolution, inputs of the transposed one.
    assert count_macs(network, 8, 12, 16) == 4 * 6 * 8 * (27 * 4 + 8 * 4)
    assert count_macs(network) == 32**3 * (27 * 4 + 8 * 4)


def test_operations_at_a_fixed_size():
    image = keras.Input((32, 32, 1))
    x = layers.Flatten()(layers.Conv2D(2, 1)(image))
    assert count_macs(keras.Model(image, layers.Dense(3)(x))) == 2048 + 3 * 2048
