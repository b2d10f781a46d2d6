"""What the header of a derived series says, and which UIDs it bears."""

import re

import numpy as np
import pydicom
import pytest

from ct_keras.dicom import Derivation, read_series, write_series
from ct_keras.errors import CtKerasError

NETWORK = Derivation.network(
    "red_cnn",
    model_version="1.2",
    weights_sha256="ab" * 32,
    parameters={"strength": 1.0},
)
UNCHANGED = (
    "SOPClassUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "KVP",
    "ConvolutionKernel",
    "XRayTubeCurrent",
    "ExposureTime",
    "AcquisitionNumber",
    "InstanceNumber",
    "RescaleSlope",
    "RescaleIntercept",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "BurnedInAnnotation",
    "Rows",
    "Columns",
)


def headers(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.glob("IM*.dcm"))]


@pytest.fixture
def series(factory, tmp_path):
    return read_series(factory.folder(tmp_path / "in"))


class TestHeader:
    @pytest.fixture
    def pair(self, factory, tmp_path):
        data = {
            "SoftwareVersions": "syngo",
            "DeviceSerialNumber": "77",
            "SmallestImagePixelValue": 3,
            "BurnedInAnnotation": "NO",
            "WindowCenter": 40,
            "WindowWidth": 400,
        }
        factory.folder(tmp_path / "in", **data)
        series = read_series(tmp_path / "in")
        hu = series.hu + 3
        write_series(series.with_hu(hu), tmp_path / "out", derivation=NETWORK)
        source = pydicom.dcmread(series.sources[2].path)
        return source, headers(tmp_path / "out")[2]

    def test_what_stays(self, pair):
        source, derived = pair
        for keyword in UNCHANGED:
            assert derived[keyword].value == source[keyword].value, keyword

    def test_what_is_new(self, pair):
        source, derived = pair
        assert derived.SOPInstanceUID != source.SOPInstanceUID
        assert derived.SeriesInstanceUID != source.SeriesInstanceUID
        assert derived.file_meta.MediaStorageSOPInstanceUID == derived.SOPInstanceUID
        assert list(derived.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert derived.SeriesNumber == 1003
        assert derived.SeriesDescription == (
            "SECRETX series DENOISED NOT FOR DIAGNOSTIC USE"
        )
        assert derived.RescaleType == "HU"
        assert derived.LossyImageCompression == "00"
        assert "NOT FOR DIAGNOSTIC USE" in derived.ImageComments
        assert "SmallestImagePixelValue" not in derived
        assert "model red_cnn 1.2; weights sha256:abab" in derived.DerivationDescription
        assert "strength 1.0" in derived.DerivationDescription

    def test_provenance(self, pair):
        source, derived = pair
        (code,) = derived.DerivationCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == (
            "DENOISE-NN",
            "99CTKERAS",
        )
        (image,) = derived.SourceImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert image.SpatialLocationsPreserved == "YES"
        assert image.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        scanner, ours = derived.ContributingEquipmentSequence
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
        assert (scanner.Manufacturer, scanner.DeviceSerialNumber) == ("Maker", "77")
        assert ours.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (ours.Manufacturer, ours.ManufacturerModelName) == (
            "ct_keras",
            "red_cnn",
        )
        assert (derived.Manufacturer, derived.ManufacturerModelName) == (
            "ct_keras",
            "red_cnn",
        )
        assert "DeviceSerialNumber" not in derived

    def test_file_meta(self, pair, tmp_path):
        _, derived = pair
        meta = derived.file_meta
        assert meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert meta.ImplementationClassUID.startswith("2.25.")
        assert len(meta.ImplementationVersionName) <= 16
        assert derived.preamble == b"\0" * 128
        for uid in (derived.SOPInstanceUID, meta.ImplementationClassUID):
            assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)

    def test_names_are_ours(self, pair, tmp_path):
        names = sorted(path.name for path in (tmp_path / "out").glob("*.dcm"))
        assert names == [f"IM{index:05d}.dcm" for index in range(1, 6)]


def test_stale_and_private_elements_go(factory, tmp_path):
    data = factory.dataset()
    data.add_new(0x00090010, "LO", "SECRETX")
    data.add_new(0x00091001, "LO", "SECRETX private")
    item = pydicom.Dataset()
    item.add_new(0x00090010, "LO", "SECRETX")
    item.CodeMeaning = "kept"
    data.ProcedureCodeSequence = [item]
    data.DataSetTrailingPadding = b"\0" * 8
    data.IconImageSequence = [pydicom.Dataset()]
    data.add_new(0x60000010, "US", 64)
    data.add_new(0x60000102, "US", 12)
    data.add_new(0x60020010, "US", 64)
    data.add_new(0x60023000, "OW", bytes(512))
    data.LossyImageCompression = "01"
    data.LossyImageCompressionRatio = 9
    factory.save(data, tmp_path / "in" / "a.dcm")
    write_series(read_series(tmp_path / "in"), tmp_path / "out")
    (derived,) = headers(tmp_path / "out")
    assert not [element.tag for element in derived if element.tag.is_private]
    (kept,) = derived.ProcedureCodeSequence
    assert kept.CodeMeaning == "kept"
    assert 0x00090010 not in kept
    assert "DataSetTrailingPadding" not in derived
    assert "IconImageSequence" not in derived
    assert 0x60000010 not in derived  # an overlay in the high bits of the pixels
    assert 0x60023000 in derived
    assert (derived.LossyImageCompression, derived.LossyImageCompressionRatio) == (
        "01",
        9,
    )


