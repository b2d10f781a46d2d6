"""The TFRecord schema: one record is one slice pair, whole, as int16.

No patch size is frozen into the records, and a value is HU after
``stored * rescale_slope + rescale_intercept``. The full-dose image keeps the stored
values of its source wherever they fit into int16, so its HU are exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from ct_keras import hu as scale
from ct_keras.data.conversion.images import Record
from ct_keras.data.manifest import SCHEMA_VERSION
from ct_keras.data.shards import count_records
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_file

_IMAGES = ("low", "full")
_TEXTS = ("case", "series", "sop_uid_hash", "kernel")
#: Since 1.1; older records lack them.
_NEWER_TEXTS = ("age_band", "body_part")
_INTEGERS = ("rows", "columns", "slice_index")
_FLOATS = (
    "rescale_slope",
    "rescale_intercept",
    "slice_thickness_mm",
    "dose_fraction",
)


def encode(record: Record) -> bytes:
    """Returns the record as a serialised ``tf.train.Example``."""
    rows, columns = record.full.shape
    values = {**vars(record), "rows": rows, "columns": columns}
    values["schema_version"] = SCHEMA_VERSION
    for name in _IMAGES:
        values[name] = np.ascontiguousarray(values[name], "<i2").tobytes()
    names = (*_IMAGES, *_TEXTS, *_NEWER_TEXTS, "schema_version")
    features = {name: _bytes(values[name]) for name in names}
    for name in _INTEGERS:
        integers = tf.train.Int64List(value=[int(values[name])])
        features[name] = tf.train.Feature(int64_list=integers)
    for name in _FLOATS:
        features[name] = _floats([values[name]])
    features["spacing_mm"] = _floats(record.spacing_mm)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _bytes(value: str | bytes) -> tf.train.Feature:
    data = value.encode() if isinstance(value, str) else value
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def decode(serialized: bytes) -> Record:
    """Reads a record back, in NumPy.

    Raises:
        CtKerasError: CTK-E081, if the schema is unknown; CTK-E080, if an image has
            not the size that the record says.
    """
    feature = tf.train.Example.FromString(serialized).features.feature
    version = feature["schema_version"].bytes_list.value[:1]
    if not version or version[0].split(b".")[0].decode() != SCHEMA_VERSION[0]:
        raise CtKerasError(
            "CTK-E081",
            "a record has a schema that this version cannot read",
            expected=SCHEMA_VERSION,
            fix="update ct_keras, or convert again",
        )
    pixels = {name: feature[name].bytes_list.value[0] for name in _IMAGES}
    text = {name: feature[name].bytes_list.value[0] for name in _TEXTS}
    for name in _NEWER_TEXTS:
        text[name] = b"".join(feature[name].bytes_list.value)
    whole = {name: feature[name].int64_list.value[0] for name in _INTEGERS}
    shape = whole.pop("rows"), whole.pop("columns")
    return Record(
        **{name: _image(data, shape) for name, data in pixels.items()},
        spacing_mm=tuple(feature["spacing_mm"].float_list.value),
        **{name: value.decode() for name, value in text.items()},
        **{name: feature[name].float_list.value[0] for name in _FLOATS},
        **whole,
    )


def _image(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    if len(data) != 2 * shape[0] * shape[1]:
        raise CtKerasError(
            "CTK-E080",
            "an image in the records has a wrong size",
            received=f"{len(data)} bytes",
            expected=f"2 bytes for each of {shape[0]} x {shape[1]} pixels",
            fix="convert again",
        )
    return np.frombuffer(data, "<i2").reshape(shape)


_PARSED = {
    "low": tf.io.FixedLenFeature([], tf.string),
    "full": tf.io.FixedLenFeature([], tf.string),
    "rows": tf.io.FixedLenFeature([], tf.int64),
    "columns": tf.io.FixedLenFeature([], tf.int64),
    "rescale_slope": tf.io.FixedLenFeature([], tf.float32),
    "rescale_intercept": tf.io.FixedLenFeature([], tf.float32),
}


def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads a record in the graph.

    Args:
        serialized: One record, a string.

    Returns:
        int16 (2, rows, columns), low dose and full dose, and float32 (2,), rescale
        slope and intercept.
    """
    features = tf.io.parse_single_example(serialized, _PARSED)
    shape = tf.stack([features["rows"], features["columns"]])
    images = [
        tf.reshape(tf.io.decode_raw(features[name], tf.int16, True), shape)
        for name in ("low", "full")
    ]
    rescale = [features["rescale_slope"], features["rescale_intercept"]]
    return tf.stack(images), tf.stack(rescale)


def network_units(stored: tf.Tensor, rescale: tf.Tensor) -> tf.Tensor:
    """Converts stored values to network units in the graph, as `hu.to_network`.

    Args:
        stored: int16, any shape.
        rescale: float32 (..., 2), slope and intercept, broadcast over `stored`.

    Returns:
        float32 of the shape of `stored`, never negative.
    """
    slope, intercept = rescale[..., 0], rescale[..., 1]
    hu = tf.cast(stored, tf.float32) * slope + intercept
    floored = tf.maximum(hu, scale.FLOOR_HU)
    return floored * (1 / scale.SCALE_HU) + scale.OFFSET_HU / scale.SCALE_HU


def write_shard(path: Path, records) -> tuple[int, int]:
    """Writes records to a file that appears whole or not at all.

    Args:
        path: The file to make.
        records: Serialised records, in order.

    Returns:
        How many records were written, and the size of the file in bytes.

    Raises:
        CtKerasError: CTK-E073, if the disk is full or the file cannot be written.
    """
    written = 0
    try:
        with atomic_file(path) as temporary:
            with tf.io.TFRecordWriter(str(temporary)) as writer:
                for record in records:
                    writer.write(record)
                    written += 1
            if count_records(temporary) != written:
                raise OSError("the file holds less than was written")
            size = temporary.stat().st_size
    except tf.errors.OpError as error:
        # TensorFlow tells a full disk as OutOfRangeError, not as OSError.
        raise CtKerasError(
            "CTK-E073",
            "cannot write: disk full or no permission, the shard was not kept",
            received=path.name,
            fix="free space and run the same command again: it goes on from here",
        ) from error
    return written, size
