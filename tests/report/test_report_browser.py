"""The report page in a real Chromium: real clicks, drags, wheels and keys."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from browser import Browser

from ct_keras.evaluation import evaluate_models
from ct_keras.metrics import PROTOCOLS
from ct_keras.report import report as report_module
from ct_keras.report import write_report

EDGE = 64
CURVES = {
    "nps": {
        "title": "NPS, <b>liver</b>",
        "x_label": "frequency (1/mm)",
        "y_label": "NPS (HU² mm²)",
        "series": {"input": [[0, 0], [0.2, 40], [0.4, 10]], "full dose": [[0.1, 20]]},
    }
}


def make_pair(slice_index=0, dose=0.25):
    rows, columns = np.mgrid[:EDGE, : EDGE + 16]
    full = np.full(rows.shape, -1000, np.float32)
    full[np.hypot(rows - EDGE / 2, columns - EDGE / 2) < EDGE * 0.4] = 40
    full[20:30, 20:30] = 300
    full[30:34, 40:44] = -500
    noise = np.random.default_rng(slice_index).normal(0, 8 / np.sqrt(dose), full.shape)
    return SimpleNamespace(
        low_hu=np.rint(full + noise).astype(np.float32),
        full_hu=full,
        case="</script> & co",
        series="1",
        slice_index=slice_index,
        dose_fraction=dose,
        spacing_mm=(0.5, 0.75),
        kernel=("B30f", "D45f")[slice_index],
    )


def smooth(hu):
    return np.rint(cv2.GaussianBlur(hu, (0, 0), 1.0))


def perfect(hu):
    return full_of[hu.tobytes()]


PAIRS = [make_pair(n, dose) for n in range(2) for dose in (0.1, 0.25)]
full_of = {pair.low_hu.tobytes(): pair.full_hu for pair in PAIRS}
METHODS = {"<b>odd</b>": lambda hu: hu, "smooth": smooth, "perfect": perfect}
NAMES = ["input", *METHODS, "reference"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    evaluation = evaluate_models(METHODS, PAIRS)
    write_report(evaluation, out, curves=CURVES)
    return SimpleNamespace(path=out / "report.html", document=evaluation.document)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(report, chromium):
    """The page, opened anew; at the end nothing may have failed or been fetched."""
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.send("Emulation.setEmulatedMedia", features=[])
    chromium.resize(1400, 1000)
    chromium.open(report.path)
    chromium.wait_for("document.body.dataset.ready")
    yield chromium
    assert chromium.evaluate("document.body.dataset.error ?? ''") == ""
    assert chromium.errors == []
    assert chromium.requests == [report.path.as_uri()]


def settle(page):
    """Waits until what was asked for is painted."""
    page.evaluate(
        "new Promise((done) => {"
        "requestAnimationFrame(() => requestAnimationFrame(done)); })"
    )


def pixels(page, name, kind="whole"):
    """RGB of a canvas of a panel, (rows, columns, 3)."""
    rows, columns, values = page.evaluate(
        "(() => { const c = [...document.querySelectorAll('#panels figure')]"
        f".find((f) => f.dataset.name === {name!r}).querySelector('.{kind}');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return [c.height, c.width, [...d]]; })()"
    )
    return np.array(values).reshape(rows, columns, 4)[..., :3]


def shown_pair(page):
    """The pair whose slice the page shows."""
    label = page.evaluate("document.querySelector('#picture-label').textContent")
    index, percent = re.search(r"slice (\d), (\d+) % dose", label).groups()
    return next(
        pair
        for pair in PAIRS
        if pair.slice_index == int(index)
        and round(100 * pair.dose_fraction) == int(percent)
    )


def crop(pair, hu):
    top, bottom, left, right = report_module._box(np.rint(pair.full_hu))
    return hu[top:bottom, left:right]


def grey(hu, level, width):
    shares = (hu.astype(np.float64) - (level - width / 2)) * 255 / width
    return np.clip(np.floor(shares + 0.5), 0, 255)


def versions(pair):
    images = {name: method(pair.low_hu) for name, method in METHODS.items()}
    return {"input": pair.low_hu, **images, "reference": pair.full_hu}


def text(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def choose(page, selector, value):
    """Chooses an entry of a <select> as a person with a keyboard does."""
    page.evaluate(f"document.querySelector({selector!r}).focus()")
    names = page.evaluate(
        f"[...document.querySelector({selector!r}).options].map((o) => o.value)"
    )
    now = page.evaluate(f"document.querySelector({selector!r}).selectedIndex")
    steps = names.index(value) - now
    for _ in range(abs(steps)):
        page.press("ArrowDown" if steps > 0 else "ArrowUp")
    settle(page)


def test_every_image_is_decoded_to_its_hu(page):
    pair = shown_pair(page)
    for name, hu in versions(pair).items():
        expected = grey(crop(pair, hu), 40, 400)
        np.testing.assert_array_equal(pixels(page, name)[..., 1], expected)


@pytest.mark.parametrize(
    ("name", "level", "width"),
    [("lung", -600, 1500), ("bone", 450, 1500), ("wide", 0, 2000), ("brain", 40, 80)],
)
def test_window_presets(page, name, level, width):
    place = [window.name for window in report_module.WINDOWS].index(name)
    page.click(f"[name=window][value='{place}'] + span")
    settle(page)
    pair = shown_pair(page)
    for method, hu in versions(pair).items():
        found = pixels(page, method)
        np.testing.assert_array_equal(found[..., 0], grey(crop(pair, hu), level, width))
    assert f"{name}, W {width} L {level}".replace("-", "−") in text(
        page, "#window-text"
    )
    page.click("#viewer .whole")
    page.press("1")
    settle(page)
    assert "abdomen, W 400 L 40, −160 to 240 HU" in text(page, "#window-text")


def test_a_drag_changes_the_window_of_all_images(page):
    frame = page.evaluate(
        "(() => { const r = document.querySelector('.whole').getBoundingClientRect();"
        "return [r.width, r.height]; })()"
    )
    page.drag(".whole", (0.2, 0.2), (0.6, 0.5))
    settle(page)
    width = page.evaluate("Number(document.querySelector('#width').value)")
    level = page.evaluate("Number(document.querySelector('#level').value)")
    assert width == pytest.approx(400 + 0.4 * frame[0] * 400 / 300, abs=2)
    assert level == pytest.approx(40 + 0.3 * frame[1] * 400 / 300, abs=2)
    pair = shown_pair(page)
    for name, hu in versions(pair).items():
        expected = grey(crop(pair, hu), level, width)
        np.testing.assert_array_equal(pixels(page, name)[..., 2], expected)
    assert page.evaluate("document.querySelector('[name=window]:checked')") is None
    assert text(page, "#panels .low-end") == f"{level - width / 2:g}".replace("-", "−")


def test_a_typed_window_counts(page):
    page.click("#width", (0.2, 0.5), count=2)
    page.type("150")
    page.press("Enter")
    settle(page)
    pair = shown_pair(page)
    expected = grey(crop(pair, pair.low_hu), 40, 150)
    np.testing.assert_array_equal(pixels(page, "input")[..., 0], expected)


def test_the_slider_goes_through_the_slices(page):
    last = len(PAIRS) - 1
    assert page.evaluate("document.querySelector('#picture').max") == str(last)
    seen = [id(shown_pair(page))]
    page.evaluate("document.querySelector('#picture').focus()")
    for _ in range(last):
        page.press("ArrowRight")
        page.wait_for(
            "document.querySelector('#window-text').textContent.endsWith("
            "document.querySelector('#picture-label').textContent)"
        )
        pair = shown_pair(page)
        seen.append(id(pair))
        expected = grey(crop(pair, smooth(pair.low_hu)), 40, 400)
        np.testing.assert_array_equal(pixels(page, "smooth")[..., 0], expected)
    assert len(set(seen)) == len(PAIRS)
    page.click("#viewer .whole")
    page.press("PageUp")
    page.wait_for("document.querySelector('#picture').value === '2'")
    spoken = "document.querySelector('#picture').getAttribute('aria-valuetext')"
    assert page.evaluate(spoken) == text(page, "#picture-label")


def layers(page):
    """Zoom and the image's place at the centre of each panel, as shares."""
    return np.array(
        page.evaluate(
            "[...document.querySelectorAll('#panels .layer')].map((layer) => {"
            "const a = layer.getBoundingClientRect();"
            "const b = layer.parentElement.getBoundingClientRect();"
            "return [a.width / b.width, (b.left + b.width / 2 - a.left) / a.width,"
            "(b.top + b.height / 2 - a.top) / a.height]; })"
        )
    )


