"""What `tools/fuzz.py` feeds with broken inputs: one class for each kind.

A class writes its good samples once. `check` takes a broken one, reads it, and returns
what became of it; it raises a `CtKerasError` for a refusal, and anything else for a
finding.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from fuzz_inputs import (
    COMPRESSED,
    PICTURES,
    SLICES,
    SYNTAXES,
    VOLUMES,
    Bent,
    make_frames,
    make_picture,
    make_series,
    make_volume,
)

#: Share of the series and volumes that are written too and read back.
_WRITTEN = 0.25
_WRITE_EVERY = int(1 / _WRITTEN)


class Series:
    """A series of which one file is bent: read, written, read back.

    Attributes:
        samples: The contents of the files of each good sample.
        head: See `bend`.
    """

    head: int | None = None
    syntaxes = SYNTAXES

    def __init__(self, folder: Path):
        self.folder = folder
        self.samples, self.hu = [], []
        for number, syntax in enumerate(self.syntaxes):
            sample = folder / f"sample-{number}"
            make_series(sample, syntax)
            paths = sorted(sample.glob("*.dcm"))
            self.samples.append([path.read_bytes() for path in paths])
            series = self._read(sample)
            places = [paths.index(source.path) for source in series.sources]
            self.hu.append(series.hu[np.argsort(places)])

    def _read(self, folder: Path):
        from ct_keras.dicom import read_series

        return read_series(folder)

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        folder = self.folder / "in"
        _fill(folder, self.samples[bent.sample], bent)
        series = self._read(folder)
        expected = self.hu[bent.sample]
        kept = [int(source.path.stem) for source in series.sources]
        _check_count(series)
        for index, place in enumerate(kept):
            if place != bent.file:
                np.testing.assert_array_equal(series.read(index).hu, expected[place])
        return self._written(series, number)

    def _written(self, series, number: int) -> str:
        from ct_keras.dicom import write_series

        if number % _WRITE_EVERY:
            return "read"
        out = self.folder / "out"
        write_series(series, out, overwrite=True)
        np.testing.assert_array_equal(self._read(out).hu, series.hu)
        return "written"


class Compressed(Series):
    """The same, with the compressed transfer syntaxes."""

    syntaxes = COMPRESSED


class OneFile(Series):
    """A multi-frame image, or a zip archive of a series."""

    def __init__(self, folder: Path):
        self.folder = folder
        images = [make_frames(), make_frames(legacy=True)]
        archives = [_zipped(folder / name, method) for name, method in _METHODS.items()]
        self.samples = [[content] for content in (*images, *archives)]
        self.names = ["frames.dcm"] * len(images) + ["series.zip"] * len(archives)

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        folder = self.folder / "in"
        folder.mkdir(exist_ok=True)
        for name in set(self.names):
            (folder / name).unlink(missing_ok=True)
        (folder / self.names[bent.sample]).write_bytes(bent.content)
        series = self._read(folder)
        _check_count(series)
        if not np.isfinite(series.hu).all():
            raise AssertionError("values that are not finite")
        return self._written(series, number)


class Volume:
    """A volume of another format than DICOM: read, written, read back."""

    head = 400

    def __init__(self, folder: Path):
        self.folder = folder
        self.samples = []
        for suffix in VOLUMES:
            make_volume(folder / f"sample{suffix}")
            self.samples.append([(folder / f"sample{suffix}").read_bytes()])

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        return self._checked(VOLUMES[bent.sample], bent.content, number)

    def _checked(self, suffix: str, content: bytes, number: int, values=None) -> str:
        from ct_keras.containers import GreyValues, open_writer, read_volume_file
        from ct_keras.dicom import Derivation

        path, out = (self.folder / f"{name}{suffix}" for name in ("in", "out"))
        path.write_bytes(content)
        values = values or GreyValues()
        volume = read_volume_file(path, values=values)
        hu = volume.hu
        if hu.shape != volume.shape or not np.isfinite(hu).all():
            raise AssertionError("not the described volume of finite values")
        if number % _WRITE_EVERY:
            return "read"
        with open_writer(
            volume, out, Derivation.unchanged("input"), overwrite=True
        ) as writer:
            for index, plane in enumerate(hu):
                writer.write(index, plane)
        again = read_volume_file(out, values=values, look=False)
        np.testing.assert_array_equal(again.hu, hu)
        return "written"


class Picture(Volume):
    """A PNG or TIFF file of one slice, 8 or 16 bits, grey or in three equal channels.

    Every second PNG gets the right checksums again, so that not they refuse it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.samples = []
        for suffix, bits, color in PICTURES:
            make_picture(folder / f"sample{suffix}", bits, color=color)
            self.samples.append([(folder / f"sample{suffix}").read_bytes()])

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        from ct_keras.containers import GreyValues

        suffix, bits, _ = PICTURES[bent.sample]
        content = bent.content
        if suffix == ".png" and number % 2:
            content = _with_right_sums(content)
        scale = GreyValues(slope=1, intercept=-1024)
        return self._checked(suffix, content, number, scale if bits == 16 else None)


