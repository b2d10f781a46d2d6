"""A running Orthanc, for tests that need a real archive."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections import Counter

from dicom_peers import wait_for

ORTHANC = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Orthanc:
    """A running Orthanc with an empty storage; `more` changes its configuration."""

    def __init__(self, folder, **more):
        self.port, http = free_port(), free_port()
        self._base = f"http://127.0.0.1:{http}"
        options = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": http,
            "DicomPort": self.port,
            "DicomAet": "PEER",
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
        } | more
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(options))
        log = (folder / "log.txt").open("wb")
        with log:
            self._process = subprocess.Popen(
                [ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log
            )
        wait_for(lambda: self.get("/system"), 60)

    def get(self, path: str):
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(self._base + path, timeout=20) as answer,
        ):
            return json.loads(answer.read())

    def files(self) -> dict[str, bytes]:
        """SOPInstanceUID -> the file as it is stored, of every instance."""
        found = {}
        for name in self.get("/instances"):
            uid = self.get(f"/instances/{name}/simplified-tags")["SOPInstanceUID"]
            place = f"{self._base}/instances/{name}/file"
            with urllib.request.urlopen(place, timeout=20) as answer:
                found[uid] = answer.read()
        return found

    def changes(self) -> Counter:
        found = self.get("/changes?limit=1000")["Changes"]
        return Counter(each["ChangeType"] for each in found)

    def post(self, path: str, body: bytes) -> None:
        with urllib.request.urlopen(self._base + path, body, timeout=20) as answer:
            assert answer.status == 200

    def stop(self):
        self._process.terminate()
        self._process.wait(30)
