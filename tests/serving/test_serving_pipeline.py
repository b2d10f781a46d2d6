"""Reading, computing and writing at the same time: order, bounds and faults."""

import threading
import weakref

import numpy as np
import pytest

from ct_keras.dicom import Series, SeriesWriter, read_series
from ct_keras.errors import CtKerasError
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.serving import pipeline
from ct_keras.serving.guards import Audit
from ct_keras.serving.pipeline import read_ahead, write_behind
from ct_keras.serving.series import denoise_series

SECONDS = 30  # a thread that should go on, but does not, is given up after this
SLICES = 24


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline") / "in"
    shape, spacing_mm = (SLICES, 64, 64), (5.0, 6.0, 6.0)
    write_phantom(
        make_phantom(3, region="abdomen", shape=shape, spacing_mm=spacing_mm), folder
    )
    return read_series(folder)


def less(hu):
    return hu - 7


def test_writing_and_reading_go_on_while_a_slice_is_computed():
    read, written = threading.Event(), threading.Event()

    def reading(index):
        if index == 1:
            read.set()
        return index

    with (
        read_ahead(reading, 5) as items,
        write_behind(lambda item: written.set()) as put,
    ):
        assert next(items) == 0
        assert read.wait(SECONDS)  # the second was read before it was asked for
        put(0)
        assert written.wait(SECONDS)  # and the first written while this thread waits


def test_items_come_and_go_in_order():
    written = []
    with (
        read_ahead(lambda index: index * index, 100) as items,
        write_behind(written.append) as put,
    ):
        for item in items:
            put(item)
    assert written == [index * index for index in range(100)]


def test_a_slow_writer_holds_the_reader_back():
    gate, read = threading.Semaphore(0), []

    def write(item):
        assert gate.acquire(timeout=SECONDS)
        ahead.append(len(read) - item)

    ahead = []
    with read_ahead(read.append, 50) as items, write_behind(write) as put:
        for index, _ in enumerate(items):
            if index >= pipeline.WAITING:
                gate.release()
            put(index)
        for _ in range(pipeline.WAITING):
            gate.release()
    assert len(ahead) == 50
    # One is computed, WAITING are behind it and WAITING in front of it.
    assert 1 < max(ahead) <= 2 * pipeline.WAITING + 1


def test_the_slices_alive_do_not_grow_with_the_series(series, tmp_path, monkeypatch):
    alive, most, lock = set(), [], threading.Lock()
    read = Series.read

    def counted(self, index):
        pixels = read(self, index)
        with lock:
            alive.add(index)
            most.append(len(alive))
        weakref.finalize(pixels.hu, alive.discard, index)
        return pixels

    monkeypatch.setattr(Series, "read", counted)
    denoise_series(series, tmp_path / "out", less)
    monkeypatch.undo()
    guards = 5  # three to check the values, and the middle ones for the noise
    assert len(most) >= SLICES
    assert max(most) <= guards + 2 * pipeline.WAITING + 2 < SLICES // 2
    np.testing.assert_array_equal(read_series(tmp_path / "out").hu, series.hu - 7)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (Series, "read", "CTK-E003"),
        (SeriesWriter, "write", "CTK-E073"),
        (Audit, "look", "CTK-E999"),
    ],
)
@pytest.mark.parametrize("call", [9, SLICES])
def test_a_fault_in_any_thread_ends_the_whole(
    series, tmp_path, monkeypatch, kind, name, code, call
):
    work, calls = getattr(kind, name), []
    before = threading.active_count()

    def faulty(self, *arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise CtKerasError(code, "a fault of this test")
        return work(self, *arguments)

    monkeypatch.setattr(kind, name, faulty)
    with pytest.raises(CtKerasError, match="fault of this test") as refusal:
        denoise_series(series, tmp_path / "out", less, quality_control=tmp_path / "qc")
    assert refusal.value.code == code
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_leaves_nothing_behind(series, tmp_path, stop):
    calls = []
    before = threading.active_count()

    def stopped(hu):
        calls.append(1)
        if len(calls) == SLICES // 2:
            raise stop
        return hu

    with pytest.raises(stop):
        denoise_series(series, tmp_path / "out", stopped)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
