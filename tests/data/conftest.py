"""Small records and small DICOM folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ct_keras.data import convert
from ct_keras.dicom import create_series


def body(shape=(96, 96), value=40.0) -> np.ndarray:
    """HU of a disc in air."""
    rows, columns = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.where(rows**2 + columns**2 < 0.8, value, -1000.0)


@pytest.fixture
def key_file(tmp_path_factory) -> Path:
    """A key, so that no test touches that of the user."""
    path = tmp_path_factory.mktemp("key") / "hash.key"
    path.write_text("0123456789abcdef" * 2)
    return path


@pytest.fixture
def write_ct() -> Callable[..., Path]:
    """Writes one series of a disc in noise; `edit(dataset, index)` may change it."""

    def write(folder, *, patient="P1", slices=4, seed=0, sd=10.0, edit=None, **values):
        generator = np.random.default_rng(seed)
        shape = values.pop("shape", (96, 96))
        noise = generator.normal(0, sd, (slices, *shape))
        create_series(
            np.round(body(shape) + noise),
            values.pop("spacing_mm", (3.0, 0.7, 0.7)),
            folder,
            patient_id=patient,
            series_description=values.pop("description", f"made with seed {seed}"),
            **values,
        )
        if edit is not None:
            for index, path in enumerate(sorted(Path(folder).glob("*.dcm"))):
                dataset = pydicom.dcmread(path)
                edit(dataset, index)
                dataset.save_as(path)
        return Path(folder)

    return write


@pytest.fixture
def write_records(tmp_path) -> Callable[..., Path]:
    """Writes records without DICOM, from {split: {case: [(low, full), ...]}}."""
    from ct_keras.data.manifest import Manifest, summary, write_manifest
    from ct_keras.data.records import encode, write_shard
    from ct_keras.data.shards import Shard
    from ct_keras.data.slice_facts import Record, place_of
    from ct_keras.files import sha256_of

    def write(content, name="records") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        shards = []
        for split, cases in content.items():
            for index, (case, images) in enumerate(cases.items()):
                facts = {"case": case, "series": case}
                pairs = [
                    Record(low, full, 1.0, -1024.0, "u", slice_index=number, **facts)
                    for number, (low, full) in enumerate(images)
                ]
                path = folder / f"x-{split}.tfrecord-{index:05d}-of-{len(cases):05d}"
                count, size = write_shard(path, map(encode, pairs))
                rows = [full.shape[0] for _, full in images]
                columns = [full.shape[1] for _, full in images]
                shard = Shard(
                    file=path.name,
                    split=split,
                    index=index,
                    case=case,
                    records=count,
                    slices=count,
                    bytes=size,
                    sha256=sha256_of(path),
                    source_sha256="",
                    rows=(min(rows), max(rows)),
                    columns=(min(columns), max(columns)),
                    places=tuple(place_of(pair, pair.full.shape) for pair in pairs),
                )
                shards.append(shard)
        write_manifest(
            Manifest(
                folder=folder,
                layout="pairs",
                configuration="",
                key_id="",
                doses=(0.25,),
                seed=0,
                hu_range=(-1024.0, 3000.0),
                splits=summary(shards),
                shards=tuple(shards),
            )
        )
        return folder

    return write


@pytest.fixture
def pairs_source(write_ct, tmp_path):
    """Three patients in low/ and full/."""
    for number, patient in enumerate(("A", "B", "C")):
        for name in ("low", "full"):
            write_ct(
                tmp_path / "src" / name / patient,
                patient=f"SECRETX{patient}",
                patient_name="SECRETX^NAME",
                description="SECRETX text",
                slices=5,
                seed=10 * number + (name == "low"),
                kernel="B30f",
                exposure_mas=50 if name == "low" else 200,
            )
    return tmp_path / "src"


@pytest.fixture
def convert_pairs(pairs_source, key_file, tmp_path):
    def run(out="records", **options):
        values = {
            "layout": "pairs",
            "low": "low",
            "full": "full",
            "split": "train=A val=B test=C",
            "workers": 1,
            "hash_key_file": key_file,
        }
        return convert(pairs_source, tmp_path / out, **{**values, **options})

    return run
