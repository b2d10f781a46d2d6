"""The reader study: random order, blinded pages, and statistics known by hand."""

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import cohen_kappa_score

from ct_keras.errors import CtKerasError
from ct_keras.metrics.statistics import mean_interval, resample_weights
from ct_keras.reader_study import (
    NORMAL_DOSE,
    design_remarks,
    make_study,
    randomize,
    read_key,
    result_tables,
    score_study,
    unblind,
)
from ct_keras.reader_study.agreement import (
    alpha_interval,
    icc,
    icc_interval,
    kappa_interval,
    krippendorff_alpha,
    weighted_kappa,
)
from ct_keras.reader_study.answers import Ratings
from ct_keras.reader_study.cases import choose_slices, find_slices, run_methods
from ct_keras.reader_study.page import unpack_panels
from ct_keras.reader_study.resampling import by_patient, median_interval, vgc_area

METHODS = {"net-of-interest": lambda hu: hu - 3, "filter:other": lambda hu: hu + 5000}


def make_pair(patient=0, slice_index=0, edge=48, dose=0.25):
    rows, columns = np.mgrid[:edge, : edge + 8]
    full = np.full(rows.shape, -1000, np.float32)
    full[np.hypot(rows - edge / 2, columns - edge / 2) < edge * 0.3] = 40 + patient
    noise = np.random.default_rng([patient, slice_index]).normal(0, 30, full.shape)
    return SimpleNamespace(
        low_hu=full + noise.astype(np.float32),
        full_hu=full,
        case=f"patienthash{patient}",
        series="serieshash",
        slice_index=slice_index,
        dose_fraction=dose,
        spacing_mm=(0.7, 0.8),
    )


PAIRS = [make_pair(patient, n) for patient in range(4) for n in range(3)]


def make(out, **options):
    options = {"readers": 2, "seed": 5, "repeat_share": 0.25} | options
    return make_study(METHODS, lambda: PAIRS, out, **options)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    key = make(out)
    return SimpleNamespace(out=out, key=key, pages=sorted((out / "pages").iterdir()))


def setup_of(page):
    text = page.read_text()
    found = re.search(
        r'<script type="application/json" id="setup">(.*?)</script>', text
    )
    return json.loads(found[1])


# Order


def test_order_shows_every_case_and_repeats_late_with_other_letters():
    order = randomize(20, 5, reader=1, seed=0, repeat_share=0.1)
    first = [showing for showing in order if not showing.repeat]
    again = [showing for showing in order if showing.repeat]
    assert sorted(showing.case for showing in first) == list(range(20))
    assert len(again) == 2
    for showing in again:
        (earlier,) = (each for each in first if each.case == showing.case)
        assert order.index(showing) - order.index(earlier) >= 7
        assert showing.arms != earlier.arms


def test_every_arm_stands_in_every_panel_equally_often():
    order = randomize(400, 4, reader=1, seed=0, repeat_share=0)
    counts = np.zeros((4, 4))
    for showing in order:
        assert sorted(showing.arms) == [0, 1, 2, 3]
        counts[range(4), showing.arms] += 1
    # 100 expected; five standard deviations of the binomial are 43.
    assert np.abs(counts - 100).max() < 43


def test_readers_and_seeds_have_orders_of_their_own():
    def order(reader, seed):
        return randomize(12, 4, reader=reader, seed=seed)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)


@pytest.mark.parametrize(
    ("cases", "arms", "share", "code"),
    [
        (5, 2, 0.1, "CTK-E000"),
        (5, 13, 0.1, "CTK-E000"),
        (5, 4, 1.5, "CTK-E000"),
        (0, 4, 0.1, "CTK-E084"),
    ],
)
def test_impossible_designs_are_refused(cases, arms, share, code):
    with pytest.raises(CtKerasError) as refusal:
        randomize(cases, arms, reader=1, seed=0, repeat_share=share)
    assert refusal.value.code == code


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_any_share_of_repeats_can_be_had(share):
    order = randomize(5, 3, reader=1, seed=3, repeat_share=share)
    seen = set()
    for showing in order:
        assert showing.repeat == (showing.case in seen)
        seen.add(showing.case)
    assert len(order) == 5 + math.ceil(5 * share)


# Slices


