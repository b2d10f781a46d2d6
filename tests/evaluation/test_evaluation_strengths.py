"""The best strength of a method, and the ceiling that a noisy reference sets."""

from types import SimpleNamespace

import numpy as np
import pytest

from ct_keras.data.simulated import phantom_pairs
from ct_keras.denoising.methods import as_method
from ct_keras.evaluation import evaluate_models, measure
from ct_keras.evaluation.ceiling import reference_ceiling
from ct_keras.evaluation.sources import Source
from ct_keras.evaluation.strengths import (
    STRENGTHS,
    StrengthTable,
    errors_by_strength,
)
from ct_keras.metrics import evaluate
from ct_keras.phantoms import make_phantom
from ct_keras.report import summary_rows, write_report

NOISE_HU = 15.0
SPACING_MM = (1.2, 1.2)


@pytest.fixture(scope="module")
def truth():
    shape = (1, 320, 320)
    phantom = make_phantom(
        3, region="abdomen", shape=shape, spacing_mm=(6, *SPACING_MM)
    )
    return np.asarray(phantom.hu[0], np.float32)


def make_pair(truth, dose, *, noise_hu=NOISE_HU, case="a", seed=0, told=True):
    """A reference with noise of its own, and a low dose made by adding more."""
    generator = np.random.default_rng(seed)
    own = generator.normal(0, noise_hu, truth.shape)
    more = generator.normal(0, NOISE_HU, truth.shape) * np.sqrt(1 / dose - 1)
    return SimpleNamespace(
        low_hu=(truth + own + more).astype(np.float32),
        full_hu=(truth + own).astype(np.float32),
        case=case,
        series="1",
        slice_index=0,
        dose_fraction=dose if told else None,
        spacing_mm=SPACING_MM,
    )


def rows_of(evaluation, dose=None):
    rows = evaluation.document["rows" if dose is None else "by_dose"]
    wanted = (row for row in rows if dose in (None, row.get("dose_fraction")))
    return {row["model"]: row for row in wanted}


def test_a_perfect_image_scores_what_the_noise_of_the_reference_allows(truth):
    pair = make_pair(truth, 0.25, told=False)
    found = reference_ceiling(pair, None)
    assert found["reference_noise_hu"] == pytest.approx(NOISE_HU, rel=0.07)
    perfect = evaluate(truth, pair.full_hu)["psnr"]
    assert found["psnr_ceiling"] == pytest.approx(perfect, abs=0.5)


@pytest.mark.parametrize("dose", [0.1, 0.25, 0.5])
def test_the_best_strength_of_a_perfect_method_reaches_the_ceiling(truth, dose):
    evaluation = evaluate_models(
        {"perfect": lambda hu: truth}, [make_pair(truth, dose)]
    )
    row = rows_of(evaluation)["perfect"]
    assert row["strength"] == 1
    assert row["best_strength"] == pytest.approx(1 - dose, abs=0.051)
    assert row["psnr_best_strength"] == pytest.approx(row["psnr_ceiling"], abs=0.4)
    gained = row["psnr_best_strength"] - row["psnr"]
    assert gained == pytest.approx(-10 * np.log10(1 - dose), abs=0.2)
    assert row["rmse_hu_best_strength"] < row["rmse_hu"]


def test_a_reference_without_noise_has_no_ceiling(truth):
    pair = make_pair(truth, 0.25, noise_hu=0)
    evaluation = evaluate_models({"perfect": lambda hu: truth}, [pair])
    row = rows_of(evaluation)["perfect"]
    assert row["psnr_ceiling"] is None
    assert row["reference_noise_hu"] is None
    assert row["best_strength"] == 1
    assert "ceiling" not in {cells[0] for cells in summary_rows(evaluation.document)[1]}


def test_a_pair_that_tells_its_noise_is_taken_at_its_word(truth):
    pair = make_pair(truth, 0.25)
    of_dose = reference_ceiling(pair, 0.25)["psnr_ceiling"]
    pair.noise_share = 0.0
    assert reference_ceiling(pair, 0.25)["psnr_ceiling"] is None
    pair.noise_share = 0.25
    assert reference_ceiling(pair, None)["psnr_ceiling"] == of_dose
    (phantom, *_) = phantom_pairs((1,), (0.25,), shape=(1, 128, 128))
    assert phantom.noise_share == 0
    assert reference_ceiling(phantom, 0.25)["psnr_ceiling"] is None


