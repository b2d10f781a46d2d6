"""Curves of the report page: where a point lands, what is said, what is refused."""

import json
import re

import pytest
from test_report import make_pair, smooth

from ct_keras.errors import CtKerasError
from ct_keras.evaluation import evaluate_models
from ct_keras.report import write_report
from ct_keras.report.curves import curve_groups, curve_plot, dose_curves
from ct_keras.report.quality_curves import quality_curves, read_quality

CURVE = {
    "title": "NPS <x>",
    "x_label": "frequency (1/mm)",
    "y_label": "NPS",
    "series": {
        "full dose": [[0.0, 0.0], [0.25, 50.0], [0.5, None], [1.0, 100.0]],
        "input": [[0.5, 25.0, 20.0, 30.0]],
    },
}


def places(piece):
    return [tuple(map(float, pair.split(","))) for pair in piece.points.split()]


def test_points_land_where_their_values_are():
    plot = curve_plot("nps", CURVE, ["input", "full dose"])
    assert [line.name for line in plot.lines] == ["input", "full dose"]
    first, second = plot.lines[1].pieces
    assert places(first)[0] == (plot.left, plot.bottom)
    (x, y) = places(first)[1]
    assert x == pytest.approx(plot.left + 0.25 * (plot.right - plot.left), abs=0.1)
    assert y == pytest.approx((plot.top + plot.bottom) / 2, abs=0.1)
    assert places(second) == [(plot.right, plot.top)]
    assert (first.x, first.y) == ("0 0.25", "0 50")
    assert [text for _, text in plot.x_ticks][:2] == ["0", "0.2"]


def test_intervals_are_drawn_and_told():
    plot = curve_plot("nps", CURVE, ["input", "full dose"])
    ((x, low, high),) = plot.lines[0].bars
    height = plot.bottom - plot.top
    assert x == pytest.approx((plot.left + plot.right) / 2, abs=0.1)
    assert low == pytest.approx(plot.bottom - 0.2 * height, abs=0.1)
    assert high == pytest.approx(plot.bottom - 0.3 * height, abs=0.1)
    assert plot.lines[0].values == (("0.5", "25", "20.0000 to 30.0000"),)
    assert plot.has_bars


def test_lines_with_intervals_stand_side_by_side():
    plot = curve_plot("nps", CURVE, ["input", "full dose"])
    assert [line.shift for line in plot.lines] == [-2.0, 2.0]
    series = {str(number): [[1, 2, 1, 3], [2, 3, 2, 4]] for number in range(25)}
    shifts = [
        line.shift
        for line in curve_plot("x", CURVE | {"series": series}, list(series)).lines
    ]
    assert shifts == sorted(set(shifts)) and shifts[-1] == -shifts[0] <= 12
    series = {"a": [[1, 2]], "b": [[1, 3]]}
    plain = curve_plot("x", CURVE | {"series": series}, list(series))
    assert {line.shift for line in plain.lines} == {0.0}


def test_small_values_have_readable_ticks():
    series = {"a": [[1, 2.5e-7], [2, 3.5e-7]]}
    plot = curve_plot("x", CURVE | {"series": series}, ["a"])
    ticks = [float(text.replace("−", "-")) for _, text in plot.y_ticks]
    assert ticks[0] <= 2.5e-7 and ticks[-1] >= 3.5e-7
    assert 3 <= len(set(ticks)) == len(ticks) <= 8


@pytest.mark.parametrize(
    "change",
    [
        {"series": {"a": [[1, 2, 3]]}},
        {"series": {"a": [1, 2]}},
        {"series": {"a": [["x", 2]]}},
        {"series": {"a": [[None, None]]}},
        {"series": [[1, 2]]},
        {"title": ...},
    ],
)
def test_what_is_no_curve_is_refused(change):
    curve = CURVE | change
    if curve["title"] is ...:
        del curve["title"]
    document = {"doses": []}
    with pytest.raises(CtKerasError, match=r"CTK-E005.*nps"):
        curve_groups(document, ["input"], {"nps": curve})


def test_nothing_to_show_makes_no_section():
    assert curve_groups({"doses": [None]}, ["input"], {}) == []
    assert curve_groups({"doses": [0.1]}, ["input"], {}) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    pairs = [make_pair(0, dose) for dose in (0.25, 0.1, 0.05)]
    evaluation = evaluate_models({"smooth": smooth}, pairs)
    write_report(evaluation, out, curves={"nps": CURVE})
    return evaluation.document, (out / "report.html").read_text()


def test_dose_curves_are_the_rows_by_dose(run):
    document, _ = run
    curves = dose_curves(document)
    assert list(curves) == ["psnr", "ssim", "rmse_hu"]
    for metric, curve in curves.items():
        for model, points in curve["series"].items():
            assert [point[0] for point in points] == [5, 10, 25]
            for dose, value in points:
                (row,) = (
                    row
                    for row in document["by_dose"]
                    if row["model"] == model and 100 * row["dose_fraction"] == dose
                )
                assert value == row[metric]