def test_slices_are_spread_over_patients_whatever_their_order():
    chosen = choose_slices(PAIRS, seed=1)
    assert sorted(place.patient for place in chosen) == [
        f"patienthash{n}" for n in range(4)
    ]
    assert choose_slices(PAIRS[::-1], seed=1) == chosen
    assert any(choose_slices(PAIRS, seed=seed) != chosen for seed in (2, 3, 4))
    assert len(choose_slices(PAIRS, seed=1, limit=3)) == 3
    six = choose_slices(PAIRS, seed=1, limit=6, per_patient=2)
    per_patient = [sum(p.patient == f"patienthash{n}" for p in six) for n in range(4)]
    assert sorted(per_patient) == [1, 1, 2, 2]


def test_slices_of_air_are_not_read():
    air = make_pair(9)
    air.full_hu[:] = -1000
    assert {place.patient for place in choose_slices([air, PAIRS[0]], seed=0)} == {
        "patienthash0"
    }
    with pytest.raises(CtKerasError, match="CTK-E084"):
        choose_slices([air], seed=0)


def test_listed_slices_are_found():
    pairs = [*PAIRS, *(make_pair(0, n, dose=0.1) for n in range(3))]
    row = {"case": "patienthash0", "slice_index": "2"}
    (place,) = find_slices(pairs, [row, row], seed=0)
    assert (place.patient, place.slice_index) == ("patienthash0", 2)
    for dose in (0.1, 0.25):
        wanted = row | {"dose_fraction": str(dose), "series": "serieshash"}
        (place,) = find_slices(pairs, [wanted], seed=0)
        assert place.dose_fraction == dose
    for wrong in ({"slice_index": 3}, {"case": "x"}, {"series": "x"}):
        with pytest.raises(CtKerasError, match="CTK-E084"):
            find_slices(pairs, [row | wrong], seed=0)


@pytest.mark.parametrize(
    ("slice_index", "dose"), [("02", "0.250"), ("2.0", ".25"), (2, 0.25), ("2", "")]
)
def test_numbers_of_a_list_are_read_as_a_spreadsheet_writes_them(slice_index, dose):
    row = {"case": "patienthash0", "slice_index": slice_index, "dose_fraction": dose}
    (place,) = find_slices(PAIRS, [row], seed=0)
    assert place.slice_index == 2
    for wrong in ({"slice_index": "two"}, {"dose_fraction": "0.26"}):
        with pytest.raises(CtKerasError, match="CTK-E084"):
            find_slices(PAIRS, [row | wrong], seed=0)


def test_a_listed_slice_without_a_body_is_refused():
    air = make_pair(9)
    air.full_hu[:] = -1000
    row = {"case": "patienthash9", "slice_index": "0"}
    with pytest.raises(CtKerasError, match="no body") as refusal:
        find_slices([*PAIRS, air], [row], seed=0)
    assert refusal.value.code == "CTK-E084"


def test_a_method_of_volumes_gets_the_neighbours():
    class Mean3d:
        dimensions = 3

        def __call__(self, hu):
            assert hu.ndim == 3
            before, after = np.roll(hu, 1, axis=0), np.roll(hu, -1, axis=0)
            return (before + hu + after) / 3

    chosen = choose_slices(PAIRS, seed=1)
    cases = run_methods({"volume": Mean3d()}, PAIRS, chosen)
    assert len(cases) == 4
    for case in cases:
        group = [pair for pair in PAIRS if pair.case == case.patient]
        mean = np.mean([pair.low_hu for pair in group], axis=0)
        top, left = case.offset
        rows, columns = case.images["volume"].shape
        expected = mean[top : top + rows, left : left + columns].clip(-1024)
        np.testing.assert_allclose(case.images["volume"], expected, atol=1)


# Blinding


def test_pages_name_no_method_no_patient_and_no_seed(study):
    secrets = [*METHODS, "filter:", "net-of", "patienthash", "serieshash", "reference"]
    for page in study.pages:
        text = page.read_text()
        text = re.sub(r'<script type="text/plain".*?</script>', "", text)
        assert [word for word in secrets if word in text] == []
        setup = setup_of(page)
        assert set(setup) == {
            *("format", "study", "reader", "letters", "scores", "criteria"),
            *("findings", "windows", "screens"),
        }
        for screen in setup["screens"]:
            assert set(screen) == {"number", "rows", "columns", "spacing_mm"}
    assert sorted(page.name for page in study.pages) == [
        "reader-1.html",
        "reader-2.html",
    ]


