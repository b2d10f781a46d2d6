"""Compressed pixels that are cut, damaged or made to harm end in one line."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from compressed import encode
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless
from test_dicom_codecs import save

from ct_keras.codecs import process as decoding_process
from ct_keras.dicom import Limits, ReadOptions, read_series
from ct_keras.errors import CtKerasError

SYNTAXES = (RLELossless, JPEGLSLossless, JPEG2000Lossless)


def refusal(path, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        read_series(path, **options)
    assert "SECRETX" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_cut_frame(factory, tmp_path, syntax):
    frame = encode(factory.image(), syntax, 16)
    cut = frame[: len(frame) * 6 // 10]
    error = refusal(save(factory, tmp_path / "a.dcm", cut, syntax))
    assert error.code in ("CTK-E003", "CTK-E013")
    assert error.exit_code == 4


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_file_cut_inside_its_frame(factory, tmp_path, kept):
    frame = encode(factory.image(), JPEG2000Lossless, 16)
    path = save(factory, tmp_path / "a.dcm", frame, JPEG2000Lossless)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - int((1 - kept) * len(frame)) - 8])
    error = refusal(path)
    assert error.code == "CTK-E003"
    assert "truncated" in str(error) and "pixel bytes" in str(error)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_larger_than_the_header_says(factory, tmp_path, syntax):
    frame = encode(factory.image(size=128), syntax, 16)
    error = refusal(save(factory, tmp_path / "a.dcm", frame, syntax))
    assert error.code == "CTK-E043"
    assert "compressed frame is 128x128, header says 64x64" in str(error)


def test_a_codestream_that_claims_more_than_it_holds(factory, tmp_path):
    """8000 x 8000 pixels in 162 bytes."""
    frame = bytearray(encode(factory.image(), JPEG2000Lossless, 16)[:162])
    struct.pack_into(">II", frame, 8, 8000, 8000)
    error = refusal(save(factory, tmp_path / "a.dcm", bytes(frame), JPEG2000Lossless))
    assert error.code == "CTK-E043" and "8000x8000" in str(error)


def test_run_lengths_that_expand_too_much(factory, tmp_path):
    frame = encode(factory.image(), RLELossless, 16)[:100]
    error = refusal(save(factory, tmp_path / "a.dcm", frame, RLELossless))
    assert error.code == "CTK-E041"


def deflate(path, extra: bytes = b"") -> None:
    """Deflates the data set of a file, with bytes behind it."""
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x08\x00", 132)
    meta = content[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    place = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: place - 2] + struct.pack("<H", 22) + meta[place:]
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    path.write_bytes(
        meta + deflater.compress(content[start:] + extra) + deflater.flush()
    )


@pytest.mark.filterwarnings("error::UserWarning")
def test_odd_file_meta_of_a_deflated_file_is_not_told(factory, tmp_path):
    """Warnings of pydicom contain the value."""
    path = factory.save(factory.dataset(), tmp_path / "a.dcm")
    content = path.read_bytes()
    assert b"1.2.3.1\0" in content[:400]
    path.write_bytes(content.replace(b"1.2.3.1\0", b"SECRETX\xff", 1))
    deflate(path)
    assert np.array_equal(read_series(path).read(0).stored, factory.image())


def test_a_deflated_bomb(factory, tmp_path):
    path = factory.save(factory.dataset(), tmp_path / "a.dcm")
    deflate(path, bytes(2**24))
    assert np.array_equal(read_series(path).read(0).stored, factory.image())
    tight = Limits(max_file_bytes=2**20, max_header_bytes=2**20)
    error = refusal(path, options=ReadOptions(limits=tight))
    assert error.code == "CTK-E041" and "inflates to more than 2 MiB" in str(error)


@pytest.mark.parametrize("length", [0, 7, 0xFFFFFFFF])
def test_items_of_any_length(factory, tmp_path, length):
    frame = encode(factory.image(), JPEG2000Lossless, 16)
    path = save(factory, tmp_path / "a.dcm", frame, JPEG2000Lossless)
    content = path.read_bytes()
    item = content.rindex(frame[:8]) - 4
    path.write_bytes(content[:item] + struct.pack("<I", length) + content[item + 4 :])
    assert refusal(path).code in ("CTK-E003", "CTK-E007", "CTK-E013")


class TestProcess:
    """Decoders run in a process that may crash or stall."""

    @pytest.fixture
    def path(self, factory, tmp_path):
        frame = encode(factory.image(), JPEGLSLossless, 16)
        return save(factory, tmp_path / "a.dcm", frame, JPEGLSLossless)

    def test_after_a_crash_the_next_file_is_read(self, factory, path):
        series = read_series(path)
        os.kill(decoding_process._SERVER._running().pid, signal.SIGKILL)
        decoding_process._SERVER._process.wait()
        series._read_ahead.clear()
        assert np.array_equal(series.read(0).stored, factory.image())

    def test_a_crash_while_decoding(self, factory, path, monkeypatch):
        monkeypatch.setattr(decoding_process, "_START", "import os; os.abort()")
        decoding_process._SERVER.stop()
        assert refusal(path).code == "CTK-E013"
        monkeypatch.undo()
        assert np.array_equal(read_series(path).read(0).stored, factory.image())

    def test_a_stalled_decoder(self, factory, path, monkeypatch):
        monkeypatch.setattr(decoding_process, "TIME_LIMIT_S", 0.2)
        os.kill(decoding_process._SERVER._running().pid, signal.SIGSTOP)
        error = refusal(path)
        assert error.code == "CTK-E012" and error.exit_code == 4
        monkeypatch.undo()
        assert np.array_equal(read_series(path).read(0).stored, factory.image())

    def test_an_interrupted_answer_is_not_taken_for_the_next(
        self, factory, tmp_path, monkeypatch
    ):
        frames = [encode(factory.image(index), JPEGLSLossless, 16) for index in (0, 1)]
        paths = [
            save(factory, tmp_path / str(index), frame, JPEGLSLossless, index=index)
            for index, frame in enumerate(frames)
        ]

        def interrupt(stream, count):
            raise KeyboardInterrupt

        monkeypatch.setattr(decoding_process, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            read_series(paths[0])
        monkeypatch.undo()
        assert np.array_equal(read_series(paths[1]).read(0).stored, factory.image(1))

    def test_a_fork_gets_a_process_of_its_own(self, factory, path):
        read_series(path)
        first = decoding_process._SERVER._process.pid
        child = os.fork()
        if child == 0:
            right = np.array_equal(read_series(path).read(0).stored, factory.image())
            other = decoding_process._SERVER._process.pid != first
            decoding_process._SERVER.stop()
            os._exit(0 if right and other else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(read_series(path).read(0).stored, factory.image())

    def test_it_ends_with_its_parent(self, path):
        code = (
            "import sys; from ct_keras.codecs import process as decoding_process; "
            "from ct_keras.dicom import read_series; "
            "read_series(sys.argv[1]); "
            "print(decoding_process._SERVER._process.pid, flush=True); "
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
        )
        line = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        child = int(done.stdout)
        for _ in range(100):
            try:
                os.kill(child, 0)
            except ProcessLookupError:
                return
            with open(f"/proc/{child}/stat") as status:
                if status.read().split()[2] == "Z":  # nobody waits for it here
                    return
            time.sleep(0.05)
        raise AssertionError("the decoding process outlives its parent")


def test_invented_pixels_are_refused(factory, tmp_path):
    """libjpeg fills what is missing with invented pixels, and only says so."""
    dcmcjpeg = shutil.which("dcmcjpeg")
    if dcmcjpeg is None:
        pytest.skip("dcmcjpeg is missing")
    plain = factory.save(factory.dataset(), tmp_path / "plain.dcm")
    path = tmp_path / "in" / "a.dcm"
    path.parent.mkdir()
    subprocess.run([dcmcjpeg, "+e1", plain, path], check=True, capture_output=True)
    content = path.read_bytes()
    start, end = content.index(b"\xff\xd8\xff"), content.rindex(b"\xff\xd9")
    frame = content[start:end]
    cut = frame[: len(frame) // 2] + b"\xff\xd9"
    error = refusal(save(factory, path, cut, JPEGLosslessSV1))
    assert error.code == "CTK-E013"
