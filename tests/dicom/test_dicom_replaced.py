"""A file that is replaced after the scan never lends its header or pixels."""

import os

import pytest

from ct_keras.dicom import read_series
from ct_keras.dicom.writer import write_series
from ct_keras.errors import CtKerasError


@pytest.mark.parametrize("same_time", [True, False])
def test_another_patient_in_place_of_a_slice(factory, tmp_path, same_time):
    series = read_series(factory.folder(tmp_path / "in", 8))
    path = series.sources[2].path
    before = path.stat()
    other = factory.dataset(2, PatientID="SECRETX-2")
    other.SOPInstanceUID = series.sources[2].sop_instance_uid
    factory.save(other, path)
    assert path.stat().st_size == before.st_size
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CtKerasError, match="has changed since it was scanned"):
        write_series(series, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_header_of_a_series_is_that_of_the_scan(factory, tmp_path):
    series = read_series(factory.folder(tmp_path / "in", 4))
    path = series.sources[0].path
    before = path.stat()
    factory.save(factory.dataset(0, PatientID="SECRETX-2"), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CtKerasError, match="CTK-E005"):
        _ = series.header