def test_images_of_a_screen_are_one_block_in_the_order_of_the_key(study):
    cases = {
        pair.case: pair
        for pair in PAIRS
        for case in study.key["cases"]
        if (pair.case, pair.slice_index) == (case["case"], case["slice_index"])
    }
    for page, entry in zip(study.pages, study.key["readers"], strict=True):
        text = page.read_text()
        blocks = re.findall(r'<script type="text/plain" id="image-(\d+)">(.*?)<', text)
        screens = setup_of(page)["screens"]
        assert [int(number) for number, _ in blocks] == [s["number"] for s in screens]
        for showing, screen, (_, data) in zip(
            entry["showings"], screens, blocks, strict=True
        ):
            shape = screen["rows"], screen["columns"]
            images = unpack_panels(data, shape)
            case = study.key["cases"][showing["case"]]
            pair = cases[case["case"]]
            made = {"reference": pair.full_hu, "input": pair.low_hu}
            made |= {name: method(pair.low_hu) for name, method in METHODS.items()}
            top, left = case["offset"]
            window = slice(top, top + shape[0]), slice(left, left + shape[1])
            for image, name in zip(images, showing["panels"].values(), strict=True):
                expected = np.clip(np.rint(made[name][window]), -1024, 3071)
                np.testing.assert_array_equal(image, expected)


def test_same_seed_same_page(study, tmp_path):
    key = make(tmp_path / "again", command="another command")
    other = make(tmp_path / "other", seed=6)
    assert key["readers"] == study.key["readers"]
    for page in study.pages:
        again = tmp_path / "again" / "pages" / page.name
        assert again.read_bytes() == page.read_bytes()
    assert other["study"] != key["study"]
    first = (tmp_path / "other" / "pages" / "reader-1.html").read_bytes()
    assert first != study.pages[0].read_bytes()


def test_without_a_seed_the_order_is_not_to_be_guessed(tmp_path):
    seeds = {make(tmp_path / str(n), seed=None, readers=1)["seed"] for n in range(2)}
    assert len(seeds) == 2
    assert min(seeds) > 2**20


def test_key_lies_apart_and_reads_back(study):
    assert read_key(study.out / "sealed" / "key.json") == study.key
    roles = {arm["name"]: arm["role"] for arm in study.key["arms"]}
    assert roles["reference"] == "full dose"
    assert roles["input"] == "low dose"


# Unblinding


def answer_all(entry, scores, *, criteria):
    """Answers of one reader: the score of each method by `scores(showing, method)`."""
    showings = []
    for showing in entry["showings"]:
        given = {
            letter: {name: scores(showing, method) for name in criteria}
            for letter, method in showing["panels"].items()
        }
        letter = "A"
        mark = {"finding": "appears", "panel": letter, "row": 2, "column": 3}
        showings.append(
            {
                "number": showing["number"],
                "scores": given,
                "findings": {"appears": [letter], "lost": []},
                "marks": [mark],
                "preferred": letter,
                "remark": "",
                "seconds": 90,
            }
        )
    return {"reader": entry["reader"], "showings": showings}


@pytest.fixture
def answers(study):
    def scores(showing, method):
        names = ["input", "filter:other", "net-of-interest", "reference"]
        return names.index(method) + (1 if showing["repeat"] else 2)

    criteria = study.key["criteria"]
    return [
        answer_all(entry, scores, criteria=criteria) | {"study": study.key["study"]}
        for entry in study.key["readers"]
    ]


def test_unblinding_gives_every_score_to_its_method(study, answers):
    ratings = unblind(study.key, answers)
    assert ratings.arms == ("reference", "input", "net-of-interest", "filter:other")
    assert ratings.scores.shape == (7, 2, 4, 4)
    np.testing.assert_array_equal(ratings.scores[..., 0], 5)
    np.testing.assert_array_equal(ratings.scores[..., 1], 2)
    np.testing.assert_array_equal(ratings.scores[..., 2], 4)
    repeated = ratings.repeated[0][~np.isnan(ratings.repeated[0])]
    assert sorted(repeated) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert ratings.preferred.sum() == 8  # one for each reader and case
    showing = study.key["readers"][0]["showings"][0]
    mark = ratings.marks[0]
    assert mark["method"] == showing["panels"]["A"]
    top, left = study.key["cases"][showing["case"]]["offset"]
    assert (mark["row"], mark["column"]) == (top + 2, left + 3)