def wheel(page, selector, delta, place):
    x, y = page.point(selector, place)
    page.send(
        "Input.dispatchMouseEvent",
        type="mouseWheel",
        x=x,
        y=y,
        deltaX=0,
        deltaY=delta,
        modifiers=2,
    )
    settle(page)
    return x, y


def pointer_text(page, x, y):
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    return text(page, "#panels figure .pointer")


def test_zoom_and_pan_move_all_images_together(page):
    np.testing.assert_allclose(layers(page), [[1, 0.5, 0.5]] * 9, atol=1e-3)
    page.click("#zoom-in")
    page.click("#zoom-in")
    settle(page)
    assert text(page, "#zoom") == "156 %"
    np.testing.assert_allclose(layers(page), [[1.5625, 0.5, 0.5]] * 9, atol=1e-3)
    page.click("[name=drag][value=pan] + span")
    page.drag(".whole", (0.5, 0.5), (0.4, 0.55))
    settle(page)
    np.testing.assert_allclose(layers(page), [[1.5625, 0.6, 0.45]] * 9, atol=4e-3)
    assert "W 400 L 40" in text(page, "#window-text")
    page.click("#panels .stage", (0.9, 0.9))
    for _ in range(30):
        page.press("ArrowRight")
        page.press("ArrowUp")
    settle(page)
    edge = 0.5 / 1.5625
    np.testing.assert_allclose(layers(page), [[1.5625, 1 - edge, edge]] * 9, atol=1e-3)
    page.press("0")
    settle(page)
    np.testing.assert_allclose(layers(page), [[1, 0.5, 0.5]] * 9, atol=1e-3)


