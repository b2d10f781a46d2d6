"""A partial result never looks whole: exit status 8, and what is missing is told."""

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pydicom
import pytest

from ct_keras.cli import demo
from ct_keras.cli.main import main
from ct_keras.dicom import read_series
from ct_keras.errors import CtKerasError
from ct_keras.inputs.folders import PAUSE_S, wait_until_stable
from ct_keras.serving import series as serving

MODEL = ("--model", "filter:gaussian")


@pytest.fixture(scope="module")
def scan(phantom_patients):
    return next((phantom_patients / "test").iterdir())


@pytest.fixture
def studies(scan, tmp_path):
    """A good series, and one whose first slice is cut."""
    shutil.copytree(scan, tmp_path / "in" / "good")
    for path in shutil.copytree(scan, tmp_path / "in" / "cut").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID += ".9"
        dataset.save_as(path)
        path.write_bytes(path.read_bytes()[:-100])
    return tmp_path / "in"


def run(capsys, *arguments) -> tuple[int, dict, str]:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    return int(end.value.code or 0), json.loads(said.out or "{}"), said.err


class TestRefusedSeries:
    def test_convert(self, capsys, studies, tmp_path):
        options = ("--layout", "single", "--split", "1,0,0", "--workers", "1")
        for _ in range(2):  # the second time nothing is left to do
            status, document, _ = run(
                capsys, "convert", studies, tmp_path / "records", *options
            )
            assert status == 8
            (refused,) = document["refused"]
            assert "CTK-E003" in refused
            assert document["splits"]["train"]["slices"] == 3

    def test_convert_of_good_series_only(self, capsys, scan, tmp_path):
        options = ("--layout", "single", "--split", "1,0,0", "--workers", "1")
        status, document, _ = run(capsys, "convert", scan, tmp_path / "r", *options)
        assert (status, document["refused"]) == (0, [])

    def test_evaluate(self, capsys, studies, tmp_path):
        options = ("--scans", studies, "--out", tmp_path / "out")
        status, document, errors = run(capsys, "evaluate", "input", *options)
        assert status == 8
        (refused,) = document["refused"]
        assert "CTK-E003" in refused
        assert "CTK-W030" in errors
        assert json.loads((tmp_path / "out/metrics.json").read_text()) == document

    def test_simulate(self, capsys, studies, tmp_path):
        options = (studies, tmp_path / "out", "--dose", "0.5")
        status, document, _ = run(capsys, "simulate", *options)
        assert status == 8
        assert "CTK-E003" in document["refused"][0]
        assert len(list((tmp_path / "out").glob("*.dcm"))) == 3


