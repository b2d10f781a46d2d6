"""Describes records for TensorFlow Datasets: ``tfds.builder_from_directory(RECORDS)``.

Two small JSON files lie beside the shards, whose names are those that TensorFlow
Datasets expects. It is not needed to write them, and ct_keras does not read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ct_keras.data.manifest import SPLITS, Manifest
from ct_keras.files import write_texts

INFO, FEATURES = "dataset_info.json", "features.json"
_DESCRIPTION = (
    "Pairs of low-dose and normal-dose CT slices, written by ct_keras: HU = stored "
    "value * rescale_slope + rescale_intercept."
)
_PICTURES = (
    "Pairs of noisy and clean pictures, written by ct_keras: a value between 0 and 1 = "
    "(stored value * rescale_slope + rescale_intercept + 1024) / 4096."
)
#: Python class of each kind of feature.
_SCALAR, _TENSOR, _TEXT = (
    f"tensorflow_datasets.core.features.{name}"
    for name in ("scalar.Scalar", "tensor_feature.Tensor", "text_feature.Text")
)
_TYPE = "tensorflow_datasets.core.features.features_dict.FeaturesDict"


def write_tfds(manifest: Manifest, *, pictures: bool = False) -> None:
    """Writes ``dataset_info.json`` and ``features.json`` into a records folder.

    The images are int16 (rows, columns) if all have one size; otherwise they are bytes,
    for ``tf.reshape(tf.io.decode_raw(low, tf.int16), (rows, columns))``.

    Args:
        manifest: That of the records.
        pictures: Whether they hold pictures, and not HU.

    Raises:
        CtKerasError: CTK-E073, if they cannot be written.

    Example:
        >>> builder = tfds.builder_from_directory("RECORDS")  # doctest: +SKIP
        >>> builder.as_dataset(split="train")  # doctest: +SKIP
    """
    documents = {INFO: _info(manifest, pictures), FEATURES: _features(manifest)}
    texts = {
        name: json.dumps(document, indent=1, sort_keys=True) + "\n"
        for name, document in documents.items()
    }
    write_texts(manifest.folder, texts)


def _info(manifest: Manifest, pictures: bool) -> dict:
    return {
        "name": manifest.layout,
        "version": f"{manifest.schema_version}.0",
        "description": _PICTURES if pictures else _DESCRIPTION,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(sum(shard.bytes for shard in shards)),
                "shardLengths": [str(shard.records) for shard in shards],
            }
            for split in SPLITS
            if (shards := [each for each in manifest.shards if each.split == split])
        ],
    }


def _features(manifest: Manifest) -> dict:
    """The features that every record of the folder has."""
    places = [place for shard in manifest.shards for place in shard.places]
    sizes = {(place.rows, place.columns) for place in places}
    image = _tensor("int16", *sizes) if len(sizes) == 1 else _scalar("string")
    features = {
        **dict.fromkeys(("low", "full"), image),
        **dict.fromkeys(("rows", "columns", "slice_index"), _scalar("int64")),
        **dict.fromkeys(("rescale_slope", "rescale_intercept"), _scalar("float32")),
        **dict.fromkeys(("case", "series", "sop_uid_hash", "schema_version"), _text()),
    }
    if all(place.dose_fraction is not None for place in places):
        features["dose_fraction"] = _scalar("float32")
    if all(shard.noise_shares for shard in manifest.shards):
        features["noise_share"] = _scalar("float32")
    return {
        "type": _TYPE,
        "proto_cls": "tensorflow_datasets.FeaturesDict",
        "content": {"features": features},
    }


def _text() -> Mapping[str, object]:
    return {"pythonClassName": _TEXT, "text": {}}


def _scalar(kind: str) -> Mapping[str, object]:
    described = {"shape": {}, "dtype": kind, "encoding": "none"}
    return {"pythonClassName": _SCALAR, "tensor": described}


def _tensor(kind: str, shape: tuple[int, int]) -> Mapping[str, object]:
    sides = {"dimensions": list(map(str, shape))}
    described = {"shape": sides, "dtype": kind, "encoding": "bytes"}
    return {"pythonClassName": _TENSOR, "tensor": described}