def test_the_wheel_zooms_about_the_pointer(page):
    x, y = page.point(".whole", (0.31, 0.4))
    before = pointer_text(page, x, y)
    assert re.fullmatch(r"pointer −?\d+ HU", before)
    for _ in range(4):
        x, y = wheel(page, "#panels .stage", -100, (0.31, 0.4))
    assert layers(page)[:, 0] == pytest.approx(np.e, rel=0.01)
    assert pointer_text(page, x, y) == before
    scrolled = page.evaluate("scrollY")
    page.wheel("#panels .stage", 200)
    page.wait_for(f"scrollY !== {scrolled}")
    assert layers(page)[0, 0] == pytest.approx(np.e, rel=0.01)


def test_the_box_follows_clicks_and_keys(page):
    pair = shown_pair(page)
    image = crop(pair, pair.low_hu)
    rows, columns = image.shape
    page.click(".whole", (0.4, 0.45))
    settle(page)
    side = 24

    def check(top, left):
        box = image[top : top + side, left : left + side]
        found = page.evaluate("({...document.querySelector('#panels figure').dataset})")
        assert float(found["mean"]) == pytest.approx(box.mean(), abs=1e-3)
        assert float(found["sd"]) == pytest.approx(box.std(), abs=1e-3)
        np.testing.assert_array_equal(
            pixels(page, "input", "zoom")[..., 0], grey(box, 40, 400)
        )

    top = round(int(0.45 * rows) - side / 2)
    left = round(int(0.4 * columns) - side / 2)
    check(top, left)
    page.press("ArrowRight", "shift")
    page.press("ArrowDown", "shift")
    settle(page)
    check(top + 4, left + 4)