def test_marks_and_remarks_tell_the_second_showing(study, answers):
    for showing in answers[0]["showings"]:
        showing["remark"] = f"remark {showing['number']}"
    ratings = unblind(study.key, answers)
    shown = study.key["readers"][0]["showings"]
    expected = [(f"remark {each['number']}", each["repeat"]) for each in shown]
    assert [(each["text"], each["repeat"]) for each in ratings.remarks] == expected
    # A mark in each of five screens of two readers; one screen of each is a repeat.
    assert len(ratings.marks) == 10
    first = [mark for mark in ratings.marks if not mark["repeat"]]
    assert len({(mark["reader"], mark["case"]) for mark in first}) == len(first) == 8


def test_incomplete_answers_are_named_or_left_out(study, answers):
    last = answers[1]["showings"][-1]
    del last["scores"]["B"]["texture"]
    with pytest.raises(CtKerasError, match=r"reader-2, case 5") as refusal:
        unblind(study.key, answers)
    assert refusal.value.code == "CTK-E084"
    ratings = unblind(study.key, answers, allow_incomplete=True)
    assert ratings.missing == ["reader-2, case 5"]
    answered = ~np.isnan(np.stack([ratings.scores, ratings.repeated]))
    # 2 readers, 5 screens, less one; 4 panels, 7 criteria
    assert answered.sum() == 9 * 28


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda files: files[0].update(study="0123456789ab"), "CTK-E087"),
        (lambda files: files[0].update(reader="reader-9"), "CTK-E087"),
        (lambda files: files[1].update(reader="reader-1"), "CTK-E000"),
        (lambda files: files.clear(), "CTK-E000"),
        (
            lambda files: files[0]["showings"][0]["scores"]["A"].update(texture=6),
            "CTK-E080",
        ),
        (lambda files: files[0]["showings"][2].pop("marks"), "CTK-E080"),
        (lambda files: files[0].update(showings=[3]), "CTK-E080"),
    ],
)
def test_wrong_answers_are_refused(study, answers, change, code):
    change(answers)
    with pytest.raises(CtKerasError) as refusal:
        unblind(study.key, answers)
    assert refusal.value.code == code


# Statistics


def test_is_it_as_good_as_normal_dose_in_percent(tmp_path):
    key = make(tmp_path / "out", criteria=("confidence", NORMAL_DOSE), repeat_share=0)
    (page, _) = sorted((tmp_path / "out" / "pages").iterdir())
    (_, asked) = setup_of(page)["criteria"]
    assert asked["worst"].startswith("0 %") and asked["best"] == "100 %"

    def scores(showing, method):
        if method == "net-of-interest":
            return 4 if showing["case"] % 2 else 5  # 75 % and 100 % of the patients
        return {"reference": 5, "input": 1, "filter:other": 3}[method]

    answers = [
        answer_all(entry, scores, criteria=key["criteria"]) | {"study": key["study"]}
        for entry in key["readers"]
    ]
    document = score_study(key, unblind(key, answers))
    rows = {row["method"]: row for row in document["percent_of_normal_dose"]}
    found = {name: row["percent"] for name, row in rows.items()}
    assert found == {
        "reference": 100,
        "input": 0,
        "filter:other": 50,
        "net-of-interest": 87.5,
    }
    low, high = rows["net-of-interest"]["ci95"]
    assert 75 <= low < 87.5 < high <= 100
    table = next(
        rows for title, _, rows in result_tables(document) if "normal" in title
    )
    assert table[2][:2] == ["net-of-interest", "88 %"]
    assert score_study(key, unblind(key, answers))["summary"][0]["ratings"] == 8


