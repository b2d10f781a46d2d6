"""Header values: strict reading, and pydicom's warnings kept off every screen."""

import logging
import threading
import warnings

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ct_keras.dicom.values import number, quiet_pydicom

SLOPE = Tag("RescaleSlope")


def test_threads_that_overlap_stay_quiet_and_collect_only_their_own(capsys):
    """One leaves while the other is still inside, which restores no filter early."""
    inside, left = threading.Event(), threading.Event()
    found = {}

    def other():
        with quiet_pydicom() as caught:
            inside.set()
            left.wait(10)
            warnings.warn("SECRETX of the other", stacklevel=1)
            found["logger"] = logging.getLogger("pydicom").disabled
            found["other"] = [str(each.message) for each in caught]

    with quiet_pydicom():
        pass  # what its first use installs stays
    before = warnings.showwarning, list(warnings.filters)
    thread = threading.Thread(target=other)
    with quiet_pydicom() as caught:
        thread.start()
        inside.wait(10)
        warnings.warn("SECRETX of the first", stacklevel=1)
        found["first"] = [str(each.message) for each in caught]
    left.set()
    thread.join()
    assert found == {
        "first": ["SECRETX of the first"],
        "other": ["SECRETX of the other"],
        "logger": True,
    }
    assert (warnings.showwarning, list(warnings.filters)) == before
    assert not logging.getLogger("pydicom").disabled
    assert "SECRETX" not in "".join(capsys.readouterr())


def test_another_thread_that_restores_its_warnings_lets_none_through(monkeypatch):
    """`catch_warnings` of any library restores the display of all threads."""
    shown = []
    show = lambda *details: shown.append(str(details[0]))  # noqa: E731
    monkeypatch.setattr(warnings, "showwarning", show)
    with quiet_pydicom():
        pass
    library = warnings.catch_warnings()
    library.__enter__()
    with quiet_pydicom() as caught:
        library.__exit__(None, None, None)
        warnings.warn("SECRETX", stacklevel=1)
    assert [str(each.message) for each in caught] == ["SECRETX"]
    assert shown == []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of another library", stacklevel=1)
    assert shown == ["of another library"]


@pytest.mark.parametrize(
    ("written", "value"), [("10", 10), (" 1.0E1 ", 10), ("1_0", None), ("1,0", None)]
)
def test_numbers_are_those_of_the_standard(written, value):
    """Python would read more than that."""
    raw = RawDataElement(SLOPE, "DS", len(written), written.encode(), 0, False, True)
    with quiet_pydicom():
        assert number(Dataset({SLOPE: raw}), "RescaleSlope") == value
