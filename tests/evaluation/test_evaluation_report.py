"""The report page: complete in itself, safe, and right in a real browser."""

import html
import re
import shutil
import subprocess
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ct_keras.evaluation import evaluate_models
from ct_keras.evaluation import report as report_module
from ct_keras.evaluation.plots import nice_ticks, psnr_plot
from ct_keras.evaluation.report import difference_range, pack_image, unpack_image
from ct_keras.evaluation.tables import Column, best_models, number

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


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
    evaluate_models(models, pairs, out, command="ct-keras evaluate --out 'a & b'")
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


def test_page_keeps_its_budget(monkeypatch, tmp_path):
    pairs = [make_pair(n, dose) for n in range(2) for dose in (0.1, 0.25)]
    monkeypatch.setattr(report_module, "IMAGE_BUDGET", 1)
    evaluate_models({"smooth": smooth}, pairs, tmp_path)
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
    for best, expected in (("high", {"a"}), ("low", {"b"}), ("zero", {"a"})):
        assert best_models(rows, Column("x", "X", 2, best)) == expected
    assert best_models(rows[:1], Column("x", "X", 2, "high")) == set()
    infinite = [*rows, {"model": "d", "x": "inf"}]
    assert best_models(infinite, Column("x", "X", 2, "high")) == {"d"}


def test_plot_scales():
    assert nice_ticks(21.3, 34.9) == [20, 25, 30, 35]
    assert nice_ticks(30, 30)[0] <= 30 < nice_ticks(30, 30)[-1]
    base = {"model": "m", "case": "a", "series": "1", "dose_fraction": None}
    records = [base | {"slice_index": n, "psnr": 20.0 + 10 * n} for n in (1, 0)]
    plot = psnr_plot(records, ["m"])
    (facet,) = plot.facets
    first, last = (
        tuple(map(float, p.split(","))) for p in facet.lines[0].points.split()
    )
    assert first[0] < last[0]
    assert first[1] == plot.bottom
    assert last[1] == plot.top
    assert psnr_plot([base | {"slice_index": 0, "psnr": float("inf")}], ["m"]) is None


def dump(page, tmp_path):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium to open the report in")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=8000",
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=50
    ).stdout


def test_a_browser_decodes_the_right_pixels(page, tmp_path):
    dom = dump(page, tmp_path)
    body = re.search(r"<body[^>]*>", dom)[0]
    assert 'data-ready="true"' in body
    assert "data-error" not in body
    figures = {
        html.unescape(name): (float(mean), float(sd))
        for name, mean, sd in re.findall(
            r'<figure data-name="([^"]*)" data-mean="([^"]*)" data-sd="([^"]*)"', dom
        )
    }
    assert list(figures) == ["input", "smooth", "<b>odd</b>", "reference"]
    label = re.search(r'<option value="0"[^>]*>[^<]*slice (\d), 10 % dose', dom)
    pair = make_pair(int(label[1]), 0.1)
    for name, hu in (
        ("input", pair.low_hu),
        ("smooth", smooth(pair.low_hu)),
        ("reference", pair.full_hu),
    ):
        mean, sd = figures[name]
        box = np.rint(box_of(pair, hu))
        assert mean == pytest.approx(box.mean(), abs=1e-3)
        assert sd == pytest.approx(box.std(), abs=1e-3)
    assert "abdomen, W 400 L 40, −160 to 240 HU" in dom


def box_of(pair, hu):
    """The box that the page starts with: a square in the middle of the crop."""
    top, bottom, left, right = report_module._box(np.rint(pair.full_hu))
    rows, columns = bottom - top, right - left
    side = min(rows, columns, max(24, round(min(rows, columns) / 4)))
    top += (rows - side) // 2
    left += (columns - side) // 2
    return hu[top : top + side, left : left + side]