class Records:
    """A folder of records of which one file is bent: the same pairs, or a refusal."""

    head: int | None = None

    def __init__(self, folder: Path):
        from ct_keras.data import convert

        os.environ["CT_KERAS_HASH_KEY_FILE"] = str(folder / "key")
        (folder / "key").write_text("a key for broken records only, of no use")
        make_series(folder / "source" / "P1")
        records = folder / "records"
        options = {"layout": "single", "split": "1,0,0", "workers": 1}
        convert(folder / "source", records, hash_key_file=folder / "key", **options)
        self.names = sorted(path.name for path in records.iterdir() if path.is_file())
        self.samples = [[(records / name).read_bytes() for name in self.names]]
        self.folder = folder / "bent"
        self.expected = self._read(records)

    def _read(self, folder: Path) -> list[np.ndarray]:
        from ct_keras.data import iterate_pairs

        return [pair.low_hu for pair in iterate_pairs(folder, "train")]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        _fill(self.folder, self.samples[0], bent, self.names)
        np.testing.assert_array_equal(self._read(self.folder), self.expected)
        return "read"


class ForgedRecords(Records):
    """A record is bent, and all checksums are those of the result."""

    def __init__(self, folder: Path):
        import tensorflow as tf

        super().__init__(folder)
        files = dict(zip(self.names, self.samples[0], strict=True))
        self.manifest = json.loads(files.pop("manifest.json"))
        (self.shard,) = (name for name in files if "tfrecord" in name)
        path = str(folder / "records" / self.shard)
        self.samples = [[item.numpy() for item in tf.data.TFRecordDataset(path)]]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        import tensorflow as tf

        self.folder.mkdir(exist_ok=True)
        path = self.folder / self.shard
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index, content in enumerate(self.samples[0]):
                writer.write(bent.content if index == bent.file else content)
        data = path.read_bytes()
        (entry,) = self.manifest["shards"]
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (self.folder / "manifest.json").write_text(json.dumps(self.manifest))
        self._check_pairs()
        return "read"

    def _check_pairs(self) -> None:
        from ct_keras.data import iterate_pairs

        pairs = list(iterate_pairs(self.folder, "train"))
        if len(pairs) != len(self.expected):
            raise AssertionError(f"{len(pairs)} of {len(self.expected)} pairs")
        for pair in pairs:
            images = pair.low_hu, pair.full_hu
            if images[0].shape != images[1].shape or not np.isfinite(images).all():
                raise AssertionError("a pair without two images of finite values")


class Model:
    """A bent `.keras` file: a model, or a refusal."""

    head: int | None = None

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "network.keras"
        _save_network(self.path)
        self.samples = [[self.path.read_bytes()]]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        self.path.write_bytes(bent.content)
        return self._used(self.path)

    def _used(self, path: Path) -> str:
        import ct_keras

        image = np.zeros((16, 16), np.float32)
        result = ct_keras.load(path)(image)
        if result.shape != image.shape or not np.isfinite(result).all():
            raise AssertionError("the result is not an image")
        return "read"


class ForgedModel(Model):
    """A member of a `.keras` file or a model card is bent; checksums are right."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        with zipfile.ZipFile(self.path) as archive:
            self.names = [each.filename for each in archive.infolist()]
            members = [archive.read(name) for name in self.names]
        card = {
            "name": "n",
            "version": "1",
            "weights": {"file": self.path.name, "sha256": ""},
            "default_strength": 0.5,
            "ranges": {"noise_index_hu": [5.0, 50.0], "kernels": ["B30f"]},
        }
        card["weights"]["sha256"] = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.good = self.path.read_bytes()
        self.samples = [members, [json.dumps(card).encode()]]

    def check(self, bent: Bent, number: int) -> str:
        """Returns what became of an input; raises what a finding is."""
        if bent.sample == 1:
            self.path.write_bytes(self.good)
            (self.folder / "metadata.json").write_bytes(bent.content)
            return self._used(self.folder)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for index, name in enumerate(self.names):
                content = self.samples[0][index]
                archive.writestr(name, bent.content if index == bent.file else content)
        self.path.write_bytes(packed.getvalue())
        return self._used(self.path)


TARGETS = {
    "series": Series,
    "compressed": Compressed,
    "one-file": OneFile,
    "volume": Volume,
    "picture": Picture,
    "records": Records,
    "forged-records": ForgedRecords,
    "model": Model,
    "forged-model": ForgedModel,
}
_METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def _fill(folder: Path, contents: list[bytes], bent: Bent, names=None) -> None:
    folder.mkdir(exist_ok=True)
    for index, content in enumerate(contents):
        name = names[index] if names else f"{index}.dcm"
        content = bent.content if index == bent.file else content
        (folder / name).write_bytes(content)


def _check_count(series) -> None:
    """A series with fewer slices than were there must say so."""
    told = {finding.code for finding in series.findings}
    if len(series) < SLICES and not any(code[4] in "WE" for code in told):
        raise AssertionError(f"{len(series)} of {SLICES} slices without a word")


def _with_right_sums(content: bytes) -> bytes:
    """A PNG file with the checksum of every chunk that is still whole."""
    mended, place = bytearray(content), 8
    while place + 12 <= len(mended):
        (length,) = struct.unpack_from(">I", mended, place)
        end = place + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[place + 4 : end]))
        place = end + 4
    return bytes(mended)


def _zipped(folder: Path, method: int) -> bytes:
    """A zip archive of a series, which is written to a folder first."""
    make_series(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for path in sorted(folder.glob("*.dcm")):
            archive.write(path, path.name)
    return packed.getvalue()


def _save_network(path: Path) -> None:
    import keras

    image = keras.Input((None, None, 1), name="low_dose")
    x = keras.layers.Conv2D(1, 3, padding="same", name="a")(image)
    keras.Model(image, x, name="n").save(path)