def make_ratings(scores, repeated=None):
    """Ratings of the criterion confidence: scores (readers, cases, arms)."""
    scores = np.asarray(scores, float)[None]
    _, readers, cases, arms = scores.shape
    return Ratings(
        readers=tuple(f"reader-{n}" for n in range(1, readers + 1)),
        arms=("reference", "input", "method", "other")[:arms],
        criteria=("confidence",),
        scores=scores,
        repeated=np.full(scores.shape, np.nan)
        if repeated is None
        else np.asarray(repeated, float)[None],
        findings=np.zeros((2, readers, cases, arms)),
        preferred=np.eye(arms)[np.zeros((readers, cases), int)],
        marks=[],
        remarks=[],
        missing=[],
        seconds={},
    )


def make_key(ratings, patients=None):
    cases = ratings.scores.shape[2]
    return {
        "study": "x",
        "title": "x",
        "arms": [{"name": name, "role": "method"} for name in ratings.arms],
        "cases": [{"case": str(name)} for name in patients or range(cases)],
        "criteria": list(ratings.criteria),
        "primary": {"criterion": "confidence", "against": "reference", "margin": 0.5},
    }


def scored(scores, repeated=None, patients=None):
    ratings = make_ratings(scores, repeated)
    return score_study(make_key(ratings, patients), ratings)


def table_of(document, title):
    return next(rows for name, _, rows in result_tables(document) if title in name)


def pair_of(document, method, versus):
    (row,) = (
        row
        for row in document["pairs"]
        if (row["method"], row["versus"]) == (method, versus)
    )
    return row


def test_friedman_by_hand():
    # Ranks (1 2 3), (1 2 3), (1 3 2), (1 2 3): sums 4, 9, 11.
    # 12/(4 3 4) (16 + 81 + 121) - 3 4 4 = 6.5, W = 6.5/(4 2); p = exp(-6.5/2).
    cases = [[1, 2, 3], [2, 3, 4], [1, 3, 2], [3, 4, 5]]
    (row,) = scored([cases])["friedman"]
    assert row["chi2"] == pytest.approx(6.5)
    assert row["p"] == pytest.approx(math.exp(-3.25))
    assert row["p_holm"] == row["p"]
    assert row["kendall_w"] == pytest.approx(6.5 / 8)
    assert row["degrees"] == 2


def test_friedman_of_equal_scores_finds_nothing():
    (row,) = scored([[[4, 4, 4], [3, 3, 3]]])["friedman"]
    assert (row["chi2"], row["p"], row["kendall_w"]) == (0, 1, 0)


def test_pairs_differences_and_holm():
    # Six cases; the means of two readers against the reference: input -1.5 to -3.5,
    # method 0 or -0.5.
    reference = np.full((2, 6), 5)
    low = np.array([[3, 2, 3, 2, 1, 2], [4, 4, 2, 2, 2, 1]])
    method = np.array([[5, 5, 5, 5, 5, 5], [5, 4, 5, 5, 5, 4]])
    document = scored(np.stack([reference, low, method], axis=-1))
    row = pair_of(document, "input", "reference")
    expected = (low.mean(axis=0) - 5).mean()
    assert row["mean_difference"] == pytest.approx(expected)
    assert row["p"] == pytest.approx(2 / 2**6)
    near = pair_of(document, "method", "reference")
    assert near["mean_difference"] == pytest.approx(-1 / 6)
    assert near["p"] == pytest.approx(0.5)  # two equal differences: 2 * 1/4
    between = pair_of(document, "method", "input")
    assert between["p"] == pytest.approx(2 / 2**6)
    assert "non_inferior" not in between
    # Holm: 3/32, 3/32 (the second at least the first), then 0.5.
    for found, adjusted in ((row, 3 / 32), (between, 3 / 32), (near, 0.5)):
        assert found["p_holm"] == pytest.approx(adjusted)
        assert found["p_holm_criterion"] == pytest.approx(adjusted)


def test_non_inferiority_needs_patients_and_readers():
    # Of three readers one lowers the method by a point, two lower the input by one.
    panel = np.array([[5, 4, 4], [5, 4, 5], [5, 5, 5]])
    scores = np.repeat(panel[:, None], 30, axis=1)
    document = scored(scores)
    near = pair_of(document, "method", "reference")
    assert near["ci95"] == pytest.approx((-1 / 3, -1 / 3))
    assert near["non_inferior"] is True
    assert pair_of(document, "input", "reference")["non_inferior"] is False
    assert document["design"] == []
    for fewer in (scores[:, :29], scores[:2]):
        document = scored(fewer)
        assert pair_of(document, "method", "reference")["non_inferior"] is None
        assert "at least 3 and 30" in document["design"][0]
        against = table_of(document, "Against the full dose")
        assert {row[-1] for row in against} == {"too few"}


