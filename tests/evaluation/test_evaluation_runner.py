"""The whole run on small slices: what is measured, written, kept and refused."""

import csv
import gc
import json
import weakref
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.evaluation import PictureChooser, evaluate_models
from ct_keras.metrics import evaluate
from ct_keras.report import summary_rows, write_report


def make_pairs(cases=2, slices=3, doses=(0.1, 0.25), edge=48):
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:edge, : edge + 8]
    for case in range(cases):
        for slice_index in range(slices):
            full = np.full(rows.shape, -1000, np.float32)
            inside = np.hypot(rows - edge / 2, columns - edge / 2) < edge * 0.4
            full[inside] = 40 + 10 * slice_index
            for dose in doses:
                noise = generator.normal(0, 10 / np.sqrt(dose), full.shape)
                yield SimpleNamespace(
                    low_hu=full + noise.astype(np.float32),
                    full_hu=full,
                    case=f"case-{case}",
                    series="1",
                    slice_index=slice_index,
                    dose_fraction=dose,
                    spacing_mm=(0.8, 0.8),
                    slice_thickness_mm=3.0,
                    kernel=None,
                )


def smooth(hu):
    return cv2.GaussianBlur(hu, (0, 0), 0.8)


def strict_json(path):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    models = {
        "filter:gaussian": smooth,
        "perfect": None,
        "same": lambda hu: hu,
    }
    pairs = list(make_pairs())
    answers = {id(pair.low_hu): pair.full_hu for pair in pairs}
    models["perfect"] = lambda hu: answers[id(hu)]
    evaluation = evaluate_models(
        models,
        iter(pairs),
        split="test",
        facts={
            "filter:gaussian": {
                "parameters": 1234,
                "gmac": 0.5,
                "settings": {"sigma": 1.5},
                "tuned_among": {"sigma": (1.0, 1.5)},
            },
            "same": {"weights_sha256": "abc", "version": "1", "sinogram": "known"},
        },
        command="ct-keras evaluate <x>",
    )
    write_report(evaluation, out)
    return SimpleNamespace(out=out, document=evaluation.document, pairs=pairs)


def test_document_is_strict_json_and_equals_the_file(run):
    assert strict_json(run.out / "metrics.json") == run.document
    assert run.document["protocol"]["protocols"]["report"]["range_hu"] == 400
    names = sorted(file.name for file in run.out.iterdir())
    assert names == ["metrics.json", "report.html", "slices.csv"]


def test_rows_hold_the_means_over_patients(run):
    rows = {row["model"]: row for row in run.document["rows"]}
    assert list(rows) == ["input", "filter:gaussian", "perfect", "same"]
    per_case = {}
    for pair in run.pairs:
        found = evaluate(smooth(pair.low_hu), pair.full_hu)
        per_case.setdefault(pair.case, []).append(found)
    for key in ("psnr", "ssim", "rmse_hu", "vif", "bias_hu_soft", "psnr_full4096"):
        means = [np.mean([f[key] for f in found]) for found in per_case.values()]
        row = rows["filter:gaussian"]
        assert row[key] == pytest.approx(np.mean(means))
        assert row[f"{key}_sd"] == pytest.approx(np.std(means, ddof=1))
        assert row[f"{key}_ci95"][0] <= row[key] <= row[f"{key}_ci95"][1]
    assert rows["input"]["cases"] == 2
    assert rows["input"]["slices"] == 12
    assert rows["input"]["few_patients"] is True
    assert rows["filter:gaussian"]["parameters"] == 1234
    assert rows["filter:gaussian"]["ms_per_slice"] > 0
    assert rows["input"]["ms_per_slice"] is None


def test_the_page_tells_how_each_method_was_set(run):
    page = (run.out / "report.html").read_text()
    assert "<dd>sigma 1.5 (of 1, 1.5).</dd>" in page
    assert "<dd>version 1, weights SHA-256 abc. Sinogram: known.</dd>" in page


def test_pooled_psnr_is_that_of_all_pixels(run):
    errors = [
        np.clip(pair.low_hu, -160, 240) - np.clip(pair.full_hu, -160, 240.0)
        for pair in run.pairs
    ]
    pooled = 10 * np.log10(400**2 / np.mean(np.square(errors, dtype=np.float64)))
    row = run.document["rows"][0]
    assert row["psnr_pooled"] == pytest.approx(pooled, abs=1e-5)
    assert row["psnr_pooled"] < row["psnr"]


