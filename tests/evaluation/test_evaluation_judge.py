"""Task networks as judges: the same noise for all, intervals, what came back."""

import json

import numpy as np
import pytest
from scipy import ndimage

from ct_keras import tasks
from ct_keras.errors import CtKerasError
from ct_keras.evaluation.judge import FULL, LOW, _measured, _recovered, judge

ORGANS = {"train": (1, 3), "test": (3, 6), "slices": 2, "pixels": 64}
LESIONS = {"train": (1, 3), "test": (3, 6), "slices": 6, "pixels": 128, "crop": 32}


def blur(hu):
    return ndimage.gaussian_filter(hu, 1.0)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    found = judge(
        {"input": lambda hu: hu, "blur": blur},
        folder / "out",
        judges=folder / "judges",
        epochs=1,
        data={"segmentation": ORGANS, "classification": LESIONS},
    )
    assert json.loads((folder / "out/judge.json").read_text()) == found
    assert (folder / "out/judge.png").read_bytes()[:4] == b"\x89PNG"
    return folder, found


def test_identity_is_measured_as_the_low_dose(document):
    _, found = document
    rows = {row["model"]: row for row in found["rows"]}
    assert list(rows) == [FULL, LOW, "input", "blur"]
    assert rows[FULL]["dose_fraction"] == 1 and rows["blur"]["dose_fraction"] == 0.05
    for key in ("mean_dice", "mean_dice_ci95", "auc", "auc_ci95", "dice"):
        assert rows["input"][key] == rows[LOW][key]
    for share in ("dice_recovered", "auc_recovered"):
        assert rows["input"][share] in (0.0, None)


def test_kept_judges_give_the_same_answer(document, tmp_path):
    folder, found = document
    again = judge(
        {"blur": blur},
        tmp_path / "out",
        judges=folder / "judges",
        data={"segmentation": ORGANS, "classification": LESIONS},
    )
    assert again["rows"][:2] == found["rows"][:2]
    assert again["rows"][2]["auc"] == pytest.approx(found["rows"][3]["auc"], abs=1e-6)


def test_several_denoisers_see_the_same_noise():
    options = {"slices": 1, "pixels": 64, "doses": (0.1,)}
    many = tasks.organ_slices([6], denoise={"none": None, "blur": blur}, **options)
    np.testing.assert_array_equal(
        many["none"].hu, tasks.organ_slices([6], **options).hu
    )
    np.testing.assert_array_equal(
        many["blur"].hu, tasks.organ_slices([6], denoise=blur, **options).hu
    )
    np.testing.assert_array_equal(many["none"].truth, many["blur"].truth)


class Oracle:
    """A stand-in for a judge: it reads the score off the first pixel."""

    def predict(self, inputs, **_):
        score = inputs[:, 0, 0, 0]
        return np.stack([1 - score, score], axis=1)


def test_interval_is_over_patients():
    """Two patients judged perfectly, two by chance: AUC of draws is 0.5 to 1."""
    hu = np.zeros((16, 4, 4), np.float32)
    truth = np.tile(np.array([1, 0, 1, 0], np.uint8), 4)
    hu[truth == 1] = 100.0
    hu[8:] = 50.0
    patients = np.repeat(np.arange(4), 4)
    data = tasks.TaskData(hu, truth, np.ones(16, np.float32), patients, ("lesion",))
    found = _measured(Oracle(), data, seed=0)
    # 64 pairs: 16 within the perfect, 32 across (all right), 16 ties count a half.
    assert found["auc"] == pytest.approx((16 + 32 + 8) / 64)
    assert found["auc_ci95"] == [0.5, 1.0]


def test_shares_that_came_back():
    full = {"mean_dice": 0.9, "auc": 0.8}
    low = {"mean_dice": 0.5, "auc": 0.8}
    row = {"mean_dice": 0.8, "auc": 0.7}
    shares = _recovered(row, full, low)
    assert shares["dice_recovered"] == pytest.approx(0.75)
    assert shares["auc_recovered"] is None


def test_dose_out_of_range_is_refused(tmp_path):
    with pytest.raises(CtKerasError) as refusal:
        judge({}, tmp_path / "out", dose=1.0)
    assert refusal.value.code == "CTK-E000"
