"""The report page: complete in itself, safe, and right in a real browser."""

import re
from importlib import resources
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ct_keras.evaluation import evaluate_models
from ct_keras.evaluation.pictures import PictureChooser, pack_image, unpack_image
from ct_keras.metrics import PROTOCOLS, Metric
from ct_keras.report import report as report_module
from ct_keras.report import write_report
from ct_keras.report.plots import nice_ticks, psnr_plot, series_class
from ct_keras.report.report import difference_range
from ct_keras.report.tables import best_models, number, sheets


def make_pair(slice_index=0, dose=0.25, edge=64):
    rows, columns = np.mgrid[:edge, : edge + 16]
    full = np.full(rows.shape, -1000, np.float32)
    full[np.hypot(rows - edge / 2, columns - edge / 2) < edge * 0.4] = 40
    full[20:30, 20:30] = 300
    noise = np.random.default_rng(slice_index).normal(0, 20, full.shape)
    return SimpleNamespace(
        low_hu=full + noise.astype(np.float32),
        full_hu=full,
        case="</script> & co",
        series="1",
        slice_index=slice_index,
        dose_fraction=dose,
        spacing_mm=(0.5, 0.75),
    )


def smooth(hu):
    return cv2.GaussianBlur(hu, (0, 0), 1.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    models = {"smooth": smooth, "<b>odd</b>": lambda hu: hu}
    pairs = [make_pair(n, dose) for n in range(2) for dose in (0.1, 0.25)]
    command = "ct-keras evaluate --out 'a & b'"
    write_report(evaluate_models(models, pairs, command=command), out)
    return out / "report.html"


def test_page_needs_no_other_file(page):
    text = page.read_text()
    assert "Research use only. Not for diagnostic use." in text
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_names_cannot_break_the_page(page):
    text = page.read_text()
    assert "<b>odd</b>" not in text
    assert "</script> & co" not in text
    assert "&lt;b&gt;odd&lt;/b&gt;" in text


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 64)])
def test_images_survive_packing(shape):
    generator = np.random.default_rng(0)
    image = generator.integers(-32768, 32768, shape).astype(np.int16)
    np.testing.assert_array_equal(unpack_image(pack_image(image), shape), image)


def test_thirteen_methods_on_four_slices_fit_into_the_page():
    noise = np.random.default_rng(0).normal(40, 50, (512, 512))
    size = len(pack_image(np.rint(noise).astype(np.int16)))
    assert 4 * (13 + 2) * size < report_module.IMAGE_BUDGET < 39e6


