"""What a PACS sends: compressed series, and multi-frame ones."""

import pytest
from dicom_peers import SLICES, wait_for
from multi_frame import ENHANCED_CT, enhanced
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless
from pynetdicom import AE

from ct_keras.denoising.methods import get_method
from ct_keras.dicom import read_series
from ct_keras.serving.series import denoise_series


def send(instances, sop_class, syntax, port) -> list[int]:
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title="NODE")
    statuses = [association.send_c_store(each).Status for each in instances]
    association.release()
    return statuses


@pytest.mark.parametrize("kind", ["compressed", "multi-frame"])
def test_a_series_of_an_archive(start, peer, series, kind, tmp_path):
    instances = [dcmread(path) for path in sorted(series().glob("*.dcm"))]
    sop_class, syntax = instances[0].SOPClassUID, JPEGLSLossless
    if kind == "compressed":
        for each in instances:
            each.compress(JPEGLSLossless, generate_instance_uid=False)
    else:
        sop_class, syntax = ENHANCED_CT, ExplicitVRLittleEndian
        image = enhanced(instances)
        image.file_meta = instances[0].file_meta
        image.file_meta.MediaStorageSOPClassUID = sop_class
        instances = [image]
    with start() as node:
        statuses = send(instances, sop_class, syntax, node.port)
        assert set(statuses) == {0x0000}
        wait_for(lambda: node.status()["series"]["sent"] == 1)
    method = get_method("filter:gaussian")
    denoise_series(read_series(series()), tmp_path / "plain", method)
    expected = [dcmread(path) for path in (tmp_path / "plain").glob("*.dcm")]
    found = list(peer.datasets.values())
    assert {each.SOPClassUID for each in found} == {sop_class}
    assert sorted(images(found)) == sorted(images(expected))
    assert len(images(found)) == SLICES


def images(datasets) -> list[bytes]:
    """The pixels of every image of some files."""
    found = []
    for dataset in datasets:
        size = 2 * dataset.Rows * dataset.Columns
        pixels = dataset.PixelData
        found += [pixels[at : at + size] for at in range(0, len(pixels), size)]
    return found
