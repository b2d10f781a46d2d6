"""Header values: strict reading, and pydicom's warnings kept off every screen."""

import logging
import threading
import warnings

from ct_keras.dicom.values import quiet_pydicom


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
