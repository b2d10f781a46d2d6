"""Every command takes compressed and multi-frame series as it takes plain ones."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from multi_frame import ENHANCED_CT, enhanced
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from ct_keras.cli import main
from ct_keras.dicom import read_series

KINDS = ("compressed", "multi-frame")


def run(*arguments) -> None:
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    assert end.value.code in (None, 0)


@pytest.fixture(scope="module")
def sources(phantom_patients, tmp_path_factory) -> dict[str, Path]:
    """One patient as a plain, a compressed and a multi-frame series."""
    plain = next((phantom_patients / "test").iterdir())
    folder = tmp_path_factory.mktemp("encodings")
    slices = [pydicom.dcmread(path) for path in sorted(plain.glob("*.dcm"))]
    frames = enhanced(slices)
    frames.file_meta = pydicom.dataset.FileMetaDataset()
    frames.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for kind in KINDS:
        (folder / kind).mkdir()
    frames.save_as(folder / "multi-frame" / "a.dcm", enforce_file_format=True)
    for number, single in enumerate(slices):
        single.compress(JPEGLSLossless, generate_instance_uid=False)
        path = folder / "compressed" / f"{number}.dcm"
        single.save_as(path, enforce_file_format=True)
    return {"plain": plain, **{kind: folder / kind for kind in KINDS}}


@pytest.fixture(scope="module")
def results(sources, tmp_path_factory) -> dict[str, Path]:
    """What denoise, simulate and evaluate make of each kind."""
    out = tmp_path_factory.mktemp("results")
    for kind, source in sources.items():
        run("denoise", source, out / kind / "denoised", "--model", "filter:gaussian")
        run("simulate", source, out / kind / "low", "--dose", 0.5)
    return {kind: out / kind for kind in sources}


@pytest.mark.parametrize("kind", KINDS)
def test_inspect(capsys, sources, kind):
    described = []
    for source in (sources["plain"], sources[kind]):
        run("inspect", source, "--json")
        (series,) = json.loads(capsys.readouterr().out)["series"]
        described.append({**series, "decoders": None})
    assert described[0] == described[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written", ["denoised", "low"])
def test_derived_series(results, kind, written):
    plain, other = (read_series(results[each] / written) for each in ("plain", kind))
    assert np.array_equal(plain.hu, other.hu)
    assert plain.spacing_mm == other.spacing_mm
    if kind == "multi-frame":
        (path,) = (results[kind] / written).glob("*.dcm")
        assert pydicom.dcmread(path).SOPClassUID == ENHANCED_CT


def test_evaluate(sources, results, tmp_path):
    rows = []
    for kind in ("plain", "multi-frame"):
        pair = ("--low", results[kind] / "low", "--full", sources[kind])
        run("evaluate", "input", *pair, "--out", tmp_path / kind)
        table = json.loads((tmp_path / kind / "metrics.json").read_text())
        rows += table["rows"]
    assert rows[0]["psnr"] == rows[1]["psnr"]
    assert rows[0]["slices"] == rows[1]["slices"] == 3


def test_convert(sources, tmp_path):
    words = ("--layout", "single", "--split", "1,0,0", "--workers", 1)
    run("convert", sources["multi-frame"], tmp_path / "records", *words)
    manifest = json.loads((tmp_path / "records" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["slices"] == 3
