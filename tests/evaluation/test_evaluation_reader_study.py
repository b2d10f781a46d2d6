"""The reader study: random order, blinded pages, and statistics known by hand."""

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ct_keras.errors import CtKerasError
from ct_keras.evaluation.reader_study import (
    make_study,
    randomize,
    read_key,
    score_study,
    unblind,
)
from ct_keras.evaluation.reader_study.agreement import (
    alpha_interval,
    kappa_interval,
    krippendorff_alpha,
    weighted_kappa,
)
from ct_keras.evaluation.reader_study.answers import Ratings
from ct_keras.evaluation.reader_study.cases import (
    choose_slices,
    find_slices,
    run_methods,
)
from ct_keras.evaluation.reader_study.page import unpack_panels
from ct_keras.evaluation.reader_study.resampling import (
    draw,
    mean_interval,
    median_interval,
)
from ct_keras.evaluation.reader_study.scoring import wilcoxon

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
    assert sorted(place.case for place in chosen) == [
        f"patienthash{n}" for n in range(4)
    ]
    assert choose_slices(PAIRS[::-1], seed=1) == chosen
    assert any(choose_slices(PAIRS, seed=seed) != chosen for seed in (2, 3, 4))
    assert len(choose_slices(PAIRS, seed=1, limit=3)) == 3
    six = choose_slices(PAIRS, seed=1, limit=6, per_patient=2)
    per_patient = [sum(p.case == f"patienthash{n}" for p in six) for n in range(4)]
    assert sorted(per_patient) == [1, 1, 2, 2]


def test_slices_of_air_are_not_read():
    air = make_pair(9)
    air.full_hu[:] = -1000
    assert {place.case for place in choose_slices([air, PAIRS[0]], seed=0)} == {
        "patienthash0"
    }
    with pytest.raises(CtKerasError, match="CTK-E084"):
        choose_slices([air], seed=0)


def test_listed_slices_are_found():
    pairs = [*PAIRS, *(make_pair(0, n, dose=0.1) for n in range(3))]
    row = {"case": "patienthash0", "slice_index": "2"}
    (place,) = find_slices(pairs, [row, row], seed=0)
    assert (place.case, place.slice_index) == ("patienthash0", 2)
    for dose in (0.1, 0.25):
        wanted = row | {"dose_fraction": str(dose), "series": "serieshash"}
        (place,) = find_slices(pairs, [wanted], seed=0)
        assert place.dose_fraction == dose
    for wrong in ({"slice_index": 3}, {"case": "x"}, {"series": "x"}):
        with pytest.raises(CtKerasError, match="CTK-E084"):
            find_slices(pairs, [row | wrong], seed=0)


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
        group = [pair for pair in PAIRS if pair.case == case.case]
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


def scored(scores, repeated=None):
    ratings = make_ratings(scores, repeated)
    cases = ratings.scores.shape[2]
    key = {
        "study": "x",
        "title": "x",
        "arms": [{"name": name, "role": "method"} for name in ratings.arms],
        "cases": [{"case": str(n)} for n in range(cases)],
        "primary": {"criterion": "confidence", "against": "reference", "margin": 0.5},
    }
    return score_study(key, ratings)


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


def test_wilcoxon_by_hand():
    # 14 of the 64 subsets of 1..6 have a sum of at most 6.
    assert wilcoxon(np.array([1.0, 2, 3, 4, 5, -6])) == pytest.approx(2 * 14 / 64)
    assert wilcoxon(np.array([0.5, 1, 1.5, 2, 0, 0])) == pytest.approx(2 / 2**4)
    assert wilcoxon(np.zeros(5)) == 1


def test_pairs_differences_holm_and_non_inferiority():
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
    assert row["non_inferior"] is False
    near = pair_of(document, "method", "reference")
    assert near["mean_difference"] == pytest.approx(-1 / 6)
    assert near["p"] == pytest.approx(0.5)  # two equal differences: 2 * 1/4
    assert near["non_inferior"] is True
    between = pair_of(document, "method", "input")
    assert between["p"] == pytest.approx(2 / 2**6)
    assert "non_inferior" not in between
    # Holm: 3/32, 3/32 (the second at least the first), then 0.5.
    for found, adjusted in ((row, 3 / 32), (between, 3 / 32), (near, 0.5)):
        assert found["p_holm"] == pytest.approx(adjusted)
        assert found["p_holm_criterion"] == pytest.approx(adjusted)


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
    weights = draw(8, seed=1, resamples=3)
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


def test_intervals_are_those_of_the_drawn_cases():
    generator = np.random.default_rng(0)
    scores = generator.integers(1, 6, (3, 7)).astype(float)
    scores[1, 4] = np.nan
    weights = draw(7, seed=2, resamples=40)
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
