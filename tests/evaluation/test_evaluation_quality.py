"""All measures together: methods on phantoms at several doses."""

import json

import numpy as np
import pytest
import scipy.stats

from ct_keras import filters
from ct_keras.errors import CtKerasError
from ct_keras.evaluation import QualityPlan, measure_quality
from ct_keras.image_quality import squares, summary_rows, write_quality
from ct_keras.image_quality.detectability import check_regions, observe
from ct_keras.image_quality.figures import draw, method_style
from ct_keras.image_quality.measures import materials
from ct_keras.phantoms.quality_phantoms import (
    low_contrast_phantom,
    rod_phantom,
    water_phantom,
)

PLAN = QualityPlan(
    doses=(1.0, 0.25, 1.0),
    repeats=8,
    size=160,
    spacing_mm=1.0,
    seed=1,
    channels=("laguerre-gauss", "dog-dense"),
)


def _half(hu):
    """Blurs by half of the way, which a linear measure follows."""
    assert hu.shape == (160, 160)
    return hu + 0.5 * (filters.get("gaussian")(hu) - hu)


def _strength_zero(hu):
    return hu + 0.0 * (filters.get("median")(hu) - hu)


@pytest.fixture(scope="module")
def document():
    methods = {
        "gaussian": filters.get("gaussian", sigma=1.0),
        "nothing": _strength_zero,
        "off": lambda hu: _half(hu) + 4,
    }
    return measure_quality(methods, PLAN)


def _at(document, label, dose):
    records = document["methods"][label]["doses"]
    return next(record for record in records if record["dose"] == dose)


def test_the_plan_is_kept_with_its_doses_in_order(document):
    assert document["plan"]["doses"] == [0.25, 1.0]
    assert list(document["methods"]) == ["input", "gaussian", "nothing", "off"]
    assert "Not for diagnostic use" in document["notice"]


def test_strength_zero_is_the_input_in_every_measure(document):
    nothing, unchanged = document["methods"]["nothing"], document["methods"]["input"]
    assert nothing["doses"] == unchanged["doses"]


def test_the_noise_of_the_input_follows_the_dose(document):
    low, full = (_at(document, "input", dose)["noise"] for dose in (0.25, 1.0))
    assert full["sd_hu"] == pytest.approx(12, rel=0.08)
    assert low["sd_hu"] / full["sd_hu"] == pytest.approx(2, rel=0.05)
    assert full["nnps_rms_difference_mm2"] == 0
    assert low["mean_frequency_mm"] == pytest.approx(
        full["mean_frequency_mm"], rel=0.03
    )


def test_power_and_frequency_give_the_variance_back(document):
    noise = _at(document, "input", 1.0)["noise"]
    frequency = np.array(noise["frequency_mm"])
    ratio = np.array(noise["nps_hu2_mm2"]) / np.array(noise["nnps_mm2"])
    assert ratio == pytest.approx(np.full(ratio.size, noise["sd_hu"] ** 2))
    # Rings do not reach into the corners of the square of frequencies.
    power = 2 * np.pi * np.trapezoid(frequency * noise["nps_hu2_mm2"], frequency)
    assert 0.85 < power / noise["sd_hu"] ** 2 < 1.01


def test_a_gaussian_filter_blurs_as_its_width_says(document):
    plain, blurred = (_at(document, m, 1.0) for m in ("input", "gaussian"))
    for name in ("air", "bone"):
        before, after = (
            next(found for found in record["ttf"] if found["name"] == name)
            for record in (plain, blurred)
        )
        assert before["f50_mm"] == pytest.approx(0.36, abs=0.02)
        frequency = np.array(before["frequency_mm"])
        gain = np.exp(-2 * (np.pi * 1.0 * frequency) ** 2)
        expected = np.array(before["ttf"]) * gain
        low = frequency < 0.3
        assert np.array(after["ttf"])[low] == pytest.approx(expected[low], abs=0.04)
    assert blurred["noise"]["sd_hu"] < 0.6 * plain["noise"]["sd_hu"]
    shift = [r["noise"]["mean_frequency_mm"] for r in (plain, blurred)]
    assert shift[1] < 0.75 * shift[0]


