"""What a release needs: versions that agree, constraints that follow setup.py."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ct_keras

ROOT = Path(__file__).resolve().parents[2]
#: Needed by tests of the lowest versions, or a build of a requirement.
ALSO_PINNED = {"opencv-python-headless", "simpleitk"}


def requirements() -> dict[str, Requirement]:
    """Canonical name -> what setup.py asks for."""
    text = (ROOT / "setup.py").read_text()
    named = dict(re.findall(r"^(CODECS) = \[(.*?)^\]", text, re.M | re.S))
    installed = text[text.index("install_requires") : text.index("extras_require")]
    found = re.findall(r'"([\w.-]+(?:[<>=][^"]*)?)"', named["CODECS"] + installed)
    parsed = map(Requirement, found)
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def pins(name: str) -> dict[str, Version]:
    """Canonical name -> version of a constraint file."""
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(left): Version(right) for left, right in pairs}


def test_every_requirement_has_a_lowest_version():
    for requirement in requirements().values():
        assert ">=" in str(requirement.specifier), requirement.name
    assert {"tensorflow", "keras", "numpy", "pyjpegls"} <= set(requirements())


def test_the_lowest_versions_are_those_of_setup():
    lowest = pins("lowest.txt")
    wanted = requirements()
    assert set(lowest) - ALSO_PINNED == set(wanted)
    for name, requirement in wanted.items():
        (least,) = (s.version for s in requirement.specifier if s.operator == ">=")
        parts = Version(least).release
        assert lowest[name].release[: len(parts)] == parts, name
        assert requirement.specifier.contains(lowest[name]), name


def test_the_newest_versions_are_allowed_and_not_below_the_lowest():
    lowest, newest = pins("lowest.txt"), pins("newest.txt")
    for name, requirement in requirements().items():
        assert requirement.specifier.contains(newest[name]), name
        assert newest[name] >= lowest[name], name


def test_citation_is_that_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == ct_keras.__version__
    assert citation["cff-version"] == "1.2.0"
    needed = {"message", "title", "authors", "license", "type"}
    assert needed <= set(citation)
    assert citation["license"] == "Apache-2.0"


@pytest.mark.parametrize(
    "target", ["lint", "docs", "package", "test", "test-beam", "demo"]
)
def test_the_whole_check_calls_every_part(target):
    assert re.search(rf"^make {target}\b", (ROOT / ".ci" / "run").read_text(), re.M)
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
