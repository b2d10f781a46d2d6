"""Volumes of other formats: values, geometry and scale come back as they were."""

import json
import shutil
import struct

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ct_keras
from ct_keras.cli import main
from ct_keras.containers import (
    GreyValues,
    VolumeWriter,
    format_of,
    open_writer,
    read_volume_file,
)
from ct_keras.containers.formats import axial_order
from ct_keras.dicom.provenance import Derivation
from ct_keras.errors import CtKerasError
from ct_keras.phantoms import make_phantom

SPACING_MM = (5.0, 3.0, 2.5)
#: Turned about z by 10 degrees, x flipped, with an offset.
COS, SIN = np.cos(np.pi / 18), np.sin(np.pi / 18)
TURN = np.array([[-COS, SIN, 0], [SIN, COS, 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def hu():
    phantom = make_phantom(
        3, region="abdomen", shape=(3, 96, 112), spacing_mm=(5, 4, 4)
    )
    noise = np.random.default_rng(0).normal(0, 20, phantom.hu.shape)
    return np.rint(phantom.hu + noise).astype(np.int16)


def nifti(
    path, hu, *, order=(2, 1, 0), slope=1.0, intercept=0.0, affine=None, kind=None
):
    """Writes (slices, rows, columns) with the axes of the file in this order."""
    if affine is None:
        affine = np.eye(4)
        affine[:3, :3] = TURN @ np.diag(SPACING_MM[::-1])
        affine[:3, 3] = (-100, 40, 12.5)
        affine[:3, :3] = affine[:3, :3][:, [2 - axis for axis in order]]
    stored = np.rint((hu - intercept) / slope).transpose(order)
    image = (kind or nibabel.Nifti1Image)(stored.astype(np.int16), affine)
    image.header.set_slope_inter(1, 0)
    image.header["xyzt_units"] = 2
    data = image.to_bytes()
    block = type(image.header)(data[: len(image.header.binaryblock)])
    block["scl_slope"], block["scl_inter"] = slope, intercept
    data = block.binaryblock + data[len(block.binaryblock) :]
    if path.suffix == ".gz":
        import gzip

        data = gzip.compress(data)
    path.write_bytes(data)
    return path


def itk(path, hu):
    simple_itk = pytest.importorskip("SimpleITK", reason="the extra itk is missing")
    image = simple_itk.GetImageFromArray(hu)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin((-100.0, 40.0, 12.5))
    image.SetDirection(TURN.ravel().tolist())
    image.SetMetaData("note", "kept")
    simple_itk.WriteImage(image, str(path))
    return path


def array(path, hu):
    path.parent.mkdir(exist_ok=True)
    np.save(path, hu)
    return path


def picture(path, values):
    """A picture by OpenCV; the first slice, or all as pages of a TIFF."""
    pages = list(values) if path.suffix == ".tif" else [values[0]]
    assert cv2.imwritemulti(str(path), pages)
    return path


def grey(hu):
    """8 bits of the abdomen window, as pictures of CT hold them."""
    return np.clip((hu + 160) * 0.6375, 0, 255).astype(np.uint8)


def raw(hu):
    """16 bits whose value 0 is -1024 HU."""
    return np.maximum(hu + 1024, 0).astype(np.uint16)


def written(path):
    """Values and geometry, by the libraries of the formats themselves."""
    if path.suffix in (".png", ".tif"):
        _, pages = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)
        return np.stack(pages), ()
    if path.suffix == ".npy":
        return np.load(path), ()
    if path.suffix in (".nrrd", ".mha"):
        import SimpleITK

        image = SimpleITK.ReadImage(str(path))
        geometry = *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()
        return SimpleITK.GetArrayFromImage(image), geometry
    import nibabel

    image = nibabel.load(path)
    scale = image.dataobj.slope, image.dataobj.inter
    kind = image.get_data_dtype().num, *image.header.get_xyzt_units()
    return image.dataobj.get_unscaled(), (*image.affine.ravel(), *scale, *kind)


def denoise(*arguments) -> int:
    """The exit status of the command, with a filter."""
    with pytest.raises(SystemExit) as end:
        main.main(["denoise", *map(str, arguments), "--model", "filter:gaussian"])
    return int(end.value.code)


MAKERS = {
    "plain.nii": nifti,
    "zipped.nii.gz": nifti,
    "scaled.nii": lambda path, hu: nifti(path, hu, slope=0.5, intercept=-24),
    "sagittal.nii.gz": lambda path, hu: nifti(path, hu, order=(1, 0, 2)),
    "two.nii": lambda path, hu: nifti(
        path, hu, kind=pytest.importorskip("nibabel").Nifti2Image
    ),
    "v.nrrd": itk,
    "v.mha": itk,
    "float.mha": lambda path, hu: itk(path, hu.astype(np.float32)),
    "v.npy": array,
    "float.npy": lambda path, hu: array(path, hu + np.float32(0.25)),
    "one.npy": lambda path, hu: array(path, hu[1]),
    "pages.tif": picture,
    "float.tif": lambda path, hu: picture(path, hu + np.float32(0.25)),
    "raw.tif": lambda path, hu: picture(path, raw(hu)),
    "raw.png": lambda path, hu: picture(path, raw(hu)),
    "grey.png": lambda path, hu: picture(path, grey(hu)),
    "grey.tif": lambda path, hu: picture(path, grey(hu)),
    "channels.png": lambda path, hu: picture(path, grey(hu)[..., None].repeat(3, 3)),
    "channels.tif": lambda path, hu: picture(path, grey(hu)[..., None].repeat(3, 3)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_round_trip_is_exact(hu, tmp_path, name):
    source = MAKERS[name](tmp_path / name, hu)
    out = tmp_path / f"out-{name}"
    scale = ["--intercept", "-1024"] if name.startswith("raw") else []
    assert denoise(source, out, "--strength", "0", *scale) == 0
    before, after = written(source), written(out)
    assert np.array_equal(after[0], before[0]) and after[0].dtype == before[0].dtype
    assert after[1] == pytest.approx(before[1], abs=1e-6)
    note = json.loads((tmp_path / f"out-{name}.ct_keras.json").read_text())
    assert note["parameters"]["strength"] == 0 and note["made_by"] == "ct_keras"
    pictures = ("grey", "channels")
    assert note["scale"] == ("picture" if name.startswith(pictures) else "HU")


@pytest.mark.parametrize("name", ["scaled.nii", "sagittal.nii.gz", "v.nrrd", "v.npy"])
def test_the_planes_of_any_file_are_denoised_alike(hu, tmp_path, name):
    source = MAKERS[name](tmp_path / name, hu)
    out = tmp_path / f"out-{name}"
    assert denoise(source, out) == 0
    volume = read_volume_file(source)
    assert np.array_equal(volume.hu, hu)
    expected = np.stack([ct_keras.filters.get("gaussian")(plane) for plane in hu])
    step = abs(volume.content.slope) / 2 + 1e-3
    assert np.abs(read_volume_file(out).hu - expected).max() <= step


def test_pictures_have_a_scale_of_their_own(hu, tmp_path, capsys):
    values = grey(hu)
    source, out = picture(tmp_path / "x.png", values), tmp_path / "out.png"
    assert denoise(source, out) == 0
    assert "CTK-I063" in capsys.readouterr().err
    volume = read_volume_file(source)
    assert np.array_equal(volume.hu[0], values[0] * 16.0 - 1024)  # g / 256 in a network
    expected = (ct_keras.filters.get("gaussian")(volume.hu[0]) + 1024) / 16
    result = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert np.abs(result - expected).max() <= 0.5 and result.dtype == np.uint8
    assert command("denoise", source, tmp_path / "net.png", "--model", "red_cnn") == 9
    assert "CTK-E063" in capsys.readouterr().err
    pixels = ("--pixel-spacing", "0.7")
    low = tmp_path / "low.png"
    assert command("simulate", source, low, "--dose", "0.5", *pixels) == 9
    assert "CTK-E063" in capsys.readouterr().err
    assert not low.exists()


def test_sixteen_bits_need_a_scale(hu, tmp_path, capsys):
    source, out = picture(tmp_path / "x.png", raw(hu)), tmp_path / "out.png"
    assert denoise(source, out) == 9
    assert "CTK-E040" in capsys.readouterr().err
    assert denoise(source, out, "--pictures", "--slope", "1") == 3
    assert denoise(source, out, "--slope", "0") == 3
    assert denoise(source, out, "--slope", "1") == 9  # there is no air
    assert denoise(source, out, "--pictures", "--strength", "0") == 0
    values = read_volume_file(out, values=GreyValues(pictures=True)).hu[0]
    assert np.array_equal(values, raw(hu)[0] / 16.0 - 1024)
    signed = picture(tmp_path / "x.tif", hu)
    assert denoise(signed, tmp_path / "out.tif", "--pictures") == 4
    scaled = nifti(tmp_path / "v.nii", hu, slope=0.5, intercept=-24)
    assert denoise(scaled, tmp_path / "out.nii", "--intercept", "3") == 3
    assert "CTK-E000" in capsys.readouterr().err


def test_pages_that_differ_and_colours_are_refused(hu, tmp_path, capsys):
    source = tmp_path / "x.tif"
    assert cv2.imwritemulti(str(source), [hu[0], hu[0, :50]])
    colours = grey(hu)[..., None].repeat(3, 3)
    colours[..., 2] += 1
    for path in (source, picture(tmp_path / "x.png", colours)):
        assert denoise(path, tmp_path / f"out{path.suffix}") == 4
        assert "CTK-E047" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "truncate": True},
        {"truncate": True},
        {"volumetric": True, "tile": (16, 16, 16)},
    ],
    ids=["ImageJ", "text of tifffile", "depth"],
)
def test_a_page_that_stands_for_several_slices_is_refused(
    hu, tmp_path, capsys, options
):
    source, out = tmp_path / "x.tif", tmp_path / "out.tif"
    values = (hu + 1024).clip(0).astype(np.uint16)
    tifffile.imwrite(source, values, photometric="minisblack", **options)
    scale = ("--slope", "1", "--intercept", "-1024")
    assert denoise(source, out, *scale) == 4
    assert "CTK-E047 a page of the file stands for" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {}])
