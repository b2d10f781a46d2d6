"""A node that is killed and started again: everything arrives, and only once."""

import os
import random
import signal
import socket
import time

import pytest
from dicom_peers import SLICES, send, wait_for
from node_process import NodeProcesses

#: In the order in which they come; the spool is handed from one to the next.
MOMENTS = [
    "after received 1",  # on the disk, not answered
    "before received 2",  # on the disk, not in the journal
    "before complete 1",
    "after complete 1",
    "after started 1",
    "before denoised 1",
    "after denoised 1",
    "before sent 1",  # the peer has it
    "after sent 1",
    "before finished 1",
    "after finished 1",  # not cleared yet
]


@pytest.fixture
def nodes(peer, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nodes = NodeProcesses(tmp_path / "spool", port, peer.port, tmp_path / "log.txt")
    nodes.port = port
    yield nodes
    nodes.close()


def send_until_taken(folder, port) -> None:
    wait_for(lambda: send(folder, port) == [0x0000] * SLICES)


def under_way(spool) -> list:
    return [path for path in spool.glob("*/*") if path.parent.name != "refused"]


def test_kills_at_marked_moments(nodes, peer, series, tmp_path):
    spool = tmp_path / "spool"
    for moment in MOMENTS:
        nodes.start(moment)
        if "received" in moment:
            assert send(series(), nodes.port)[-1] is None
        elif "before complete" in moment:
            assert send(series(), nodes.port) == [0x0000] * SLICES
        assert nodes.ended() == signal.SIGKILL, moment
    last = nodes.start()
    wait_for(lambda: not under_way(spool))
    os.kill(last, signal.SIGTERM)
    assert nodes.ended() == 0
    assert list(peer.received.values()) == [1] * SLICES
    assert len({data.SeriesInstanceUID for data in peer.datasets.values()}) == 1


@pytest.mark.parametrize(
    ("peer", "times"),
    [(True, [1, 1, 1]), (False, [1, 1, 2])],
    ids=["a peer that tells", "a peer that does not"],
    indirect=["peer"],
)
def test_an_answer_that_was_lost_is_asked_for(nodes, peer, times, series, tmp_path):
    """Killed between the peer's answer and the journal: the peer knows what it has."""
    nodes.start("before sent 2")
    send(series(), nodes.port)
    assert nodes.ended() == signal.SIGKILL
    last = nodes.start()
    wait_for(lambda: not under_way(tmp_path / "spool"))
    os.kill(last, signal.SIGTERM)
    assert nodes.ended() == 0
    assert sorted(peer.received.values()) == times
    assert {len(found) for found in peer.contents.values()} == {1}


def test_kills_at_random_moments(nodes, peer, series, tmp_path, kills):
    chance = random.Random(11)
    folders = [series(seed) for seed in range(2)]
    for number in range(kills):
        node = nodes.start(quiet_seconds=30)
        end = time.monotonic() + chance.uniform(0, 0.6)
        send(folders[number % 2], nodes.port)
        time.sleep(max(0.0, end - time.monotonic()))
        os.kill(node, signal.SIGKILL)
        assert nodes.ended() == signal.SIGKILL
    last = nodes.start(quiet_seconds=30)
    for folder in folders:
        send_until_taken(folder, nodes.port)
    wait_for(lambda: not under_way(tmp_path / "spool"))
    os.kill(last, signal.SIGTERM)
    assert nodes.ended() == 0
    assert list(peer.received.values()) == [1] * 2 * SLICES
    assert len({data.SeriesInstanceUID for data in peer.datasets.values()}) == 2
    assert {len(found) for found in peer.contents.values()} == {1}
    assert "SECRETX" not in (tmp_path / "log.txt").read_text()