class TestStrayFiles:
    """A file that cannot be read may be a slice of the series beside it only."""

    def stray(self, folder):
        source = next(folder.glob("*.dcm"))
        (folder / "x.dcm").write_bytes(source.read_bytes()[:300])

    def test_it_does_not_refuse_series_elsewhere(self, capsys, scan, tmp_path):
        shutil.copytree(scan, tmp_path / "in" / "good")
        shutil.copytree(scan, tmp_path / "in" / "other")
        self.stray(tmp_path / "in" / "other")
        for path in (tmp_path / "in" / "other").glob("IM*.dcm"):
            path.unlink()
        status, document, errors = run(
            capsys, "denoise", tmp_path / "in", tmp_path / "out", *MODEL
        )
        assert status == 8
        (refused,) = document["refused"]
        assert "1 files of unknown series" in refused
        assert "CTK-W009" in errors
        assert len(list((tmp_path / "out").glob("*.dcm"))) == 3

    def test_it_refuses_the_series_beside_it_unless_that_is_chosen(
        self, capsys, scan, tmp_path
    ):
        shutil.copytree(scan, tmp_path / "in")
        self.stray(tmp_path / "in")
        status, _, errors = run(
            capsys, "denoise", tmp_path / "in", tmp_path / "out", *MODEL
        )
        assert status == 4
        assert "may be a slice of the series beside it" in errors
        assert "--series" in errors
        assert not (tmp_path / "out").exists()
        chosen = (tmp_path / "in", tmp_path / "out", "--series", "1", *MODEL)
        status, document, errors = run(capsys, "denoise", *chosen)
        assert status == 8
        assert len(document["refused"]) == 1
        assert len(list((tmp_path / "out").glob("*.dcm"))) == 3

    def test_a_folder_that_cannot_be_read_does_not_refuse_the_others(
        self, scan, tmp_path, monkeypatch
    ):
        from ct_keras.dicom import find_series
        from ct_keras.inputs import folders

        shutil.copytree(scan, tmp_path / "in" / "good")
        (tmp_path / "in" / "locked").mkdir()
        scandir = folders.os.scandir

        def refuse(path):
            if str(path).endswith("locked"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(folders.os, "scandir", refuse)
        (series,) = find_series(tmp_path / "in")
        assert "CTK-W009" in [finding.code for finding in series.findings]
        with pytest.raises(CtKerasError, match="CTK-E005"):
            find_series(tmp_path / "in" / "locked")


class TestFillingFolder:
    def test_files_that_come_during_the_work_are_told(
        self, capsys, scan, tmp_path, monkeypatch
    ):
        shutil.copytree(scan, tmp_path / "in")
        denoise = serving.denoise_series

        def slow(*arguments, **options):
            source = next((tmp_path / "in").glob("*.dcm"))
            shutil.copyfile(source, tmp_path / "in" / "late.dcm")
            return denoise(*arguments, **options)

        monkeypatch.setattr(serving, "denoise_series", slow)
        options = (tmp_path / "in", tmp_path / "out", *MODEL)
        status, document, errors = run(capsys, "denoise", *options)
        assert status == 8
        assert "CTK-W004 folder is still changing: 3 then 4 files" in errors
        assert document["refused"] == ["folder is still changing: 3 then 4 files"]

    def test_waiting_ends_when_two_looks_agree(self, tmp_path):
        told, pauses = [], []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) < 3:
                (tmp_path / str(len(pauses))).write_bytes(b"x")
            elif len(pauses) == 3:
                (tmp_path / "1").write_bytes(b"xx")

        wait_until_stable(tmp_path, tell=told.append, sleep=sleep)
        assert pauses == [PAUSE_S] * 4
        assert [finding.text.split(": ")[1] for finding in told] == [
            "0 then 1 files",
            "1 then 2 files",
            "2 then 2 files, 1 with another size",
        ]

    def test_waiting_does_not_last_for_ever(self, tmp_path):
        def sleep(_):
            with open(tmp_path / "a", "ab") as file:
                file.write(b"x")

        with pytest.raises(CtKerasError, match="CTK-E004"):
            wait_until_stable(tmp_path, sleep=sleep)

    def test_the_option_waits_before_the_command(
        self, capsys, scan, tmp_path, monkeypatch
    ):
        from ct_keras.inputs import folders

        waited = []
        monkeypatch.setattr(
            folders, "wait_until_stable", lambda path, tell: waited.append(path)
        )
        status, document, _ = run(capsys, "inspect", scan, "--wait-stable")
        assert (status, waited) == (0, [scan])
        assert len(document["series"]) == 1