def test_bias_and_contrast_of_materials(document):
    off = _at(document, "off", 1.0)
    assert off["noise"]["bias_hu"] == pytest.approx(4, abs=0.3)
    plain = {m["name"]: m for m in _at(document, "input", 1.0)["materials"]}
    assert list(plain) == ["water", "air", "polystyrene", "acrylic", "bone"]
    for material in (*off["materials"], *plain.values()):
        low, high = material["bias_interval_hu"]
        assert (low + high) / 2 == pytest.approx(material["bias_hu"])
        # Of 8 scans whose regions of some hundred pixels have noise of 12 HU.
        assert 0.05 < high - low < 4
    for material in off["materials"]:
        before = plain[material["name"]]
        assert abs(before["bias_hu"]) < 3
        assert material["bias_hu"] == pytest.approx(before["bias_hu"] + 4, abs=1)
        if material["name"] != "water":
            assert material["cnr"] > before["cnr"]
    acrylic = plain["acrylic"]
    assert acrylic["cnr"] == pytest.approx(120 / plain["water"]["sd_hu"], rel=0.1)


def test_detectability_in_the_spectrum(document):
    for label in ("input", "gaussian"):
        low, full = (
            _at(document, label, dose)["detectability"] for dose in (0.25, 1.0)
        )
        for weak, strong in zip(low, full, strict=True):
            ratio = strong["dprime"]["npw"] / weak["dprime"]["npw"]
            assert ratio == pytest.approx(2, rel=0.25)
            assert strong["dprime"]["pw"] >= strong["dprime"]["npw"]
            assert strong["ttf_of"] is not None
    plain, blurred = (
        _at(document, label, 1.0)["detectability"] for label in ("input", "gaussian")
    )
    for before, after in zip(plain, blurred, strict=True):
        # A linear filter takes nothing from an observer that knows the noise.
        assert after["dprime"]["pw"] == pytest.approx(before["dprime"]["pw"], rel=0.15)


def test_the_hotelling_observer_and_the_dose_curves(document):
    record = _at(document, "input", 1.0)["detectability"]
    found = [task["cho"]["laguerre-gauss"] for task in record]
    assert {tuple(result["images"]) for result in found} == {(16, 16)}
    assert np.mean([result["auc"] for result in found]) > 0.8
    assert set(record[0]["cho"]) == {"laguerre-gauss", "dog-dense"}
    curve = document["dose_curves"]["3 HU 10 mm"]["input"]
    assert curve["doses"] == [0.25, 1.0]
    assert curve["auc"][1] == found[3]["auc"]
    assert curve["auc"][1] > curve["auc"][0]