def test_slices_of_a_patient_count_as_one():
    generator = np.random.default_rng(3)
    scores = generator.integers(1, 6, (2, 7, 3)).astype(float)
    names = [f"p{n}" for n in range(7)]
    once = scored(scores, patients=names)
    # The same scores given to four slices of every patient say nothing new.
    often = scored(np.repeat(scores, 4, axis=1), patients=sorted(names * 4))
    for part in ("friedman", "pairs", "vgc", "findings", "preference"):
        assert often[part] == once[part]
    for one, other in zip(once["summary"], often["summary"], strict=True):
        for number in ("mean", "mean_ci95", "median", "median_ci95"):
            assert one[number] == other[number]
    one, other = once["agreement"]["inter"][0], often["agreement"]["inter"][0]
    assert other["ci95"] == pytest.approx(one["ci95"])
    assert (often["cases"], often["patients"]) == (28, 7)
    assert "7 patients, not the 28 slices" in often["design"][-1]
    assert "Slices" not in once["design"][-1]


def test_forty_slices_of_one_patient_prove_nothing():
    document = scored(np.tile([4, 2, 4], (1, 40, 1)), patients=["only"] * 40)
    for row in document["pairs"]:
        assert row["patients"] == 1
        assert row["ci95"] is None
        assert row["p"] == 1
    near = pair_of(document, "method", "reference")
    assert near["non_inferior"] is None
    assert document["friedman"][0]["p"] is None
    assert "smallest possible p of two methods is 1," in " ".join(document["design"])


def test_means_are_over_slices_then_over_patients():
    # Patient b: slices of 5 and 3; patient a: one of 1. (4 + 1)/2, not 9/3.
    scores = np.array([[[5, 2, 2], [1, 2, 2], [3, 4, 2]]])
    document = scored(scores, patients=["b", "a", "b"])
    means = {row["method"]: row["mean"] for row in document["summary"]}
    assert means == {"reference": 2.5, "input": 2.5, "method": 2}
    # Without a second reader of the slice of 3, its mean is 3 as before: not (5 5 3)/3.
    pair = np.concatenate([scores, scores]).astype(float)
    pair[1, 2] = math.nan
    document = scored(pair, patients=["b", "a", "b"])
    means = {row["method"]: row["mean"] for row in document["summary"]}
    assert means == {"reference": 2.5, "input": 2.5, "method": 2}
    laid_out = by_patient(scores.astype(float), ["b", "a", "b"])
    np.testing.assert_array_equal(
        laid_out[0, :, :, 0], [[1, math.nan], [5, 3]], strict=True
    )


def test_a_study_that_does_not_ask_the_primary_question_says_so(tmp_path):
    key = make(tmp_path / "out", readers=1, criteria=("graininess",))
    assert key["primary"] is None
    assert "confidence, is not asked" in design_remarks(key)[-1]
    ratings = replace(make_ratings(np.full((3, 30, 3), 4)), criteria=("graininess",))
    # Keys made before named a primary question that nobody was asked.
    for primary in (None, make_key(ratings)["primary"]):
        document = score_study(make_key(ratings) | {"primary": primary}, ratings)
        assert document["primary"] is None
        assert "is not asked" in document["design"][-1]
        assert not any("non_inferior" in row for row in document["pairs"])


def test_summary_by_hand():
    scores = np.array([[[5, 1], [4, 2], [4, 2]], [[3, 1], [4, 2], [2, 3]]])
    scores = np.concatenate([scores, scores[..., :1]], axis=-1)
    rows = {row["method"]: row for row in scored(scores)["summary"]}
    assert rows["reference"]["counts"] == [0, 1, 1, 3, 1]
    assert rows["reference"]["median"] == 4
    assert rows["reference"]["mean"] == pytest.approx(22 / 6)
    assert rows["reference"]["quartiles"] == [3.25, 4]
    assert rows["input"]["median"] == 2
    assert rows["input"]["ratings"] == 6


