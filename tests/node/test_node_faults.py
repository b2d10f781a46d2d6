"""A node whose files are damaged, whose method fails, or that must stop at once."""

import json
import shutil
import time

from dicom_peers import SLICES, send, wait_for

from ct_keras.denoising.methods import as_method
from ct_keras.errors import CtKerasError
from ct_keras.node import worker
from ct_keras.node.receiver import _Pace
from ct_keras.node.worker import Work


def outcome(node) -> tuple[int, int]:
    found = node.status()["series"]
    return found["sent"], found["refused"]


def refusals(spool) -> list[str]:
    [path] = (spool / "refused").glob("*/refusal.json")
    return json.loads(path.read_text())["refusals"]


def test_a_received_file_that_was_damaged_refuses_its_series(
    start, peer, series, tmp_path
):
    with start(quiet_seconds=100) as node:
        send(series(), node.port, stop_after=SLICES - 1)
    spool = tmp_path / "spool"
    path = next((spool / "received").glob("*/*.dcm"))
    path.write_bytes(path.read_bytes()[:-1])
    with start(quiet_seconds=0.1) as node:
        wait_for(lambda: outcome(node) == (0, 1))
    assert refusals(spool) == ["CTK-E104 1 of 2 received files are damaged"]
    assert not peer.received


def test_a_derived_file_that_was_damaged_is_made_again(start, peer, series, tmp_path):
    peer.stop()
    with start() as node:
        send(series(), node.port)
        wait_for(lambda: node.status()["series"]["denoised"] == 1)
    path = sorted((tmp_path / "spool" / "denoised").glob("*/*/*.dcm"))[1]
    path.write_bytes(b"")
    peer.start()
    with start() as node:
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES


def test_a_method_that_fails_is_given_up_after_some_attempts(
    start, series, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(worker, "_WAIT_SECONDS", 0.1)
    calls = []

    def fails(hu):
        calls.append(len(hu))
        raise LookupError("SECRETX")

    with start(work=Work(as_method(fails))) as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (0, 1))
    assert refusals(tmp_path / "spool") == ["CTK-E999 unexpected LookupError"]
    assert len(calls) >= worker._MOST_FAILURES
    assert "SECRETX" not in caplog.text


def test_a_full_disk_is_not_the_fault_of_a_series(start, peer, series, monkeypatch):
    monkeypatch.setattr(worker, "_WAIT_SECONDS", 0.1)
    plain, calls = worker.denoise_series, []

    def full(*arguments, **options):
        calls.append(1)
        if len(calls) <= worker._MOST_FAILURES + 1:
            raise CtKerasError("CTK-E073", "cannot write: disk full")
        return plain(*arguments, **options)

    monkeypatch.setattr(worker, "denoise_series", full)
    with start() as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES


def test_it_stops_after_a_slice_and_goes_on_after_the_next_start(
    start, peer, series, tmp_path
):
    begun = []

    def slow(hu):
        begun.append(len(hu))
        time.sleep(0.5)
        return hu - 1

    work = Work(as_method(slow))
    with start(work=work) as node:
        send(series(), node.port)
        wait_for(lambda: begun)
    assert len(begun) < SLICES  # not to the end of the series
    spool = tmp_path / "spool"
    assert not peer.received and not list(spool.glob("denoised/*/*/*.dcm"))
    with start(work=work) as node:
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES


def test_a_spool_in_which_files_lie_about_is_put_in_order(
    start, peer, series, tmp_path
):
    """What a killed node had not written into its journal was not answered."""
    with start(quiet_seconds=100) as node:
        send(series(), node.port, stop_after=1)
    spool = tmp_path / "spool"
    [received] = (spool / "received").iterdir()
    (received / "0123.dcm").write_bytes(b"half")
    (spool / "incoming" / "x").write_bytes(b"half")
    shutil.copytree(received, spool / "denoised" / "unknown")
    with start(quiet_seconds=0.1) as node:
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1]
    assert list(spool.glob("*/*")) == []


def test_the_pace_of_one_address(monkeypatch):
    now, slept = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = _Pace(10, slept.append)
    for _ in range(10):
        pace.wait("a")
    assert slept == []  # a burst of one second
    pace.wait("b")
    assert slept == []
    for _ in range(3):
        pace.wait("a")
    assert [round(seconds, 6) for seconds in slept] == [0.1, 0.2, 0.3]
    now[0] += 10
    pace.wait("a")
    assert len(slept) == 3
