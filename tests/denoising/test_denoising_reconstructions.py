"""`recon:NAME` as a method: its name, its settings, its tuning, a derived series."""

import json

import numpy as np
import pytest

from ct_keras.cli import main
from ct_keras.denoising.classical import ReconstructionMethod
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import read_series
from ct_keras.errors import CtKerasError
from ct_keras.reconstruction.registry import get_reconstruction


def _run(capsys, *arguments):
    """Runs a command in this process; returns (stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert not end.value.code, captured.err
    return captured


def test_name_and_settings_of_the_method():
    method = get_method("recon:adaptive")
    assert isinstance(method, ReconstructionMethod)
    assert method.identity.name == "recon:adaptive"
    assert method.identity.parameters["photons"] == 8000
    assert "pixel_mm" not in method.identity.parameters
    method = method.with_spacing((0.6, 0.6))
    assert method.identity.parameters["pixel_mm"] == pytest.approx(0.6)
    image = np.random.default_rng(0).normal(0, 30, (32, 32)).astype(np.float32)
    expected = get_reconstruction("adaptive", pixel_mm=0.6)(image)
    np.testing.assert_array_equal(method(image), expected)
    assert np.abs(get_reconstruction("adaptive")(image) - expected).max() > 0.01
    np.testing.assert_array_equal(method(image, strength=0.0), image)
    with pytest.raises(CtKerasError, match="CTK-E092"):
        get_method("recon:mbir")


def test_evaluate_tunes_it_on_the_validation_split(phantom_records, tmp_path, capsys):
    printed = _run(
        capsys,
        *("evaluate", "recon:sinogram", "--records", phantom_records),
        *("--out", tmp_path / "out", "--json"),
    )
    rows = {row["model"]: row for row in json.loads(printed.out)["rows"]}
    assert set(rows) == {"input", "recon:sinogram"}
    assert rows["recon:sinogram"]["rmse_hu"] < rows["input"]["rmse_hu"]
    assert "recon:sinogram tuned on other patients" in printed.err


def test_denoise_writes_a_series_that_names_it(phantom_patients, tmp_path, capsys):
    source, out = phantom_patients / "test" / "p4", tmp_path / "out"
    _run(capsys, "denoise", source, out, "--model", "recon:adaptive")
    series = read_series(out)
    assert series.shape == read_series(source).shape
    assert "recon:adaptive" in str(series.header)
    assert "pixel_mm 4.0" in str(series.header)
