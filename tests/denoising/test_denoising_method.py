"""One way to call every method, with what it needs to know."""

import json

import numpy as np
import pydicom
import pytest

import ct_keras
from ct_keras import filters
from ct_keras.cli import main
from ct_keras.data import SlicePair
from ct_keras.denoising import as_method
from ct_keras.denoising.methods import get_method
from ct_keras.dicom import ReadOptions, create_series, read_series
from ct_keras.errors import CtKerasError
from ct_keras.evaluation import QualityPlan, evaluate_models, measure_quality
from ct_keras.evaluation.measure import measure, tuned
from ct_keras.evaluation.sources import series_source
from ct_keras.reader_study.cases import choose_slices, run_methods
from ct_keras.reconstruction import registry
from ct_keras.reconstruction.registry import get_reconstruction
from ct_keras.serving.series import denoise_series
from ct_keras.tasks import organ_slices

SPACING_MM = (3.0, 3.0)
METHODS = ("input", "filter:gaussian", "recon:adaptive")


def body(slices=1, size=48, seed=0):
    rows, columns = np.indices((size, size)) - size / 2
    hu = np.where(np.hypot(rows, columns) < 0.4 * size, 40.0, -1000.0)
    noise = np.random.default_rng(seed).normal(0, 25, (slices, size, size))
    return (hu + noise).astype(np.float32)


def pairs(slices=2):
    volume = body(slices)
    return [
        SlicePair(low_hu=low, full_hu=low, slice_index=index, spacing_mm=SPACING_MM)
        for index, low in enumerate(volume)
    ]


def write(volume, folder):
    named = {"patient_id": "1", "series_description": "TEST"}
    create_series(np.rint(volume), (5.0, *SPACING_MM), folder, **named)


@pytest.fixture
def told(monkeypatch):
    """The sizes of pixels that the method `recon:noting` was told, one each call."""
    sizes = []

    def note(image, pixel_mm, rays=None):
        sizes.append(pixel_mm)
        return image

    noting = registry.ProjectionFilter("recon:noting", "", note, {"pixel_mm": None})
    monkeypatch.setitem(registry._RECONSTRUCTIONS, "noting", noting)
    return sizes


def test_evaluation_tells_a_reconstruction_the_size_of_pixels(told):
    evaluate_models({"r": get_method("recon:noting")}, pairs())
    assert told == [3.0, 3.0]


def test_a_reader_study_tells_a_reconstruction_the_size_of_pixels(told):
    chosen = choose_slices(pairs(), seed=0)
    run_methods({"r": get_method("recon:noting")}, pairs(), chosen)
    assert told == [3.0]


def test_judges_tell_a_reconstruction_the_size_of_pixels(told):
    method = get_method("recon:noting")
    organ_slices([1], slices=1, pixels=64, denoise=method)
    assert told == [400 / 64] * 2


def test_image_quality_tells_a_reconstruction_the_size_of_pixels(told):
    plan = QualityPlan(doses=(1.0,), repeats=4, size=96, spacing_mm=1.8)
    measure_quality({"r": get_method("recon:noting")}, plan)
    assert told == [1.8] * 12


def test_a_series_tells_a_reconstruction_the_size_of_pixels(told, tmp_path):
    write(body(2, 64), tmp_path / "in")
    series = read_series(tmp_path / "in")
    denoise_series(series, tmp_path / "out", get_method("recon:noting"))
    assert told == [3.0, 3.0]


def test_python_can_tell_a_reconstruction_the_size_of_pixels(told):
    ct_keras.denoise(body()[0], model="recon:noting", spacing_mm=SPACING_MM)
    assert told == [3.0]


@pytest.mark.parametrize("name", METHODS)
def test_every_way_to_call_gives_the_same(name):
    method, volume = get_method(name), body(2)
    expected = method(volume, spacing_mm=SPACING_MM)
    slices = method.denoise_slices(volume, volume.shape, SPACING_MM)
    image = method.denoise_image(volume[0], SPACING_MM)
    np.testing.assert_array_equal(list(slices), expected)
    np.testing.assert_array_equal(method.denoise_pairs(pairs()), expected)
    np.testing.assert_array_equal(image, expected[0])
    half = method(volume, spacing_mm=SPACING_MM, strength=0.5)
    np.testing.assert_allclose(half, (volume + expected) / 2, atol=1e-3)


