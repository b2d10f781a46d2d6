"""A node in this process: a sender on one side, a peer on the other."""

import contextlib
import json
import logging
import re
import shutil
import socket
import stat
import struct
import subprocess
import threading
import warnings

import pytest
from dicom_peers import SLICES, RecordingPeer, send, wait_for
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from ct_keras.denoising.methods import get_method
from ct_keras.dicom import ReadOptions, find_series
from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError
from ct_keras.node import status
from ct_keras.node.settings import Encryption, NodeLimits, Peer, parse_network
from ct_keras.node.spool import Spool
from ct_keras.node.worker import Work
from ct_keras.serving.series import denoise_series

OUT_OF_RESOURCES = 0xA700


def outcome(node) -> tuple[int, int]:
    found = node.status()["series"]
    return found["sent"], found["refused"]


@pytest.fixture
def echo():
    def call(port, *, calling="SENDER", called="NODE"):
        entity = AE(ae_title=calling)
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", port, ae_title=called)
        if not association.is_established:
            return None
        answer = association.send_c_echo().Status
        association.release()
        return answer

    return call


def test_a_series_arrives_as_denoise_would_write_it(
    start, echo, peer, series, tmp_path
):
    method = get_method("filter:gaussian")
    with start(work=Work(method, strength=0.5)) as node:
        assert echo(node.port) == 0x0000
        assert send(series(), node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (1, 0))
    [source] = find_series(series())
    denoise_series(source, tmp_path / "out", method, strength=0.5)
    expected = [dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    assert peer.received == {data.SOPInstanceUID: 1 for data in expected}
    for data in expected:
        found = peer.datasets[data.SOPInstanceUID]
        assert found.PixelData == data.PixelData
        assert found.SeriesInstanceUID == data.SeriesInstanceUID
        assert found.DerivationDescription == data.DerivationDescription
    spool = tmp_path / "spool"
    assert list(spool.glob("*/*")) == []  # nothing of the patient is left
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def test_compressed_series_are_taken(start, peer, series, tmp_path):
    folder = tmp_path / "compressed"
    shutil.copytree(series(), folder, ignore=shutil.ignore_patterns(".*"))
    for path in folder.iterdir():
        data = dcmread(path)
        data.compress(JPEGLSLossless, generate_instance_uid=False)
        data.save_as(path)
    method = get_method("filter:gaussian")
    with start() as node:
        assert send(folder, node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (1, 0))
    [source] = find_series(series())
    denoise_series(source, tmp_path / "out", method)
    for path in (tmp_path / "out").glob("*.dcm"):
        data = dcmread(path)
        assert peer.datasets[data.SOPInstanceUID].PixelData == data.PixelData


def test_series_sent_together_by_several_senders_stay_apart(start, peer, series):
    with start() as node:
        assert send(series(1).parent, node.port) == [0x0000] * SLICES
        assert send(series(2).parent, node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (2, 0))
    assert len({data.SeriesInstanceUID for data in peer.datasets.values()}) == 2
    assert set(peer.received.values()) == {1} and len(peer.received) == 2 * SLICES


def test_only_the_allowed_are_let_in(start, echo, series, caplog, tmp_path):
    with start(allowed_aets=("SENDER",)) as node:
        assert echo(node.port) == 0x0000
        assert send(series(), node.port, calling="SECRETX") == []
        assert send(series(), node.port, called="OTHER") == []
    assert list((tmp_path / "spool" / "received").iterdir()) == []
    assert "SECRETX" not in caplog.text
    told = "CTK-W109 a connection from 127.0.0.1 was refused"
    assert caplog.text.count(told) == 1  # once a minute
    caplog.clear()
    elsewhere = (parse_network("10.0.0.0/8"),)
    with start(allowed_networks=elsewhere, spool=tmp_path / "other") as node:
        assert echo(node.port) is None
    assert caplog.text.count(told) == 1


def test_results_wait_for_a_peer_that_cannot_be_reached(start, peer, series):
    peer.stop()
    with start() as node:
        assert send(series(), node.port) == [0x0000] * SLICES
        wait_for(lambda: node.status()["failures_to_send"] >= 2)
        assert node.status()["peer_reachable"] is False
        assert node.status()["instances_waiting"] == SLICES
        assert sum(peer.received.values()) == 0
        peer.start()
        wait_for(lambda: outcome(node) == (1, 0))
        assert node.status()["failures_to_send"] == 0
    assert list(peer.received.values()) == [1] * SLICES


def test_only_what_the_peer_has_not_taken_is_sent_again(start, peer, series):
    # Taken with a warning; refused for now; refused; then taken.
    peer.answers = [0xB000, 0xA700, 0xC000]
    with start() as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES


def test_a_peer_that_broke_off_is_asked_what_it_has(start, peer, series):
    peer.answers = [0x0000, "abort"]
    with start() as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES


def test_an_association_that_broke_may_come_back(start, peer, series):
    """The parts are one series, not two."""
    with start() as node:
        assert send(series(), node.port, stop_after=1) == [0x0000]
        assert send(series(), node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (1, 0))
    assert len({data.SeriesInstanceUID for data in peer.datasets.values()}) == 1
    assert list(peer.received.values()) == [1] * SLICES


def test_what_is_done_is_not_done_again_unless_the_method_changes(start, peer, series):
    with start() as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (1, 0))
        assert send(series(), node.port) == [0x0000] * SLICES
        assert node.status()["series"]["receiving"] == 0
    with start() as node:  # it is known after a restart too
        assert send(series(), node.port) == [0x0000] * SLICES
        assert outcome(node) == (1, 0) and node.status()["series"]["receiving"] == 0
    assert list(peer.received.values()) == [1] * SLICES
    with start(work=Work(get_method("filter:gaussian"), strength=0.5)) as node:
        send(series(), node.port)
        wait_for(lambda: outcome(node) == (1, 0))
    assert list(peer.received.values()) == [1] * SLICES * 2


