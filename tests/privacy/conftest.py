"""A small CT series whose headers can be changed."""

from pathlib import Path

import numpy as np
import pytest
from planted_secrets import SECRET
from pydicom import dcmread

from ct_keras.dicom import create_series


@pytest.fixture
def make_series(tmp_path):
    """Writes a small series and changes its headers."""

    def make(name="in", change=None, slices=2, seed=0) -> Path:
        y, x = np.mgrid[:64, :64] - 31.5
        noise = np.random.default_rng(seed).normal(0, 10, (slices, 64, 64))
        body = np.where(x * x + y * y < 500, 50, -1000)
        out = tmp_path / name
        create_series(
            body + noise,
            (5, 0.5, 0.75),
            out,
            patient_id=f"{SECRET}-{seed}",
            series_description=SECRET,
            kernel="Br40d",
            seed_uid=str(seed),
        )
        for path in sorted(out.glob("*.dcm")):
            data = dcmread(path)
            if change is not None:
                change(data)
            data.save_as(path)
        return out

    return make
