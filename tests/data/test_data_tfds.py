"""TensorFlow Datasets reads records as they lie."""

import json

import numpy as np
import pytest

from ct_keras.data import iterate_pairs, read_manifest
from ct_keras.data.tfds import FEATURES, INFO


@pytest.fixture
def records(convert_pairs):
    return convert_pairs().folder


def test_the_description_fits_the_shards(records):
    manifest = read_manifest(records)
    info = json.loads((records / INFO).read_text())
    names = [
        f"{info['name']}-{split['name']}.tfrecord-{index:05d}-of-"
        f"{len(split['shardLengths']):05d}"
        for split in info["splits"]
        for index in range(len(split["shardLengths"]))
    ]
    assert names == [shard.file for shard in manifest.shards]
    lengths = [
        int(length) for each in info["splits"] for length in each["shardLengths"]
    ]
    assert lengths == [shard.records for shard in manifest.shards] == [5, 5, 5]
    content = json.loads((records / FEATURES).read_text())["content"]["features"]
    assert content["low"]["tensor"] == {
        "shape": {"dimensions": ["96", "96"]},
        "dtype": "int16",
        "encoding": "bytes",
    }
    assert "dose_fraction" in content and "noise_share" in content


def test_slices_of_several_sizes_are_bytes(convert_pairs, write_ct, pairs_source):
    for dose in ("low", "full"):
        write_ct(pairs_source / dose / "D", shape=(80, 96), patient="D", slices=2)
    records = convert_pairs(split="train=A,D val=B test=C").folder
    content = json.loads((records / FEATURES).read_text())["content"]["features"]
    assert content["low"]["tensor"]["dtype"] == "string"


def test_tensorflow_datasets_reads_the_same_values(records):
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="tensorflow-datasets is not installed"
    )
    builder = tfds.builder_from_directory(records)
    assert {
        name: split.num_examples for name, split in builder.info.splits.items()
    } == {
        "train": 5,
        "val": 5,
        "test": 5,
    }
    for split in ("train", "test"):
        pairs = list(iterate_pairs(records, split))
        found = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert len(found) == len(pairs) == 5
        for pair, example in zip(pairs, found, strict=True):
            for name in ("low", "full"):
                hu = example[name] * example["rescale_slope"]
                hu = hu + example["rescale_intercept"]
                assert np.array_equal(hu, getattr(pair, f"{name}_hu"))
            assert example["slice_index"] == pair.slice_index
            assert example["case"].decode() == pair.case
            assert example["dose_fraction"] == pair.dose_fraction == 0.25
