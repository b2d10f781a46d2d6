"""Progress: a line that is written over in a notebook, nothing where it is piped."""

import io
import sys

import keras
import numpy as np

from ct_keras import progress
from ct_keras.training.callbacks import ProgressBar


class Stream(io.StringIO):
    """As the kernel of a notebook has it; `type` of it decides."""

    __module__ = "ipykernel.iostream"


def states(stream):
    """What the line showed, one after the other."""
    return [state.strip() for state in stream.getvalue().split("\r")[1:]]


def test_a_notebook_shows_one_line_whose_last_state_stays(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Stream())
    monkeypatch.setattr(progress, "_PAUSE_S", -1.0)
    assert list(progress.track([3, 4], "Counting")) == [3, 4]
    texts = ["Counting: 1 of 2, 0 s", "Counting: 2 of 2, 0 s", "Counting: 2 of 2, 0 s"]
    assert states(sys.stdout) == texts
    assert sys.stdout.getvalue().endswith("\n")
    assert sys.stdout.getvalue().count("\n") == 1


def test_the_line_tells_how_far_work_came_that_failed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Stream())
    items = progress.track(iter("abc"), "Reading")
    next(items), next(items)
    items.close()
    assert states(sys.stdout) == ["Reading: 1, 0 s"]


def test_nothing_is_shown_where_output_is_piped_or_hidden(monkeypatch, capsys):
    assert list(progress.track("ab", "Reading")) == ["a", "b"]
    monkeypatch.setattr(sys, "stdout", Stream())
    assert list(progress.track("ab", "Reading", enabled=False)) == ["a", "b"]
    assert sys.stdout.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_fit_tells_its_steps_of_all_epochs(monkeypatch):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    monkeypatch.setattr(sys, "stdout", Stream())
    data = np.zeros((6, 1))
    options = {"batch_size": 2, "epochs": 2, "verbose": 0}
    network.fit(data, data, callbacks=[ProgressBar()], **options)
    assert states(sys.stdout)[-1].startswith("Training, loss 0.00e+00: 6 of 6, ")
