"""Records: what goes in comes out, and nothing damaged is read without a word."""

import dataclasses
import json
import zlib

import numpy as np
import pytest

from ct_keras import hu as scale
from ct_keras.data import iterate_pairs, read_manifest, slices, training_patches, verify
from ct_keras.data.conversion.images import Image, quantize, resample
from ct_keras.data.manifest import MANIFEST, PARTIAL_MANIFEST
from ct_keras.data.reading import read_some_pairs
from ct_keras.data.records import decode, encode, parse
from ct_keras.data.shards import count_records
from ct_keras.data.slice_facts import FACTS, Record
from ct_keras.errors import CtKerasError

RNG = np.random.default_rng(0)


def stored(shape=(8, 9)) -> np.ndarray:
    return RNG.integers(-2000, 3000, shape).astype(np.int16)


def image(hu, slope=1.0, intercept=-1024.0) -> Image:
    hu = np.asarray(hu, np.float32)
    return Image(hu, np.zeros(hu.shape, bool), slope, intercept)


def refused(code, call, *arguments, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return caught.value


def test_record_comes_back():
    record = Record(
        low=stored(),
        full=stored(),
        rescale_slope=0.5,
        rescale_intercept=-1000.0,
        case="c" * 32,
        series="d" * 32,
        sop_uid_hash="e" * 32,
        slice_index=7,
        spacing_mm=(0.75, 0.5),
        slice_thickness_mm=3.0,
        dose_fraction=0.25,
        kernel="B30f",
        age_band="40-59",
        body_part="chest",
    )
    back = decode(encode(record))
    for field in dataclasses.fields(Record):
        expected = getattr(record, field.name)
        np.testing.assert_array_equal(getattr(back, field.name), expected)
    assert encode(record) == encode(back)
    pair, rescale, share = parse(encode(record))
    np.testing.assert_array_equal(pair, np.stack([record.low, record.full]))
    np.testing.assert_array_equal(rescale, [0.5, -1000.0])
    assert np.isnan(share)


def test_pixels_are_little_endian_int16():
    import tensorflow as tf

    record = Record(np.int16([[1, -2]]), np.int16([[3, 256]]), 1, 0, "")
    feature = tf.train.Example.FromString(encode(record)).features.feature
    assert feature["low"].bytes_list.value[0] == b"\x01\x00\xfe\xff"
    assert feature["full"].bytes_list.value[0] == b"\x03\x00\x00\x01"
    assert feature["rows"].int64_list.value[0] == 1
    assert feature["columns"].int64_list.value[0] == 2
    assert feature["schema_version"].bytes_list.value[0] == b"1.3"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_older_records_are_read(version):
    """Unknown facts were 0 or empty; bands came with 1.1."""
    import tensorflow as tf

    known = {"case": "c", "series": "s", "slice_index": 3, "kernel": "B30f"}
    record = Record(stored(), stored(), 1, 0, "u", **known)
    example = tf.train.Example.FromString(encode(record))
    feature = example.features.feature
    assert set(FACTS) & set(feature) == set(known)
    feature["schema_version"].bytes_list.value[0] = version.encode()
    for name in ("dose_fraction", "slice_thickness_mm"):
        feature[name].float_list.value.append(0)
    feature["spacing_mm"].float_list.value.extend([0, 0])
    if version != "1.0":
        for name in ("age_band", "body_part"):
            feature[name].bytes_list.value.append(b"")
    back = decode(example.SerializeToString())
    for name in FACTS:
        assert getattr(back, name) == getattr(record, name)


def test_unknown_record_schema_is_refused():
    data = encode(Record(stored(), stored(), 1, 0, ""))
    refused("CTK-E081", decode, data.replace(b"1.3", b"2.0"))


def forge_nothing(feature):
    feature.clear()


def forge_size(feature):
    for name in ("rows", "columns"):
        feature[name].int64_list.value[0] *= -1


def forge_slope(feature):
    feature["rescale_slope"].float_list.value[0] = float("nan")


def forge_schema(feature):
    feature["schema_version"].bytes_list.value[0] = b"1\xff"


def forge_padding(feature):
    feature["physics"].bytes_list.value.append(json.dumps(PHYSICS).encode())
    feature["padding"].bytes_list.value.append(zlib.compress(bytes(2**24)))


PHYSICS = {
    "photons": 1e5,
    "kernel": None,
    "noise_free": True,
    "electronic_noise": 1.0,
    "tube_current_modulation": 0.0,
}


@pytest.mark.parametrize(
    "forge", [forge_nothing, forge_size, forge_slope, forge_schema, forge_padding]
)
def test_a_damaged_record_is_refused_whatever_its_checksum_says(forge):
    import tensorflow as tf

    example = tf.train.Example.FromString(encode(Record(stored(), stored(), 1, 0, "u")))
    forge(example.features.feature)
    code = "CTK-E081" if forge is forge_nothing else "CTK-E080"
    refused(code, decode, example.SerializeToString())


@pytest.mark.parametrize("data", [b"\x0a\xff", b"no record"])
def test_what_is_no_record_is_refused(data):
    refused("CTK-E080", decode, data)


@pytest.mark.parametrize(
    ("values", "slope", "intercept"),
    [
        ([-2000, -24, 0, 4095], 1.0, -1024.0),  # padding of -3024 HU
        ([0, 24, 40000, 65535], 1.0, -32768.0),  # unsigned, too large for int16
        ([0, 1, 2, 4095], 0.25, -1024.0),
        ([0, 1, 2, 255], 32.12, -4047.0),
    ],
)
def test_full_dose_keeps_its_hu(values, slope, intercept):
    hu = np.array([values]) * slope + intercept
    low_hu = np.float32(hu + slope * np.array([[0.2, 0.8, -0.4, -3]]))
    low, full, slope_out, intercept_out, exact = quantize(
        image(hu, slope, intercept), low_hu
    )
    assert exact
    assert slope_out == slope
    assert low.dtype == full.dtype == np.int16
    np.testing.assert_allclose(full * slope_out + intercept_out, hu, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(low - full, [[0, 1, 0, -3]])


def test_too_wide_a_pair_gets_coarser_steps():
    hu = np.array([[-1000.0, 0.0, 65.0]])
    low, full, slope, intercept, exact = quantize(image(hu, 0.001, 0.0), hu)
    assert not exact
    np.testing.assert_allclose(full * slope + intercept, hu, atol=slope)
    np.testing.assert_array_equal(low, full)


def test_resampling_keeps_the_mean_and_floors_padding():
    hu = np.full((60, 40), 100.0)
    hu[:4] = -3024
    result = resample(image(hu), (0.5, 0.5))
    assert result.hu.shape == (30, 20)
    np.testing.assert_allclose(result.hu[10:], 100, atol=1e-3)
    np.testing.assert_allclose(result.hu[:2], -1024)
    assert result.padding[:2].all()
    assert not result.padding[10:].any()


def example_content(slices_of=(3, 2)):
    return {
        "train": {
            f"case{number}": [
                (stored((32, 32)), stored((32, 32))) for _ in range(count)
            ]
            for number, count in enumerate(slices_of)
        },
        "test": {"other": [(stored((32, 48)), stored((32, 48)))]},
    }


def test_pairs_and_whole_slices_agree(write_records):
    content = example_content()
    folder = write_records(content)
    pairs = list(iterate_pairs(folder, "train"))
    wanted = [images for case in content["train"].values() for images in case]
    batches = list(slices(folder, split="train"))
    assert (
        len(pairs) == len(batches) == len(wanted) == len(slices(folder, split="train"))
    )
    for pair, (low, full), (low_stored, full_stored) in zip(
        pairs, batches, wanted, strict=True
    ):
        np.testing.assert_array_equal(pair.low_hu, low_stored - 1024.0)
        np.testing.assert_array_equal(pair.full_hu, full_stored - 1024.0)
        assert low.shape == (1, 32, 32, 1)
        np.testing.assert_array_equal(low[0, ..., 0], scale.to_network(pair.low_hu))
        np.testing.assert_array_equal(full[0, ..., 0], scale.to_network(pair.full_hu))
    assert [pair.slice_index for pair in pairs] == [0, 1, 2, 0, 1]
    assert [pair.case for pair in pairs] == ["case0"] * 3 + ["case1"] * 2
    assert pairs[0].kernel is pairs[0].spacing_mm is pairs[0].slice_thickness_mm is None
    assert next(iterate_pairs(folder, "test")).low_hu.shape == (32, 48)
    assert verify(folder).splits["train"] == read_manifest(folder).splits["train"]


@pytest.mark.parametrize("damage", ["boundary", "11 bytes", "1 byte", "12 bytes"])
def test_cut_shard_is_refused_before_it_is_read(write_records, damage):
    folder = write_records(example_content())
    shard = sorted(folder.glob("x-train*"))[1]
    data = shard.read_bytes()
    frame = len(data) // 2
    assert count_records(shard) == 2
    kept = {"boundary": frame, "11 bytes": frame + 11, "1 byte": len(data) - 1}
    shard.write_bytes(data[: kept.get(damage, frame + 12)])
    for call in (training_patches, slices):
        error = refused("CTK-E080", call, folder, split="train")
        assert "shard 1 of split train" in str(error)
    error = refused("CTK-E080", iterate_pairs, folder, "train")
    assert "ct-keras convert" in error.fix
    refused("CTK-E080", verify, folder)
    refused("CTK-E080", read_manifest(folder).check_files)
    next(iterate_pairs(folder, "test"))


def every_reader(folder, split):
    yield lambda: slices(folder, split=split)
    yield lambda: training_patches(
        folder, split=split, patch_size=16, batch_size=1, seed=0
    )
    yield lambda: list(iterate_pairs(folder, split))
    yield lambda: list(read_some_pairs(read_manifest(folder), split, 2))


@pytest.mark.parametrize("swapped", ["files", "records"])
def test_what_is_swapped_is_refused_at_first_use(write_records, swapped):
    folder = write_records(example_content(slices_of=(2, 2)))
    for read in every_reader(folder, "train"):
        read()
    first, second = sorted(folder.glob("x-train*"))
    contents = first.read_bytes(), second.read_bytes()
    assert len(contents[0]) == len(contents[1])
    if swapped == "files":
        first.write_bytes(contents[1])
        second.write_bytes(contents[0])
    else:
        half = len(contents[0]) // 2
        first.write_bytes(contents[0][half:] + contents[0][:half])
    assert count_records(first) == 2
    for read in every_reader(folder, "train"):
        error = refused("CTK-E080", read)
        assert "SHA-256" in error.received


@pytest.mark.parametrize("damage", ["garbage", "missing", "count", "empty"])
def test_other_damage_is_refused(write_records, damage):
    folder = write_records(example_content())
    shard = sorted(folder.glob("x-train*"))[0]
    data = shard.read_bytes()
    if damage == "garbage":
        shard.write_bytes(data + b"1234567")
    elif damage == "empty":
        shard.write_bytes(b"")
    elif damage == "missing":
        shard.unlink()
    else:
        document = json.loads((folder / MANIFEST).read_text())
        document["shards"][0]["records"] += 1
        (folder / MANIFEST).write_text(json.dumps(document))
    refused("CTK-E080", training_patches, folder)
    refused("CTK-E080", iterate_pairs, folder, "train")


@pytest.mark.parametrize("place", [3, 9, 40, 2000, -2])
def test_flipped_bit_is_refused(write_records, place):
    folder = write_records(example_content())
    shard = sorted(folder.glob("x-train*"))[1]
    data = bytearray(shard.read_bytes())
    data[place] ^= 4
    shard.write_bytes(data)
    refused("CTK-E080", verify, folder)
    refused("CTK-E080", lambda: list(iterate_pairs(folder, "train")))


def test_other_folders_are_refused(write_records, tmp_path):
    refused("CTK-E085", read_manifest, tmp_path)
    folder = write_records(example_content())
    refused("CTK-E084", training_patches, folder, split="val")
    refused("CTK-E084", iterate_pairs, folder, "hard")
    document = json.loads((folder / MANIFEST).read_text())
    document["schema_version"] = "2.0"
    (folder / MANIFEST).write_text(json.dumps(document))
    refused("CTK-E081", read_manifest, folder)
    (folder / MANIFEST).rename(folder / PARTIAL_MANIFEST)
    assert "not finished" in str(refused("CTK-E085", read_manifest, folder))
    (folder / MANIFEST).write_text("{")
    refused("CTK-E085", read_manifest, folder)


def test_full_disk_is_told(tmp_path, monkeypatch):
    import tensorflow as tf

    from ct_keras.data.records import write_shard

    class FullDisk(tf.io.TFRecordWriter):
        def write(self, record):
            raise tf.errors.OutOfRangeError(None, None, "no space left")

    monkeypatch.setattr(tf.io, "TFRecordWriter", FullDisk)
    error = refused("CTK-E073", write_shard, tmp_path / "shard", [b"1"])
    assert error.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def _with(document, path, value):
    *names, last = path
    for name in names:
        document = document[name]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("layout",), 7),
        (("doses",), 0.25),
        (("doses",), ["a"]),
        (("seed",), "0"),
        (("hu_range",), [1]),
        (("splits",), []),
        (("splits",), {"test": 1}),
        (("shards",), {}),
        (("shards",), [1]),
        (("shards", 0, "records"), "3"),
        (("shards", 0, "bytes"), None),
        (("shards", 0, "file"), "../x"),
        (("shards", 0, "file"), "/etc/passwd"),
        (("shards", 0, "rows"), 96),
        (("shards", 0, "places"), [[1]]),
        (("shards", 0, "places"), 1),
        (("shards", 0, "sha256"), 1),
        (("findings",), "none"),
        (("tools",), None),
    ],
)
def test_a_manifest_with_wrong_types_is_refused(phantom_records, tmp_path, path, value):
    document = json.loads((phantom_records / MANIFEST).read_text())
    _with(document, path, value)
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(CtKerasError, match="CTK-E085"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["[]", "7", "{", "[" * 200_000, '{"shards": 1}'])
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(CtKerasError, match="CTK-E08"):
        read_manifest(tmp_path)
