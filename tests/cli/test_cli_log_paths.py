"""Names of folders, which may be a patient's, stay out of messages and results."""

import json
import shutil

import pytest

from ct_keras.cli.main import main
from ct_keras.files.labels import SHOW_PATHS_VARIABLE, label_of, place_of
from ct_keras.training.trainer import TrainingResult
from ct_keras.training.validation import ValidationResult

SECRET = "SECRETX^JOHN"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv(SHOW_PATHS_VARIABLE, "")


@pytest.fixture
def scan(phantom_patients, tmp_path):
    source = next((phantom_patients / "test").iterdir())
    return shutil.copytree(source, tmp_path / SECRET / f"{SECRET} scan")


def run(capsys, *arguments) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out + said.err


def test_results_of_evaluate(capsys, scan, tmp_path):
    out = tmp_path / SECRET / "out"
    options = (f"--scans={scan}", "--out", out)
    status, said = run(capsys, "evaluate", "input", "filter:gaussian", *options)
    assert status == 0
    assert "SECRETX" not in said
    for name in ("metrics.json", "report.html", "slices.csv"):
        assert "SECRETX" not in (out / name).read_text()
    command = json.loads((out / "metrics.json").read_text())["command"]
    assert command == "ct-keras evaluate input filter:gaussian --scans=SCANS --out OUT"


@pytest.mark.parametrize("as_json", [True, False])
def test_results_of_other_commands(capsys, scan, tmp_path, as_json, monkeypatch):
    records, run_folder = (tmp_path / SECRET / name for name in ("a SECRETX", "b"))
    shown = ["--json"] if as_json else []
    convert = ("--layout", "single", "--split", "1,0,0", "--workers", "1", *shown)
    status, said = run(capsys, "convert", scan, records, *convert)
    assert status == 0 and "SECRETX" not in said
    assert as_json or "1 shards in RECORDS\n" in said

    def trained(*_, **options):
        values = {"val_psnr": 30.0, "val_rmse_hu": 10.0, "epoch": 1}
        measures = ValidationResult(psnr=29.0, rmse_hu=11.0, tissue_rmse_hu=12.0)
        return TrainingResult(options["out"], values, measures, True)

    monkeypatch.setattr("ct_keras.training.train", trained)
    named = run_folder.with_name(f"{SECRET} run")
    status, said = run(capsys, "train", "red_cnn", records, "--out", named, *shown)
    assert status == 9 and "SECRETX" not in said
    assert not as_json or f'"run": "{label_of(named)}"' in said


def test_a_place_is_shown_on_request(monkeypatch):
    assert place_of("a/b") == "OUT" and place_of("a/b", "RECORDS") == "RECORDS"
    monkeypatch.setenv(SHOW_PATHS_VARIABLE, "1")
    assert place_of("a/b") == "a/b"


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "{secret}/none"),
        ("denoise", "{secret}/none", "{secret}/out", "--model", "input"),
        ("denoise", "{scan}", "{secret}", "--model", "input"),
        ("denoise", "{scan}", "{scan}/out", "--model", "input"),
        ("convert", "{secret}/none", "{secret}/out", "--layout", "single"),
        ("convert", "{scan}", "{scan}", "--layout", "single"),
        ("train", "red_cnn", "{scan}", "--out", "{secret}/out"),
        ("evaluate", "input", "--records", "{scan}", "--out", "{secret}/out"),
        ("evaluate", "input", "--scans", "{secret}/none", "--out", "{secret}/out"),
        (
            *("evaluate", "input", "--phantoms", "1", "--quality", "{secret}/q.json"),
            *("--out", "{secret}/out"),
        ),
    ],
)
def test_error_lines(capsys, scan, arguments):
    named = {"secret": scan.parent, "scan": scan}
    arguments = [text.format(**named) for text in arguments]
    status, said = run(capsys, *arguments)
    assert status not in (0, 1)
    assert "SECRETX" not in said
    status, said = run(capsys, *arguments, "--log-paths")
    assert status not in (0, 1)


def test_the_path_is_shown_on_request(capsys, scan):
    missing = scan / "none"
    label = label_of(missing)
    assert "SECRETX" not in label
    assert label == label_of(f"{scan.parent}/./{scan.name}/none")
    assert label != label_of(scan)
    assert label in run(capsys, "inspect", missing)[1]
    for arguments in (
        ["inspect", missing, "--log-paths"],
        ["--log-paths", "inspect", missing],
    ):
        assert f"received: {missing}" in run(capsys, *arguments)[1]