def test_errors_are_those_of_the_blended_image(truth):
    pair = make_pair(truth, 0.1)
    result = truth + 5
    errors = errors_by_strength(
        low_hu=pair.low_hu, denoised_hu=result, reference_hu=pair.full_hu
    )
    for strength, error in list(zip(STRENGTHS, errors, strict=True))[::5]:
        mixed = pair.low_hu + strength * (result - pair.low_hu)
        rmse = evaluate(mixed, pair.full_hu)["rmse_hu"]
        assert np.sqrt(error) == pytest.approx(rmse, rel=1e-5)


def test_a_default_strength_is_measured_beside_the_best_of_each_dose(truth):
    method = as_method(lambda hu: truth)
    method.default_strength = 0.5
    doses = 0.1, 0.4
    evaluation = evaluate_models({"net": method}, [make_pair(truth, d) for d in doses])
    for dose in doses:
        row = rows_of(evaluation, dose)["net"]
        pair = make_pair(truth, dose)
        half = evaluate((pair.low_hu + truth) / 2, pair.full_hu)
        assert row["psnr"] == pytest.approx(half["psnr"], abs=1e-3)
        assert row["ssim"] == pytest.approx(half["ssim"], abs=1e-4)
        assert row["strength"] == 0.5
        assert row["best_strength"] == pytest.approx(1 - dose, abs=0.051)
        assert rows_of(evaluation, dose)["input"]["best_strength"] is None


def test_patients_weigh_equally():
    table = StrengthTable({"net": 1.0})
    up, down = np.arange(21.0) + 1, np.arange(21.0)[::-1] * 2 + 1
    for _ in range(9):
        table.add("net", "many slices", 0.25, up)
    table.add("net", "one slice", 0.25, down)
    assert table.entries("net")["best_strength"] == 1


def test_the_strength_is_chosen_on_other_patients_if_there_are_any(truth):
    others = [make_pair(truth, 0.5, case="b", seed=1)]
    pairs = [make_pair(truth, 0.25), make_pair(truth, 0.5)]
    # On the other patient the method is worthless; on the evaluated one it is perfect.
    method = {"net": lambda hu: truth + 300 * np.array_equal(hu, others[0].low_hu)}
    source = Source("test", lambda: iter(pairs), 2, lambda: others)
    chosen = measure(method, source)
    row = rows_of(chosen, 0.5)["net"]
    assert row["best_strength"] == 0
    assert row["best_strength_from"] == "other patients"
    assert row["psnr_best_strength"] == pytest.approx(
        rows_of(chosen, 0.5)["input"]["psnr"]
    )
    row = rows_of(chosen, 0.25)["net"]  # no other patient at this dose
    assert row["best_strength_from"] == "the evaluated slices"
    assert row["best_strength"] == pytest.approx(0.75, abs=0.051)
    untuned = rows_of(measure(method, source, tune=False), 0.5)["net"]
    assert untuned["best_strength"] == pytest.approx(0.5, abs=0.051)


def test_table_and_page_show_both_strengths_and_the_ceiling(truth, tmp_path):
    doses = 0.25, 0.5
    pairs = [make_pair(truth, dose) for dose in doses]
    evaluation = evaluate_models({"perfect": lambda hu: truth}, pairs)
    heads, rows = summary_rows(evaluation.document)
    assert {len(row) for row in rows} == {len(heads)}
    found = [row for row in rows if row[1] == "25 %"]
    assert [row[0] for row in found] == ["input", "perfect", "ceiling"]
    ceiling = rows_of(evaluation, 0.25)["input"]["psnr_ceiling"]
    assert found[2][heads.index("PSNR (dB)")] == f"{ceiling:.2f}"
    assert found[1][heads.index("Strength")] == "1.00"
    assert found[1][heads.index("Best strength")] == "0.75"
    write_report(evaluation, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"exceeds about {ceiling:.2f} dB" in page
    assert "chosen on the very slices of this table" in page
