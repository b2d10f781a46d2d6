"""The TFRecord schema: one record is one whole slice pair, as int16.

The records do not fix a patch size. HU is ``stored * rescale_slope +
rescale_intercept``. The full-dose image keeps the stored values of its source if they
fit into int16, so its HU are exact.
"""

from __future__ import annotations

import json
import zlib
from numbers import Integral
from pathlib import Path

import numpy as np
import tensorflow as tf

from ct_keras import hu as scale
from ct_keras.data.manifest import SCHEMA_VERSION
from ct_keras.data.shards import count_records
from ct_keras.data.slice_facts import FACTS, Record, facts_of
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_file
from ct_keras.simulation.slice_physics import SlicePhysics

_IMAGES = ("low", "full")
#: Largest size of a slope or intercept; larger ones make values that are not finite.
_LARGEST_HU = 1e9


def encode(record: Record) -> bytes:
    """Returns the record as a serialised ``tf.train.Example``, without None values."""
    rows, columns = record.full.shape
    pixels = {
        name: np.ascontiguousarray(getattr(record, name), "<i2").tobytes()
        for name in _IMAGES
    }
    values = {
        **facts_of(record),
        **pixels,
        "rows": rows,
        "columns": columns,
        "rescale_slope": float(record.rescale_slope),
        "rescale_intercept": float(record.rescale_intercept),
        "sop_uid_hash": record.sop_uid_hash,
        **_simulation_features(record),
        "schema_version": SCHEMA_VERSION,
    }
    features = {
        name: _feature(value) for name, value in values.items() if value is not None
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _simulation_features(record: Record) -> dict[str, object]:
    """What training needs to draw other doses, as far as it is known."""
    features: dict[str, object] = {"noise_share": record.noise_share}
    if record.physics is not None:
        features["physics"] = json.dumps(record.physics.to_plain())
        features["padding"] = zlib.compress(np.packbits(record.padding).tobytes())
    return features


def _feature(value: object) -> tf.train.Feature:
    if isinstance(value, str | bytes):
        data = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    if isinstance(value, Integral):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    floats = value if isinstance(value, tuple) else [value]
    return tf.train.Feature(float_list=tf.train.FloatList(value=floats))


def decode(serialized: bytes) -> Record:
    """Decodes a record in NumPy.

    Raises:
        CtKerasError: CTK-E081, if the schema is unknown; CTK-E080, if the record is
            damaged, whatever its checksum says.
    """
    try:
        return _decoded(serialized)
    except CtKerasError:
        raise
    except Exception as error:  # TensorFlow, zlib, JSON and NumPy raise many types
        raise _damaged(type(error).__name__) from error


def _damaged(received: str, expected: str | None = None) -> CtKerasError:
    return CtKerasError(
        "CTK-E080",
        "a record does not hold a pair of images as ct_keras writes it",
        received=received,
        expected=expected,
        fix="convert again",
    )


def _decoded(serialized: bytes) -> Record:
    feature = tf.train.Example.FromString(serialized).features.feature
    version = feature["schema_version"].bytes_list.value[:1]
    if not version or version[0].split(b".")[0].decode() != SCHEMA_VERSION[0]:
        raise CtKerasError(
            "CTK-E081",
            "a record has a schema that this version cannot read",
            expected=SCHEMA_VERSION,
            fix="update ct_keras, or convert again",
        )
    rows, columns = (feature[n].int64_list.value[0] for n in ("rows", "columns"))
    images = (feature[name].bytes_list.value[0] for name in _IMAGES)
    known = {name: _known(feature[name]) for name in FACTS}
    names = ("rescale_slope", "rescale_intercept")
    slope, intercept = (feature[name].float_list.value[0] for name in names)
    if not (0 < abs(slope) <= _LARGEST_HU and abs(intercept) <= _LARGEST_HU):
        raise _damaged("a slope or intercept of no CT image")
    return Record(
        *(_image(data, (rows, columns)) for data in images),
        slope,
        intercept,
        feature["sop_uid_hash"].bytes_list.value[0].decode(),
        **_simulation(feature, (rows, columns)),
        **{name: value for name, value in known.items() if value is not None},
    )


def _simulation(feature, shape: tuple[int, int]) -> dict[str, object]:
    """The values of `_simulation_features`; records up to schema 1.2 have none."""
    known: dict[str, object] = {}
    if "noise_share" in feature:
        known["noise_share"] = feature["noise_share"].float_list.value[0]
    if "physics" in feature:
        physics = json.loads(feature["physics"].bytes_list.value[0])
        known["physics"] = SlicePhysics.from_plain(physics)
        known["padding"] = _padding(feature["padding"].bytes_list.value[0], shape)
    return known


def _padding(compressed: bytes, shape: tuple[int, int]) -> np.ndarray:
    pixels = shape[0] * shape[1]
    expected = -(-pixels // 8)
    packed = zlib.decompressobj().decompress(compressed, max_length=expected + 1)
    if len(packed) != expected:
        raise _damaged("padding of another size", f"{expected} bytes")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=pixels)
    return bits.reshape(shape).astype(bool)


def _known(feature: tf.train.Feature) -> object:
    """The value of a property; up to schema 1.1, an empty text or 0 was unknown."""
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if not values or not all(values):
        return None
    if kind == "bytes_list":
        return values[0].decode()
    if kind == "float_list":  # 0.10000000149 is 0.1 rounded to float32
        values = [float(f"{value:.6g}") for value in values]
    return values[0] if len(values) == 1 else tuple(values)


def _image(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    if min(shape) < 1 or len(data) != 2 * shape[0] * shape[1]:
        raise _damaged(
            f"{len(data)} bytes",
            f"2 bytes for each of {shape[0]} x {shape[1]} pixels",
        )
    return np.frombuffer(data, "<i2").reshape(shape)


_PARSED = {
    "low": tf.io.FixedLenFeature([], tf.string),
    "full": tf.io.FixedLenFeature([], tf.string),
    "rows": tf.io.FixedLenFeature([], tf.int64),
    "columns": tf.io.FixedLenFeature([], tf.int64),
    "rescale_slope": tf.io.FixedLenFeature([], tf.float32),
    "rescale_intercept": tf.io.FixedLenFeature([], tf.float32),
    "noise_share": tf.io.FixedLenFeature([], tf.float32, default_value=np.nan),
}


def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes a record in the graph.

    Args:
        serialized: One record, a string.

    Returns:
        int16 (2, rows, columns), low dose and full dose; float32 (2,), rescale slope
        and intercept; and float32 (), the noise share, NaN if unknown.
    """
    features = tf.io.parse_single_example(serialized, _PARSED)
    shape = tf.stack([features["rows"], features["columns"]])
    images = [
        tf.reshape(tf.io.decode_raw(features[name], tf.int16, True), shape)
        for name in ("low", "full")
    ]
    rescale = [features["rescale_slope"], features["rescale_intercept"]]
    return tf.stack(images), tf.stack(rescale), features["noise_share"]


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
    """Writes records to a file atomically.

    Args:
        path: The file to write.
        records: Serialised records, in order.

    Returns:
        The number of records written, and the size of the file in bytes.

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
                raise OSError("the file holds fewer records than were written")
            size = temporary.stat().st_size
    except tf.errors.OpError as error:
        # TensorFlow reports a full disk as OutOfRangeError, not as OSError.
        raise CtKerasError(
            "CTK-E073",
            "cannot write: disk full or no permission; the shard was discarded",
            received=path.name,
            fix="free space and run the same command again: it continues from here",
        ) from error
    return written, size