class TestUids:
    def write(self, series, out, hu=0, **changes):
        derivation = Derivation.network("red_cnn", **changes)
        write_series(series.with_hu(series.hu + hu), out, derivation=derivation)
        first = headers(out)[0]
        return first.SeriesInstanceUID, first.SOPInstanceUID

    def test_same_result_same_uids(self, series, tmp_path):
        uids = [self.write(series, tmp_path / name) for name in "ab"]
        assert uids[0] == uids[1]

    def test_other_pixels_other_uids(self, series, tmp_path):
        first = self.write(series, tmp_path / "a")
        second = self.write(series, tmp_path / "b", hu=1)
        assert not set(first) & set(second)

    def test_one_other_pixel_changes_the_series(self, series, tmp_path):
        hu = np.zeros(series.shape)
        hu[4, 30, 30] = 1
        first = self.write(series, tmp_path / "a")
        second = self.write(series, tmp_path / "b", hu=hu)
        assert first[0] != second[0]
        assert first[1] == second[1]  # slice 0 is the same

    def test_other_weights_other_uids(self, series, tmp_path):
        first = self.write(series, tmp_path / "a", weights_sha256="aa")
        second = self.write(series, tmp_path / "b", weights_sha256="bb")
        assert not set(first) & set(second)

    def test_runs_are_byte_identical(self, series, tmp_path, monkeypatch):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        for name in "ab":
            self.write(series, tmp_path / name)
        for path in (tmp_path / "a").glob("*.dcm"):
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        assert headers(tmp_path / "a")[0].SeriesDate == "20231114"


class TestRepeats:
    @pytest.mark.parametrize(
        "derivation", [NETWORK, Derivation.filtered("nlm"), Derivation()]
    )
    def test_a_denoised_series_is_not_denoised_again(
        self, series, tmp_path, derivation
    ):
        write_series(series, tmp_path / "a", derivation=derivation)
        denoised = read_series(tmp_path / "a")
        assert denoised.denoised
        with pytest.raises(CtKerasError) as caught:
            write_series(denoised, tmp_path / "b", derivation=NETWORK)
        assert (caught.value.code, caught.value.exit_code) == ("CTK-E050", 9)
        write_series(denoised, tmp_path / "b", derivation=NETWORK, allow_repeat=True)
        twice = headers(tmp_path / "b")[0]
        assert len(twice.DerivationCodeSequence) == 2
        purposes = [
            item.PurposeOfReferenceCodeSequence[0].CodeValue
            for item in twice.ContributingEquipmentSequence
        ]
        assert purposes == ["109101", "109102", "109102"]

    def test_a_simulated_series_may_be_denoised(self, series, tmp_path):
        quarter = Derivation.simulated_dose(0.25, parameters={"seed": 3})
        write_series(series, tmp_path / "low", derivation=quarter)
        low = read_series(tmp_path / "low")
        assert not low.denoised
        assert headers(tmp_path / "low")[0].SeriesDescription == (
            "SECRETX series SIMULATED 25% DOSE NOT FOR DIAGNOSTIC USE"
        )
        write_series(low, tmp_path / "out", derivation=NETWORK)
        codes = headers(tmp_path / "out")[0].DerivationCodeSequence
        assert [code.CodeValue for code in codes] == ["SIMULATE-DOSE", "DENOISE-NN"]

    def test_standard_codes_of_filters(self, series, tmp_path):
        write_series(series, tmp_path / "a", derivation=Derivation.filtered("gaussian"))
        (code,) = headers(tmp_path / "a")[0].DerivationCodeSequence
        assert (code.CodeValue, code.CodeMeaning) == ("113088", "Gaussian blur")


@pytest.mark.parametrize("label", ["x" * 100, "SIMULATED 12.5% DOSE NOT FOR DIAG"])
def test_series_description_fits(label):
    described = Derivation(series_label=label).series_description("s" * 70)
    assert len(described) <= 64
    assert label[:60] in described


def test_codes_are_those_of_the_standard():
    from pydicom.sr.codedict import codes

    from ct_keras.dicom import provenance

    ours = {
        "GaussianBlur": provenance.GAUSSIAN_CODE,
        "Smoothing": provenance.SMOOTHING_CODE,
        "AcquisitionEquipment": provenance.SCANNER_CODE,
        "ProcessingEquipment": provenance.PROCESSOR_CODE,
        "SourceImageForImageProcessingOperation": provenance.SOURCE_CODE,
    }
    for name, code in ours.items():
        known = getattr(codes.DCM, name)
        assert code == (known.value, known.scheme_designator, known.meaning)
