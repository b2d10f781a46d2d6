"""`ct-keras reader-study` as whoever runs a study meets it."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import pytest

from ct_keras.cli import main

ARMS = ["reference", "input", "filter:mean", "filter:gaussian"]


def _run(capsys, *arguments):
    """Runs a command in this process; returns (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def _refused(capsys, code, status, *arguments):
    result, stdout, stderr = _run(capsys, "reader-study", *arguments)
    assert result == status
    assert stderr.splitlines()[-1].startswith(code)
    assert stdout == ""
    return stderr


def answer(entry, study, offset=0):
    """Answers like those of a page: a method's score is its place in ARMS."""
    return {
        "format": "ct_keras reader study answers",
        "version": 1,
        "study": study,
        "reader": entry["reader"],
        "saved": "2026-01-01T00:00:00.000Z",
        "showings": [
            {
                "number": showing["number"],
                "scores": {
                    letter: {"confidence": max(1, 5 - ARMS.index(name) - offset)}
                    for letter, name in showing["panels"].items()
                },
                "findings": {"appears": [], "lost": []},
                "marks": [],
                "preferred": "none",
                "remark": "",
                "seconds": 60,
            }
            for showing in entry["showings"]
        ],
    }


@pytest.fixture(scope="module")
def study(phantom_records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-reader-study")
    out = folder / "STUDY"
    arguments = ["reader-study", "make", "filter:mean", "filter:gaussian", "input"]
    arguments += ["--records", phantom_records, "--out", out, "--seed", 3]
    arguments += ["--readers", 2, "--per-patient", 3, "--criterion", "confidence"]
    with pytest.raises(SystemExit) as end:
        main.main([str(each) for each in [*arguments, "--repeats", "0.3"]])
    assert not end.value.code
    key = json.loads((out / "sealed" / "key.json").read_text())
    answers = []
    for offset, entry in enumerate(key["readers"]):
        file = folder / f"answers-{entry['reader']}.json"
        file.write_text(json.dumps(answer(entry, key["study"], offset)))
        answers.append(file)
    return SimpleNamespace(out=out, key=key, answers=answers, folder=folder)


def test_make_hides_the_full_and_the_low_dose_among_the_methods(study):
    assert [arm["name"] for arm in study.key["arms"]] == ARMS
    assert len(study.key["cases"]) == 3
    assert {path.name for path in (study.out / "pages").iterdir()} == {
        "reader-1.html",
        "reader-2.html",
    }
    for entry in study.key["readers"]:
        assert len(entry["showings"]) == 4
        for showing in entry["showings"]:
            assert sorted(showing["panels"].values()) == sorted(ARMS)


def test_make_says_what_it_made_and_gives_nothing_away(
    capsys, phantom_patients, tmp_path
):
    series = phantom_patients / "test" / "p4"
    make = ["make", "filter:median", "--low", series, "--full", series]
    status, text, notes = _run(
        capsys, "reader-study", *make, "--out", tmp_path / "o", "--readers", 1, "--json"
    )
    assert status == 0
    document = json.loads(text)
    assert document["cases"] == 1
    assert document["images_per_case"] == 3
    assert "median" not in text
    assert "seed" not in text
    assert "Readers: 1, patients: 1" in notes
    status, text, _ = _run(capsys, "reader-study", *make, "--out", tmp_path / "p")
    assert status == 0
    assert "sealed/key.json unblinds the study" in text
    listed = tmp_path / "slices.csv"
    listed.write_text("case,slice_index\n1,2\n")
    status, *_ = _run(
        capsys, "reader-study", *make, "--out", tmp_path / "q", "--slices", listed
    )
    assert status == 0
    key = json.loads((tmp_path / "q" / "sealed" / "key.json").read_text())
    assert [case["slice_index"] for case in key["cases"]] == [2]
    listed.write_text("case\n1\n")
    wrong = [*make, "--out", tmp_path / "r", "--slices", listed]
    _refused(capsys, "CTK-E000", 3, *wrong)


def test_score_unblinds_and_writes_its_files(capsys, study, tmp_path):
    arguments = [*study.answers, "--key", study.out / "sealed" / "key.json"]
    status, text, notes = _run(
        capsys, "reader-study", "score", *arguments, "--out", tmp_path / "S", "--json"
    )
    assert status == 0
    document = json.loads(text)
    assert document == json.loads((tmp_path / "S" / "scores.json").read_text())
    medians = {row["method"]: row["median"] for row in document["summary"]}
    # reader-1 gives 5 4 3 2, reader-2 4 3 2 1.
    assert medians == dict(zip(ARMS, [4.5, 3.5, 2.5, 1.5], strict=True))
    # Each a point below the other: 1 - 1/(2 * 1.25 + 1).
    assert document["agreement"]["inter"][0]["kappa"] == pytest.approx(1 - 1 / 3.5)
    assert document["agreement"]["intra"][0]["kappa"] == 1
    icc = document["agreement"]["icc"]
    assert icc["panels"] == 12
    # Between panels 2 * 15/11, nothing left over, between readers 6.
    assert icc["icc"] == pytest.approx((30 / 11) / (30 / 11 + 2 * 6 / 12))
    areas = {row["method"]: row["area"] for row in document["vgc"]}
    # (4, 3) against (5, 4): one tie of four pairs; then nothing above.
    assert areas == {"input": 0.125, "filter:mean": 0, "filter:gaussian": 0}
    # Three slices, but of one patient: nothing to test.
    assert (document["cases"], document["patients"]) == (3, 1)
    assert document["friedman"][0]["chi2"] is None
    assert {row["non_inferior"] for row in document["pairs"][:3]} == {None}
    for remark in document["design"]:
        assert remark in " ".join(notes.split())
    assert "1 patients, not the 3 slices" in notes
    with open(tmp_path / "S" / "ratings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 * 4  # readers, screens, arms
    assert sum(int(row["repeat"]) for row in rows) == 8
    figure = cv2.imread(str(tmp_path / "S" / "scores.png"))
    assert figure.shape[1] == 1800
    assert figure.std() > 10


def test_score_prints_tables(capsys, study, tmp_path):
    arguments = [*study.answers, "--key", study.out / "sealed" / "key.json"]
    status, text, _ = _run(
        capsys, "reader-study", "score", *arguments, "--out", tmp_path / "S"
    )
    assert status == 0
    for words in (
        "Median score",
        "Friedman",
        "filter:gaussian",
        "reader-1 and reader-2",
        "reader-1, repeated",
        "Non-inferior",
        "too few",
        "VGC area",
        "ICC(2,1) of sums",
        "Research use only",
    ):
        assert words in text


def test_refusals(capsys, study, tmp_path):
    key = study.out / "sealed" / "key.json"
    out = tmp_path / "S"
    first = json.loads(study.answers[0].read_text())
    del first["showings"][-1]
    partly = tmp_path / "partly.json"
    partly.write_text(json.dumps(first))
    score = ["score", partly, "--key", key, "--out", out]
    assert "reader-1, case 4" in _refused(capsys, "CTK-E084", 3, *score)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(first | {"study": "0123456789ab"}))
    _refused(capsys, "CTK-E087", 4, "score", other, "--key", key, "--out", out)
    _refused(capsys, "CTK-E080", 4, "score", key, "--key", key, "--out", out)
    gone = tmp_path / "gone.json"
    _refused(capsys, "CTK-E005", 5, "score", gone, "--key", key, "--out", out)
    _refused(capsys, "CTK-E000", 3, "make", "filter:mean", "--out", out)
    assert not out.exists()
    status, _, notes = _run(capsys, "reader-study", *score, "--allow-incomplete")
    assert status == 0
    assert "missing answers: 1." in notes
    assert "Readers without answers: 1 of 2." in notes


@pytest.mark.parametrize(
    "arguments",
    [["make", "filter:mean", "--out", "o"], ["score", "a", "--key", "k", "--out", "o"]],
)
def test_a_negative_seed_is_refused(capsys, arguments):
    message = _refused(capsys, "CTK-E000", 3, *arguments, "--seed", "-1")
    assert "x>=0" in message


@pytest.mark.parametrize("name", ["make", "score"])
def test_help_needs_no_tensorflow(name):
    code = (
        "import sys; from ct_keras.cli import main\n"
        f"try: main.main(['reader-study', {name!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"Usage: ct-keras reader-study {name}" in done.stdout