def test_differences_state_their_range(page):
    pair = shown_pair(page)
    choose(page, "#range", "25")
    assert "differences ±25 HU" in text(page, "#window-text")
    assert text(page, "#panels .minus-range") == "−25"
    assert text(page, "#panels .plus-range") == "+25"
    shares = np.clip(crop(pair, pair.low_hu - pair.full_hu) / 25, -1, 1)[..., None]
    expected = np.where(shares < 0, shares * [-77, -163, -255], shares * [255, 153, 51])
    found = pixels(page, "input", "difference")
    assert np.abs(found - expected).max() <= 0.501
    assert (shares < 0).any() and (shares > 0).any()
    assert not pixels(page, "perfect", "difference").any()


def test_the_reference_shows_while_r_is_held(page):
    pair = shown_pair(page)
    expected = grey(crop(pair, pair.full_hu), 40, 400)
    page.click("#viewer .whole")
    page.hold("r")
    settle(page)
    np.testing.assert_array_equal(pixels(page, "input")[..., 0], expected)
    page.release("r")
    settle(page)
    assert (pixels(page, "input")[..., 0] != expected).any()


def roughness(page, tmp_path, place):
    """SD of what is on the screen at a place of the pair of images."""
    x, y = page.point("#compare .stage", place)
    page.screenshot(tmp_path / "screen.png")
    picture = cv2.imread(str(tmp_path / "screen.png"), cv2.IMREAD_GRAYSCALE)
    x, y = round(x), round(y)
    return picture[y - 25 : y + 25, x - 25 : x + 25].astype(float).std()


def test_swipe_shows_one_method_on_each_side(page, tmp_path):
    page.click("[name=view][value=swipe] + span")
    choose(page, "#first", "input")
    choose(page, "#second", "reference")
    left, right = (0.35, 0.76), (0.62, 0.76)
    assert roughness(page, tmp_path, left) > 5
    assert roughness(page, tmp_path, right) < 1
    width = page.evaluate("document.querySelector('#compare .stage').clientWidth")
    knob = page.evaluate("document.querySelector('#divider').clientWidth")
    page.drag("#divider", (0.5, 0.5), (0.5 - 0.4 * width / knob, 0.5))
    settle(page)
    assert page.evaluate("Number(divider.getAttribute('aria-valuenow'))") == 10
    assert roughness(page, tmp_path, left) < 1
    page.press("End")
    settle(page)
    assert roughness(page, tmp_path, right) > 5
    page.press("Home")
    page.press("ArrowRight")
    settle(page)
    assert page.evaluate("Number(divider.getAttribute('aria-valuenow'))") == 2
    page.click("#swap")
    settle(page)
    assert text(page, "#pair-title") == "reference − input, HU"
    assert roughness(page, tmp_path, right) > 5
    pair = shown_pair(page)
    difference = crop(pair, pair.full_hu - pair.low_hu)
    box = report_box(difference)
    shown = text(page, "#compare figure:last-child .statistics").replace("−", "-")
    assert shown == f"box {box.mean():.1f} ± {box.std():.1f} HU"