def test_quadratic_kappa_by_hand():
    # Mean squared difference 1/4; by chance 7.5 + 9.75 - 2 2.5 2.75 = 3.5.
    kappa = weighted_kappa(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 5]))
    assert kappa == pytest.approx(1 - 0.25 / 3.5)
    assert weighted_kappa(np.array([1.0, 5]), np.array([5.0, 1])) == pytest.approx(-1)
    assert weighted_kappa(np.full(4, 3.0), np.full(4, 3.0)) is None
    partly = np.array([1.0, np.nan, 3, 4, 2])
    assert weighted_kappa(partly, np.array([1.0, 2, 3, 5, np.nan])) == pytest.approx(
        cohen_kappa_score([1, 3, 4], [1, 3, 5], labels=range(1, 6), weights="quadratic")
    )


def test_resampled_kappa_is_kappa_of_the_resample():
    generator = np.random.default_rng(0)
    one = generator.integers(1, 6, (8, 5)).astype(float)
    other = np.clip(one + generator.integers(-1, 2, one.shape), 1, 5)
    one[2, 3] = np.nan
    weights = resample_weights(8, seed=1, resamples=3)
    for row in weights:
        times = row.astype(int)
        expected = weighted_kappa(
            np.repeat(one, times, axis=0), np.repeat(other, times, axis=0)
        )
        low, high = kappa_interval(one, other, row[None])
        assert low == high == pytest.approx(expected)


def test_alpha_of_the_paper():
    # Krippendorff 2011, 4 observers and 12 units: ordinal alpha 0.815.
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3"]
    rows += [". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    ratings = np.array(
        [[math.nan if x == "." else float(x) for x in row.split()] for row in rows]
    )
    assert krippendorff_alpha(ratings) == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(np.full((2, 4), 3.0)) is None
    units = ratings.reshape(4, 6, 2)
    low, high = alpha_interval(units, np.ones((1, 6)))
    assert low == high == pytest.approx(krippendorff_alpha(ratings))


def test_agreement_rows():
    first = np.array([[[1, 3, 5], [2, 3, 4]], [[1, 3, 5], [1, 2, 3]]])
    again = np.full(first.shape, np.nan)
    again[0, 1] = [2, 3, 4]
    again[1, 0] = [2, 3, 4]
    agreement = scored(first, again)["agreement"]
    inter = agreement["inter"][0]
    assert inter["readers"] == ["reader-1", "reader-2"]
    assert inter["pairs"] == 6
    # Three differences of 1: 3/6; by chance 64/6 + 49/6 - 2 (18/6) (15/6) = 23/6.
    assert inter["kappa"] == pytest.approx(1 - 3 / 23)
    intra = {
        row["reader"]: row for row in agreement["intra"] if row["criterion"] == "all"
    }
    assert intra["reader-1"]["kappa"] == 1
    assert intra["reader-1"]["ci95"] is None  # one case only
    # 2/3; by chance 35/3 + 29/3 - 2 3 3 = 10/3.
    assert intra["reader-2"]["kappa"] == pytest.approx(1 - 2 / 10)


#: Shrout and Fleiss 1979, table 2: six targets, four judges; mean squares 11.24
#: between targets, 32.49 between judges, 1.02 left over.
SHROUT_FLEISS = np.array(
    [
        [9, 2, 5, 8],
        [6, 1, 3, 2],
        [8, 4, 6, 8],
        [7, 1, 2, 6],
        [10, 5, 6, 9],
        [6, 2, 4, 7],
    ],
    float,
).T


def test_icc_of_the_paper():
    by_hand = (11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6)
    assert by_hand == pytest.approx(0.29, abs=5e-4)
    assert icc(SHROUT_FLEISS) == pytest.approx(by_hand, abs=5e-4)
    partly = np.concatenate([SHROUT_FLEISS, [[math.nan]] * 3 + [[5]]], axis=1)
    assert icc(partly) == pytest.approx(icc(SHROUT_FLEISS))
    alike = np.tile(SHROUT_FLEISS[:1], (3, 1))
    assert icc(alike) == pytest.approx(1)
    assert icc(np.full((2, 4), 3.0)) is None
    assert icc(SHROUT_FLEISS[:1]) is None
    assert icc(SHROUT_FLEISS[:, :1]) is None


