"""A DICOM node in a process of its own, to be killed at marked moments.

Run as a script it loads everything once and then forks a node for each line on its
standard input, a JSON object: spool, port, peer (a port), quiet_seconds and moment. A
moment such as ``before sent 2`` is that at which the second line of the kind "sent"
would be written to the journal; the node then kills itself. It answers with the number
of the process.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


class NodeProcesses:
    """Starts nodes that share one spool, one after the other."""

    def __init__(self, spool: Path, port: int, peer: int, log: Path):
        self._options = {"spool": str(spool), "port": port, "peer": peer}
        self._log = log.open("ab")
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def start(self, moment: str = "", quiet_seconds: float = 1.0) -> int:
        """Starts a node and returns its process number when it listens."""
        options = {"moment": moment, "quiet_seconds": quiet_seconds}
        line = json.dumps(self._options | options)
        self._parent.stdin.write(line + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def ended(self) -> int:
        """Waits for the end of the node; returns the signal that ended it, or 0."""
        self._parent.stdin.write("wait\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        self._parent.stdin.close()
        self._parent.wait(20)
        self._parent.stdout.close()
        self._log.close()


def kill_at(moment: str) -> None:
    """Lets this process kill itself at a moment."""
    from ct_keras.node.ledger import Ledger

    when, kind, number = moment.split()
    plain, seen = Ledger.record, []

    def record(self, event, *names, **details):
        seen.append(event)
        now = event == kind and seen.count(kind) == int(number)
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = plain(self, event, *names, **details)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Ledger.record = record


def run(options: dict, listening: int) -> None:
    """Runs a node until it is killed or told to end."""
    from ct_keras.cli import process
    from ct_keras.denoising.methods import get_method
    from ct_keras.node.node import Node
    from ct_keras.node.settings import NodeSettings, Peer
    from ct_keras.node.spool import Spool
    from ct_keras.node.worker import Work

    process.stop_on_signals()
    if options["moment"]:
        kill_at(options["moment"])
    settings = NodeSettings(
        forward=Peer("PEER", "127.0.0.1", options["peer"]),
        port=options["port"],
        aet="NODE",
        quiet_seconds=options["quiet_seconds"],
        release_seconds=0.1,
        first_retry_seconds=0.1,
    )
    work = Work(get_method("filter:gaussian"))
    try:
        spool = Spool(Path(options["spool"]))
        with process.private_and_logged(), Node(settings, work, spool) as node:
            os.write(listening, b"x")
            node.watch()
    except process.Stopped:
        os._exit(0)
    os._exit(1)


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    import scipy.ndimage  # noqa: F401

    import ct_keras.node.node
    import ct_keras.serving.series  # noqa: F401

    child = 0
    for line in sys.stdin:
        if line == "wait\n":
            _, status = os.waitpid(child, 0)
            tell(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
            continue
        ready, listening = os.pipe()
        child = os.fork()
        if not child:
            os.close(ready)
            try:
                run(json.loads(line), listening)
            finally:
                os._exit(3)
        os.close(listening)
        os.read(ready, 1)
        os.close(ready)
        tell(child)


if __name__ == "__main__":
    main()
