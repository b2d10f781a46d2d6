"""dcmtk's storescu -> a node that is killed three times -> Orthanc."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest
from dicom_peers import SLICES, wait_for
from node_process import NodeProcesses
from orthanc import ORTHANC, Orthanc, free_port
from pydicom import dcmread

from ct_keras.denoising.methods import get_method
from ct_keras.dicom import find_series
from ct_keras.serving.series import denoise_series

STORESCU = shutil.which("storescu")
needs_programs = pytest.mark.skipif(
    ORTHANC is None or STORESCU is None, reason="needs Orthanc and storescu (dcmtk)"
)
STUDIES = 5
#: In the midst of receiving, of denoising and of sending.
MOMENTS = ["after received 7", "before denoised 2", "after sent 4"]


@pytest.fixture
def orthanc(tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc")
    yield orthanc
    orthanc.stop()


def store(folder, port: int, results: list) -> None:
    """Sends a study with storescu again and again, until all of it was taken."""
    call = [STORESCU, "-aec", "NODE", "-to", "5", "+sd", "+sp", "*.dcm", "127.0.0.1"]
    for tries in range(1, 100):
        done = subprocess.run([*call, str(port), str(folder)], capture_output=True)
        if done.returncode == 0:
            results.append(tries)
            return
        threading.Event().wait(0.2)


def expected_instances(folders, out) -> dict:
    """SOPInstanceUID -> SeriesInstanceUID of what must arrive."""
    method, found = get_method("filter:gaussian"), {}
    series = [each for folder in folders for each in find_series(folder)]
    for number, source in enumerate(series):
        denoise_series(source, out / str(number), method)
        for path in (out / str(number)).glob("*.dcm"):
            data = dcmread(path)
            found[data.SOPInstanceUID] = data.SeriesInstanceUID
    return found


@needs_programs
def test_five_studies_at_once_through_three_kills(orthanc, series, tmp_path):
    folders = [series(seed) for seed in range(STUDIES)]
    spool, log = tmp_path / "spool", tmp_path / "log.txt"
    port = free_port()
    nodes = NodeProcesses(spool, port, orthanc.port, log)
    results: list[int] = []
    senders = [
        threading.Thread(target=store, args=(folder, port, results))
        for folder in folders
    ]
    nodes.start(MOMENTS[0], quiet_seconds=30)
    for sender in senders:
        sender.start()
    assert nodes.ended() == signal.SIGKILL
    for moment in MOMENTS[1:]:
        nodes.start(moment, quiet_seconds=30)
        assert nodes.ended() == signal.SIGKILL
    last = nodes.start(quiet_seconds=30)
    for sender in senders:
        sender.join(60)
    assert len(results) == STUDIES
    wait_for(lambda: not [path for path in spool.glob("*/*") if path.is_dir()], 60)
    os.kill(last, signal.SIGTERM)
    assert nodes.ended() == 0
    nodes.close()
    expected = expected_instances(folders, tmp_path / "expected")
    stored = [
        orthanc.get(f"/instances/{name}/simplified-tags")
        for name in orthanc.get("/instances")
    ]
    found = {tags["SOPInstanceUID"]: tags["SeriesInstanceUID"] for tags in stored}
    assert found == expected
    assert Counter(found.values()) == dict.fromkeys(expected.values(), SLICES)
    new = orthanc.changes()
    assert (new["NewSeries"], new["NewInstance"]) == (STUDIES, STUDIES * SLICES)
    assert "SECRETX" not in log.read_text()


@needs_programs
def test_the_set_up_sends_originals_only(series, tmp_path):
    """With the shipped script the derived series does not go round in circles."""
    setup = Path(__file__).resolve().parents[2] / "serving" / "dicom_node"
    shipped = json.loads((setup / "orthanc.json").read_text())
    assert shipped["DicomModalities"] == {"ct_keras": ["CTKERAS", "node", 11112]}
    assert shipped["AuthenticationEnabled"] is True
    assert [Path(each).name for each in shipped["LuaScripts"]] == ["send.lua"]
    port = free_port()
    orthanc = Orthanc(
        tmp_path / "orthanc",
        StableAge=1,
        LuaScripts=[str(setup / "send.lua")],
        DicomModalities={"ct_keras": ["NODE", "127.0.0.1", port]},
    )
    nodes = NodeProcesses(tmp_path / "spool", port, orthanc.port, tmp_path / "log.txt")
    node = nodes.start()
    try:
        for path in series().glob("*.dcm"):
            orthanc.post("/instances", path.read_bytes())
        wait_for(lambda: len(orthanc.get("/instances")) == 2 * SLICES, 60)
        stable = "StableSeries"
        wait_for(lambda: orthanc.changes()[stable] == 2, 60)
        threading.Event().wait(2)
        makers = Counter(
            orthanc.get(f"/series/{name}")["MainDicomTags"]["SeriesDescription"]
            for name in orthanc.get("/series")
        )
        assert sorted(makers.values()) == [1, 1]
        assert sum("NOT FOR DIAGNOSTIC USE" in each for each in makers) == 1
        assert len(orthanc.get("/studies")) == 1
    finally:
        os.kill(node, signal.SIGTERM)
        assert nodes.ended() == 0
        nodes.close()
        orthanc.stop()
    assert "refused" not in (tmp_path / "log.txt").read_text().replace("0 refused", "")
