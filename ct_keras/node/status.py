"""How a node is: one line for its log, one small document for others."""

from __future__ import annotations

import datetime
import json
import os
import time
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.files import write_text
from ct_keras.node.ledger import Ledger, State

#: A status that is older is that of a node which no longer runs.
STALE_SECONDS = 30.0


def measure(ledger: Ledger, spool, forwarder, port: int) -> dict:
    """Returns the status of a running node.

    Args:
        ledger: Its ledger.
        spool: Its `Spool`.
        forwarder: Its `Forwarder`.
        port: Where it listens.
    """
    of_state = {state: ledger.batches(state) for state in State}
    finished = of_state.pop(State.FINISHED)
    waiting = [batch for batches in of_state.values() for batch in batches]
    return {
        "running": True,
        "time": time.time(),
        "pid": os.getpid(),
        "port": port,
        "series": {
            **{state.value: len(batches) for state, batches in of_state.items()},
            "sent": sum(not batch.refused for batch in finished),
            "refused": sum(batch.refused for batch in finished),
        },
        "instances_waiting": sum(len(batch.waiting) for batch in waiting),
        "peer_reachable": forwarder.reachable,
        "failures_to_send": forwarder.failures,
        "spool_bytes": spool.size(),
        "free_bytes": spool.free(),
    }


def line(status: dict) -> str:
    """The status in one line."""
    series = ", ".join(f"{count} {name}" for name, count in status["series"].items())
    peer = {True: "reachable", False: "not reachable", None: "not called yet"}
    return (
        f"series: {series}; peer {peer[status['peer_reachable']]}; "
        f"spool {status['spool_bytes'] / 2**20:.0f} MiB, "
        f"{status['free_bytes'] / 2**30:.1f} GiB free"
    )


def write(path: Path, status: dict) -> None:
    """Replaces the status document."""
    write_text(path, json.dumps(status, indent=1) + "\n")


def read(path: Path) -> dict:
    """Reads the status document of a running node.

    Raises:
        CtKerasError: CTK-E103, if there is none, or if the node has stopped.
    """
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
        age = time.time() - float(status["time"])
        line(status)
    except (OSError, ValueError, KeyError, TypeError):
        raise _not_running("no status") from None
    if not status["running"] or age > STALE_SECONDS:
        moment = datetime.datetime.fromtimestamp(status["time"]).astimezone()
        raise _not_running(f"last status of {moment.isoformat(timespec='seconds')}")
    return status


def _not_running(received: str) -> CtKerasError:
    return CtKerasError(
        "CTK-E103",
        "no node is running with this spool",
        received=received,
        fix="start it: ct-keras listen --spool SPOOL --forward AET@HOST:PORT",
    )
