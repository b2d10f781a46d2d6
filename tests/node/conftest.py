"""Tiny series, and a node between a sender and a peer."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason='needs pip install "ct_keras[pacs]"')

from dicom_peers import SLICES, RecordingPeer

from ct_keras.denoising.methods import get_method
from ct_keras.dicom import create_series
from ct_keras.node.node import Node
from ct_keras.node.settings import NodeSettings, Peer
from ct_keras.node.spool import Spool
from ct_keras.node.worker import Work

SIZE = 64


@pytest.fixture(scope="session")
def series(tmp_path_factory):
    """Gives the folder of a small series; another seed is another patient."""
    made = {}

    def make(seed: int = 0) -> Path:
        if seed not in made:
            y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
            noise = np.random.default_rng(seed).normal(0, 10, (SLICES, SIZE, SIZE))
            body = x * x + y * y < (0.35 * SIZE) ** 2
            folder = tmp_path_factory.mktemp("sent") / "series"
            create_series(
                np.where(body, 50, -1000) + noise,
                (5.0, 0.5, 0.5),
                folder,
                patient_id=f"SECRETX-{seed}",
                series_description="SECRETX",
                seed_uid=str(seed),
            )
            made[seed] = folder
        return made[seed]

    return make


@pytest.fixture
def peer(request):
    peer = RecordingPeer(tells=getattr(request, "param", True))
    yield peer
    peer.stop()


@pytest.fixture
def start(peer, tmp_path):
    """Gives a node that sends to the peer, as a context manager."""

    def make(*, work=None, spool=tmp_path / "spool", **changes) -> Node:
        options = {
            "forward": Peer("PEER", "127.0.0.1", peer.port),
            "port": 0,
            "aet": "NODE",
            "quiet_seconds": 0.5,
            "release_seconds": 0.1,
            "first_retry_seconds": 0.2,
        }
        settings = NodeSettings(**options | changes)
        return Node(settings, work or Work(get_method("filter:gaussian")), Spool(spool))

    return make