def test_pages_of_other_programs_are_all_read(hu, tmp_path, options):
    source = tmp_path / "x.tif"
    values = (hu + 1024).clip(0).astype(np.uint16)
    tifffile.imwrite(source, values, photometric="minisblack", **options)
    found = read_volume_file(source, values=GreyValues(slope=1, intercept=-1024))
    assert np.array_equal(found.hu, values.astype(np.float32) - 1024)


def test_a_text_about_slices_that_are_not_there_is_not_believed(hu, tmp_path):
    source = tmp_path / "x.tif"
    text = json.dumps({"shape": [9, *hu.shape[1:]]})
    options = {"photometric": "minisblack", "metadata": None, "description": text}
    tifffile.imwrite(source, hu, **options)
    assert np.array_equal(read_volume_file(source).hu, hu.astype(np.float32))


@pytest.mark.parametrize(
    ("tag", "value", "kept"),
    [
        ("ResolutionUnit", 94, {"ImageDescription"}),
        ("XResolution", (0, 0), {"ImageDescription"}),
        ("YResolution", (1, 0), {"ImageDescription"}),
        ("ImageDescription", "Röntgen".encode(), {"ImageDescription", "XResolution"}),
    ],
)
def test_tags_that_no_writer_takes_are_dropped(hu, tmp_path, tag, value, kept):
    """Fuzzing found the first two: the run ended when the result was written."""
    source, out = tmp_path / "x.tif", tmp_path / "out.tif"
    tags = {"resolution": (14, 14), "resolutionunit": 3, "description": "chest, row 4"}
    tifffile.imwrite(source, hu, metadata=None, photometric="minisblack", **tags)
    with tifffile.TiffFile(source, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    assert denoise(source, out, "--strength", "0") == 0
    assert np.array_equal(read_volume_file(out).hu, read_volume_file(source).hu)
    with tifffile.TiffFile(out) as file:
        found = file.pages[0].tags
        both = ("ImageDescription", "XResolution")
        assert {name for name in both if name in found and found[name].value} >= kept
        if tag == "ImageDescription":
            assert found[tag].value == "Röntgen"


@pytest.mark.parametrize("pages", [1, 3, 120])
def test_pages_in_a_circle_are_refused(tmp_path, pages):
    """Fuzzing found it: 423 bytes took all memory, without an end."""
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((pages, 8, 8), np.int16), photometric="minisblack")
    content = bytearray(path.read_bytes())
    first = place = struct.unpack_from("<I", content, 4)[0]
    while place:
        (tags,) = struct.unpack_from("<H", content, place)
        end = place + 2 + 12 * tags
        (place,) = struct.unpack_from("<I", content, end)
    struct.pack_into("<I", content, end, first)
    path.write_bytes(content)
    with pytest.raises(CtKerasError, match="CTK-E003"):
        read_volume_file(path)