def test_the_page_draws_the_curves(run):
    _, page = run
    assert page.count('id="dose"') == page.count('id="quality"') == 1
    assert "<x>" not in page and "NPS &lt;x&gt;" in page
    section = page[page.index('id="quality"') : page.index('id="statistics"')]
    lines = re.findall(r'<polyline data-name="([^"]*)"[^>]*data-y="([^"]*)"', section)
    assert lines == [("input", "25"), ("full dose", "0 50"), ("full dose", "100")]
    assert 'href="#quality"' in page and 'href="#dose"' in page


@pytest.fixture(scope="module")
def quality():
    from ct_keras.evaluation import QualityPlan, measure_quality

    plan = QualityPlan(doses=(0.25, 1.0), repeats=4, size=96, spacing_mm=1.8)
    return json.loads(json.dumps(measure_quality({"smooth": smooth}, plan)))


def test_curves_of_quality_json_hold_its_numbers(quality):
    curves = quality_curves(quality)
    smooth_doses = quality["methods"]["smooth"]["doses"]
    noise = smooth_doses[1]["noise"]
    points = curves["nnps 1"]["series"]["smooth"]
    assert [x for x, _ in points] == noise["frequency_mm"]
    assert [y for _, y in points] == noise["nnps_mm2"]
    (disc, found), *_ = quality["dose_curves"].items()
    dose, auc, low, high = curves[f"auc {disc}"]["series"]["input"][0]
    assert (dose, auc) == (25, found["input"]["auc"][0])
    assert [low, high] == found["input"]["auc_interval"][0]
    bias = curves["bias water"]["series"]["smooth"]
    water = smooth_doses[0]["materials"][0]
    assert bias[0] == [25, water["bias_hu"], *water["bias_interval_hu"]]
    shown = {
        (name.split()[1], model)
        for name, curve in curves.items()
        if name.startswith("ttf") and name.endswith(" 1")
        for model in curve["series"]
    }
    reliable = {
        (transfer["name"], model)
        for model, method in quality["methods"].items()
        for transfer in method["doses"][1]["ttf"]
        if transfer["reliable"]
    }
    assert shown == reliable
    (group,) = curve_groups({"doses": []}, ["input", "smooth"], curves)
    assert len(group.curves) == len(curves)


def lcd_rows(*inserts):
    return [
        {
            "method": method,
            "dose": dose,
            "insert": f"{contrast:g} HU {diameter:g} pixels",
            "contrast_hu": contrast,
            "diameter_pixels": diameter,
            "channels": "gabor",
            "auc": 0.5 + contrast / 100 + dose / 10,
            "auc_interval": [0.4, 0.9],
        }
        for method in ("input", "smooth")
        for dose in (1.0, 0.1)
        for contrast, diameter in inserts
    ]


def test_inserts_of_lcd_ct_are_drawn_by_contrast(quality):
    assert not any(name.startswith("lcd_ct") for name in quality_curves(quality))
    document = quality | {"lcd_ct": lcd_rows((14.0, 4.7), (7.0, 7.8), (3.0, 15.5))}
    curves = quality_curves(document)
    names = [name for name in curves if name.startswith("lcd_ct")]
    assert names == ["lcd_ct gabor 0.1", "lcd_ct gabor 1"]
    curve = curves["lcd_ct gabor 1"]
    assert "LCD-CT" in curve["title"] and "100 % dose" in curve["title"]
    assert curve["x_label"] == "contrast of the insert (HU)"
    expected = [[3, 0.63], [7, 0.67], [14, 0.74]]
    for model in ("input", "smooth"):
        points = curve["series"][model]
        assert [point[:2] for point in points] == [pytest.approx(p) for p in expected]
        assert all(point[2:] == [0.4, 0.9] for point in points)
    (group,) = curve_groups({"doses": []}, ["input", "smooth"], curves)
    assert len(group.curves) == len(curves)
    (line, _) = group.curves[-1].lines
    assert line.name == "input" and len(line.bars) == len(line.dots) == 3


def test_inserts_of_one_contrast_are_drawn_by_diameter(quality):
    document = quality | {"lcd_ct": lcd_rows((5.0, 15.0), (5.0, 4.0))}
    curve = quality_curves(document)["lcd_ct gabor 0.1"]
    assert curve["x_label"] == "diameter of the insert (pixels)"
    assert [point[0] for point in curve["series"]["smooth"]] == [4, 15]


def test_quality_json_is_read_or_refused(quality, tmp_path):
    (tmp_path / "quality.json").write_text(json.dumps(quality))
    assert read_quality(tmp_path) == quality_curves(quality)
    for text in (
        "{}",
        "[",
        "[1]",
        '{"methods": []}',
        '{"methods": {}, "plan": {"doses": [1]}}',
    ):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(CtKerasError, match="CTK-E005"):
            read_quality(tmp_path / "other.json")
    with pytest.raises(CtKerasError, match="CTK-E005"):
        read_quality(tmp_path / "none.json")