def test_what_is_refused_is_kept_with_its_code_and_the_rest_goes_on(
    start, peer, series, tmp_path, caplog
):
    [source] = find_series(series())
    denoised = tmp_path / "denoised"
    denoise_series(source, denoised, get_method("filter:gaussian"))
    with start() as node:
        send(denoised, node.port)
        send(series(1), node.port)
        wait_for(lambda: outcome(node) == (1, 1))
        [kept] = (tmp_path / "spool" / "refused").iterdir()
        assert len(list(kept.glob("*.dcm"))) == SLICES
        reasons = json.loads((kept / "refusal.json").read_text())["refusals"]
        assert [reason[:8] for reason in reasons] == ["CTK-E050"]
        assert "refused (CTK-E050)" in caplog.text
        # It is taken again: another version of the node may accept it.
        assert send(denoised, node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (1, 2))
    assert list(peer.received.values()) == [1] * SLICES


def test_what_an_option_accepts_goes_on_without_what_is_damaged(
    start, peer, series, tmp_path
):
    sent = shutil.copytree(series(2), tmp_path / "sent")
    path = sorted(sent.glob("*.dcm"))[1]
    data = dcmread(path)
    data.PixelData = data.PixelData[:-100]
    data.save_as(path)
    with start() as node:
        send(sent, node.port)
        wait_for(lambda: outcome(node) == (0, 1))
    work = Work(
        get_method("filter:gaussian"), reading=ReadOptions(skip_bad_slices=True)
    )
    with start(work=work) as node:
        send(sent, node.port)
        wait_for(lambda: outcome(node)[0] == 1)
    assert len(peer.datasets) == SLICES - 1
    for derived in peer.datasets.values():
        assert "accepted skip_bad_slices" in derived.DerivationDescription
        assert "INCOMPLETE SERIES" in derived.ImageComments


def test_limits_of_size_and_disk(start, peer, series, tmp_path):
    small = NodeLimits(instance_bytes=2000)
    with start(limits=small, spool=tmp_path / "1") as node:
        assert send(series(), node.port)[0] == OUT_OF_RESOURCES
    with start(limits=NodeLimits(spool_bytes=12_000), spool=tmp_path / "2") as node:
        assert send(series(), node.port) == [0x0000, *[OUT_OF_RESOURCES] * 2]
    with start(limits=NodeLimits(free_bytes=2**60), spool=tmp_path / "3") as node:
        assert send(series(), node.port)[0] == OUT_OF_RESOURCES
    for name in ("1", "3"):
        assert list(Spool(tmp_path / name).received("x").parent.iterdir()) == []


def test_no_more_senders_than_allowed(start, echo):
    entity = AE(ae_title="FIRST")
    entity.add_requested_context(Verification)
    with start(limits=NodeLimits(associations=1)) as node:
        first = entity.associate("127.0.0.1", node.port, ae_title="NODE")
        assert first.is_established and echo(node.port) is None
        first.release()
        wait_for(lambda: echo(node.port) == 0x0000)


def test_a_message_without_end_is_cut_off(start, series, tmp_path):
    """More than the largest instance and its room is never collected in memory."""
    path = tmp_path / "long" / "1.dcm"
    path.parent.mkdir()
    data = dcmread(next(series().glob("*.dcm")))
    data.add_new(0x7FE00010, "OW", bytes(2**22))
    data.save_as(path)
    with start(limits=NodeLimits(instance_bytes=10_000)) as node:
        assert send(path.parent, node.port) == [None]


def test_a_unit_that_announces_a_gigabyte_is_not_read(start, echo):
    with start() as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as peer:
            peer.sendall(struct.pack(">BBL", 1, 0, 2**30))
            assert peer.recv(100) == b""
        assert echo(node.port) == 0x0000