@pytest.mark.parametrize("like_dose", [1, 4, 25, np.inf])
def test_like_dose_leaves_the_noise_of_that_dose(like_dose):
    truth = body(1, 128)[0]
    noise = np.random.default_rng(0).normal(0, 20, truth.shape).astype(np.float32)
    scan = truth + noise
    result = ct_keras.denoise(scan, model=lambda hu: truth, like_dose=like_dose)
    left = result - truth
    assert left.std() == pytest.approx(noise.std() / np.sqrt(like_dose), abs=1e-4)
    if like_dose < np.inf:  # the texture too
        assert np.corrcoef(left.ravel(), noise.ravel())[0, 1] == pytest.approx(1)


@pytest.mark.parametrize(
    "options",
    [{"like_dose": 0.5}, {"like_dose": np.nan}, {"like_dose": 4, "strength": 0.5}],
)
def test_a_dose_that_makes_no_strength_is_refused(options):
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.denoise(body()[0], model="input", **options)
    assert refusal.value.code == "CTK-E000"


def test_the_card_gives_the_strength_if_none_is_given():
    denoiser, image = ct_keras.load("quiet_net"), body(1, 96)[0]
    assert denoiser.default_strength == 0.8
    given = denoiser(image, strength=0.8)
    assert np.abs(given - denoiser(image, strength=1)).max() > 0.1
    for found in (
        denoiser(image),
        ct_keras.denoise(image),
        denoiser.denoise_image(image, SPACING_MM),
        next(denoiser.denoise_slices([image], (1, *image.shape), None)),
        ct_keras.denoise(image, like_dose=25),
    ):
        np.testing.assert_array_equal(found, given)
    other = denoiser.at_strength(0.5)
    np.testing.assert_array_equal(other(image), denoiser(image, strength=0.5))
    assert denoiser.default_strength == 0.8
    assert other.in_bfloat16().default_strength == 0.5
    assert denoiser.in_bfloat16().at_strength(0.5).default_strength == 0.5
    with pytest.raises(CtKerasError, match="CTK-E000"):
        denoiser.at_strength(1.5)


def test_filters_and_functions_are_methods_too():
    image = body()[0]
    chosen = filters.get("median", size=5)
    for given in (chosen, lambda hu: chosen(hu)):
        np.testing.assert_array_equal(as_method(given)(image), chosen(image))
    assert as_method(chosen).identity.name == "filter:median"
    assert as_method(get_reconstruction("sart")).identity.name == "recon:sart"
    method = get_method("input")
    assert as_method(method) is method
    with pytest.raises(CtKerasError, match="display only"):
        as_method(filters.get("clahe"))


def test_a_method_that_gives_another_shape_is_told_by_name():
    def cut(hu):
        return hu[1:] if hu.min() < -5000 else hu

    volume = body(2)
    volume[1] -= 6000
    with pytest.raises(CtKerasError, match="cut, slice 1") as refusal:
        as_method(cut)(volume)
    assert refusal.value.code == "CTK-E041"


# What a derived series says of the method


def _denoised(capsys, folder, *options):
    write(body(2, 64), folder / "in")
    with pytest.raises(SystemExit) as end:
        main.main(["denoise", str(folder / "in"), str(folder / "out"), *options])
    assert not end.value.code, capsys.readouterr().err
    return [pydicom.dcmread(path) for path in sorted((folder / "out").glob("*.dcm"))]


def _said(dataset):
    return " | ".join(
        [
            dataset.SeriesDescription,
            dataset.ImageComments,
            dataset.DerivationDescription,
            dataset.ContributingEquipmentSequence[-1].ContributionDescription,
            dataset.DerivationCodeSequence[-1].CodeMeaning,
        ]
    )


def test_the_derived_series_names_strength_and_dose(capsys, tmp_path):
    options = ("--model", "filter:median", "--like-dose", "4", "--qc", tmp_path / "qc")
    derived = _denoised(capsys, tmp_path, *map(str, options))
    assert "like_dose 4.0" in derived[0].DerivationDescription
    assert "strength 0.5" in derived[0].DerivationDescription
    assert json.loads((tmp_path / "qc/qc.json").read_text())["strength"] == 0.5
    image = read_series(tmp_path / "in").hu[0]
    half = (image + filters.get("median")(image)) / 2
    assert np.abs(read_series(tmp_path / "out").hu[0] - half).max() <= 0.5


@pytest.mark.parametrize(
    "options",
    [
        ("--model", "input"),
        ("--model", "filter:median", "--strength", "0"),
        ("--model", "red_cnn", "--strength", "0", "--override-guards"),
    ],
)
def test_the_same_pixels_are_called_an_unchanged_copy(capsys, tmp_path, options):
    copies = _denoised(capsys, tmp_path, *options)
    sources = [
        pydicom.dcmread(path) for path in sorted((tmp_path / "in").glob("*.dcm"))
    ]
    for copy, source in zip(copies, sources, strict=True):
        assert copy.PixelData == source.PixelData
        assert _said(copy).lower().count("unchanged copy") == 5
        for word in ("AI", "neural", "DENOISED", "FILTERED", "Noise reduction"):
            assert word not in _said(copy)
    assert not read_series(tmp_path / "out").denoised


