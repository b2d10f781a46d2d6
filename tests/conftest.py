"""Shared fixtures: where real CT lies, and small phantom patients."""

from pathlib import Path

import pytest

SHARED_CT = Path(__file__).resolve().parents[2] / "shared" / "ct"


@pytest.fixture(scope="session")
def shared_ct() -> Path:
    """The folder of real CT series beside the project, or a skip."""
    if not SHARED_CT.is_dir():
        pytest.skip("no real CT beside the project (../shared/ct)")
    return SHARED_CT