def test_resolution_and_text_of_pictures_stay(hu, tmp_path):
    source, out = tmp_path / "x.tif", tmp_path / "out.tif"
    tags = {"resolution": (14, 14), "resolutionunit": 3, "description": "chest, row 4"}
    tifffile.imwrite(source, hu, metadata=None, photometric="minisblack", **tags)
    assert denoise(source, out) == 0
    with tifffile.TiffFile(out) as file:
        page = file.pages[0]
        kept = [page.tags[name].value for name in ("XResolution", "ResolutionUnit")]
        assert kept == [(14, 1), 3] and page.description == "chest, row 4"
        assert json.loads(page.tags["Software"].value)["denoised"] is True
    assert denoise(out, tmp_path / "again.tif") == 9
    source, text = tmp_path / "x.png", PngInfo()
    text.add_text("Title", "chest")
    Image.fromarray(grey(hu)[0]).save(source, dpi=(300, 300), pnginfo=text)
    assert denoise(source, tmp_path / "out.png") == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.text["Title"] == "chest" and image.info["dpi"][0] > 299
        assert json.loads(image.text["ct_keras"])["denoised"] is True


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([-2.5, -3, 5, 1]),
        np.diag([2.5, 3, -5, 1]),
        [[2.4, 0.4, 0.9, -31], [-0.5, 2.9, 0.4, 7], [-0.6, -0.3, 4.9, 40]],
        [[0, 0, 5, 1], [-2.5, 0, 0, 2], [0, 3, 0, 3]],
    ],
    ids=["turned", "from head to feet", "oblique", "coronal"],
)
def test_any_affine_comes_back(hu, tmp_path, affine):
    affine = np.vstack([affine[:3], [0, 0, 0, 1]]).astype(float)
    image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine)
    image.set_qform(affine, 1, strip_shears=True)
    nibabel.save(image, tmp_path / "v.nii.gz")
    out = tmp_path / "out.nii.gz"
    assert denoise(tmp_path / "v.nii.gz", out) == 0
    before, after = nibabel.load(tmp_path / "v.nii.gz"), nibabel.load(out)
    assert np.array_equal(after.affine, before.affine)
    for which in ("sform", "qform"):
        forms = [getattr(each, f"get_{which}")(coded=True) for each in (before, after)]
        assert np.array_equal(forms[0][0], forms[1][0]) and forms[0][1] == forms[1][1]


