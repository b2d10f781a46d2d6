"""Every kind of odd input with its code and exit status: one table for tests and docs.

`ROWS` is what `tests/dicom/test_failure_table.py` runs and what
`docs/reference/input.md` shows; `markdown` makes the one of the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from multi_frame import enhanced

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
#: What writes the input: takes the factory of series and an empty folder.
Maker = Callable[[object, Path], object]


@dataclass(frozen=True)
class Row:
    """One kind of input.

    Attributes:
        number: Of the row in the list of failures.
        wrong: What is wrong with the input.
        code: What is told; None if nothing is.
        status: The exit status.
        action: What the user may do, or what ct_keras does.
        make: Writes the input.
        options: Further words of the command.
        command: The command.
        dimensions: 3 for a method of volumes.
        ranges: Of the training data of the method.
        disturb: What happens to the input while it is denoised.
        slices: Slices in the result, None if nothing is written.
    """

    number: int
    wrong: str
    code: str | None
    status: int
    action: str
    make: Maker = field(repr=False)
    options: tuple[str, ...] = ()
    command: str = "denoise"
    dimensions: int = 2
    ranges: dict | None = None
    disturb: Maker | None = None
    slices: int | None = 5

    @property
    def name(self) -> str:
        """Names the test."""
        words = [str(self.number), self.code or "nothing", *self.options]
        return " ".join(words + ["3-D"] * (self.dimensions == 3))


def series(**changes) -> Maker:
    """A series of five slices with other elements."""
    return lambda factory, folder: factory.folder(folder, **changes)


def beside(**changes) -> Maker:
    """A series, and one more file with other elements."""

    def make(factory, folder):
        factory.folder(folder)
        factory.save(factory.dataset(9, **changes), folder / "x.dcm")

    return make


def bent(bend: Callable[[bytes], bytes], slices: int = 5, **changes) -> Maker:
    """A series whose third file, or only one, has other bytes."""

    def make(factory, folder):
        path = sorted(factory.folder(folder, slices, **changes).iterdir())[-1]
        path.write_bytes(bend(path.read_bytes()))

    return make


def text_files(factory, folder: Path) -> None:
    """Files that are not DICOM."""
    (folder / "notes.txt").write_text("nothing to see")


def with_text_files(factory, folder: Path) -> None:
    """A series, and files that are not DICOM."""
    factory.folder(folder)
    text_files(factory, folder)
    (folder / "report.dcm").write_text("the suffix of a slice, but not its name")


def no_decoder(content: bytes) -> bytes:
    """The same file, said to be JPEG XL."""
    old = b"1.2.840.10008.1.2.1\0"
    new = b"1.2.840.10008.1.2.4.110\0"
    head = content.index(old) - 2
    return content[:head] + len(new).to_bytes(2, "little") + new + content[head + 22 :]


def two_series(factory, folder: Path) -> None:
    """Two series in a folder."""
    factory.folder(folder / "a")
    factory.folder(folder / "b", start=20, SeriesInstanceUID="1.2.7")


def duplicates(factory, folder: Path) -> None:
    """Two slices of five twice."""
    factory.folder(folder / "a")
    factory.folder(folder / "b", 2, start=1)


def two_images_at_one_place(factory, folder: Path) -> None:
    """Nothing but the pixels distinguishes two slices."""
    factory.folder(folder)
    other = factory.dataset(2, PixelData=factory.image(99).tobytes())
    other.SOPInstanceUID = "1.2.3.99"
    factory.save(other, folder / "x.dcm")


def two_orientations(factory, folder: Path) -> None:
    """Axial and coronal slices under one series UID."""
    factory.folder(folder)
    coronal = [1, 0, 0, 0, 0, -1]
    place = lambda i: [0, 3 * i, 0]  # noqa: E731
    changes = {"ImageOrientationPatient": coronal, "ImagePositionPatient": place}
    factory.folder(folder, 5, start=9, **changes)


def in_hu(index: int) -> bytes:
    """Stored values that are HU already."""
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where(x * x + y * y < 22**2, 50 + index, -1000)
    return hu.astype("<i2").tobytes()


def stored_of(index: int) -> np.ndarray:
    """The same values for the intercept -1024."""
    return np.frombuffer(in_hu(index), "<i2").astype("i4") + 1024


def slopes(factory, folder: Path) -> None:
    """Every slice has a slope of its own, and the same HU."""
    for index, slope in enumerate((1, 0.5, 2, 1, 0.5)):
        stored = np.rint(stored_of(index) / slope).astype("<i2").tobytes()
        data = factory.dataset(index, RescaleSlope=slope, PixelData=stored)
        factory.save(data, folder / f"{index}.dcm")


def padded(value: int, **tags) -> Maker:
    """Stored values of padding outside the circle."""

    def make(factory, folder):
        y, x = np.mgrid[:64, :64] - 31.5
        for index in range(5):
            stored = factory.image(index)
            stored[x * x + y * y > 32**2] = value
            data = factory.dataset(index, PixelData=stored.tobytes())
            for keyword, (vr, tagged) in tags.items():
                data.add_new(keyword, vr, tagged)
            factory.save(data, folder / f"{index}.dcm")

    return make


def multi_frame(**changes) -> Maker:
    """An Enhanced CT image of five frames."""

    def make(factory, folder):
        slices = [factory.dataset(index, RescaleType="HU") for index in range(5)]
        factory.save(enhanced(slices, **changes), folder / "a.dcm")

    return make


def denoised_before(factory, folder: Path) -> None:
    """What ct_keras has written."""
    from ct_keras.dicom import read_series, write_series

    factory.folder(folder.parent / "before")
    write_series(read_series(folder.parent / "before"), folder)


def pipe(factory, folder: Path) -> None:
    """A file that cannot be read, beside a series."""
    factory.folder(folder)
    os.mkfifo(folder / "pipe")


def later(factory, folder: Path) -> None:
    """One more slice arrives."""
    factory.save(factory.dataset(9), folder / "late.dcm")


gap = series(ImagePositionPatient=lambda i: [0, 0, 5 * i + 5 * (i > 2)])
tilt = series(ImagePositionPatient=lambda i: [0, i, 5 * i])
floats = series(
    PixelData=None,
    BitsAllocated=32,
    FloatPixelData=lambda i: np.frombuffer(in_hu(i), "<i2").astype("<f4").tobytes(),
    RescaleIntercept=0,
)

ROWS = (
    Row(
        1,
        "a file that is not DICOM, with a name unlike those of the slices",
        "CTK-W001",
        0,
        "nothing: it is skipped and counted",
        with_text_files,
    ),
    Row(
        1,
        "a file that is not DICOM, or is empty, with the name of a slice",
        "CTK-E003",
        4,
        "copy the series again, or write the rest with `--skip-bad-slices`",
        bent(lambda content: bytes(len(content))),
        slices=None,
    ),
    Row(
        1,
        "no file is a CT image",
        "CTK-E001",
        2,
        "give the folder of the CT images; the message names what was found instead",
        text_files,
        slices=None,
    ),
    Row(
        2,
        "no preamble or file meta",
        "CTK-E002",
        4,
        "repair it with `dcmconv IN OUT`, or accept it with `--allow-no-preamble`",
        bent(lambda content: content[132:]),
        slices=None,
    ),
    Row(
        2,
        "the same, accepted",
        "CTK-W002",
        0,
        "nothing: class, matrix and number of pixel bytes agree",
        bent(lambda content: content[132:], 1),
        ("--allow-no-preamble",),
        slices=1,
    ),
    Row(
        3,
        "a truncated file",
        "CTK-E003",
        4,
        "copy the series again, or write the rest with `--skip-bad-slices`",
        bent(lambda content: content[:-100]),
        slices=None,
    ),
    Row(
        3,
        "the same, left out",
        "CTK-W009",
        8,
        "nothing: the result says in its headers that it is incomplete",
        bent(lambda content: content[:-100]),
        ("--skip-bad-slices",),
        slices=4,
    ),
    Row(
        4,
        "compressed pixels that no installed decoder reads",
        "CTK-E010",
        4,
        "install the package that the message names, or decompress with `gdcmconv`",
        bent(no_decoder),
        slices=None,
    ),
    Row(
        5,
        "pixels that were lossy-compressed once",
        "CTK-W011",
        0,
        "look closely: the noise is not that of the scanner",
        series(LossyImageCompression="01"),
    ),
    Row(
        5,
        "the same, for training",
        "CTK-E011",
        9,
        "leave the series out, or accept it with `--allow-lossy`",
        series(LossyImageCompression="01"),
        ("--layout", "single", "--split", "1,0,0", "--workers", "1"),
        command="convert",
        slices=None,
    ),
    Row(
        6,
        "images of another modality",
        "CTK-E020",
        2,
        "give the folder of the CT images",
        series(Modality="MR"),
        slices=None,
    ),
    Row(
        6,
        "a CT image of another modality among the slices of a CT series, left out",
        "CTK-W009",
        8,
        "nothing: the result says that it is incomplete; CTK-E020 without the option",
        beside(Modality="OT"),
        ("--skip-bad-slices",),
    ),
    Row(
        7,
        "a secondary capture, dose report or RGB page beside the slices",
        "CTK-W021",
        0,
        "nothing: it is skipped and counted",
        beside(SOPClassUID=SECONDARY_CAPTURE),
    ),
    Row(
        8,
        "a localizer beside the slices",
        "CTK-W022",
        0,
        "nothing: it is skipped and counted",
        beside(ImageType=LOCALIZER),
    ),
    Row(
        9,
        "several series",
        "CTK-I030",
        0,
        "choose one with `--series`, if not all are wanted",
        two_series,
        slices=10,
    ),
    Row(
        10,
        "the same slice twice",
        "CTK-W031",
        0,
        "nothing: one of them is dropped",
        duplicates,
    ),
    Row(
        10,
        "two different images at one position, and no tag tells which is which",
        "CTK-E031",
        4,
        "put each phase into a folder and under a series UID of its own",
        two_images_at_one_place,
        slices=None,
    ),
    Row(
        11,
        "unsorted, without InstanceNumber",
        None,
        0,
        "nothing: positions decide",
        series(InstanceNumber=None, ImagePositionPatient=lambda i: [0, 0, -5 * i]),
    ),
    Row(
        12,
        "a missing slice, or uneven spacing",
        "CTK-W032",
        0,
        "copy the series again if slices were lost; 2-D models do not care",
        gap,
    ),
    Row(
        12,
        "the same, for a 3-D model",
        "CTK-E032",
        4,
        "use a 2-D model, or denoise each even run apart with `--allow-gaps`",
        gap,
        dimensions=3,
        slices=None,
    ),
    Row(
        12,
        "the same, accepted",
        "CTK-W032",
        0,
        "nothing: the result does not depend on slices beyond a gap",
        gap,
        ("--allow-gaps",),
        dimensions=3,
    ),
    Row(
        13,
        "MONOCHROME1",
        "CTK-W045",
        0,
        "nothing: only the display is inverted, not the HU",
        series(PhotometricInterpretation="MONOCHROME1"),
    ),
    Row(
        14,
        "a tilted gantry",
        "CTK-I033",
        0,
        "nothing: the geometry stays as it is",
        tilt,
    ),
    Row(
        14,
        "the same, for a 3-D model",
        "CTK-E033",
        4,
        "use a 2-D model, or accept the sheared stack with `--allow-tilt`",
        tilt,
        dimensions=3,
        slices=None,
    ),
    Row(
        14,
        "the same, accepted",
        "CTK-W033",
        0,
        "look closely: the model has not seen sheared stacks",
        tilt,
        ("--allow-tilt",),
        dimensions=3,
    ),
    Row(
        15,
        "several orientations in one series",
        "CTK-W034",
        0,
        "nothing: each becomes a stack; fewer than 4 across the others are a localizer",
        two_orientations,
        slices=10,
    ),
    Row(
        16,
        "several image sizes, pixel spacings, kVp or thicknesses in one series",
        "CTK-W035",
        0,
        "nothing: each becomes a stack",
        series(KVP=lambda i: 80 if i < 3 else 140),
    ),
    Row(
        16,
        "several kernels in one series",
        "CTK-E035",
        4,
        "split it into one series for each reconstruction",
        series(ConvolutionKernel=lambda i: f"B{30 + i % 2}f"),
        slices=None,
    ),
    Row(
        17,
        "no position or orientation; told the same way: several frames of reference",
        "CTK-W036",
        0,
        "nothing: sorted by SliceLocation or InstanceNumber",
        series(ImagePositionPatient=None),
    ),
    Row(
        17,
        "the same, for a 3-D model",
        "CTK-E036",
        4,
        "use a 2-D model",
        series(ImagePositionPatient=None),
        dimensions=3,
        slices=None,
    ),
    Row(
        18,
        "PixelSpacing missing or impossible",
        "CTK-W037",
        0,
        "nothing for 2-D models",
        series(PixelSpacing=None),
    ),
    Row(
        18,
        "the same, for a 3-D model",
        "CTK-E037",
        4,
        "use a 2-D model",
        series(PixelSpacing=None),
        dimensions=3,
        slices=None,
    ),
    Row(
        19,
        "SliceThickness or SpacingBetweenSlices missing, or against the positions",
        "CTK-I038",
        0,
        "nothing: positions decide",
        series(SpacingBetweenSlices=16),
    ),
    Row(
        20,
        "another slope or intercept in each slice",
        None,
        0,
        "nothing: each slice has its own",
        slopes,
    ),
    Row(
        21,
        "no usable slope or intercept, or a lookup table",
        "CTK-E040",
        9,
        "export again; if the stored values are HU, `--assume-hu`",
        series(RescaleSlope=0),
        slices=None,
    ),
    Row(
        21,
        "the same, and the stored values look like HU",
        "CTK-W040",
        0,
        "nothing: the result has slope 1 and intercept 0",
        series(RescaleSlope=None, RescaleIntercept=None, PixelData=in_hu),
        ("--assume-hu",),
    ),
    Row(
        22,
        "RescaleType is not HU",
        "CTK-E042",
        9,
        "give images in HU: electron density, effective Z and so on are something else",
        series(RescaleType="ED"),
        slices=None,
    ),
    Row(
        22,
        "RescaleType 'US' (unspecified), and the values look like HU",
        "CTK-W042",
        0,
        "nothing: ITK and GDCM write it for HU",
        series(RescaleType="US"),
    ),
    Row(
        23,
        "values that cannot be HU",
        "CTK-E044",
        9,
        "check slope and intercept",
        series(RescaleIntercept=0),
        slices=None,
    ),
    Row(
        23,
        "the same, accepted",
        "CTK-W044",
        0,
        "look closely: the model has seen HU only",
        series(RescaleIntercept=0),
        ("--force-hu", "--override-guards"),
    ),
    Row(
        24,
        "padding, with or without a tag",
        "CTK-I039",
        0,
        "nothing: it keeps its stored values, bit for bit",
        padded(-2000),
    ),
    Row(
        25,
        "PixelPaddingValue under the VR of the other sign",
        "CTK-I039",
        0,
        "nothing: it is read modulo 65536",
        padded(-2000, PixelPaddingValue=("US", 63536)),
    ),
    Row(
        26,
        "HighBit does not fit BitsStored",
        "CTK-E046",
        4,
        "export again: nobody can tell which bits hold the pixels",
        series(HighBit=14),
        slices=None,
    ),
    Row(
        26,
        "signs, garbage or overlays in the bits above BitsStored",
        None,
        0,
        "nothing: they are cleared",
        series(
            BitsStored=12,
            HighBit=11,
            PixelRepresentation=0,
            PixelData=lambda i: (stored_of(i) | 0xA000).astype("<u2").tobytes(),
        ),
    ),
    Row(
        27,
        "8-bit, 32-bit, color or floating-point pixels",
        "CTK-E047",
        4,
        "export 16-bit grey values; floating-point pixels: `--allow-float`",
        floats,
        slices=None,
    ),
    Row(
        27,
        "floating-point pixels, accepted",
        "CTK-W047",
        0,
        "nothing: the values are rounded to a quarter of a HU",
        floats,
        ("--allow-float",),
    ),
    Row(
        28,
        "Enhanced or Legacy Converted Enhanced CT (multi-frame)",
        None,
        0,
        "nothing: read by its functional groups, written as the same class",
        multi_frame(),
    ),
    Row(
        28,
        "functional groups that do not describe every frame",
        "CTK-E048",
        4,
        "copy the series again",
        multi_frame(NumberOfFrames=6),
        slices=None,
    ),
    Row(
        28,
        "a multi-frame image in several files, one of which is missing",
        "CTK-E003",
        4,
        "copy the series again, or write the rest with `--skip-bad-slices`",
        multi_frame(
            ConcatenationUID="1.2.9",
            InConcatenationNumber=1,
            InConcatenationTotalNumber=2,
        ),
        slices=None,
    ),
    Row(
        29,
        "derived images",
        "CTK-W050",
        0,
        "look closely: their noise is not that of the scanner",
        series(ImageType=["DERIVED", "SECONDARY", "AXIAL"]),
    ),
    Row(
        29,
        "a series that ct_keras has denoised before",
        "CTK-E050",
        9,
        "denoise the original, or accept it with `--allow-repeat`",
        denoised_before,
        slices=None,
    ),
    Row(
        30,
        "kVp, kernel, thickness, maker, contrast or anatomy outside the training data",
        "CTK-W060",
        0,
        "look closely, or choose another model",
        series(KVP=80),
        ranges={"kvp": [120, 140]},
    ),
    Row(
        31,
        "a folder that is still filling",
        "CTK-W004",
        8,
        "run it again when the transfer has ended, or with `--wait-stable`",
        series(),
        disturb=later,
    ),
    Row(
        32,
        "a file that cannot be read",
        "CTK-E005",
        5,
        "mend its permissions, or choose the series with `--series`",
        pipe,
        slices=None,
    ),
    Row(
        33,
        "several patients or studies in one series",
        "CTK-E051",
        9,
        "put each patient into a folder and under a series UID of its own",
        series(PatientID=lambda i: f"SECRETX-{i % 2}"),
        slices=None,
    ),
    Row(
        34,
        "names, IDs, dates and UIDs in the headers",
        None,
        0,
        "nothing: no message and no file name holds them",
        series(),
    ),
)
_HEADINGS = ("", "what is wrong with the input", "code", "exit", "what to do", "test")


def markdown() -> str:
    """The table, one line for each row."""
    lines = [_HEADINGS, ("---",) * len(_HEADINGS)]
    for row in ROWS:
        code = f"`{row.code}`" if row.code else "none"
        told = (code, str(row.status), row.action, f"`{row.name}`")
        lines.append((str(row.number), row.wrong, *told))
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