def test_identity_equals_the_input_and_perfect_is_excluded(run):
    rows = {row["model"]: row for row in run.document["rows"]}
    for key in ("psnr", "ssim", "rmse_hu", "vif", "mae_hu"):
        assert rows["same"][key] == rows["input"][key]
    assert rows["same"]["psnr_worse_slices"] == 0
    assert rows["perfect"]["psnr"] == "inf"
    assert rows["perfect"]["psnr_excluded"] == 12
    assert rows["perfect"]["ssim"] == pytest.approx(1)


def test_doses_are_told_apart(run):
    found = {(r["model"], r["dose_fraction"]): r for r in run.document["by_dose"]}
    assert run.document["doses"] == [0.1, 0.25]
    assert found["input", 0.1]["slices"] == 6
    assert found["input", 0.25]["psnr"] > found["input", 0.1]["psnr"] + 2
    average = (found["input", 0.25]["psnr"] + found["input", 0.1]["psnr"]) / 2
    assert run.document["rows"][0]["psnr"] == pytest.approx(average)


def test_paired_tests_say_what_they_cannot_show(run):
    tests = run.document["tests"]
    assert {test["against"] for test in tests} == {"input", "filter:gaussian"}
    assert all(test["smallest_p"] == 0.5 for test in tests)
    assert all("no result can reach" in test["note"] for test in tests)
    same = next(t for t in tests if t["model"] == "same" and t["against"] == "input")
    assert same["mean_difference"] == 0
    assert same["wilcoxon_p"] == same["sign_flip_p"] == 1


def test_slices_csv_has_every_slice(run):
    with open(run.out / "slices.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 12
    line = next(row for row in rows if row["model"] == "filter:gaussian")
    pair = run.pairs[0]
    expected = evaluate(smooth(pair.low_hu), pair.full_hu)
    assert float(line["psnr"]) == expected["psnr"]
    assert line["bias_hu_bone"] == ""


def test_summary_rows(run):
    heads, rows = summary_rows(run.document)
    assert len(rows) == 3 * 4
    assert {len(row) for row in rows} == {len(heads)}
    assert rows[0][:3] == ["input", "all", "12"]
    assert rows[2][heads.index("PSNR (dB)")] == "∞"
    assert "too few patients" in rows[0][heads.index("95 % CI")]
    single = dict(run.document, doses=[0.1])
    assert "Dose" not in summary_rows(single)[0]


def test_pairs_are_let_go():
    images = []
    most = 0

    def watched():
        nonlocal most
        for pair in make_pairs(cases=1, slices=40, doses=(0.25,), edge=24):
            images.append(weakref.ref(pair.low_hu))
            yield pair
            del pair
            gc.collect()
            most = max(most, sum(image() is not None for image in images))

    gc.freeze()  # else each collection walks through all of TensorFlow
    try:
        evaluate_models({}, watched())
    finally:
        gc.unfreeze()
    assert len(images) == 40
    assert most <= 8


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (lambda hu: hu[1:], "CTK-E041"),
        (lambda hu: hu * np.nan, "CTK-E070"),
    ],
)
def test_a_broken_model_is_told(model, code):
    with pytest.raises(CtKerasError, match=code):
        evaluate_models({"broken": model}, make_pairs(cases=1))


def test_no_slice_is_refused():
    with pytest.raises(CtKerasError, match="CTK-E084"):
        evaluate_models({}, [])


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write_report(evaluate_models({}, make_pairs(cases=1, slices=1)), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def offer(chooser, case, dose, score):
    image = np.full((2, 2), score, np.float32)
    pair = SimpleNamespace(
        case=case,
        series="1",
        slice_index=int(min(score, 99)),
        dose_fraction=dose,
        spacing_mm=None,
        full_hu=image,
    )
    chooser.offer(pair, {"input": image}, score)


@pytest.mark.parametrize("seed", range(5))
def test_the_median_slice_is_shown(seed):
    chooser = PictureChooser(1)
    scores = np.random.default_rng(seed).permutation(np.arange(20.0, 61.0))
    for score in scores:
        offer(chooser, "a", None, score)
    (picture,) = chooser.chosen()
    assert abs(picture.slice_index - 40) <= 2
    assert picture.spacing_mm == (1, 1)


def test_slices_without_any_error_have_a_median():
    chooser = PictureChooser(1)
    for score in (np.inf, 30.0, np.inf, np.inf):
        offer(chooser, "a", None, score)
    with np.errstate(over="raise"):
        (picture,) = chooser.chosen()
    assert picture.slice_index == 99


def test_patients_come_before_doses():
    chooser = PictureChooser(3)
    for case in "ab":
        for dose in (0.1, 0.25):
            offer(chooser, case, dose, 30.0)
    shown = [(picture.patient, picture.dose_fraction) for picture in chooser.chosen()]
    assert shown == [("a", 0.1), ("a", 0.25), ("b", 0.25)]