def test_a_spool_belongs_to_one_node_and_to_nodes_only(start, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(CtKerasError, match="CTK-E071"):
        start(spool=tmp_path / "mine")
    with (
        start(),
        pytest.raises(CtKerasError, match="CTK-E071 another run"),
        start(),
    ):
        pass


def test_a_port_in_use_is_told(start, tmp_path):
    with start() as node:
        second = start(port=node.port, spool=tmp_path / "second")
        with pytest.raises(CtKerasError, match="CTK-E100 cannot listen"), second:
            pass


def test_the_status_says_whether_it_runs(start, tmp_path):
    path = tmp_path / "spool" / "status.json"
    with pytest.raises(CtKerasError, match="CTK-E103"):
        status.read(path)
    with start() as node:
        status.write(path, node.status())
        assert status.read(path)["port"] == node.port
        text = status.line(node.status())
        assert text.startswith("series: 0 receiving, 0 complete, 0 denoised, 0 sent")
    with pytest.raises(CtKerasError, match="CTK-E103"):
        status.read(path)


def test_no_secret_of_a_header_leaves_the_instances(
    start, peer, series, tmp_path, caplog
):
    """A series that is denoised, one that is refused, and one with a broken file."""
    folders = [tmp_path / name for name in ("good", "raw", "cut")]
    for number, folder in enumerate(folders):
        shutil.copytree(series(number), folder, ignore=shutil.ignore_patterns(".*"))
        for path in folder.iterdir():
            data = dcmread(path)
            for keyword in ("InstitutionName", "StudyID", "BodyPartExamined"):
                setattr(data, keyword, "SECRETX")
            data.PatientName, data.ConvolutionKernel = "SECRETX^A", "SECRETX"
            data.private_block(0x99, "SECRETX", create=True).add_new(1, "LO", "SECRETX")
            if folder.name == "raw":
                data.RescaleType = "SECRETX"
            if folder.name == "cut":
                data.PixelData = data.PixelData[:100]
            data.save_as(path)
    with start() as node:
        for folder in folders:
            assert send(folder, node.port) == [0x0000] * SLICES
        wait_for(lambda: outcome(node) == (1, 2))
        written = json.dumps(node.status()) + status.line(node.status())
    for path in (tmp_path / "spool").rglob("*"):
        written += str(path.relative_to(tmp_path))
        if path.is_file() and path.suffix != ".dcm":
            written += path.read_text()
    assert "CTK-E042" in written and "CTK-E003" in written
    assert "batch" in caplog.text
    uids = {uid for data in peer.datasets.values() for uid in _uids(data)}
    for secret in ("SECRETX", *uids):
        assert secret not in written + caplog.text
    assert peer.received


def test_what_libraries_say_stays_out_of_the_log(start, caplog, capfd):
    """Also in a thread without a silence of its own, while another one has it."""

    def speak():
        warnings.warn("Invalid value for VR UI: '1.2.SECRETX'", stacklevel=1)
        for name in ("pydicom", "pynetdicom.dul"):
            logging.getLogger(name).error("SECRETX")
        raise ValueError("SECRETX")

    hook, show = threading.excepthook, warnings.showwarning
    with start():
        for silence in (contextlib.nullcontext(), quiet_pydicom()):
            with silence:
                thread = threading.Thread(target=speak)
                thread.start()
                thread.join()
    told = "CTK-W111 a connection has ended unexpectedly: ValueError"
    assert caplog.text.count(told) == 2
    said = caplog.text + "".join(capfd.readouterr())
    assert "SECRETX" not in said and "Traceback" not in said
    assert (threading.excepthook, warnings.showwarning) == (hook, show)


def _uids(data) -> list[str]:
    source = data.SourceImageSequence[0].ReferencedSOPInstanceUID
    return [data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID, source]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", "key.pem", "-out", "certificate.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return Encryption(
        folder / "certificate.pem", folder / "key.pem", folder / "certificate.pem"
    )


def test_tls_both_ways(start, series, certificates):
    peer = RecordingPeer(encryption=certificates)
    forward = Peer("PEER", "127.0.0.1", peer.port)
    options = {"encryption": certificates, "encrypt_forward": True}
    try:
        with start(forward=forward, **options) as node:
            assert send(series(), node.port) == []
            with socket.create_connection(("127.0.0.1", node.port)):  # and says nothing
                tls = (certificates.client(), "127.0.0.1")
                assert send(series(), node.port, tls=tls) == [0x0000] * SLICES
            wait_for(lambda: outcome(node) == (1, 0))
    finally:
        peer.stop()
    assert list(peer.received.values()) == [1] * SLICES
    wrong = Encryption(certificates.key, certificates.key)
    with pytest.raises(CtKerasError, match="CTK-E102"):
        wrong.server()


@pytest.mark.parametrize(
    "text", ["PEER", "PEER@host", "PEER@host:0", "@host:104", "A" * 17 + "@host:104"]
)
def test_addresses_that_are_none(text):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        Peer.parse(text)


def test_addresses():
    assert Peer.parse("A B@[::1]:104") == Peer("A B", "::1", 104)
    assert re.fullmatch("10.1.0.0/16", str(parse_network("10.1.2.3/16")))
    with pytest.raises(CtKerasError, match="CTK-E000"):
        parse_network("host")
