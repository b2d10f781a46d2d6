"""Files of other formats than DICOM as the source of records."""

import json

import cv2
import nibabel
import numpy as np
import pytest

from ct_keras.data import convert, iterate_pairs
from ct_keras.denoising import load
from ct_keras.errors import CtKerasError
from ct_keras.evaluation import evaluate_models
from ct_keras.evaluation.sources import records_source
from ct_keras.serving.series import denoise_series

SHAPE = (2, 64, 72)
SPLIT = "train=a val=b test=c"


def volume(seed: int, sd: float = 20.0) -> np.ndarray:
    """int16 HU of an elliptic body in air, with noise."""
    rows, columns = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = np.where(rows**2 + columns**2 < 0.7, 40.0, -1000.0)
    noise = np.random.default_rng(seed).normal(0, sd, SHAPE)
    return np.rint(np.maximum(body + noise, -1024)).astype(np.int16)


def nifti(path, hu, edge_mm=0.8):
    affine = np.diag([edge_mm, 0.7, 3.0, 1])
    nibabel.save(nibabel.Nifti1Image(hu.transpose(2, 1, 0), affine), path)


def itk(path, hu):
    simple_itk = pytest.importorskip("SimpleITK", reason="the extra itk is missing")
    simple_itk.WriteImage(simple_itk.GetImageFromArray(hu), str(path))


def raw(path, hu):
    """16 bits whose value 0 is -1024 HU: pages, or the first slice."""
    pages = list((hu.astype(np.int32) + 1024).astype(np.uint16))
    assert cv2.imwritemulti(str(path), pages if path.suffix == ".tif" else pages[:1])


WRITERS = {
    ".nii": nifti,
    ".nii.gz": nifti,
    ".nrrd": itk,
    ".mha": itk,
    ".npy": lambda path, hu: np.save(path, hu),
    ".tif": raw,
    ".png": raw,
}


def source(folder, suffix, names=("a", "b", "c"), layout="pairs"):
    """low/ and full/ with a file for each patient; in `images` in sub-folders."""
    for number, name in enumerate(names):
        for dose, sd in (("low", 60), ("full", 20)):
            place = folder / dose / (f"{name}/1" if layout == "images" else name)
            place.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[suffix](place.with_name(place.name + suffix), volume(number, sd))
    return folder