def test_one_writer_of_a_file_at_a_time(hu, tmp_path, capsys):
    volume = read_volume_file(array(tmp_path / "v.npy", hu))
    out = tmp_path / "out.npy"
    with VolumeWriter(volume, out, Derivation()) as writer:
        assert denoise(volume.path, out) == 6
        assert "CTK-E071 another run is writing this output" in capsys.readouterr().err
        link = tmp_path / "link"
        link.symlink_to(tmp_path)
        assert denoise(volume.path, link / "out.npy") == 6
        assert denoise(volume.path, tmp_path / "other.npy") == 0
        for index in range(len(volume)):
            writer.write(index, volume.read(index).hu)
    assert np.array_equal(np.load(out), hu)
    again = VolumeWriter(volume, out, Derivation(), overwrite=True)
    with pytest.raises(RuntimeError), again:
        raise RuntimeError
    assert np.array_equal(np.load(out), hu)
    assert denoise(volume.path, out, "--overwrite") == 0  # the lock went with it
    assert not list(tmp_path.glob(".ctk-tmp-*"))


def test_spacing_follows_the_axes(hu, tmp_path):
    for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        volume = read_volume_file(nifti(tmp_path / "v.nii", hu, order=order))
        assert volume.spacing_mm == pytest.approx(SPACING_MM)
        assert volume.shape == hu.shape
    volume = read_volume_file(itk(tmp_path / "v.mha", hu))
    assert volume.spacing_mm == pytest.approx(SPACING_MM)
    assert np.isnan(read_volume_file(array(tmp_path / "v.npy", hu)).spacing_mm).all()


