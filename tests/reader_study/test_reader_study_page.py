"""A whole reader study played in a real browser, by keys and by clicks."""

import json
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from browser import Browser

from ct_keras.reader_study import (
    make_study,
    read_answers,
    read_key,
    score_study,
    unblind,
)

#: Grey of soft tissue of 40 HU: the middle of the abdomen window, 93 % of the lung's.
ABDOMEN_GREY, LUNG_GREY = 127.5, 1390 / 1500 * 255


def make_pair(patient):
    rows, columns = np.mgrid[:64, :80]
    full = np.full(rows.shape, -1000, np.float32)
    full[np.hypot(rows - 32, columns - 40) < 26] = 40
    noise = np.random.default_rng(patient).normal(0, 40, full.shape)
    return SimpleNamespace(
        low_hu=full + noise.astype(np.float32),
        full_hu=full,
        case=f"patient{patient}",
        series="1",
        slice_index=patient,
        dose_fraction=0.25,
        spacing_mm=(1.0, 1.0),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("reader-study") / "out"
    pairs = [make_pair(patient) for patient in range(2)]
    make_study(
        {"smooth": lambda hu: cv2.GaussianBlur(hu, (0, 0), 1.0)},
        lambda: pairs,
        out,
        readers=2,
        seed=3,
        repeat_share=0.5,
        criteria=("graininess", "confidence"),
    )
    return out


def open_page(browser, study, reader):
    browser.open(study / "pages" / f"{reader}.html")
    browser.wait_for("document.body.dataset.ready")
    browser.click("#begin")


def ready(browser, number):
    browser.wait_for(f"document.body.dataset.ready === '{number}'")


def statistics(browser, letter, share=0.15):
    """Mean and SD of the greys in the middle of a panel, as the screen shows them."""
    return browser.evaluate(
        f"""new Promise((resolve) => requestAnimationFrame(() =>
        requestAnimationFrame(() => {{
          const canvas = document.querySelector("[data-letter={letter}] canvas");
          const side = Math.round({share} * Math.min(canvas.width, canvas.height));
          const data = canvas.getContext("2d").getImageData(
            (canvas.width - side) / 2, (canvas.height - side) / 2, side, side).data;
          const greys = data.filter((_, place) => place % 4 === 0);
          const mean = greys.reduce((a, b) => a + b, 0) / greys.length;
          const squares = greys.reduce((a, b) => a + (b - mean) ** 2, 0);
          resolve([mean, Math.sqrt(squares / greys.length)]);
        }})))"""
    )


def grain_scores(browser):
    """What the automated reader gives: the less noise it sees, the more."""
    noise = {letter: statistics(browser, letter)[1] for letter in "ABC"}
    ranked = sorted(noise, key=noise.get, reverse=True)
    return {letter: 1 + 2 * ranked.index(letter) for letter in "ABC"}


def saved(browser, count=1):
    browser.click("#save")
    return read_answers(browser.downloaded(count)[-1])


def play_with_keys(browser, last=3):
    """Answers the cases from the shown one on without the mouse."""
    number = int(browser.evaluate("document.body.dataset.ready"))
    while True:
        scores = grain_scores(browser)
        for _ in range(2):  # both criteria; the page goes on by itself
            for letter in "ABC":
                browser.press(str(scores[letter]))
        for _ in range(2):  # in no panel does a structure appear or get lost
            for _ in range(3):
                browser.press("Tab")
            browser.press(" ")
            browser.press("Tab")  # the heading of the next question
            browser.press("Enter")
            browser.press("Tab")
        browser.press(" ")  # the first panel is preferred
        if number == last:
            return
        browser.press("PageDown")
        number += 1
        ready(browser, number)


def play_with_clicks(browser):
    """Answers all cases with the mouse; marks a finding in panel B of the first."""
    for number in range(1, 4):
        ready(browser, number)
        scores = grain_scores(browser)
        for criterion in ("graininess", "confidence"):
            for letter, score in scores.items():
                browser.click(f"[name={criterion}-{letter}][value='{score}']")
        browser.click("[name=appears][value=B]")
        if number == 1:
            browser.click("#mark-appears-B")
            browser.click("[data-letter=B] canvas")
        browser.click("#question-lost .heading")
        browser.click("[name=lost][value=none]")
        browser.click("#question-preferred .heading")
        browser.click("[name=preferred][value=none]")
        browser.click("#next") if number < 3 else None


def test_a_whole_study_is_played_and_scored(study, tmp_path):
    with Browser(tmp_path / "one") as browser:
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        play_with_keys(browser, last=1)
        browser.press("PageDown")
        ready(browser, 2)
        errors = list(browser.errors)
    with Browser(tmp_path / "one") as browser:  # closed and opened again
        open_page(browser, study, "reader-1")
        assert browser.evaluate("document.querySelector('#begin').textContent") == (
            "Continue with case 2"
        )
        ready(browser, 2)
        progress = "document.querySelector('#progress-text').textContent"
        assert browser.evaluate(progress) == "1 of 3 cases answered"
        play_with_keys(browser)
        assert browser.evaluate(progress) == "3 of 3 cases answered"
        first = saved(browser)
        errors += browser.errors
        page = (study / "pages" / "reader-1.html").as_uri()
        assert [url for url in browser.requests if not url.startswith("blob:")] == [
            page
        ]
    with Browser(tmp_path / "two") as browser:
        open_page(browser, study, "reader-2")
        play_with_clicks(browser)
        second = saved(browser)
        errors += browser.errors
    assert errors == []

    key = read_key(study / "sealed" / "key.json")
    ratings = unblind(key, [first, second])
    assert ratings.missing == []
    # Both readers score by the noise that they see, so they agree in everything.
    expected = {"reference": 5, "input": 1, "smooth": 3}
    for number, arm in enumerate(ratings.arms):
        np.testing.assert_array_equal(ratings.scores[..., number], expected[arm])
    document = score_study(key, ratings)
    medians = {row["method"]: row["median"] for row in document["summary"]}
    assert medians == expected
    agreement = document["agreement"]
    assert [row["kappa"] for row in agreement["inter"] + agreement["intra"]] == [1] * 9
    preferred = [entry["panels"]["A"] for entry in key["readers"][0]["showings"]]
    assert [s["preferred"] for s in first["showings"]] == ["A"] * 3
    shares = {row["method"]: row["share"] for row in document["preference"]}
    shown = key["readers"][0]["showings"]
    counted = [p for p, s in zip(preferred, shown, strict=True) if not s["repeat"]]
    assert shares == {arm: counted.count(arm) / 4 for arm in ratings.arms}
    # The click in the middle of panel B lies in the middle of the whole slice.
    (mark,) = document["marks"]
    assert mark["reader"] == "reader-2"
    assert mark["method"] == key["readers"][1]["showings"][0]["panels"]["B"]
    assert (mark["row"], mark["column"]) == pytest.approx((32, 40), abs=1)


def test_window_zoom_and_large_panels(study, tmp_path):
    text = "document.querySelector('#window-text').textContent"
    with Browser(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        assert browser.evaluate(text) == "W 400 L 40"
        assert statistics(browser, "A")[0] == pytest.approx(ABDOMEN_GREY, abs=4)
        browser.press("8")
        assert browser.evaluate(text) == "W 1500 L −600"
        assert statistics(browser, "A")[0] == pytest.approx(LUNG_GREY, abs=4)
        browser.click("#windows label")
        assert browser.evaluate(text) == "W 400 L 40"
        browser.drag("[data-letter=A] canvas", (0.2, 0.3), (0.6, 0.3))
        width, level = map(int, re.findall(r"\d+", browser.evaluate(text)))
        assert width > 450
        assert level == 40
        # Air shows in the corner until the slice is enlarged by 16.
        assert statistics(browser, "B", share=1.0)[0] < 110
        for _ in range(25):
            browser.wheel("[data-letter=A] canvas", -120)
        assert statistics(browser, "B", share=1.0)[0] > 120
        browser.press("0")
        assert statistics(browser, "B", share=1.0)[0] < 110
        shown = (
            "[...document.querySelectorAll('figure:not([hidden])')]"
            ".map((figure) => figure.dataset.letter).join('')"
        )
        browser.press("b")
        assert browser.evaluate(shown) == "B"
        browser.press("Escape")
        assert browser.evaluate(shown) == "ABC"
        browser.click("[data-letter=C] canvas", count=2)
        assert browser.evaluate(shown) == "C"
        assert browser.errors == []


def test_marks_by_keys_and_answers_from_a_file(study, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        browser.press("4")
        browser.click("#question-lost .heading")
        browser.click("[name=lost][value=C]")
        browser.click("#mark-lost-C")
        browser.press("ArrowDown")
        browser.press("ArrowRight", "shift")
        browser.press("Enter")
        answers = saved(browser)
        (showing,) = answers["showings"]
        assert showing["scores"] == {"A": {"graininess": 4}}
        (mark,) = showing["marks"]
        rows, columns = browser.evaluate(
            "(() => { const s = JSON.parse(document.querySelector('#setup')"
            ".textContent).screens[0]; return [s.rows, s.columns]; })()"
        )
        assert mark == {
            "finding": "lost",
            "panel": "C",
            "row": rows // 2 + 4,
            "column": columns // 2 + 16,
        }
        message = browser.evaluate("document.querySelector('#message').textContent")
        assert message == "Saved; 3 of 3 cases are not complete yet."
        file = browser.downloaded()[-1]
    with Browser(tmp_path / "elsewhere") as browser:  # another computer
        browser.open(study / "pages" / "reader-1.html")
        browser.wait_for("document.body.dataset.ready")
        browser.choose_file("#load", file)
        browser.wait_for("document.querySelector('#message').textContent")
        browser.click("#begin")
        again = saved(browser)
        for entry in (again["showings"][0], showing):
            del entry["seconds"]
        assert again["showings"] == [showing]
        wrong = tmp_path / "wrong.json"
        wrong.write_text(json.dumps(answers | {"reader": "reader-2"}))
        browser.choose_file("#load", wrong)
        browser.wait_for(
            "document.querySelector('#message').textContent.includes('no answers')"
        )
        assert browser.errors == []


class Reader(Browser):
    """A browser whose dialogs are answered as `accepts` says, with tabs to go between.

    Attributes:
        asked: Texts of the dialogs; that of leaving a page is its type.
        accepts: Whether the next dialogs are accepted.
    """

    def __init__(self, profile):
        self.asked = []
        self.accepts = True
        super().__init__(profile)

    def _note(self, event, parameters):
        if event == "Page.javascriptDialogOpening":
            self.asked.append(parameters["message"] or parameters["type"])
            self._post("Page.handleJavaScriptDialog", {"accept": self.accepts})
        else:
            super()._note(event, parameters)

    def new_tab(self):
        """Opens another tab and goes to it; returns both, the old one first."""
        old, self._session = self._session, None
        self._attach(1400, 1000)
        return old, self._session

    def go_to(self, tab):
        self._session = tab
        self.send("Page.bringToFront")


STORE = "localStorage.getItem(Object.keys(localStorage)[0])"
MESSAGE = "document.querySelector('#message').textContent"


def kept_scores(browser):
    """What the browser has stored: screen -> panel -> criterion -> score."""
    answers = json.loads(browser.evaluate(STORE))["answers"]
    return {number: given["scores"] for number, given in answers.items()}


def of_panels(criterion, *scores):
    return {
        letter: {criterion: score} for letter, score in zip("ABC", scores, strict=False)
    }


def test_an_older_tab_neither_loses_answers_nor_hides_them(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        first, second = browser.new_tab()
        browser.send(
            "Page.addScriptToEvaluateOnNewDocument",
            source="addEventListener('storage', (event) => {"
            "if (window.asleep) event.stopImmediatePropagation(); });",
        )
        open_page(browser, study, "reader-1")  # nothing is answered yet
        browser.go_to(first)
        for score in "135":
            browser.press(score)
        answered = of_panels("graininess", 1, 3, 5)
        assert kept_scores(browser)["1"] == answered
        browser.go_to(second)
        browser.wait_for("document.querySelector('[name=graininess-C]:checked')")
        browser.evaluate("window.asleep = true")  # it hears nothing of what comes now
        browser.go_to(first)
        browser.press("2")
        answered["A"]["confidence"] = 2
        assert kept_scores(browser)["1"] == answered
        browser.go_to(second)
        browser.wait_for(f"{STORE}.includes('confidence')")
        browser.evaluate("note()")  # what the clock does every ten seconds
        assert kept_scores(browser)["1"] == answered
        browser.click("[name=graininess-B][value='4']")
        answered["B"]["graininess"] = 4
        assert kept_scores(browser)["1"] == answered
        browser.press("PageDown")
        ready(browser, 2)
        browser.click("[name=graininess-A][value='5']")
        assert kept_scores(browser) == {"1": answered, "2": of_panels("graininess", 5)}
        browser.go_to(first)
        browser.wait_for("answers[2]?.scores.A")
        browser.press("PageDown")
        browser.wait_for("document.querySelector('[name=graininess-A]:checked')")
        assert browser.errors == []


def test_seconds_of_a_case_are_those_it_was_in_view(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        browser.evaluate("passed = 7")
        browser.press("PageDown")
        ready(browser, 2)
        browser.evaluate("passed = 4")
        seconds = [showing["seconds"] for showing in saved(browser)["showings"]]
        # The clock runs on meanwhile.
        assert seconds == pytest.approx([7, 4], abs=2)


DAMAGES = {
    "no answers": lambda showing: {"number": 1},
    "no scores": lambda showing: showing | {"scores": None},
    "a score of six": lambda showing: showing | {"scores": {"A": {"graininess": 6}}},
    "marks lost": lambda showing: showing | {"marks": "lost"},
    "another case": lambda showing: showing | {"number": 99},
    "nothing": lambda showing: None,
}


def test_a_damaged_file_changes_nothing(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        for score in "135":
            browser.press(score)
        file = saved(browser)
        (showing,) = file["showings"]
        damaged = {name: [damage(showing)] for name, damage in DAMAGES.items()}
        damaged |= {"half good": [showing, {"number": 2}], "no list": 3}
        for name, showings in damaged.items():
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps(file | {"showings": showings}))
            browser.evaluate("tell('')")
            browser.choose_file("#load", path)
            browser.wait_for(f"{MESSAGE}.includes('no answers')")
            browser.evaluate("note()")
            kept = kept_scores(browser)
            assert (name, kept) == (name, {"1": of_panels("graininess", 1, 3, 5)})
        assert browser.asked == []
        assert browser.errors == []


def test_a_damaged_case_in_the_browser_costs_no_other(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        browser.press("1")
        browser.press("PageDown")
        ready(browser, 2)
        browser.evaluate(
            "(() => { const kept = JSON.parse(localStorage.getItem(store));"
            "kept.answers[2] = { seconds: null };"
            "localStorage.setItem(store, JSON.stringify(kept)); })()"
        )
        open_page(browser, study, "reader-1")
        ready(browser, 2)
        browser.click("[name=graininess-A][value='5']")
        assert kept_scores(browser) == {
            "1": of_panels("graininess", 1),
            "2": of_panels("graininess", 5),
        }
        assert browser.errors == []


def test_an_older_file_is_not_loaded_unasked(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        browser.press("1")
        saved(browser)
        file = browser.downloaded()[-1]
        browser.click("[data-letter=A] canvas")  # the digits go on where they were
        for score in "35":
            browser.press(score)
        browser.press("PageDown")
        ready(browser, 2)
        browser.press("2")
        newer = {
            "1": of_panels("graininess", 1, 3, 5),
            "2": of_panels("graininess", 2),
        }
        browser.accepts = False
        browser.choose_file("#load", file)
        browser.wait_for(f"{MESSAGE} === 'The answers on this page were kept.'")
        assert kept_scores(browser) == newer
        assert browser.asked == [
            "This page has answers to 2 of 3 cases, the file to 1. "
            "Replace the answers on this page?"
        ]
        browser.accepts = True
        browser.choose_file("#load", file)  # the same file once more
        browser.wait_for(f"{MESSAGE}.includes('were loaded')")
        assert kept_scores(browser) == {"1": of_panels("graininess", 1)}
        assert browser.errors == []


def test_digits_score_nothing_that_is_not_in_view(study, tmp_path):
    with Reader(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        browser.click("#question-appears .heading")
        browser.press("4")
        assert kept_scores(browser)["1"] == {}
        browser.click("#question-appears .heading")  # closed: all are closed
        browser.press("4")
        assert kept_scores(browser)["1"] == {}
        browser.click("#question-graininess .heading")
        for score in "135":
            browser.press(score)
        complete = of_panels("graininess", 1, 3, 5)
        browser.click("#question-graininess .heading")  # answered already
        browser.press("4")
        assert kept_scores(browser)["1"] == complete


def test_a_browser_that_keeps_nothing_says_so_until_the_answers_are_saved(
    study, tmp_path
):
    with Reader(tmp_path / "profile") as browser:
        browser.send(
            "Page.addScriptToEvaluateOnNewDocument",
            source="Storage.prototype.setItem = () => { throw new Error('full'); }",
        )
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        warning = f"{MESSAGE}.includes('does not store answers')"
        assert browser.evaluate(warning)
        browser.press("4")
        browser.click("#question-lost .heading")
        browser.click("[name=lost][value=C]")
        browser.click("#mark-lost-C")
        browser.press("Escape")
        assert browser.evaluate(warning)
        (showing,) = saved(browser)["showings"]
        assert showing["scores"] == of_panels("graininess", 4)
        assert showing["findings"] == {"lost": ["C"]}
        browser.open("about:blank")  # all is in the file
        assert browser.asked == []
        open_page(browser, study, "reader-1")
        ready(browser, 1)
        browser.press("4")
        browser.open("about:blank")
        assert browser.asked == ["beforeunload"]


@pytest.mark.slow
def test_no_control_covers_another_in_a_narrow_window(study, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        open_page(browser, study, "reader-1")
        for width in (1400, 960, 600, 360):
            browser.resize(width, 900)
            faults = browser.evaluate(
                """(() => {
                const parts = [...document.querySelectorAll(
                  "header button, header select, .segments span, #window-text")];
                const boxes = parts.map((part) => part.getBoundingClientRect());
                const faults = parts.filter((part) =>
                  part.scrollWidth > part.clientWidth + 1
                  || part.scrollHeight > part.clientHeight + 1)
                  .map((part) => "cut: " + part.textContent);
                boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
                  const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                  const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                  if (across > 2 && down > 2) faults.push(
                    parts[i].textContent + " over " + parts[i + 1 + j].textContent);
                }));
                for (const part of [document.documentElement,
                                    document.querySelector("#form")])
                  if (part.scrollWidth > part.clientWidth)
                    faults.push(part.tagName + " is too wide");
                return faults;
                })()"""
            )
            assert faults == [], width