@pytest.mark.parametrize("layout", ["pairs", "images"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_pairs_of_any_file_are_exact(tmp_path, suffix, layout):
    folder = source(tmp_path / "src", suffix, layout=layout)
    scale = {"intercept": -1024.0} if suffix in (".tif", ".png") else {}
    manifest = convert(
        folder,
        tmp_path / "records",
        layout=layout,
        low="low",
        full="full",
        split=SPLIT,
        workers=1,
        **scale,
    )
    slices = 1 if suffix == ".png" else 2
    for number, split in enumerate(("train", "val", "test")):
        pairs = list(iterate_pairs(manifest.folder, split))
        assert [pair.slice_index for pair in pairs] == list(range(slices))
        for pair in pairs:
            index = pair.slice_index
            assert np.array_equal(pair.full_hu, volume(number, 20)[index])
            assert np.array_equal(pair.low_hu, volume(number, 60)[index])
            assert pair.scale is None
    spacing_mm = pairs[0].spacing_mm
    known = {".nii": (0.7, 0.8), ".nii.gz": (0.7, 0.8), ".nrrd": (1, 1), ".mha": (1, 1)}
    expected = pytest.approx(known[suffix]) if suffix in known else None
    assert spacing_mm == expected


@pytest.mark.parametrize("suffix", [".nii.gz", ".npy"])
def test_the_low_dose_of_files_is_simulated(tmp_path, suffix):
    for name in "abc":
        (tmp_path / "src" / name).mkdir(parents=True)
        WRITERS[suffix](tmp_path / "src" / name / f"ct{suffix}", volume(ord(name)))
    manifest = convert(
        tmp_path / "src",
        tmp_path / "records",
        layout="single",
        split=SPLIT,
        doses=[0.25],
        spacing_mm=(0.9, 0.9),
        simulation={"views": 60, "photons": 1e5, "kernel": "b30"},
        workers=1,
    )
    (pair, _) = iterate_pairs(manifest.folder, "train")
    assert np.array_equal(pair.full_hu, volume(ord("a"))[0])
    expected = (0.9, 0.9) if suffix == ".npy" else (0.7, 0.8)
    assert pair.spacing_mm == pytest.approx(expected)
    assert 3 < np.std(pair.low_hu - pair.full_hu) < 200


def pictures(folder, names=("a", "b", "c"), bits=8):
    """8 bits, two pictures of each patient."""
    for number, name in enumerate(names):
        grey = (volume(number, 5)[0] + 1100.0) / 1600
        for dose in ("gtDir", "noiseDir"):
            (folder / dose / name).mkdir(parents=True)
            for index in range(2):
                noise = np.random.default_rng(index).normal(0, 0.08, grey.shape)
                noisy = grey + noise * (dose == "noiseDir")
                values = np.clip(noisy * 2**bits, 0, 2**bits - 1).astype(
                    f"u{bits // 8}"
                )
                path = folder / dose / name / f"{index}.png"
                assert cv2.imwrite(str(path), values)
    return {"low": folder / "noiseDir", "full": folder / "gtDir", "split": SPLIT}


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_values_of_pictures_are_exact(tmp_path, bits):
    options = pictures(tmp_path / "src", bits=bits)
    records = tmp_path / "records"
    manifest = convert(
        tmp_path / "src",
        records,
        layout="images",
        workers=1,
        pictures=bits == 16,
        **options,
    )
    (pair, _) = iterate_pairs(records, "train")
    stored = cv2.imread(str(tmp_path / "src/noiseDir/a/0.png"), cv2.IMREAD_UNCHANGED)
    assert pair.scale == "picture"
    assert np.array_equal((pair.low_hu + 1024) / 4096 * 2**bits, stored)
    assert not any("CTK-W078" in finding for finding in manifest.findings)


def test_networks_of_pictures_are_for_pictures_only(tmp_path):
    from ct_keras.containers import read_volume_file
    from ct_keras.training import train

    options = pictures(tmp_path / "src")
    records, run = tmp_path / "records", tmp_path / "run"
    convert(tmp_path / "src", records, layout="images", workers=1, **options)
    train(
        "red_cnn",
        records,
        out=run,
        recipe="quick",
        epochs=1,
        steps=1,
        options={"width": 4},
        validation_slices=2,
    )
    assert json.loads((run / "ranges.json").read_text())["scale"] == "picture"
    denoiser = load(run)
    picture = read_volume_file(tmp_path / "src/noiseDir/a/0.png")
    result = denoise_series(picture, tmp_path / "out.png", denoiser)
    assert result.slices == 1
    note = json.loads((tmp_path / "out.png.ct_keras.json").read_text())
    assert note["scale"] == "picture" and note["model_name"] == "red_cnn"
    nifti(tmp_path / "ct.nii", volume(0))
    scan = read_volume_file(tmp_path / "ct.nii")
    ct, published = tmp_path / "ct-out.nii", load("red_cnn")
    for wrong, method, out in (
        (scan, denoiser, ct),
        (picture, published, tmp_path / "out2.png"),
    ):
        with pytest.raises(CtKerasError) as refusal:
            denoise_series(wrong, out, method, override_guards=True)
        assert refusal.value.code == "CTK-E063" and not out.exists()
    pairs = list(iterate_pairs(records, "test"))
    with pytest.raises(CtKerasError, match="CTK-E063"):
        evaluate_models({"red_cnn": published}, pairs)
    document = evaluate_models({"run": denoiser}, pairs).document
    assert document["rows"][0]["slices"] == 2
    (told,) = records_source(records, "test").findings()
    assert told.code == "CTK-W063"


def test_ct_and_pictures_do_not_mix(tmp_path):
    options = pictures(tmp_path / "src", names=("a",))
    for dose in ("gtDir", "noiseDir"):
        (tmp_path / "src" / dose / "b").mkdir()
        np.save(tmp_path / "src" / dose / "b" / "v.npy", volume(1))
    with pytest.raises(CtKerasError, match="CTK-E063"):
        convert(tmp_path / "src", tmp_path / "r", layout="images", workers=1, **options)
    (tmp_path / "single").mkdir()
    cv2.imwrite(str(tmp_path / "single" / "x.png"), np.full((64, 64), 7, np.uint8))
    with pytest.raises(CtKerasError, match="CTK-E063"):
        convert(
            tmp_path / "single",
            tmp_path / "r",
            layout="single",
            split="train=x",
            workers=1,
        )


def test_files_are_named_by_number(tmp_path):
    folder = source(tmp_path / "src", ".npy")
    np.save(folder / "full" / "b.npy", (volume(1) + 1024.0) / 4096)
    options = {"layout": "pairs", "low": "low", "full": "full", "workers": 1}
    with pytest.raises(CtKerasError, match="CTK-E044 file #2: voxel values are not"):
        convert(folder, tmp_path / "r", split=SPLIT, **options)
    (folder / "full" / "b.npy").unlink()
    nifti(folder / "full" / "b.nii", volume(1))
    with pytest.raises(CtKerasError, match="CTK-E039"):
        convert(folder, tmp_path / "r", split=SPLIT, **options)