def test_resampled_icc_is_icc_of_the_resample():
    generator = np.random.default_rng(0)
    ratings = generator.integers(7, 36, (1, 6, 4)) + generator.normal(0, 6, (3, 6, 4))
    ratings[1, 2, 3] = math.nan
    for row in resample_weights(6, seed=1, resamples=3):
        resample = np.repeat(ratings, row.astype(int), axis=1).reshape(3, -1)
        low, high = icc_interval(ratings, row[None])
        assert low == high == pytest.approx(icc(resample))
    assert icc_interval(ratings[:, :1], np.ones((1, 1))) is None


def test_icc_is_of_the_sums_over_criteria():
    # The sums of three criteria are two judges of the paper's table, plus three.
    sums = SHROUT_FLEISS[[0, 2]].reshape(2, 2, 3) + 3
    first = np.clip(sums - 2, 1, 5)
    second = np.clip(sums - first - 1, 1, 5)
    parts = np.stack([first, second, sums - first - second])
    ratings = make_ratings(sums)
    ratings = replace(
        ratings,
        criteria=("confidence", "graininess", "texture"),
        scores=parts,
        repeated=np.full(parts.shape, np.nan),
    )
    document = score_study(make_key(ratings), ratings)
    row = document["agreement"]["icc"]
    assert row["panels"] == 6
    assert row["icc"] == pytest.approx(icc(SHROUT_FLEISS[[0, 2]]))
    assert row["ci95"][0] < row["icc"]
    printed = table_of(document, "Agreement")[-1][1:3]
    assert printed == ["ICC(2,1) of sums", f"{row['icc']:.2f}"]
    alone = make_ratings(first[:1])
    assert score_study(make_key(alone), alone)["agreement"]["icc"] is None


def test_vgc_area_by_hand():
    # Of 16 pairs of (3 4 4 5) and (2 4 5 5): 3 is above one; each 4 is above one and
    # like one; 5 is above two and like two: 1 + 1.5 + 1.5 + 3 = 7.
    method, reference = np.array([[3.0, 4, 4, 5]]), np.array([[2.0, 4, 5, 5]])
    area, _ = vgc_area(method, reference, np.ones((1, 4)))
    assert area == 7 / 16
    assert vgc_area(reference, method, np.ones((1, 4)))[0] == 9 / 16
    scores = np.stack([reference, method, reference], axis=-1)
    rows = scored(scores)["vgc"]
    assert [(row["method"], row["area"]) for row in rows] == [
        ("input", 7 / 16),
        ("method", 0.5),
    ]


def test_resampled_vgc_area_is_that_of_the_resample():
    generator = np.random.default_rng(0)
    method, reference = generator.integers(1, 6, (2, 3, 8)).astype(float)
    method[1, 4] = reference[1, 4] = math.nan
    for row in resample_weights(8, seed=1, resamples=3):
        times = row.astype(int)
        ours, theirs = (np.repeat(each, times, axis=1) for each in (method, reference))
        ours, theirs = (each[~np.isnan(each)] for each in (ours, theirs))
        expected = mannwhitneyu(ours, theirs).statistic / (ours.size * theirs.size)
        _, (low, high) = vgc_area(method, reference, row[None])
        assert low == high == pytest.approx(expected)
    assert vgc_area(method[:, :1], reference[:, :1], np.ones((4, 1)))[1] is None


def test_intervals_are_those_of_the_drawn_patients():
    generator = np.random.default_rng(0)
    scores = generator.integers(1, 6, (3, 7)).astype(float)
    scores[1, 4] = np.nan
    weights = resample_weights(7, seed=2, resamples=40)
    assert (weights.sum(axis=1) == 7).all()
    medians, means = [], []
    case_means = np.nanmean(scores, axis=0)
    for row in weights.astype(int):
        medians.append(np.nanmedian(np.repeat(scores, row, axis=1)))
        means.append(np.repeat(case_means, row).mean())
    assert median_interval(scores, weights) == pytest.approx(
        tuple(np.percentile(medians, [2.5, 97.5]))
    )
    assert mean_interval(case_means, weights) == pytest.approx(
        tuple(np.percentile(means, [2.5, 97.5]))
    )
    assert mean_interval(np.array([4.0]), np.ones((5, 1))) is None
