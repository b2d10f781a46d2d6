"""A small synthetic CT series, to be bent out of shape."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SIZE = 64


class SeriesFactory:
    """Makes data sets and files of one patient, SECRETX in every personal element."""

    def image(self, index: int = 0, *, size: int = SIZE) -> np.ndarray:
        """Stored values of a disc of soft tissue in air, intercept -1024."""
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        noise = np.random.default_rng(index).normal(0, 10, (size, size))
        hu = np.where(x * x + y * y < (0.35 * size) ** 2, 50 + noise, -1000 + noise)
        return np.rint(hu + 1024).clip(0, 4095).astype(np.int16)

    def dataset(self, index: int = 0, **changes) -> Dataset:
        """One slice; a change to None removes the element."""
        data = Dataset()
        data.SOPClassUID = CT_IMAGE
        data.SOPInstanceUID = f"1.2.3.{index + 1}"
        data.StudyInstanceUID = "1.2.4"
        data.SeriesInstanceUID = "1.2.5"
        data.FrameOfReferenceUID = "1.2.6"
        data.PatientName = "SECRETX^A"
        data.PatientID = "SECRETX-1"
        data.PatientBirthDate = "19010203"
        data.StudyDescription = "SECRETX study"
        data.SeriesDescription = "SECRETX series"
        data.InstitutionName = "SECRETX hospital"
        data.Modality = "CT"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.Manufacturer = "Maker"
        data.SliceThickness = "5"
        data.KVP = "120"
        data.ConvolutionKernel = "B30f"
        data.XRayTubeCurrent = 200
        data.ExposureTime = 500
        data.SeriesNumber = 3
        data.AcquisitionNumber = 1
        data.InstanceNumber = 10 - index
        data.ImagePositionPatient = [-32, -32, 5 * index]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.SliceLocation = 5 * index
        data.PixelSpacing = [0.5, 0.75]
        data.SamplesPerPixel = 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.Rows = data.Columns = SIZE
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit = 15
        data.PixelRepresentation = 1
        data.RescaleSlope = 1
        data.RescaleIntercept = -1024
        data.add_new("PixelData", "OW", self.image(index).tobytes())
        for keyword, value in changes.items():
            if value is None:
                data.pop(keyword, None)
            else:
                setattr(data, keyword, value)
        return data

    def save(self, data: Dataset, path: Path, *, syntax=ExplicitVRLittleEndian) -> Path:
        """Writes a file, whatever stands in the data set."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.file_meta.MediaStorageSOPClassUID = data.get("SOPClassUID", CT_IMAGE)
        data.file_meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", "1.2")
        data.save_as(
            path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True
        )
        # save_as leaves out what makes a file of it.
        body = path.read_bytes()
        if body[128:132] != b"DICM":
            path.write_bytes(b"\0" * 128 + b"DICM" + body)
        return path

    def folder(self, path: Path, slices: int = 5, *, start: int = 0, **changes) -> Path:
        """Writes a series; a callable change gets the slice index."""
        for index in range(start, start + slices):
            values = {
                keyword: value(index) if callable(value) else value
                for keyword, value in changes.items()
            }
            self.save(self.dataset(index, **values), path / f"{index:03d}.dcm")
        return path


@pytest.fixture(scope="session")
def factory() -> SeriesFactory:
    return SeriesFactory()