def test_slices_are_the_planes_nearest_to_axial():
    assert axial_order(np.eye(3)) == (2, 1, 0)
    assert axial_order(np.eye(3)[:, [2, 0, 1]]) == (0, 2, 1)
    assert axial_order(TURN) == (2, 1, 0)
    assert axial_order(np.zeros((3, 3))) == (2, 1, 0)


def test_the_file_tells_that_it_was_denoised(hu, tmp_path, capsys):
    for name in ("v.nii.gz", "v.nrrd", "v.npy"):
        maker = {"v.nii.gz": nifti, "v.nrrd": itk, "v.npy": array}[name]
        out = tmp_path / f"out-{name}"
        assert denoise(maker(tmp_path / name, hu), out) == 0
        assert read_volume_file(out).denoised
        assert denoise(out, tmp_path / f"again-{name}") == 9
        assert "CTK-E050" in capsys.readouterr().err
        assert not (tmp_path / f"again-{name}").exists()
        assert denoise(out, tmp_path / f"again-{name}", "--allow-repeat") == 0
    import nibabel

    header = nibabel.load(tmp_path / "out-v.nii.gz").header
    assert b"NOT FOR DIAGNOSTIC USE" in bytes(header["descrip"])
    (extension,) = header.extensions
    assert json.loads(bytes(extension.get_content()).rstrip(b"\0"))["denoised"] is True


@pytest.mark.parametrize("name", ["plain.nii", "v.mha", "float.tif"])
def test_what_was_denoised_once_stays_denoised(hu, tmp_path, name):
    """Also the copy and the lower dose of a denoised volume, and what follows them."""
    denoised = Derivation.filtered("gaussian")
    others = (Derivation.unchanged("input"), Derivation.simulated_dose(0.5))
    source = MAKERS[name](tmp_path / name, hu)
    for number, other in enumerate(others):
        for order in ([denoised, other], [other, denoised]):
            read = source
            for step, derivation in enumerate(order):
                out = tmp_path / f"{number}{step}{order[0].denoises}-{name}"
                volume = read_volume_file(read)
                with open_writer(volume, out, derivation) as writer:
                    for index in range(len(volume)):
                        writer.write(index, volume.read(index).hu)
                read = out
            out.with_name(f"{out.name}.ct_keras.json").unlink()
            assert read_volume_file(out).denoised


