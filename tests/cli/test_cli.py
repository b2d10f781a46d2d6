"""The command line as a person and as a program meet it."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from real_ct import PATIENTS

from ct_keras.cli import main
from ct_keras.errors import CtKerasError
from ct_keras.reconstruction.registry import ProjectionFilter

COMMANDS = [
    "demo",
    "inspect",
    "simulate",
    "convert",
    "train",
    "evaluate",
    "quality",
    "judge",
    "reader-study",
    "denoise",
    "export",
    "models",
]


def _run(capsys, *arguments):
    """Runs a command in this process; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture(scope="module")
def run(phantom_records, tmp_path_factory):
    from ct_keras.training import train

    out = tmp_path_factory.mktemp("cli") / "RUN"
    train(
        "red_cnn",
        phantom_records,
        out=out,
        recipe="quick",
        options={"width": 4},
        epochs=2,
        steps=4,
    )
    return out


@pytest.fixture
def one_patient(phantom_patients):
    return phantom_patients / "test" / "p4"


def _refused(capsys, code, status, *arguments, out=None):
    """A refusal is one line with its code, a status, and leaves nothing."""
    result, stdout, stderr = _run(capsys, *arguments)
    lines = [line for line in stderr.splitlines() if line.startswith("CTK-E")]
    assert result == status
    assert [line.split()[0] for line in lines] == [code]
    assert stdout == ""
    assert out is None or not out.exists()
    return lines[0]


def test_help_lists_every_command(capsys):
    status, text, _ = _run(capsys, "--help")
    assert status == 0
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "Not for diagnostic use" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_needs_no_tensorflow(command):
    code = (
        "import sys; from ct_keras.cli import main\n"
        f"try: main.main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: ct-keras" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["denoise"], ["train", "red_cnn", "x", "--wrong"]],
)
def test_usage_errors_end_with_3(capsys, arguments):
    assert "CTK-E000" in _refused(capsys, "CTK-E000", 3, *arguments)