def report_box(image, side=24):
    top, left = ((edge - side) // 2 for edge in image.shape)
    return image[top : top + side, left : left + side]


def test_blink_alternates_and_stops(page, tmp_path):
    page.click("[name=view][value=blink] + span")
    choose(page, "#first", "input")
    choose(page, "#second", "reference")
    tag = "document.querySelector('#compare .tag').textContent"
    page.wait_for(f"{tag} === 'reference'")
    page.wait_for(f"{tag} === 'input'")
    page.click("#play")
    settle(page)
    assert text(page, "#play") == "Play"
    page.click("#other")
    settle(page)
    shown = page.evaluate(tag)
    assert (roughness(page, tmp_path, (0.35, 0.76)) > 5) == (shown == "input")
    page.press("b")
    settle(page)
    assert {shown, page.evaluate(tag)} == {"input", "reference"}
    assert (roughness(page, tmp_path, (0.35, 0.76)) > 5) == (shown != "input")


def test_nothing_blinks_where_motion_is_unwanted(page):
    motion = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.send("Emulation.setEmulatedMedia", features=motion)
    page.click("[name=view][value=blink] + span")
    settle(page)
    assert text(page, "#play") == "Play"


def column(page, place, sheet="report"):
    return page.evaluate(
        f"[...document.querySelectorAll('[data-sheet={sheet}][data-scope=all] .results "
        f"tbody tr')].map((row) => row.cells[{place}].innerText.split('\\n')[0])"
    )


def test_a_click_sorts_a_column(page, report):
    psnr = "[data-sheet=report][data-scope=all] th:nth-child(2)"
    means = {row["model"]: row["psnr"] for row in report.document["rows"]}
    finite = {name: value for name, value in means.items() if value != "inf"}
    falling = ["perfect", *sorted(finite, key=lambda name: -finite[name])]
    sorting = f"document.querySelector({psnr!r}).ariaSort"
    assert column(page, 0) == ["input", *METHODS]
    page.click(f"{psnr} button")
    assert page.evaluate(sorting) == "descending"
    found = column(page, 0)
    assert found[:2] == falling[:2] and set(found) == set(falling)
    shown = [float(value) for value in column(page, 1)[1:]]
    assert column(page, 1)[0] == "∞" and shown == sorted(shown, reverse=True)
    page.press("Enter")
    assert page.evaluate(sorting) == "ascending"
    assert column(page, 0)[-1] == "perfect"
    assert column(page, 0)[0] == falling[-1]
    page.click("[data-sheet=report][data-scope=all] th:first-child button")
    assert page.evaluate(sorting) == "none"
    assert column(page, 0) == ["<b>odd</b>", "input", "perfect", "smooth"]


def test_the_selector_offers_every_protocol(page, report):
    values = page.evaluate("[...protocol.options].map((option) => option.value)")
    assert set(values) == {*PROTOCOLS, "vif", "hu", "all-psnr", "all-ssim"}
    visible = (
        "[...document.querySelectorAll('.sheet')].filter((s) => s.offsetHeight)"
        ".map((s) => s.dataset.sheet + ' ' + s.dataset.scope)"
    )
    assert page.evaluate(visible) == ["report all"]
    for name in values:
        choose(page, "#protocol", name)
        assert page.evaluate(visible) == [f"{name} all"]
    page.click("[name=scope][value=dose1] + span")
    assert page.evaluate(visible) == ["hu dose1"]
    choose(page, "#protocol", "all-psnr")
    page.click("[name=scope][value=all] + span")
    row = next(r for r in report.document["rows"] if r["model"] == "smooth")
    place = column(page, 0, "all-psnr").index("smooth")
    shown = [
        column(page, number, "all-psnr")[place]
        for number in range(1, len(PROTOCOLS) + 1)
    ]
    keys = [protocol.key("psnr") for protocol in PROTOCOLS.values()]
    assert [value.removesuffix(" (best)").strip() for value in shown] == [
        f"{row[key]:.2f}" for key in keys
    ]


def test_groups_show_the_chosen_metric(page, report):
    tables = (
        "[...document.querySelectorAll('#groups .scroll')]"
        ".filter((table) => table.offsetHeight)"
    )
    assert page.evaluate(f"{tables}.map((table) => table.ariaLabel)") == [
        "Reconstruction kernel, PSNR (dB)"
    ]
    page.click("#groups [name=group-metric][value=rmse_hu] + span")
    shown = page.evaluate(
        f"[...{tables}[0].querySelectorAll('tbody tr')].map((row) => "
        "[...row.cells].map((cell) => cell.innerText.split('\\n')[0]))"
    )
    rows = {
        (row["model"], row["value"]): f"{row['rmse_hu']:.2f}"
        for row in report.document["by_group"]
        if row["group"] == "kernel"
    }
    assert [line[0] for line in shown] == NAMES[:-1]
    for model, *values in shown:
        values = [value.removesuffix(" (best)") for value in values]
        assert values == [rows[model, kernel] for kernel in ("B30f", "D45f")]
    foot = page.evaluate(f"{tables}[0].querySelector('tfoot').innerText")
    assert foot.split("\t") == ["Patients, slices", "1, 2", "1, 2"]
    assert "The same for all slices: anatomy" in text(page, "#groups .explain")


def test_the_legend_hides_a_method_and_plots_tell_values(page, report):
    hidden = "getComputedStyle(document.querySelector('#slices g.series.s2')).display"
    page.click("#slices .legend button[data-series='2']")
    assert page.evaluate(hidden) == "none"
    page.click("#slices .legend button[data-series='2']")
    assert page.evaluate(hidden) != "none"
    x, y = page.evaluate(
        "(() => { const dots = document.querySelectorAll('#quality .s0 circle');"
        "const dot = dots[1];"
        "dot.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const r = dot.getBoundingClientRect();"
        "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
    )
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + 2, y=y - 2)
    found = text(page, "#quality .readout")
    assert found == "input: frequency (1/mm) 0.2, NPS (HU² mm²) 40"


