"""`recon:NAME` as a method: its name, its settings, its tuning, a derived series."""

import json

import numpy as np
import pytest

from ct_keras.cli import main
from ct_keras.dicom import read_series
from ct_keras.errors import CtKerasError
from ct_keras.filters.projection_domain import get_reconstruction
from ct_keras.serving.methods import ReconstructionDenoiser, get_method


def _run(capsys, *arguments):
    """Runs a command in this process; returns (stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert not end.value.code, captured.err
    return captured


def test_name_and_settings_of_the_method():
    method = get_method("recon:sart")
    assert isinstance(method, ReconstructionDenoiser)
    assert method.identity.name == "recon:sart"
    assert method.identity.parameters["iterations"] == 3
    assert method.identity.parameters["pixel_mm"] == 0.75
    image = np.random.default_rng(0).normal(0, 30, (32, 32)).astype(np.float32)
    np.testing.assert_array_equal(method(image), get_reconstruction("sart")(image))
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
    assert "recon:sinogram tuned on the split val" in printed.err


def test_denoise_writes_a_series_that_names_it(phantom_patients, tmp_path, capsys):
    source, out = phantom_patients / "test" / "p4", tmp_path / "out"
    _run(capsys, "denoise", source, out, "--model", "recon:adaptive")
    series = read_series(out)
    assert series.shape == read_series(source).shape
    assert "recon:adaptive" in str(series.header)
