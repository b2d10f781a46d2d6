"""What the journal and the ledger hold after cuts, damage, full disks and restarts."""

import errno
import json
import os
import time

import pytest

from ct_keras.errors import CtKerasError
from ct_keras.node.intake import Intake
from ct_keras.node.journal import Journal
from ct_keras.node.ledger import REMEMBERED_DAYS, Batch, Ledger, State

EVENTS = [{"event": "opened", "batch": "a", "series": "s"}, {"event": "x", "n": 2}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def written(path, events) -> Journal:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    return journal


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_was_cut_short_never_counts(path, cut):
    written(path, EVENTS).close()
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    journal = Journal(path)
    assert journal.read() == EVENTS[:1]
    journal.append({"event": "next"})
    assert journal.read() == [EVENTS[0], {"event": "next"}]
    journal.close()


def test_damage_before_the_last_line_is_told(path):
    written(path, EVENTS).close()
    path.write_bytes(b"{" + path.read_bytes())
    with pytest.raises(CtKerasError, match="CTK-E101"):
        Journal(path).read()


def test_a_full_disk_leaves_nothing_of_a_line(path, monkeypatch):
    journal = written(path, EVENTS)
    before = path.read_bytes()
    plain = os.write

    def half(handle, data):
        plain(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space"):
        journal.append({"event": "lost"})
    monkeypatch.undo()
    assert path.read_bytes() == before
    journal.close()
    with pytest.raises(OSError, match="descriptor"):
        journal.append({"event": "too late"})


def ledger(path, configuration="c") -> Ledger:
    return Ledger(Journal(path), configuration)


def fill(found: Ledger) -> None:
    """A batch in each state."""
    for name in "abcde":
        found.record("opened", name, series=f"series {name}")
        for number in range(2):
            found.record("received", name, file=f"{name}{number}", bytes=number)
    for name in "bcde":
        found.record("complete", name)
        found.record("started", name)
    for name in "cd":
        found.record("denoised", name, instances=["1", "2"], refusals=["CTK-E003 x"])
        found.record("sent", name, instance="2")
    found.record("finished", "d", refusals=[], refused=False)
    found.record("finished", "e", refusals=["CTK-E050 y"], refused=True)


def test_the_state_is_the_same_after_a_restart_and_after_compaction(path):
    first = ledger(path)
    first.compact()
    fill(first)
    expected = first.batches(*State)
    assert [batch.state.value for batch in expected] == [
        *("receiving", "complete", "denoised", "finished", "finished")
    ]
    assert expected[2].waiting == ["1"]
    for compacted in range(2):
        again = ledger(path)
        if compacted:
            again.compact()
            again = ledger(path)
        found = again.batches(*State)
        for batch in (*found, *expected):
            if batch.state is State.FINISHED:
                batch.instances, batch.sent = [], set()  # no longer needed
        assert found == expected
        assert [again.batch_of(f"{name}1") for name in "abcdef"] == [
            *("a", "b", "c", "d", None, None)
        ]


def test_what_is_done_is_forgotten_in_time_or_for_another_method(path, monkeypatch):
    fill(ledger(path))
    other = ledger(path, "another method")
    other.compact()
    assert {batch.name for batch in other.batches(*State)} == {"a", "b", "c"}
    assert other.batch_of("d1") is None and other.batch_of("c1") == "c"
    other.record("finished", "c", refusals=[], refused=False)
    other.compact()
    assert other.batch_of("c1") == "c"
    later = time.time() + (REMEMBERED_DAYS + 1) * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    other.compact()
    assert other.batch_of("c1") is None
    kinds = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert kinds == [
        *("configured", "opened", "received", "received"),
        *("opened", "received", "received", "complete", "started"),
    ]


def test_events_of_a_batch_rebuild_it():
    batch = Batch("n", "s", State.DENOISED, {"f": 3}, 2, ["1", "2"], {"1"}, ["R"])
    events = list(batch.events())
    again = Batch(events[0]["batch"], events[0]["series"])
    for event in events[1:]:
        again.apply(event)
    assert again == batch


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_when_a_series_is_complete(path, clock):
    intake = Intake(ledger(path), quiet_seconds=60, release_seconds=2)
    with intake.batch("s", 1) as name:
        clock[0] += 1000
        assert intake.close_due() == []  # an instance is being written
    intake.ended(1, released=False)
    clock[0] += 59
    assert intake.close_due() == []  # its sender may come back
    with intake.batch("s", 2) as again:
        assert again == name
    with intake.batch("s", 3) as again:
        assert again == name
    intake.ended(2, released=True)
    clock[0] += 3
    assert intake.close_due() == []  # another sender is still there
    intake.again(name, 4)
    intake.ended(3, released=True)
    intake.ended(4, released=True)
    clock[0] += 1.9
    assert intake.close_due() == []
    clock[0] += 0.2
    assert intake.close_due() == [name]
    with intake.batch("s", 5) as later:
        assert later != name
    clock[0] += 60
    assert intake.close_due() == [later]  # its sender says nothing more


def test_after_a_restart_a_series_waits_for_its_sender(path, clock):
    first = Intake(ledger(path), quiet_seconds=60, release_seconds=2)
    with first.batch("s", 1) as name:
        pass
    first.ended(1, released=True)
    clock[0] += 3
    second = Intake(ledger(path), quiet_seconds=60, release_seconds=2)
    clock[0] += 59
    assert second.close_due() == []
    with second.batch("s", 1) as again:
        assert again == name
    second.ended(1, released=True)
    clock[0] += 2
    assert second.close_due() == [name]
