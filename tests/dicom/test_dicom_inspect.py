"""`ct-keras inspect`: what it prints, and what it never prints."""

import json

import pytest
from click.testing import CliRunner

from ct_keras.cli.inspect import command
from ct_keras.errors import CtKerasError


def run(*arguments):
    return CliRunner().invoke(
        command, [str(a) for a in arguments], standalone_mode=False
    )


def test_table_and_findings(factory, tmp_path):
    factory.folder(tmp_path, PhotometricInterpretation="MONOCHROME1")
    (tmp_path / "SECRETX.txt").write_text("x")
    result = run(tmp_path)
    assert result.return_value == 0
    assert "64x64" in result.stdout
    assert "0.5 x 0.75" in result.stdout
    assert "B30f" in result.stdout
    assert "CTK-W001 skipped 1 of 6 files" in result.stderr
    assert "series 1: CTK-W045" in result.stderr
    assert "SECRETX" not in result.output
    assert str(tmp_path) not in result.output


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_kernel_that_may_be_a_name_is_not_shown(factory, tmp_path, options):
    factory.folder(tmp_path, 2, ConvolutionKernel="SECRETX 30")
    result = run(tmp_path, *options)
    assert result.return_value == 0
    assert "SECRETX" not in result.output and "other" in result.stdout


def test_json_is_one_document(factory, tmp_path):
    factory.folder(tmp_path / "a", PixelSpacing=None)
    factory.folder(tmp_path / "b", SeriesInstanceUID="1.9", RescaleType="OD")
    result = run(tmp_path, "--json")
    document = json.loads(result.stdout)
    assert result.return_value == 8
    (series,) = document["series"]
    assert series["spacing_mm"] == [5.0, None, None]
    assert (series["slices"], series["kvp"]) == (5, 120)
    assert (series["tube_current_ma"], series["exposure_mas"]) == (200, 100)
    assert series["noise_hu"] == pytest.approx(10, abs=2)
    assert document["refusals"][0]["code"] == "CTK-E042"
    assert "SECRETX" not in result.output


def test_no_ct_is_an_error(tmp_path):
    result = run(tmp_path)
    assert isinstance(result.exception, CtKerasError)
    assert result.exception.code == "CTK-E001"