def test_unexpected_errors_are_one_line_without_paths(capsys, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError(str(tmp_path))

    monkeypatch.setattr("ct_keras.containers.find_scans", broken)
    line = _refused(capsys, "CTK-E999", 1, "denoise", tmp_path / "i", tmp_path / "o")
    assert "RuntimeError" in line
    assert str(tmp_path) not in line


def test_a_full_disk_is_told_whatever_a_library_makes_of_it(
    capsys, monkeypatch, tmp_path
):
    def broken(*_, **__):
        raise RuntimeError("odd") from OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("ct_keras.containers.find_scans", broken)
    line = _refused(capsys, "CTK-E073", 7, "denoise", tmp_path / "i", tmp_path / "o")
    assert "disk full" in line


def test_models_as_table_and_as_json(capsys):
    status, text, _ = _run(capsys, "models")
    assert status == 0
    assert "1,848,865" in text
    status, text, _ = _run(capsys, "models", "--json")
    networks = {row["name"]: row for row in json.loads(text)["networks"]}
    assert networks["red_cnn"]["receptive_field"] == 41
    assert networks["red_cnn"]["recipes"] == ["report", "paper", "quick"]
    assert networks["adl3d"]["dimensions"] == 3
    assert networks["pix2pix"]["receptive_field"] is None


def test_denoise_writes_a_derived_series(capsys, one_patient, run, tmp_path):
    options = ("--model", run, "--qc", tmp_path / "QC", "--json")
    status, text, _ = _run(capsys, "denoise", one_patient, tmp_path / "OUT", *options)
    assert status == 0
    (row,) = json.loads(text)["series"]
    assert row["slices"] == 3
    control = json.loads((tmp_path / "QC/qc.json").read_text())
    assert control["trained_on"]["slice_thickness_mm"]
    assert len(control["findings"]) == len(row["findings"])
    before = pydicom.dcmread(sorted(one_patient.glob("*.dcm"))[0])
    after = pydicom.dcmread(sorted((tmp_path / "OUT").glob("*.dcm"))[0])
    assert after.ImageType[0] == "DERIVED"
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert "NOT FOR DIAGNOSTIC USE" in after.SeriesDescription
    assert "red_cnn" in after.DerivationDescription
    assert "strength" in after.DerivationDescription
    best = json.loads((run / "best.json").read_text())
    assert best["sha256"][:16] in after.DerivationDescription


def test_denoise_with_a_filter_is_not_called_a_network(capsys, one_patient, tmp_path):
    out = tmp_path / "OUT"
    status, *_ = _run(capsys, "denoise", one_patient, out, "--model", "filter:median")
    assert status == 0
    after = pydicom.dcmread(next(out.glob("*.dcm")))
    assert "neural" not in after.DerivationDescription
    assert "AI" not in after.ImageComments


def test_a_refused_series_beside_a_denoised_one_is_a_partial_result(
    capsys, one_patient, tmp_path
):
    both = tmp_path / "both"
    shutil.copytree(one_patient, both / "good")
    for path in shutil.copytree(one_patient, both / "cut").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID += ".9"
        dataset.save_as(path)
        path.write_bytes(path.read_bytes()[:-100])
    options = ("--model", "filter:median", "--json")
    status, text, errors = _run(capsys, "denoise", both, tmp_path / "OUT", *options)
    assert status == 8
    (refused,) = json.loads(text)["refused"]
    assert "CTK-E003" in refused
    assert "CTK-W030" in errors
    assert len(list((tmp_path / "OUT").glob("*.dcm"))) == 3
    chosen = ("--series", "1", *options)
    status, text, _ = _run(capsys, "denoise", both, tmp_path / "ONE", *chosen)
    assert status == 0
    assert json.loads(text)["refused"] == []


def test_denoise_of_strength_0_gives_every_pixel_back(
    capsys, phantom_patients, run, tmp_path
):
    source, out = phantom_patients / "train", tmp_path / "OUT"
    status, *_ = _run(capsys, "denoise", source, out, "--model", run, "--strength", "0")
    assert status == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == [".ct_keras", "series-1", "series-2"]
    before = {_position(path): path for path in source.rglob("*.dcm")}
    after = {_position(path): path for path in out.rglob("*.dcm")}
    assert before.keys() == after.keys()
    for key, path in before.items():
        first, second = pydicom.dcmread(path), pydicom.dcmread(after[key])
        assert first.PixelData == second.PixelData


def _position(path):
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return dataset.PatientID, tuple(dataset.ImagePositionPatient)


@pytest.mark.slow
@pytest.mark.parametrize("patient", PATIENTS)
def test_strength_0_on_real_ct(capsys, few_slices, patient, tmp_path):
    source, out = few_slices(patient, 8), tmp_path / "out"
    status, *_ = _run(
        capsys, "denoise", source, out, "--model", "input", "--strength", "0"
    )
    assert status == 0
    written = {
        pydicom.dcmread(path).SourceImageSequence[0].ReferencedSOPInstanceUID: path
        for path in out.rglob("*.dcm")
    }
    for path in source.iterdir():
        dataset = pydicom.dcmread(path)
        copy = pydicom.dcmread(written.pop(dataset.SOPInstanceUID))
        assert np.array_equal(dataset.pixel_array, copy.pixel_array)
    assert written == {}


def test_evaluate_prints_one_table_and_writes_the_report(
    capsys, phantom_records, run, tmp_path
):
    out = tmp_path / "EVAL"
    status, text, _ = _run(
        capsys,
        *("evaluate", run, "input", "filter:nlm", "--records", phantom_records),
        *("--split", "test", "--out", out, "--json"),
    )
    assert status == 0
    document = json.loads(text)
    assert document == json.loads((out / "metrics.json").read_text())
    rows = {row["model"]: row for row in document["rows"]}
    assert set(rows) == {"input", "RUN", "filter:nlm"}
    assert rows["RUN"]["parameters"] == 104 + 8 * 404 + 101
    assert len(rows["RUN"]["weights_sha256"]) == 64
    assert rows["filter:nlm"]["settings"]["h"] in rows["filter:nlm"]["tuned_among"]["h"]
    assert rows["input"]["slices"] == 3
    page = (out / "report.html").read_text()
    assert "Not for diagnostic use" in page
    assert str(tmp_path) not in page


def test_evaluate_of_two_series(capsys, one_patient, tmp_path):
    low, out = tmp_path / "low", tmp_path / "EVAL"
    assert _run(capsys, "simulate", one_patient, low, "--dose", "0.2")[0] == 0
    status, text, _ = _run(
        capsys,
        *("evaluate", "filter:gaussian", "--low", low, "--full", one_patient),
        *("--out", out, "--json"),
    )
    assert status == 0
    rows = {row["model"]: row for row in json.loads(text)["rows"]}
    assert rows["filter:gaussian"]["slices"] == 3


def test_evaluate_tests_against_a_chosen_baseline(capsys, phantom_records, tmp_path):
    models = ("evaluate", "filter:mean", "filter:median", "--no-tune")
    source = ("--records", phantom_records, "--out", tmp_path / "EVAL", "--json")
    status, text, _ = _run(capsys, *models, *source, "--baseline", "filter:median")
    assert status == 0
    document = json.loads(text)
    against = {(test["model"], test["against"]) for test in document["tests"]}
    assert against == {
        ("filter:mean", "input"),
        ("filter:median", "input"),
        ("filter:mean", "filter:median"),
    }
    groups = {group["id"]: group["values"] for group in document["groups"]}
    assert groups["kernel"] == ["B30f"] and groups["body_part"] == ["abdomen"]
    status, _, error = _run(
        capsys, *models, *source, "--overwrite", "--baseline", "filter:nlm"
    )
    assert status == 3
    assert "CTK-E000 the baseline is not one of the measured models" in error


def test_evaluate_of_phantoms_knows_the_sinogram(capsys, monkeypatch, tmp_path):
    from ct_keras.data import simulated

    monkeypatch.setattr(simulated, "PHANTOM_SHAPE", (2, 64, 64))
    used = []
    whole = ProjectionFilter.of_scan
    monkeypatch.setattr(
        ProjectionFilter,
        "of_scan",
        lambda self, hu, rays: (
            used.append(self.parameters["beta"]) or whole(self, hu, rays)
        ),
    )
    status, text, error = _run(
        capsys,
        *("evaluate", "recon:sinogram", "filter:gaussian", "--phantoms", "3"),
        *("--dose", "0.02,0.1", "--out", tmp_path / "EVAL", "--json"),
    )
    assert status == 0
    assert "recon:sinogram tuned on other patients" in error
    # Measured; tuned with seven settings on eight slices, and once for the strength.
    assert len(used) == 12 + (7 + 1) * 8
    document = json.loads(text)
    assert document["split"] == "phantoms" and document["doses"] == [0.02, 0.1]
    rows = {row["model"]: row for row in document["rows"]}
    assert rows["input"]["cases"] == 3 and rows["input"]["slices"] == 12
    assert rows["recon:sinogram"]["rmse_hu"] < rows["input"]["rmse_hu"]
    assert rows["recon:sinogram"]["sinogram"] == "known"
    assert rows["recon:sinogram"]["best_strength_from"] == "other patients"
    assert rows["input"]["psnr_ceiling"] is None
    assert rows["recon:sinogram"]["settings"]["beta"] == used[-1]
    assert len(rows["recon:sinogram"]["tuned_among"]["beta"]) == 7
    parts = {group["id"]: group["values"] for group in document["groups"]}
    assert parts["body_part"] == ["abdomen", "chest"]


def test_evaluate_of_normal_dose_scans(capsys, phantom_patients, tmp_path):
    where = ("--dose", "0.2", "--out", tmp_path / "EVAL", "--json")
    folder = phantom_patients / "test"
    status, text, error = _run(
        capsys,
        *("evaluate", "recon:adaptive", "--scans", folder, *where),
        *("--fit-scans", phantom_patients / "val"),
    )
    assert status == 0 and "tuned on other patients" in error
    rows = {row["model"]: row for row in json.loads(text)["rows"]}
    assert rows["recon:adaptive"]["slices"] == 3
    assert rows["recon:adaptive"]["rmse_hu"] < rows["input"]["rmse_hu"]
    again = ("evaluate", "filter:mean", "--overwrite", "--scans", folder, *where)
    status, _, error = _run(capsys, *again, "--tune")
    assert status == 3 and "CTK-E000 there is nothing to fit the filters to" in error
    status, _, error = _run(capsys, *again, "--phantoms", "1")
    assert (
        status == 3
        and "CTK-E000 evaluate needs exactly one source of slice pairs" in error
    )


def test_export_and_its_refusals(capsys, run, tmp_path):
    out = tmp_path / "SM"
    status, text, _ = _run(capsys, "export", run, out, "--like-dose", "4", "--json")
    assert status == 0
    assert json.loads(text)["largest_difference_hu"] <= 1e-3
    assert json.loads(text)["strength"] == 0.5
    both = ("--strength", "1", "--like-dose", "4")
    _refused(capsys, "CTK-E000", 3, "export", run, tmp_path / "o", *both)
    assert (out / "saved_model.pb").is_file()
    _refused(capsys, "CTK-E071", 6, "export", run, out)
    _refused(capsys, "CTK-E092", 3, "export", "no_such", tmp_path / "o2")


def test_train_reports_and_resumes(capsys, phantom_records, tmp_path):
    arguments = (
        *("train", "red_cnn", phantom_records, "--out", tmp_path / "RUN"),
        *("--recipe", "quick", "--width", "4", "--epochs", "1", "--steps", "2"),
        "--json",
    )
    status, text, _ = _run(capsys, *arguments)
    document = json.loads(text)
    assert status == (0 if document["better_than_input"] else 9)
    again, text, _ = _run(capsys, *arguments, "--resume")
    assert (again, json.loads(text)["best"]) == (status, document["best"])
    _refused(capsys, "CTK-E071", 6, *arguments)


def test_train_sets_values_of_the_training_algorithm(capsys, phantom_records, tmp_path):
    arguments = (
        *("train", "seo_resnet", phantom_records, "--recipe", "quick"),
        *("--epochs", "1", "--steps", "1", "--set", "algorithm=dilated"),
    )
    out = tmp_path / "RUN"
    status, _, _ = _run(capsys, *arguments, "--out", out, "--set", "proportion=0.5")
    assert status in (0, 9)
    training = json.loads((out / "config.json").read_text())["recipe"]["training"]
    assert training == {
        "algorithm": "dilated",
        "optimizer": "adam",
        "proportion": 0.5,
    }
    other = tmp_path / "OTHER"
    for wrong in ("rho=1", "proportion", "optimizer=sgd"):
        refused = (*arguments, "--out", other, "--set", wrong)
        _refused(capsys, "CTK-E000", 3, *refused, out=other)
    red_cnn = ("train", "red_cnn", phantom_records, "--out", other, "--set", "a=1")
    assert "no settings" in _refused(capsys, "CTK-E000", 3, *red_cnn, out=other)


def _mr_file(folder: Path, source: Path) -> Path:
    dataset = pydicom.dcmread(next(source.glob("*.dcm")))
    dataset.Modality = "MR"
    dataset.SOPClassUID = pydicom.uid.MRImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    folder.mkdir()
    dataset.save_as(folder / "a.dcm", enforce_file_format=True)
    return folder


def test_bad_input_is_refused_in_one_line(
    capsys, one_patient, phantom_records, phantom_patients, run, tmp_path
):
    empty, out = tmp_path / "empty", tmp_path / "OUT"
    empty.mkdir()
    (empty / "notes.txt").write_text("no CT here")
    denoise = ("--model", run)
    _refused(capsys, "CTK-E001", 2, "denoise", empty, out, *denoise, out=out)
    mr = _mr_file(tmp_path / "mr", one_patient)
    _refused(capsys, "CTK-E020", 2, "denoise", mr, out, *denoise, out=out)
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in one_patient.glob("*.dcm"):
        (cut / path.name).write_bytes(path.read_bytes())
    first = next(cut.iterdir())
    first.write_bytes(first.read_bytes()[:-5000])
    line = _refused(capsys, "CTK-E003", 4, "denoise", cut, out, *denoise, out=out)
    assert "bytes" in line
    _refused(
        capsys, "CTK-E092", 3, "denoise", one_patient, out, "--model", "rad", out=out
    )
    twice = ("--split", "train=p1,p4", "val=p3", "test=p4")
    flat = tmp_path / "flat"
    for split in ("train", "val", "test"):
        for patient in (phantom_patients / split).iterdir():
            (flat / patient.name).mkdir(parents=True)
            for path in patient.glob("*.dcm"):
                os.link(path, flat / patient.name / path.name)
    _refused(
        capsys,
        "CTK-E083",
        3,
        "convert",
        flat,
        out,
        "--layout",
        "single",
        *twice,
        out=out,
    )
    _refused(
        capsys, "CTK-E092", 3, "train", "rad", phantom_records, "--out", out, out=out
    )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_records_with_a_cut_shard_are_refused(
    capsys, phantom_records, tmp_path, command
):
    records, out = tmp_path / "records", tmp_path / "OUT"
    records.mkdir()
    for path in phantom_records.iterdir():
        (records / path.name).write_bytes(path.read_bytes())
    split = "train" if command == "train" else "test"
    shard = sorted(records.glob(f"*{split}.tfrecord*"))[0]
    shard.write_bytes(shard.read_bytes()[:-7])
    if command == "train":
        arguments = ("train", "red_cnn", records, "--out", out)
    else:
        arguments = ("evaluate", "input", "--records", records, "--out", out)
    line = _refused(capsys, "CTK-E080", 4, *arguments, out=out)
    assert "shard" in line


def test_json_holds_nothing_but_json(one_patient, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ct_keras", "inspect", one_patient, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)


def test_a_demo_that_is_stopped_in_its_training_leaves_nothing(
    capsys, monkeypatch, tmp_path
):
    from ct_keras.cli import demo

    def stopped(*_, **__):
        return SimpleNamespace(finished=False)

    monkeypatch.setattr(demo, "_write_patients", lambda *_: None)
    monkeypatch.setattr("ct_keras.data.convert", lambda *_, **__: None, raising=False)
    monkeypatch.setattr("ct_keras.training.train", stopped)
    status, text, error = _run(capsys, "demo", "--out", tmp_path / "D")
    assert (status, text) == (75, "")
    assert "4/5" not in error and error.endswith("stopped\n")
    assert list(tmp_path.iterdir()) == []


def test_convert_takes_the_options_of_the_simulator(
    capsys, monkeypatch, one_patient, tmp_path
):
    told = {}

    def convert(*_, **options):
        told.update(options)
        raise CtKerasError("CTK-E000", "enough")

    monkeypatch.setattr("ct_keras.data.convert", convert, raising=False)
    places = (one_patient, tmp_path / "R")
    options = ("--photons", "1e5", "--no-bowtie", "--electronic-noise", "2")
    _run(capsys, "convert", "--layout", "single", *places, *options)
    physics = {"photons": 1e5, "bowtie": False, "electronic_noise": 2.0}
    assert told["simulation"] == physics
    _run(capsys, "convert", "--layout", "single", *places)
    assert told["simulation"] == {}
    where = ("--low", one_patient, "--full", one_patient)
    status, _, error = _run(
        capsys, "convert", "--layout", "pairs", *where, places[1], *options
    )
    assert status == 3 and "received: 0 doses, --photons, --bowtie" in error