def test_entries_of_the_source_stay(hu, tmp_path):
    out = tmp_path / "out.nrrd"
    assert denoise(itk(tmp_path / "v.nrrd", hu), out) == 0
    import SimpleITK

    image = SimpleITK.ReadImage(str(out))
    assert image.GetMetaData("note") == "kept"
    assert "filter" in image.GetMetaData("ct_keras")


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        (lambda hu: ((hu + 1024.0) / 4096).astype(np.float32), "CTK-E044", 9),
        (lambda hu: (hu + 1024).astype(np.uint16), "CTK-E044", 9),
        (lambda hu: np.where(hu > 500, np.nan, hu), "CTK-E044", 9),
        (lambda hu: np.stack([hu, hu, hu, hu]), "CTK-E047", 4),
        (lambda hu: hu.astype(np.complex64), "CTK-E047", 4),
        (lambda hu: hu[:0], "CTK-E047", 4),
        (lambda hu: np.array([hu, {}], dtype=object), "CTK-E003", 4),
    ],
    ids=["0 to 1", "1024 too high", "nan", "4-D", "complex", "empty", "pickle"],
)
def test_what_is_not_a_volume_in_hu_is_refused(
    hu, tmp_path, capsys, change, code, status
):
    source = tmp_path / "v.npy"
    np.save(source, change(hu), allow_pickle=True)
    assert denoise(source, tmp_path / "out.npy") == status
    assert code in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".png", ".tif"]
)
@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"NRRD0004\n", 400 * b"\x01"])
def test_damaged_files_are_refused_in_one_line(tmp_path, capsys, suffix, data):
    pytest.importorskip("SimpleITK", reason="the extra itk is missing")
    source = tmp_path / f"v{suffix}"
    source.write_bytes(data)
    assert denoise(source, tmp_path / f"out{suffix}") == 4
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("CTK-E003")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_voxels_without_a_place_are_refused(hu, tmp_path, capsys, number):
    source = tmp_path / "v.nii"
    nibabel.Nifti1Image(hu.astype(np.int16), np.diag([1, 1, 5, 1])).to_filename(source)
    header = nibabel.load(source).header.copy()
    header["srow_x"], header["sform_code"] = (1, 0, number, 0), 2
    content = source.read_bytes()
    source.write_bytes(header.binaryblock + content[len(header.binaryblock) :])
    assert denoise(source, tmp_path / "out.nii") == 4
    assert "CTK-E003" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["v.nii"]


def lines_of(path, header: bytes) -> bytes:
    """The file with another last line of its header."""
    key = b"ElementDataFile = LOCAL\n" if path.suffix == ".mha" else b"\n\n"
    head, rest = path.read_bytes().split(key, 1)
    return head + header + rest


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("v.mha", b"ElementDataFile = other.raw\n"),
        ("v.mha", b"ElementDataFile = other.raw\nElementDataFile = LOCAL\n"),
        ("v.mha", b"ElementDataFile = LOC\n"),
        ("v.mha", b"ElementDataFile = LOCAL\0\0\n"),
        ("v.mha", b""),
        ("v.nrrd", b"\ndata file: other.raw\n\n"),
        ("v.nrrd", b"\nDataFile: other.raw\n\n"),
    ],
)
def test_voxels_in_another_file_are_not_read(hu, tmp_path, name, header):
    """ITK would read any file; of some names it dies by a division by zero."""
    path = itk(tmp_path / name, hu)
    (tmp_path / "other.raw").write_bytes(bytes(2 * hu.size))
    path.write_bytes(lines_of(path, header))
    with pytest.raises(CtKerasError, match="CTK-E003"):
        read_volume_file(path)


@pytest.mark.parametrize(
    "axes",
    [b"-1", b"5", b"100", b"1e308", b"2147483648", b"1e308\x7fryData = True", b""],
)
def test_a_number_of_axes_that_is_none_is_refused(hu, tmp_path, axes):
    """ITK ends the process over some of them: it takes memory for at most ten."""
    path = itk(tmp_path / "v.mha", hu)
    header = b"NDims = " + axes + b"\nElementDataFile = LOCAL\n"
    path.write_bytes(lines_of(path, header))
    with pytest.raises(CtKerasError, match="CTK-E003"):
        read_volume_file(path)


def test_entries_that_are_not_utf8_are_left_out(hu, tmp_path):
    path, out = itk(tmp_path / "v.mha", hu), tmp_path / "out.mha"
    bad = b"Comment = M\xfcller\nN\xe4me = x\nKept = yes\nElementDataFile = LOCAL\n"
    path.write_bytes(lines_of(path, bad))
    volume = read_volume_file(path)
    with open_writer(volume, out, Derivation.unchanged("input")) as writer:
        for index in range(len(volume)):
            writer.write(index, volume.read(index).hu)
    np.testing.assert_array_equal(read_volume_file(out).hu, volume.hu)
    assert b"Kept = yes" in out.read_bytes()


