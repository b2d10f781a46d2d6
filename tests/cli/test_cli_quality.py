"""`ct-keras quality` as a person and as a program meet it."""

import json

import pytest

from ct_keras.cli import main

SMALL = ["--size", "96", "--spacing", "1.8", "--repeats", "4"]


def _run(capsys, *arguments):
    """Runs a command in this process; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_quality_writes_the_document_that_it_prints(capsys, tmp_path):
    out = tmp_path / "Q"
    code, printed, _ = _run(
        capsys,
        *("quality", "input", "filter:gaussian", "--out", out, *SMALL),
        *("--dose", "0.5,1", "--json"),
    )
    assert code == 0
    document = json.loads(printed)
    assert document == json.loads((out / "quality.json").read_text())
    assert list(document["methods"]) == ["input", "filter:gaussian"]
    named = document["methods"]["filter:gaussian"]["identity"]
    assert named["parameters"] == {"sigma": 1.0}
    sd = [
        method["doses"][1]["noise"]["sd_hu"] for method in document["methods"].values()
    ]
    assert sd[0] == pytest.approx(12, rel=0.2)
    assert sd[1] < 0.7 * sd[0]
    assert (out / "dose_curves.png").stat().st_size > 1000


def test_quality_prints_a_table_and_measures_lcd_ct_images(capsys, tmp_path, shared_ct):
    code, printed, _ = _run(
        capsys,
        *("quality", "filter:gaussian", "--out", tmp_path / "Q", *SMALL),
        *("--dose", "1", "--lcd", shared_ct / "lcd_ct"),
    )
    assert code == 0
    assert "Not for diagnostic use" in printed
    document = json.loads((tmp_path / "Q" / "quality.json").read_text())
    records = document["lcd_ct"]
    assert len(records) == 2 * 2 * 4
    assert {record["method"] for record in records} == {"input", "filter:gaussian"}
    _, table = printed.split("Hotelling observer on LCD-CT images")
    rows = [line.split() for line in table.splitlines() if " HU " in line]
    assert len(rows) == 2 * 2 * 4
    for cells, record in zip(rows, records, strict=True):
        assert cells[0] == record["method"]
        assert " ".join(cells[2:6]) == record["insert"]
        assert cells[7] == f"{record['auc']:.3f}"
    assert (tmp_path / "Q" / "lcd_ct.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("code", "status", "arguments"),
    [
        ("CTK-E000", 3, ["input", "--dose", "a,b"]),
        ("CTK-E000", 3, ["input", "--dose", "1.5"]),
        ("CTK-E000", 3, ["input", "--repeats", "1"]),
        ("CTK-E000", 3, ["input", "--seed", "-1"]),
        ("CTK-E000", 3, ["input", "--size", "96"]),
        ("CTK-E092", 3, ["filter:nothing"]),
        ("CTK-E001", 2, ["input", "--lcd", "nowhere"]),
    ],
)
def test_quality_refuses_in_one_line(capsys, tmp_path, code, status, arguments):
    out = tmp_path / "Q"
    found, printed, errors = _run(capsys, "quality", *arguments, "--out", out)
    assert (found, printed) == (status, "")
    assert errors.startswith(code)
    assert not out.exists()