def test_the_document_and_its_plots_are_written(document, tmp_path):
    write_quality(document, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    plots = ["bias.png", "dose_curves.png", "nnps.png"]
    assert names == [".ct_keras", *plots, "quality.json", "ttf.png"]
    text = (tmp_path / "out" / "quality.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(document))
    for name in (*plots, "ttf.png"):
        assert (tmp_path / "out" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_every_picture_draws_a_method_in_one_way(document):
    styles = [method_style(index) for index in range(31)]
    assert len({tuple(map(str, style.values())) for style in styles}) == 31
    assert [style["color"] for style in styles].count("#000000") == 1
    figures = draw(document)
    assert list(figures) == ["nnps", "ttf", "bias", "dose_curves"]
    expected = [method_style(index)["color"] for index in range(4)]
    for name, figure in figures.items():
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert texts[:4] == list(document["methods"])
        for axis in figure.axes:
            found = [line.get_color() for line in axis.lines]
            assert [color for color in dict.fromkeys(found) if color in expected] == (
                expected
            )
            low, high = axis.get_ylim()
            values = np.concatenate([line.get_ydata() for line in axis.lines])
            if name != "ttf":  # a rod in noise has no bounds
                assert low <= np.nanmin(values) <= np.nanmax(values) <= high
            unit = "1/mm" if name in ("nnps", "ttf") else "%"
            assert unit in axis.get_xlabel()


def test_the_ends_of_an_interval_are_drawn_where_they_are(document):
    curves = document["dose_curves"]
    axis, *_ = draw(document)["dose_curves"].axes
    first, *_ = curves.values()
    (container, *_) = axis.containers
    bars = container.lines[2][0].get_segments()
    found = [[float(end[1]) for end in segment] for segment in bars]
    assert found == [pytest.approx(limits) for limits in first["input"]["auc_interval"]]


def test_the_interval_of_a_bias_is_that_of_student():
    phantom = rod_phantom(size=64, spacing_mm=2.0)
    shifts = np.array([-1.0, 0.0, 1.0, 4.0])
    images = np.zeros((4, 64, 64)) + shifts[:, None, None]
    water = materials(phantom, images)[0]
    expected = scipy.stats.t.interval(0.95, 3, shifts.mean(), scipy.stats.sem(shifts))
    assert water["bias_hu"] == pytest.approx(1)
    assert water["bias_interval_hu"] == pytest.approx(expected)


def test_the_table_has_a_row_for_every_method_and_dose(document):
    columns, rows = summary_rows(document)
    assert [row[:2] for row in rows[:3]] == [
        ["input", "0.25"],
        ["input", "1"],
        ["gaussian", "0.25"],
    ]
    assert {len(row) for row in rows} == {len(columns)}
    noise = _at(document, "input", 0.25)["noise"]["sd_hu"]
    assert rows[0][columns.index("SD HU")] == f"{noise:.1f}"


def test_a_method_that_leaves_nothing_is_measured_all_the_same():
    plan = QualityPlan(doses=(0.5,), repeats=4, size=96, spacing_mm=1.8)
    found = measure_quality({"blank": np.zeros_like}, plan)
    record = _at(found, "blank", 0.5)
    assert record["noise"]["sd_hu"] == 0
    assert record["noise"]["nnps_mm2"][0] is None
    assert record["detectability"][0]["cho"]["laguerre-gauss"]["auc"] == 0.5
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "changes",
    [
        {"doses": ()},
        {"doses": (2.0,)},
        {"repeats": 3},
        {"noise_hu": -1.0},
        {"seed": -1},
    ],
)
def test_impossible_plans_are_refused(changes):
    with pytest.raises(CtKerasError) as refusal:
        measure_quality({}, QualityPlan(size=96, spacing_mm=1.8, **changes))
    assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize("size", [64, 96, 128, 160])
def test_discs_too_close_for_their_regions_are_refused(size):
    with pytest.raises(CtKerasError, match="field of view") as refusal:
        measure_quality({}, QualityPlan(size=size))
    assert refusal.value.code == "CTK-E000"
    phantom = low_contrast_phantom(size=size)
    images = np.zeros((4, size, size))
    with pytest.raises(CtKerasError) as refusal:
        observe(phantom, images, images, names=["gabor"])
    assert refusal.value.code == "CTK-E000"


@pytest.mark.parametrize(("size", "spacing_mm"), [(222, 0.7), (256, 0.7), (82, 2.0)])
def test_a_region_holds_its_own_disc_alone(size, spacing_mm):
    grid = {"size": size, "spacing_mm": spacing_mm}
    phantom = low_contrast_phantom(**grid)
    check_regions(phantom)
    added = (phantom.hu - water_phantom(**grid).hu)[None]
    wide = 2 * round(1.2 * 10 / spacing_mm)
    for insert in phantom.inserts:
        place = phantom.center(insert)
        rows, columns = np.indices(phantom.hu.shape)
        away = np.hypot(rows - place[0], columns - place[1])[None]
        region, distance = (
            squares(each, [place], wide)[0, 0] for each in (added, away)
        )
        outside = distance > (insert.diameter_mm / 2 + 2.5) / spacing_mm
        assert np.abs(region[outside]).max() < 0.12
        assert region.max() > 0.4 * insert.contrast_hu