def test_page_keeps_its_budget(monkeypatch, tmp_path):
    pairs = [make_pair(n, dose) for n in range(2) for dose in (0.1, 0.25)]
    monkeypatch.setattr(report_module, "IMAGE_BUDGET", 1)
    write_report(evaluate_models({"smooth": smooth}, pairs), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert 'id="image-0/0"' in text
    assert 'id="image-1/0"' not in text


def test_difference_range_fits_the_noise():
    flat = np.full((200, 200), 40.0)
    noise = np.random.default_rng(0).normal(0, 1, flat.shape)
    assert difference_range(flat, flat + 20 * noise) == 50
    assert difference_range(flat, flat) == 10
    assert difference_range(flat, flat + 900 * noise) == 400


def test_numbers_are_printed_with_real_minus_signs():
    assert number(-1.255, 1) == "−1.3"
    assert number(1848865, 0) == "1,848,865"
    assert number(0.001, 2, signed=True) == "0.00"


def test_best_is_marked_in_the_right_direction():
    rows = [{"model": "a", "x": 1.0}, {"model": "b", "x": -3.0}]
    rows += [{"model": "c", "x": None}]
    higher = Metric("x", "X", higher_is_better=True)
    assert best_models(rows, higher) == {"a"}
    assert best_models(rows, Metric("x", "X", higher_is_better=False)) == {"b"}
    assert best_models(rows, Metric("x", "X", signed=True)) == {"a"}
    assert best_models(rows, Metric("x", "X")) == set()
    assert best_models(rows[:1], higher) == set()
    infinite = [*rows, {"model": "d", "x": "inf"}]
    assert best_models(infinite, higher) == {"d"}


def test_plot_scales():
    assert nice_ticks(21.3, 34.9) == [20, 25, 30, 35]
    assert nice_ticks(30, 30)[0] <= 30 < nice_ticks(30, 30)[-1]
    base = {"model": "m", "case": "a", "series": "1", "dose_fraction": None}
    records = [base | {"slice_index": n, "psnr": 20.0 + 10 * n} for n in (1, 0)]
    plot = psnr_plot(records, ["m"])
    (facet,) = plot.facets
    first, last = (
        tuple(map(float, p.split(","))) for p in facet.lines[0].pieces[0].points.split()
    )
    assert first[0] < last[0]
    assert first[1] == plot.bottom
    assert last[1] == plot.top
    assert psnr_plot([base | {"slice_index": 0, "psnr": float("inf")}], ["m"]) is None


def test_every_line_of_a_plot_has_its_own_style():
    assert len({series_class(index) for index in range(22)}) == 22
    colours = [series_class(index).split()[0] for index in range(1, 22)]
    assert "s0" not in colours
    css = styles()
    for name in {part for index in range(22) for part in series_class(index).split()}:
        assert f".{name} {{" in css


def test_a_line_is_cut_where_a_value_is_missing():
    base = {"model": "m", "case": "a", "series": "1", "dose_fraction": None}
    values = [20.0, 21.0, float("inf"), 30.0]
    records = [base | {"slice_index": n, "psnr": v} for n, v in enumerate(values)]
    (facet,) = psnr_plot(records, ["m"]).facets
    pieces = facet.lines[0].pieces
    assert [(piece.x, piece.y) for piece in pieces] == [
        ("0 1", "20.00 21.00"),
        ("3", "30.00"),
    ]


def test_wide_sheets_hold_every_protocol():
    wide = {sheet.id: sheet.columns for sheet in sheets() if sheet.wide}
    for metric in ("psnr", "ssim"):
        keys = [column.key for column in wide[f"all-{metric}"]]
        assert keys == [protocol.key(metric) for protocol in PROTOCOLS.values()]
    assert {sheet.id for sheet in sheets()} >= {*PROTOCOLS, "vif", "hu"}


def offered(limit, counts, score=lambda place: float(place)):
    chooser = PictureChooser(limit)
    for patient, count in counts.items():
        for place in range(count):
            pair = SimpleNamespace(
                case=patient,
                series="1",
                slice_index=place,
                dose_fraction=None,
                spacing_mm=None,
                full_hu=np.zeros((2, 2), np.float32),
            )
            chooser.offer(pair, {"input": pair.full_hu}, score(place))
    return [(picture.patient, picture.slice_index) for picture in chooser.chosen()]


def test_slices_of_one_series_are_spread():
    found = [place for _, place in offered(4, {"a": 100})]
    assert len(set(found)) == 4 and found == sorted(found)
    assert found[0] < 34 and found[-1] > 60
    noisy = np.random.default_rng(0).permutation(100.0 + np.arange(100))
    found = [place for _, place in offered(4, {"a": 100}, lambda n: noisy[n])]
    assert min(abs(noisy[place] - 149.5) for place in found) <= 3
    (drifting,) = offered(1, {"a": 100})
    assert 25 <= drifting[1] <= 75
    assert offered(4, {"a": 2}) == [("a", 0), ("a", 1)]
    two = offered(4, {"a": 40, "b": 40})
    assert [case for case, _ in two] == ["a", "a", "b", "b"]
    assert len(set(two)) == 4
    many = offered(4, dict.fromkeys("abcdef", 9))
    assert [case for case, _ in many] == list("abcd")


def styles():
    folder = resources.files("ct_keras.report") / "templates"
    names = ("report", "tables", "plots", "viewer")
    return "\n".join((folder / f"{name}.css").read_text() for name in names)


def luminance(colour):
    parts = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    high, low = sorted(map(luminance, (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(scheme):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    block = re.findall(r":root \{(.*?)\}", styles(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))
    for paper in ("paper", "raised"):
        for ink in ("ink", "soft", "accent", "best", "warn"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        for edge in ("edge", *(f"s{index}" for index in range(8))):
            assert contrast(colours[edge], colours[paper]) >= 3, (edge, paper)
    assert contrast(colours["warn"], colours["warn-soft"]) >= 4.5
    assert contrast(colours["accent"], colours["accent-soft"]) >= 4.5
