"""Every odd file beside the project: decoded as elsewhere, or refused, and why."""

import hashlib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000TransferSyntaxes

from ct_keras.dicom import scan_folder

#: Pattern of names -> code of the refusal, None if it is decoded; why that is right.
EXPECTED = {
    "broken/bad_private_sequence.dcm": (None, "only a private element is malformed"),
    "broken/freeze_pattern_rgb.dcm": ("CTK-E001", "a secondary capture"),
    "broken/jpeg_lossless_corrupt.dcm": ("CTK-E044", "it decodes to noise, not to HU"),
    "encodings/ct_jpeg_p1_8bit.dcm": ("CTK-E010", "8 bits cannot hold HU"),
    "encodings/ct_jpeg_p2_4_12bit.dcm": (None, "12-bit JPEG, as DCMTK decodes it"),
    "encodings/ct_jpeg_p*_retired.dcm": (None, "12-bit JPEG, as DCMTK decodes it"),
    "encodings/*": (None, "the same values as by another decoder"),
    "localizer_secondary/reformat_*.dcm": (None, "a reformat is a CT image in HU"),
    "localizer_secondary/*_page.dcm": ("CTK-E001", "an RGB page"),
    "localizer_secondary/philips_ref_surview_*": ("CTK-E001", "a secondary capture"),
    "localizer_secondary/*": ("CTK-E001", "a localizer, which no model has seen"),
    "multiframe/enhanced_2frames.dcm": ("CTK-E042", "a map of perfusion, not HU"),
    "multiframe/enhanced_2frames_jpeg*": ("CTK-E044", "a map of perfusion, no air"),
    "multiframe/legacy_enhanced*": ("CTK-E041", "24 x 38 pixels show no anatomy"),
    "nonimage/header_only.dcm": ("CTK-E003", "a CT image without its pixels is cut"),
    "nonimage/*": ("CTK-E001", "not an image"),
    "signs_padding/ge_tiny_16x16.dcm": ("CTK-E041", "16 x 16 pixels show no anatomy"),
    "signs_padding/j2k_siz1_pixrep0.dcm": (
        "CTK-E043",
        "negative values under a header that says that there are none",
    ),
    "signs_padding/*": (None, "sign and padding are as the header says"),
    "spacing/oblique_nonsquare_50x100/*": ("CTK-E041", "50 rows: below 64"),
    "spacing/*": (None, "spacing does not change values"),
    "tilt/*": (None, "tilt does not change values"),
    "vr_oddities/*": (None, "numbers are numbers, however they are spelled"),
}
#: The pixels as DCMTK 3.6.7 (dcmdjpeg) decodes them, which pydicom does not: the three
#: processes hold the same coefficients.
DCMTK_SHA256 = "85e3b617e00dc755"
_BY_DCMTK = {
    "ct_jpeg_p2_4_12bit.dcm",
    "ct_jpeg_p6_8_retired.dcm",
    "ct_jpeg_p10_12_retired.dcm",
}


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "input.md"


def markdown() -> str:
    """The table of the page, one line for each pattern of names."""
    lines = [("file", "outcome", "why that is right"), ("---",) * 3]
    for name, (code, why) in EXPECTED.items():
        outcome = f"`{code}`" if code else "decoded, HU compared"
        lines.append((f"`{name}`", outcome, why))
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def test_the_page_holds_every_expectation():
    assert markdown() in PAGE.read_text()


def expected(name: str) -> tuple[str | None, str]:
    return next(each for key, each in EXPECTED.items() if fnmatch(name, key))


@pytest.fixture(scope="module")
def files(shared_ct):
    folder = shared_ct / "hard"
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def stored_by_pydicom(path) -> np.ndarray:
    dataset = dcmread(path)
    # A decoder of another project where there is one.
    other = dataset.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes
    return pixel_array(dataset, decoding_plugin="gdcm" if other else "")


def test_what_is_decoded_is_right(files):
    decoded = {name: path for name, path in files.items() if expected(name)[0] is None}
    assert len(decoded) == 39
    for name, path in decoded.items():
        (series,) = scan_folder(path).series
        stored = series.read(0).stored
        if path.name in _BY_DCMTK:
            found = hashlib.sha256(stored.tobytes()).hexdigest()
            assert found.startswith(DCMTK_SHA256), name
            continue
        assert np.array_equal(stored, stored_by_pydicom(path)), name
        dataset = dcmread(path)
        hu = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.abs(series.read(0).hu - hu).max() < 1e-3, name


def test_what_is_refused_is_refused_for_its_reason(files):
    refused = {name: path for name, path in files.items() if expected(name)[0]}
    assert len(files) == 64 and len(refused) == 25
    for name, path in refused.items():
        scan = scan_folder(path)
        assert [each.error.code for each in scan.refusals] == [expected(name)[0]], name
        assert not scan.series, name


def test_one_slice_in_four_encodings_is_one_slice(files):
    names = ("be_explicit", "deflated", "le_implicit", "jpeg_p14_lossless")
    first, *others = (
        scan_folder(files[f"encodings/ct_{name}.dcm"]).series[0].hu for name in names
    )
    assert all(np.array_equal(first, other) for other in others)


def test_every_expectation_is_of_a_file(files):
    met = {next(key for key in EXPECTED if fnmatch(name, key)) for name in files}
    assert met == set(EXPECTED)
