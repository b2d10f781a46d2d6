"""`ct-keras listen`: what it refuses before it listens, and how it says so."""

import importlib.metadata
import json
import time

import pytest

from ct_keras.cli.main import main
from ct_keras.dicom import Limits, ReadOptions
from ct_keras.errors import CtKerasError
from ct_keras.node import require_pynetdicom

FORWARD = ["--forward", "PEER@127.0.0.1:104"]


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as end:
        main(["listen", *map(str, arguments)])
    return end.value.code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--forward AET@HOST:PORT is needed"),
        (["--forward", "PEER"], "not the address of a DICOM peer"),
        ([*FORWARD, "--aet", "A" * 17], "not a valid AE title"),
        ([*FORWARD, "--allow-address", "hospital"], "not an IP address or network"),
        ([*FORWARD, "--tls-key", "key.pem"], "TLS needs both"),
        ([*FORWARD, "--forward-tls"], "TLS needs both"),
        ([*FORWARD, "--quiet-seconds", "nan"], "--quiet-seconds"),
        ([*FORWARD, "--model", "filter:none"], "filter"),
    ],
)
def test_usage(arguments, expected, tmp_path, capsys):
    spool = tmp_path / "spool"
    assert run(*arguments, "--spool", spool) == 3
    assert expected in capsys.readouterr().err
    assert not spool.exists()


@pytest.mark.parametrize("found", [None, "3.0.3"])
def test_the_missing_package_is_named_with_its_command(found, monkeypatch, capsys):
    def version(name):
        assert name == "pynetdicom"
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    require_pynetdicom()
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert run(*FORWARD) == 4
    told = capsys.readouterr().err
    assert told.startswith("CTK-E093") and 'pip install "ct_keras[pacs]"' in told
    assert "expected: pynetdicom 3.0.4 or later" in told


def test_options_of_the_reader_are_those_of_the_node(tmp_path, monkeypatch, capsys):
    works = []

    def start(settings, work, spool):
        works.append(work)
        raise CtKerasError("CTK-E101", "not in this test")

    monkeypatch.setattr("ct_keras.node.node.Node", start)
    call = [*FORWARD, "--spool", tmp_path / "spool", "--model", "filter:mean"]
    assert run(*call) != 0
    assert run(*call, "--force-hu", "--allow-tilt", "--max-image-mib", 700) != 0
    plain, given = works
    assert plain.reading == ReadOptions()
    limits = Limits(max_file_bytes=700 * 2**20)
    assert given.reading == ReadOptions(force_hu=True, allow_tilt=True, limits=limits)
    assert given.configuration != plain.configuration  # refused series are tried again
    assert run(*FORWARD, "--allow-no-preamble") == 3


def test_status_of_a_spool(tmp_path, capsys):
    assert run("--status", tmp_path) == 4
    assert "CTK-E103 no node is running" in capsys.readouterr().err
    status = {
        "running": True,
        "time": time.time(),
        "series": {"receiving": 1, "sent": 2},
        "peer_reachable": True,
        "spool_bytes": 3 * 2**20,
        "free_bytes": 2**30,
    }
    path = tmp_path / "status.json"
    path.write_text(json.dumps(status))
    assert run("--status", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == status
    assert run("--status", tmp_path) == 0
    assert capsys.readouterr().out == (
        "series: 1 receiving, 2 sent; peer reachable; spool 3 MiB, 1.0 GiB free\n"
    )
    path.write_text(json.dumps(status | {"time": time.time() - 60}))
    assert run("--status", tmp_path) == 4
    path.write_text('{"running": true')
    assert run("--status", tmp_path) == 4
