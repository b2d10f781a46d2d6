"""A short run of the broken inputs that `make fuzz` feeds by the hundred thousand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tools():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        import fuzz
        import fuzz_inputs
        import fuzz_targets

        yield fuzz, fuzz_inputs, fuzz_targets


@pytest.fixture(scope="module")
def series(tools, tmp_path_factory):
    return tools[2].Series(tmp_path_factory.mktemp("fuzz"))


def test_an_input_follows_from_its_number(tools, series):
    bend = tools[1].bend
    first = [bend(series.samples, 7, number) for number in range(20)]
    assert first == [bend(series.samples, 7, number) for number in range(20)]
    assert first != [bend(series.samples, 8, number) for number in range(20)]
    changed = [bent.content != series.samples[bent.sample][bent.file] for bent in first]
    assert sum(changed) >= 15


def test_broken_slices_are_read_or_refused(tools, series):
    fuzz, inputs, _ = tools
    outcomes = set()
    for number in range(100):
        bent = inputs.bend(series.samples, 3, number)
        outcome, reason = fuzz.judge(series, bent, number)
        assert reason is None, f"input {number}: {reason}"
        outcomes.add(outcome)
    assert {"read", "written", "CTK-E003", "CTK-E007"} <= outcomes


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        ("compressed", 20, {"read", "CTK-E003", "CTK-E013"}),
        ("one-file", 40, {"read", "CTK-E001", "CTK-E003"}),
        ("volume", 60, {"read", "written", "CTK-E003"}),
        ("picture", 80, {"read", "written", "CTK-E003"}),
        ("records", 60, {"CTK-E080", "CTK-E085"}),
        ("forged-records", 25, {"read", "CTK-E080"}),
        ("forged-model", 25, {"read", "CTK-E091"}),
    ],
)
def test_other_broken_files_are_read_or_refused(
    tools, tmp_path, monkeypatch, kind, count, expected
):
    fuzz, inputs, targets = tools
    monkeypatch.setenv("CT_KERAS_HASH_KEY_FILE", "")
    target = targets.TARGETS[kind](tmp_path)
    outcomes = set()
    for number in range(count):
        bent = inputs.bend(target.samples, 3, number, head=target.head)
        outcome, reason = fuzz.judge(target, bent, number)
        assert reason is None, f"input {number}: {reason}"
        outcomes.add(outcome)
    assert expected <= outcomes


class TestFindings:
    """What must not happen is noticed."""

    def bent(self, tools, series):
        return tools[1].bend(series.samples, 0, 0)

    def reason(self, tools, series, result):
        class Target:
            def check(self, bent, number):
                return result()

        return tools[0].judge(Target(), self.bent(tools, series), 0)[1]

    def test_another_exception(self, tools, series):
        def fail():
            raise KeyError("x")

        assert "KeyError" in self.reason(tools, series, fail)

    def test_a_warning_of_numpy(self, tools, series):
        def overflow():
            return np.float32(1e38) * np.float32(1e38)

        assert "RuntimeWarning" in self.reason(tools, series, overflow)

    def test_a_lost_slice(self, tools, series, monkeypatch):
        read = tools[2].Series._read

        def losing(self, folder):
            found = read(self, folder)
            found.sources = found.sources[:-1]
            found.findings = []
            return found

        monkeypatch.setattr(tools[2].Series, "_read", losing)
        good = tools[1].Bent(0, 0, series.samples[0][0])
        _, reason = tools[0].judge(series, good, 1)
        assert "2 of 3 slices without a word" in reason

    def test_a_wrong_value(self, tools, series, monkeypatch):
        good = tools[1].Bent(0, 0, series.samples[0][0])
        monkeypatch.setattr(series, "hu", [hu + 1 for hu in series.hu])
        _, reason = tools[0].judge(series, good, 1)
        assert "AssertionError" in reason


def test_its_file_is_kept_and_no_other(tools, tmp_path, monkeypatch):
    class Target:
        samples, head = [[b"good"], [b"fine"]], None

        def __init__(self, folder):
            pass

        def check(self, bent, number):
            if number == 2:
                raise KeyError("x")

    fuzz, inputs, _ = tools
    monkeypatch.setitem(fuzz.TARGETS, "series", Target)
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)
    fuzz.work("series", 3, range(4), tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name == "series-3-2"
    assert kept.read_bytes() == inputs.bend(Target.samples, 3, 2).content


def test_the_process_with_limits_goes_on_after_an_input_that_ends_it(
    tools, tmp_path, monkeypatch
):
    """A worker that dies at every third input: each of those is a finding."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "start, stop = map(int, sys.argv[4:6])\n"
        "for number in range(start, stop):\n"
        "    print(json.dumps([number, None, [1, 0]]), flush=True)\n"
        "    if number % 3 == 2: os._exit(9)\n"
        "    print(json.dumps([number, 'read', None]), flush=True)\n"
    )
    monkeypatch.setattr(tools[0], "__file__", str(worker))
    monkeypatch.setattr(sys, "argv", ["fuzz"])
    results = list(tools[0].run("series", 7, 0, tmp_path / "out"))
    assert [number for number, *_ in results] == list(range(7))
    outcomes = [outcome for _, outcome, _ in results]
    assert outcomes == ["read", "read", "finding"] * 2 + ["read"]
    assert len(list((tmp_path / "out").iterdir())) == 2
    facts = json.loads((tmp_path / "out" / "series-0-5.json").read_text())
    assert facts == {"sample": 1, "file": 0, "reason": "the process ended with 9"}


def test_a_process_that_does_not_begin_is_an_error(tools, tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("raise SystemExit(1)\n")
    monkeypatch.setattr(tools[0], "__file__", str(worker))
    with pytest.raises(RuntimeError, match="does not start"):
        list(tools[0].run("series", 7, 0, tmp_path / "out"))


def test_a_thread_that_ends_while_memory_is_looked_at_ends_nothing(tools, monkeypatch):
    fuzz = tools[0]
    gone = Path("/proc/self/task/0/children")
    monkeypatch.setattr(fuzz.Path, "glob", lambda *_: [gone])
    assert fuzz._peak_bytes() > 2**20
