"""`ct-keras judge`: one table, one JSON document and nothing else."""

import json

import pytest
from small_judges import LESIONS, ORGANS

from ct_keras.cli import main
from ct_keras.tasks.recipes import TaskRecipe


@pytest.fixture
def small_recipes(monkeypatch):
    """Judges of a minute's work instead of six."""
    changed = TaskRecipe.changed

    def smaller(recipe, **values):
        data = ORGANS if "window_hu" in recipe.options else LESIONS
        values |= {"epochs": 1, "data": data}
        return changed(recipe, **values)

    monkeypatch.setattr(TaskRecipe, "changed", smaller)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    return int(end.value.code or 0), capsys.readouterr()


def test_a_seed_below_zero_is_refused(capsys, tmp_path):
    status, text = run(capsys, "judge", "input", "--out", tmp_path / "o", "--seed", -1)
    assert status == 3 and text.err.startswith("CTK-E000")
    assert not (tmp_path / "o").exists()


def test_json_is_all_that_is_printed(capsys, small_recipes, tmp_path):
    out = tmp_path / "out"
    arguments = ("judge", "input", "filter:median", "--out", out, "--dose", "0.1")
    status, text = run(capsys, *arguments, "--json")
    assert status == 0
    document = json.loads(text.out)
    assert document == json.loads((out / "judge.json").read_text())
    assert [row["model"] for row in document["rows"]] == [
        *("full dose", "low dose", "input", "filter:median")
    ]
    status, text = run(capsys, *arguments)
    assert status == 6 and text.err.startswith("CTK-E071")