@pytest.mark.parametrize(
    ("model", "comment", "code"),
    [
        ("filter:median", "FILTERED (", "113087"),
        ("filter:gaussian", "FILTERED (", "113088"),
        ("recon:adaptive", "RECONSTRUCTED FROM REPROJECTIONS (", "DENOISE-RECON"),
    ],
)
def test_what_is_not_a_network_is_called_what_it_is(
    capsys, tmp_path, model, comment, code
):
    derived = _denoised(capsys, tmp_path, "--model", model)[0]
    assert derived.ImageComments.startswith(comment)
    assert derived.DerivationCodeSequence[-1].CodeValue == code
    assert derived.DerivationDescription.startswith("Noise reduction by ")
    assert "neural" not in _said(derived) and "AI" not in _said(derived)
    assert read_series(tmp_path / "out").denoised


# Axes


@pytest.mark.parametrize(
    "shape", [(48, 40, 1), (40, 48, 3), (2, 8, 9, 1), (8,), (0, 4)]
)
def test_other_axes_than_those_of_an_image_are_refused(shape):
    image = np.zeros(shape, np.float32)
    network = ct_keras.Denoiser(ct_keras.models.build("red_cnn", width=2))
    for method in (
        network,
        get_method("input"),
        get_method("filter:median"),
        get_method("recon:tv"),
        filters.get("median"),
        lambda hu: ct_keras.evaluate(hu, hu),
    ):
        with pytest.raises(CtKerasError) as refusal:
            method(image)
        assert refusal.value.code == "CTK-E041"


# Stacks that are not a volume


def _bent(folder, change):
    """A series of five slices whose headers are changed by `change(header, index)`."""
    write(body(5, 64), folder)
    for index, path in enumerate(sorted(folder.glob("*.dcm"))):
        header = pydicom.dcmread(path)
        change(header, index)
        header.save_as(path)
    return folder


def _gap(header, index):
    x, y, z = header.ImagePositionPatient
    header.ImagePositionPatient = [x, y, z + 5 * (index > 2)]


def _tilt(header, index):
    x, y, z = header.ImagePositionPatient
    header.ImagePositionPatient = [x, y + 2 * index, z]


def _no_position(header, index):
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        del header[keyword]


@pytest.mark.parametrize(
    ("change", "code"),
    [(_gap, "CTK-E032"), (_tilt, "CTK-E033"), (_no_position, "CTK-E036")],
)
def test_a_method_of_volumes_refuses_slices_that_do_not_stack(tmp_path, change, code):
    def flat(hu):
        return hu

    def deep(hu):
        return hu

    deep.dimensions = 3
    folder = _bent(tmp_path / "in", change)
    denoise_series(read_series(folder), tmp_path / "flat", flat)
    for run in (
        lambda: denoise_series(read_series(folder), tmp_path / "deep", deep),
        lambda: measure({"deep": deep}, series_source(folder, folder)),
        lambda: tuned({"deep": deep}, series_source(folder, folder), None),
    ):
        with pytest.raises(CtKerasError) as refusal:
            run()
        assert refusal.value.code == code
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(("change", "option"), [(_gap, "gaps"), (_tilt, "tilt")])
def test_a_method_of_volumes_takes_what_is_accepted_run_by_run(
    tmp_path, change, option
):
    volumes = []

    def deep(hu):
        volumes.append(hu)
        return hu + len(hu)

    deep.dimensions = 3
    folder = _bent(tmp_path / "in", change)
    options = ReadOptions(**{f"allow_{option}": True})
    series = read_series(folder, options=options)
    result = denoise_series(series, tmp_path / "out", deep, override_guards=True)
    # The parts that decide how it is computed come first.
    runs = [3, len(series) - 3] if option == "gaps" else [len(series)]
    assert [len(volume) for volume in volumes[-len(runs) :]] == runs
    assert np.array_equal(np.concatenate(volumes[-len(runs) :]), series.hu)
    (told,) = (each for each in result.findings if each.option)
    assert told.option == f"allow_{option}"
    added = read_series(tmp_path / "out").hu - series.hu
    assert added[0].max() == runs[0] and added[-1].max() == runs[-1]
    header = read_series(tmp_path / "out").header
    assert f"accepted allow_{option}" in header.DerivationDescription
    assert len(header.SourceImageSequence) == runs[0]
