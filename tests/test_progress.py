"""Progress: a line that is replaced in a notebook, nothing where output is piped."""

import io
import sys
import types

import keras
import numpy as np
import pytest

from ct_keras import progress
from ct_keras.training.callbacks import ProgressBar


class Stream(io.StringIO):
    """A stream of the class that the kernel of a notebook has."""

    __module__ = "ipykernel.iostream"


@pytest.fixture
def states(monkeypatch):
    """What the line of a notebook shows, one after the other."""
    shown = []

    class Handle:
        def update(self, data, raw):
            assert raw
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        assert display_id
        Handle().update(data, raw)
        return Handle()

    fake = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    streams = types.SimpleNamespace(stdout=Stream(), stderr=io.StringIO())
    monkeypatch.setattr(progress, "sys", streams)
    return shown


def test_a_notebook_shows_one_line_whose_last_state_stays(states, monkeypatch):
    monkeypatch.setattr(progress, "_PAUSE_S", -1.0)
    assert list(progress.track([3, 4], "Counting")) == [3, 4]
    counts = [text.removeprefix("Counting: ").split(",")[0] for text in states]
    assert counts == ["0 of 2", "1 of 2", "2 of 2", "2 of 2"]
    assert states[-1] == "Counting: 2 of 2, 0 s"


def test_the_line_is_replaced_seldom(states):
    list(progress.track(range(1000), "Counting"))
    assert len(states) < 10


def test_the_line_tells_how_far_work_came_that_failed(states):
    items = progress.track(iter("abc"), "Reading")
    next(items), next(items)
    items.close()
    assert states == ["Reading: 0, 0 s", "Reading: 1, 0 s"]


def test_nothing_is_shown_if_piped_hidden_or_empty(states, capsys):
    assert list(progress.track("ab", "Reading", enabled=False)) == ["a", "b"]
    assert list(progress.track("", "Reading")) == []
    progress.sys.stdout = io.StringIO()
    assert list(progress.track("ab", "Reading")) == ["a", "b"]
    assert states == []
    assert progress.sys.stdout.getvalue() == progress.sys.stderr.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_fit_tells_its_steps_of_all_epochs(states):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    data = np.zeros((6, 1))
    options = {"batch_size": 2, "epochs": 2, "verbose": 0}
    network.fit(data, data, callbacks=[ProgressBar()], **options)
    assert states[0] == "Training: 0 of 6, 0 s"
    assert states[-1].startswith("Training, loss 0.00e+00: 6 of 6, ")