def test_a_chosen_series_is_read_beside_a_stray_file(scan, tmp_path):
    folder = shutil.copytree(scan, tmp_path / "in")
    (folder / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0\x05\0CS")
    series = read_series(folder, series=1)
    assert len(series) == 3
    assert "CTK-W009" in [finding.code for finding in series.findings]


class TestAccepted:
    """What an option accepts reaches the reader, the result and the exit status."""

    @pytest.fixture
    def cut(self, scan, tmp_path):
        folder = shutil.copytree(scan, tmp_path / "in")
        path = sorted(folder.glob("*.dcm"))[1]
        path.write_bytes(path.read_bytes()[:-100])
        return folder

    def test_denoise_without_a_damaged_slice(self, capsys, cut, tmp_path):
        call = ("denoise", cut, tmp_path / "out", *MODEL)
        assert run(capsys, *call)[0] == 4
        status, document, errors = run(capsys, *call, "--skip-bad-slices")
        assert status == 8
        assert "CTK-E003 file #2" in document["refused"][0]
        assert "CTK-W009" in errors and "(accepted: skip_bad_slices)" in errors
        assert len(list((tmp_path / "out").glob("*.dcm"))) == 2

    def test_convert_without_a_damaged_slice(self, capsys, cut, tmp_path):
        options = ("--layout", "single", "--split", "1,0,0", "--workers", "1")
        call = ("convert", cut, tmp_path / "out", *options)
        status, document, _ = run(capsys, *call, "--skip-bad-slices")
        assert (status, document["splits"]["train"]["slices"]) == (8, 2)
        told = "".join(document["findings"])
        assert "CTK-W009" in told and "(accepted: skip_bad_slices)" in told

    def test_inspect_and_simulate_have_the_options(self, capsys, cut, tmp_path):
        assert run(capsys, "inspect", cut, "--skip-bad-slices")[0] == 8
        call = ("simulate", cut, tmp_path / "out", "--dose", "0.5")
        assert run(capsys, *call, "--skip-bad-slices")[0] == 8

    @pytest.mark.parametrize("source", [["--scans"], ["--low", "--full"]])
    def test_evaluate_and_a_study_of_what_is_accepted(
        self, capsys, cut, tmp_path, source
    ):
        given = [word for option in source for word in (option, cut)]
        calls = [("evaluate", "filter:mean", *given, "--out", tmp_path / "e")]
        if len(source) > 1:
            study = ("reader-study", "make", "filter:mean", "filter:gaussian")
            calls.append((*study, *given, "--out", tmp_path / "s", "--readers", 1))
        for call in calls:
            status, _, errors = run(capsys, *call)
            assert (status, "CTK-E003" in errors) == (4, True)
            status, document, errors = run(capsys, *call, "--skip-bad-slices")
            assert status == 8, errors
            assert "(accepted: skip_bad_slices)" in errors
            if "evaluate" in call:
                assert document["accepted"] == ["skip_bad_slices"]
                assert "CTK-E003" in document["refused"][0]
                assert document["rows"][0]["slices"] == 2

    @pytest.mark.parametrize(
        "call", [("evaluate", "input"), ("reader-study", "make", "filter:mean")]
    )
    def test_records_need_no_option_of_a_reader(
        self, capsys, phantom_records, tmp_path, call
    ):
        paths = ("--records", phantom_records, "--out", tmp_path / "out")
        status, _, errors = run(capsys, *call, *paths, "--force-hu")
        assert (status, "options of the reader" in errors) == (3, True)

    def test_deidentify_without_a_damaged_slice(self, capsys, cut, tmp_path):
        call = ("deidentify", cut, tmp_path / "out")
        assert run(capsys, *call)[0] == 4
        status, document, _ = run(capsys, *call, "--skip-bad-slices")
        assert (status, document["series"][0]["images"]) == (8, 2)

    def test_deidentify_completes_a_file_without_preamble(self, capsys, scan, tmp_path):
        folder = shutil.copytree(scan, tmp_path / "in")
        path = sorted(folder.glob("*.dcm"))[0]
        path.write_bytes(path.read_bytes()[132:])
        call = ("deidentify", folder, tmp_path / "out")
        assert run(capsys, *call)[0] == 4
        assert run(capsys, *call, "--allow-no-preamble")[0] == 0
        copied, original = read_series(tmp_path / "out"), read_series(scan)
        np.testing.assert_array_equal(copied.hu, original.hu)

    def test_a_demo_copies_the_files_of_an_archive(self, scan, tmp_path):
        packed = shutil.make_archive(tmp_path / "scan", "zip", scan)
        with click.Context(demo.command):
            demo._copy_series(Path(packed), tmp_path / "copy")
        copied = sorted((tmp_path / "copy").iterdir())
        assert len(copied) == 3
        np.testing.assert_array_equal(
            read_series(tmp_path / "copy").hu, read_series(scan).hu
        )

    def test_limits(self, capsys, scan):
        assert run(capsys, "inspect", scan, "--max-matrix", "95")[0] == 4
        assert run(capsys, "inspect", scan, "--max-matrix", "96")[0] == 0