@pytest.mark.parametrize("name", ["v.nii.gz", "v.mha"])
def test_a_small_file_cannot_take_much_memory(hu, tmp_path, name):
    make = nifti if name == "v.nii.gz" else itk
    path = make(tmp_path / name, np.full((9, 1024, 1024), -1000.0))
    assert path.stat().st_size < 10_000_000 / 200 or name == "v.mha"
    if name == "v.mha":
        data = path.read_bytes().replace(b"1024 1024 9", b"1024 1024 2000")
        path.write_bytes(data[:4_000_000])
    with pytest.raises(CtKerasError, match="CTK-E041"):
        read_volume_file(path)


def test_the_output_replaces_nothing_else(hu, tmp_path, capsys):
    source, out = array(tmp_path / "v.npy", hu), tmp_path / "out.npy"
    data = source.read_bytes()
    for target, code in ((source, "E071"), (tmp_path / "out", "E000")):
        assert denoise(source, target, "--overwrite") in (3, 6)
        assert code in capsys.readouterr().err
    out.write_text("somebody's")
    assert denoise(source, out) == denoise(source, out, "--overwrite") == 6
    assert out.read_text() == "somebody's" and source.read_bytes() == data
    out.unlink()
    assert denoise(source, out) == 0
    assert denoise(source, out) == 6
    assert denoise(source, out, "--overwrite", "--strength", "0") == 0
    assert np.array_equal(np.load(out), hu)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("out.npy", "out.npy.ct_keras.json", "v.npy"),
    ]
    beside = tmp_path / "new.npy.ct_keras.json"
    beside.write_text('{"denoised": false}')
    assert denoise(source, tmp_path / "new.npy") == 6
    assert (
        "new.npy.ct_keras.json that ct_keras did not write" in capsys.readouterr().err
    )
    assert beside.read_text() == '{"denoised": false}'
    assert not (tmp_path / "new.npy").exists()


