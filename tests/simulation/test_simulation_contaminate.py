"""Plain noise as a command: what it adds, and that results can be evaluated on it."""

import json

import numpy as np
import pytest

from ct_keras.cli import main
from ct_keras.containers import read_volume_file
from ct_keras.errors import CtKerasError
from ct_keras.simulation import CONTAMINATIONS, contaminate


def run(*arguments) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main.main(list(map(str, arguments)))
    return int(end.value.code)


def body(path, slices=3):
    rows, columns = np.ogrid[-1:1:64j, -1:1:72j]
    hu = np.where(rows**2 + columns**2 < 0.8, 40, -1000).astype(np.int16)
    np.save(path, np.repeat(hu[None], slices, axis=0))
    return path


@pytest.mark.parametrize(
    ("kind", "amount", "mean", "deviation"),
    [
        ("gaussian", 30, 0, 30),
        ("uniform", 30, 0, 30 / np.sqrt(3)),
        # U(0, 2.5) times (0 + 1024) / 4096: mean 1.25, SD 0.7217 of 1024 HU.
        ("multiplicative", 2.5, 256, 2.5 / np.sqrt(12) * 1024),
    ],
)
def test_the_noise_has_its_moments(kind, amount, mean, deviation):
    noisy = contaminate(np.zeros(200_000), kind, amount)
    assert noisy.mean() == pytest.approx(mean, abs=0.01 * deviation)
    assert noisy.std() == pytest.approx(deviation, rel=0.01)


def test_wrong_noise_is_refused():
    assert set(CONTAMINATIONS) == {"gaussian", "uniform", "multiplicative"}
    for kind, amount in (("salt", 1), ("gaussian", 0), ("uniform", np.inf)):
        with pytest.raises(CtKerasError, match="CTK-E000"):
            contaminate(np.zeros(3), kind, amount)


def test_the_command_contaminates_and_evaluates(tmp_path, capsys):
    clean, noisy = body(tmp_path / "clean.npy"), tmp_path / "noisy.npy"
    known = ("--noise", "uniform", "--amount", 60, "--seed", 4)
    assert run("simulate", clean, noisy, *known, "--json") == 0
    assert json.loads(capsys.readouterr().out)["noise"] == "uniform"
    added = read_volume_file(noisy).hu - read_volume_file(clean).hu
    assert np.abs(added).max() <= 60 and added.std() == pytest.approx(34.6, rel=0.03)
    assert not np.array_equal(added[0], added[1])  # each slice has its own
    note = json.loads((tmp_path / "noisy.npy.ct_keras.json").read_text())
    assert note["parameters"] == {"noise": "uniform", "amount": 60.0, "seed": 4}
    assert not note["denoised"]
    pairs = ("--low", noisy, "--full", clean, "--out", tmp_path / "E")
    assert run("evaluate", "filter:median", *pairs, "--figures", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["model"]: row for row in document["rows"]}
    assert rows["input"]["rmse_hu_hu"] == pytest.approx(34.6, rel=0.03)
    assert rows["filter:median"]["psnr"] > rows["input"]["psnr"]
    figures = sorted(path.name for path in (tmp_path / "E" / "figures").iterdir())
    assert figures == ["slice-1.png", "slice-2.png", "slice-3.png"]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--noise", "gaussian"),
        ("--amount", "3"),
        ("--dose", "0.5", "--noise", "gaussian", "--amount", "3"),
    ],
)
def test_one_of_dose_and_noise_is_needed(tmp_path, options, capsys):
    source, out = body(tmp_path / "clean.npy"), tmp_path / "noisy.npy"
    assert run("simulate", source, out, *options) == 3
    assert "CTK-E000 simulate needs either" in capsys.readouterr().err
    assert not out.exists()