def test_everything_has_a_name_for_a_screen_reader(page):
    page.send("Accessibility.enable")
    roles = {"button", "slider", "combobox", "radio", "checkbox", "spinbutton"}
    roles |= {"image", "region", "table", "link"}
    for view in ("panels", "swipe", "blink"):
        page.click(f"[name=view][value={view}] + span")
        nodes = page.send("Accessibility.getFullAXTree")["nodes"]
        found = [n for n in nodes if n.get("role", {}).get("value") in roles]
        nameless = [
            node["role"]["value"]
            for node in found
            if not node["ignored"] and not node.get("name", {}).get("value")
        ]
        assert len(found) > 60
        assert nameless == []
    page.send("Accessibility.disable")


def test_the_keyboard_reaches_every_control(page):
    page.click("[name=view][value=swipe] + span")
    wanted = {"protocol", "picture", "width", "level", "range", "zoom-in", "fit"}
    wanted |= {"first", "second", "swap", "viewer", "divider"}
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.click(".kicker")
    reached = []
    for _ in range(80):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "divider":
            break
    assert wanted <= set(reached)
    outline = "getComputedStyle(divider).outlineStyle"
    assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("width", [360, 500, 1400])
def test_nothing_sticks_out_of_a_narrow_window(page, width):
    page.resize(width, 900)
    for view in ("panels", "swipe", "blink"):
        page.click(f"[name=view][value={view}] + span")
        settle(page)
        assert page.evaluate(
            "(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)"
            "(document.documentElement)"
        )


def test_a_page_without_pictures_works(chromium, tmp_path):
    chromium.errors.clear()
    write_report(evaluate_models({}, PAIRS[:1], pictures=0), tmp_path)
    chromium.open(tmp_path / "report.html")
    chromium.wait_for("document.body.dataset.ready")
    assert chromium.evaluate("document.querySelector('#images')") is None
    choose(chromium, "#protocol", "hu")
    assert (
        chromium.evaluate("document.querySelector('[data-sheet=hu]').hidden") is False
    )
    assert chromium.errors == []


def test_all_tables_show_without_javascript(chromium, report):
    chromium.send("Emulation.setScriptExecutionDisabled", value=True)
    chromium.open(report.path)
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)
    shown = "[...document.querySelectorAll('.sheet')].filter((s) => s.offsetHeight)"
    assert chromium.evaluate(f"{shown}.length") == 3 * (len(PROTOCOLS) + 4)
    assert chromium.evaluate("document.querySelector('.toolbar').offsetHeight") == 0