@pytest.mark.parametrize(("free", "reason"), [(0, "disk full"), (10**9, "unknown")])
def test_a_library_that_cannot_write_is_told(hu, tmp_path, monkeypatch, free, reason):
    """NumPy and SimpleITK raise errors without a number on a full disk."""

    def broken(path, *_):
        path.write_bytes(b"half")
        raise RuntimeError("odd")

    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr("ct_keras.containers.formats.write", broken)
    volume = read_volume_file(array(tmp_path / "v.npy", hu))
    out = tmp_path / "out.npy"
    with (
        pytest.raises(CtKerasError, match=f"CTK-E073 cannot write: {reason}"),
        open_writer(volume, out, Derivation.filtered("gaussian")),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


def test_quality_control_and_json(hu, tmp_path, capsys):
    source = nifti(tmp_path / "v.nii.gz", hu)
    out = tmp_path / "out.nii.gz"
    assert denoise(source, out, "--qc", tmp_path / "qc", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["series"]
    assert (row["slices"], row["rows"], row["columns"]) == hu.shape
    assert (tmp_path / "qc" / "qc.png").is_file()


def test_values_beyond_the_pixel_format_are_clipped_and_counted(tmp_path, hu):
    volume = read_volume_file(array(tmp_path / "v.npy", hu))
    with VolumeWriter(volume, tmp_path / "out.npy", Derivation()) as writer:
        for index in range(len(volume)):
            changed = volume.read(index).hu.copy()
            changed[40, 50] = 40_000
            writer.write(index, changed)
    assert writer.clipped == 3
    expected = hu.copy()
    expected[:, 40, 50] = 32_767
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)


def test_formats_go_by_the_name():
    assert format_of("a.NII.GZ") == ".nii.gz"
    assert format_of("a.gz") is None
    with pytest.raises(CtKerasError) as refusal:
        read_volume_file("nowhere.nii")
    assert refusal.value.code == "CTK-E005"


def test_a_folder_of_other_volumes_says_how_to_go_on(hu, tmp_path, capsys):
    array(tmp_path / "in" / "v.npy", hu)
    assert denoise(tmp_path / "in", tmp_path / "out") == 2
    assert "ct-keras denoise FILE OUT" in capsys.readouterr().err


def command(*arguments) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main.main(list(map(str, arguments)))
    return int(end.value.code)


@pytest.mark.parametrize("name", ["v.nii.gz", "v.mha"])
def test_a_lower_dose_is_simulated_and_evaluated(tmp_path, capsys, name):
    phantom = make_phantom(
        5, region="abdomen", shape=(2, 96, 96), spacing_mm=SPACING_MM
    )
    full = (itk if name == "v.mha" else nifti)(
        tmp_path / name, np.rint(phantom.hu).astype(np.int16)
    )
    low = tmp_path / f"low-{name}"
    assert command("simulate", full, low, "--dose", "0.03", "--json") == 0
    assert json.loads(capsys.readouterr().out)["slices"] == 2
    simulated, truth = read_volume_file(low), read_volume_file(full)
    assert not simulated.denoised and simulated.content.lies_like(truth.content)
    assert 10 < np.std((simulated.hu - truth.hu)[truth.hu > -200]) < 300
    pairs = ("--low", low, "--full", full)
    out = tmp_path / "E"
    assert command("evaluate", "filter:gaussian", *pairs, "--out", out, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    measured = {row["model"]: row["rmse_hu"] for row in rows}
    protocol = (
        ct_keras.evaluate(simulated.hu[0], truth.hu[0]),
        ct_keras.evaluate(simulated.hu[1], truth.hu[1]),
    )
    expected = np.mean([each["rmse_hu"] for each in protocol])
    assert measured["input"] == pytest.approx(expected, rel=1e-6)
    assert measured["filter:gaussian"] < measured["input"]


def test_volumes_that_do_not_fit_together_are_refused(hu, tmp_path, capsys):
    def evaluate(low, full):
        status = command(
            "evaluate", "input", "--low", low, "--full", full, "--out", out
        )
        return status, capsys.readouterr().err

    out = tmp_path / "E"
    full = nifti(tmp_path / "full.nii", hu)
    shifted = nifti(tmp_path / "low.nii", hu, affine=np.diag([2.5, 3, 5, 1]))
    for low, reason in (
        (shifted, "spacing, orientation or position differ"),
        (nifti(tmp_path / "few.nii", hu[:2]), "the matrix differs"),
        (array(tmp_path / "v.npy", hu), "spacing, orientation or position differ"),
    ):
        status, error = evaluate(low, full)
        assert status == 4 and "CTK-E039" in error and reason in error


def test_simulation_needs_the_pixel_spacing(hu, tmp_path, capsys):
    source = array(tmp_path / "v.npy", hu)
    assert command("simulate", source, tmp_path / "low.npy", "--dose", "0.5") == 4
    assert "CTK-E037" in capsys.readouterr().err


def test_a_real_scan_lies_where_it_lay(few_slices, tmp_path):
    """Read from DICOM and looked at again by another library."""
    simple_itk = pytest.importorskip("SimpleITK", reason="the extra itk is missing")
    reader = simple_itk.ImageSeriesReader()
    folder = few_slices("train/CRLM-CT-1004", 8)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    scan = reader.Execute()
    simple_itk.WriteImage(scan, str(tmp_path / "scan.nii.gz"))
    assert denoise(tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz") == 0
    result = simple_itk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert result.GetSize() == scan.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        places = [getattr(image, name)() for image in (result, scan)]
        assert places[0] == pytest.approx(places[1], abs=1e-4)
    series = ct_keras.read_series(folder)
    values = simple_itk.GetArrayFromImage(result).astype(np.float32)
    expected = ct_keras.filters.get("gaussian")(series.hu[4])
    assert np.abs(values[4] - expected)[100:400, 100:400].max() <= 0.51
