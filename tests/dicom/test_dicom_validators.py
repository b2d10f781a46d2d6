"""What other programs say about the files we write."""

import shutil
import subprocess

import numpy as np
import pytest
from real_ct import PATIENTS

from ct_keras.dicom import (
    Derivation,
    Series,
    create_series,
    find_series,
    read_series,
    write_series,
)

NETWORK = Derivation.network(
    "red_cnn",
    model_version="1.2",
    weights_sha256="ab" * 32,
    parameters={"strength": 1.0},
)
#: Odd spacing and tilt, and makers that PATIENTS lacks.
ODD = (
    "hard/spacing/increment_5_5_10",
    "hard/spacing/overlap_1_25_at_1",
    "hard/tilt/philips_minus18_5",
    "train/TCGA-17-Z011",
    "train/TCGA-50-5942",
    "test/LungFCP-01-0001",
    "test/CPTAC-PDA-C3L-00189",
)


def validate(path):
    """The errors and warnings of dciodvfy."""
    result = subprocess.run(
        ["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False
    )
    lines = (result.stdout + result.stderr).splitlines()
    return {line for line in lines if line.startswith(("Error", "Warning"))}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is missing")
class TestValidator:
    ours = "Unrecognized defined term = <99CTKERAS>"

    @pytest.mark.parametrize("folder", [*PATIENTS, *ODD])
    def test_derived_series_add_nothing(self, shared_ct, folder, tmp_path):
        found = find_series(shared_ct / folder)
        assert found
        for number, series in enumerate(found):
            out = tmp_path / str(number)
            first = Series(series.sources[:1], series.spacing_mm)
            write_series(first, out, derivation=NETWORK)
            new = validate(out / "IM00001.dcm") - validate(series.sources[0].path)
            assert all(self.ours in line for line in new), new

    def test_a_widened_series_adds_nothing(self, shared_ct, tmp_path):
        series = read_series(shared_ct / "train/LIDC-IDRI-0314")
        series = Series(series.sources[:1], series.spacing_mm)
        write_series(series.with_hu(series.hu - 40), tmp_path / "out")
        new = validate(tmp_path / "out" / "IM00001.dcm")
        new -= validate(series.sources[0].path)
        assert all(self.ours in line for line in new), new

    def test_created_series_are_valid(self, tmp_path):
        hu = np.full((2, 64, 64), -1000.0)
        create_series(
            hu,
            (2.5, 0.7, 0.7),
            tmp_path / "out",
            patient_id="0007",
            series_description="SYNTHETIC PHANTOM thorax",
            kernel="B30",
            exposure_mas=200,
            body_part="CHEST",
        )
        found = validate(tmp_path / "out" / "IM00001.dcm")
        # SyntheticData is younger than the validators in use.
        assert all("(0008,001c)" in line for line in found), found


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is missing")
def test_dcm2niix_sees_the_same_tilted_volume(shared_ct, tmp_path):
    folder = "hard/tilt/philips_minus18_5"
    series = read_series(shared_ct / folder)
    write_series(series, tmp_path / "out", derivation=NETWORK)
    images = []
    for name, source in (("a", shared_ct / folder), ("b", tmp_path / "out")):
        target = tmp_path / name
        target.mkdir()
        subprocess.run(
            ["dcm2niix", "-b", "n", "-f", "x", "-o", str(target), str(source)],
            check=True,
            capture_output=True,
        )
        images.append((target / "x.nii").read_bytes())
    old, new = images
    # dim, pixdim, offset, slope; qform and sform.
    for part in (slice(40, 56), slice(76, 120), slice(252, 328)):
        assert old[part] == new[part]
    assert old[352:] == new[352:]
