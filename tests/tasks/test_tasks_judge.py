"""Task networks as judges: the same noise for all, intervals, what came back."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from small_judges import LESIONS, ORGANS

import ct_keras
from ct_keras import tasks
from ct_keras.errors import CtKerasError
from ct_keras.hu import to_network
from ct_keras.tasks import judge as module
from ct_keras.tasks.judge import FULL, LOW, _lost, _measured, _recovered, judge


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
    for share in ("dice", "auc"):
        low, _ = rows[LOW][f"{share}_lost_ci95"]
        expected = 0.0 if low > 0 else None
        assert rows["input"][f"{share}_recovered"] == expected
    assert found["notice"] == "Research use only. Not for diagnostic use."
    assert found["version"] == ct_keras.__version__


def test_kept_judges_give_the_same_answer(document, tmp_path):
    folder, found = document
    again = judge(
        {"blur": blur},
        tmp_path / "out",
        judges=folder / "judges",
        epochs=1,
        data={"segmentation": ORGANS, "classification": LESIONS},
    )
    assert again["rows"][:2] == found["rows"][:2]
    assert again["rows"][2]["auc"] == pytest.approx(found["rows"][3]["auc"], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 2}, "epochs 1; expected: epochs 2"),
        ({"epochs": None}, "epochs 1; expected: epochs 12"),
        ({"seed": 1}, "seed 0; expected: seed 1"),
        ({"segmentation": {"pixels": 96}}, "'pixels': 64"),
        ({"classification": {"test": (3, 7)}}, "[3, 5]"),
    ],
)
def test_judges_that_were_trained_otherwise_are_refused(
    document, tmp_path, change, named
):
    folder, _ = document
    organs = ORGANS | change.pop("segmentation", {})
    lesions = LESIONS | change.pop("classification", {})
    with pytest.raises(CtKerasError) as refusal:
        judge(
            {},
            tmp_path / "out",
            judges=folder / "judges",
            data={"segmentation": organs, "classification": lesions},
            **({"epochs": 1} | change),
        )
    assert refusal.value.code == "CTK-E000"
    assert named in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dangerous", [True, False])
def test_a_kept_judge_is_opened_like_any_model_file(dangerous, tmp_path):
    """A `.keras` file can name any class to build."""
    recipe = tasks.get_task("unet").recipe("quick")
    measures = {"seed": 0, "recipe": recipe.to_plain()}
    (tmp_path / "measures.json").write_text(json.dumps(measures))
    with zipfile.ZipFile(tmp_path / "network.keras", "w") as archive:
        named = {"class_name": "Popen", "module": "subprocess", "config": {}}
        archive.writestr("config.json", json.dumps(named if dangerous else {}))
        for name in ("metadata.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    with pytest.raises(CtKerasError) as refusal:
        module._kept(tmp_path, recipe, 0)
    assert refusal.value.code == "CTK-E091"
    assert ("no denoiser needs" in str(refusal.value)) == dangerous


def test_a_judge_of_unknown_training_is_refused(tmp_path):
    kept = tmp_path / "judges" / "unet"
    kept.mkdir(parents=True)
    (kept / "network.keras").write_bytes(b"")
    for text in (None, "[]", "{}"):
        if text is not None:
            (kept / "measures.json").write_text(text)
        with pytest.raises(CtKerasError) as refusal:
            judge({}, tmp_path / "out", judges=tmp_path / "judges")
        assert refusal.value.code == "CTK-E005"


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
    found, samples = _measured(Oracle(), _lesions_half_seen(), seed=0)
    # 64 pairs: 16 within the perfect, 32 across (all right), 16 ties count a half.
    assert found["auc"] == pytest.approx((16 + 32 + 8) / 64)
    assert found["auc_ci95"] == (0.5, 1.0)
    assert samples["auc"].shape == (2000,)


def test_one_patient_alone_has_no_interval():
    images = _lesions_half_seen()
    images = replace(images, patient=np.zeros(16, int))
    found, samples = _measured(Oracle(), images, seed=0)
    assert found["auc"] == pytest.approx((16 + 32 + 8) / 64)
    assert found["auc_ci95"] is None
    assert (
        _lost(
            [found | {"mean_dice": 1.0, "mean_dice_ci95": None}] * 2,
            {
                label: {"auc": samples["auc"], "mean_dice": samples["auc"]}
                for label in (FULL, LOW)
            },
        )["auc_lost_ci95"]
        is None
    )


class Painter:
    """A stand-in for a judge of organs: it calls everything above 50 HU the first."""

    def predict(self, inputs, **_):
        found = np.zeros((*inputs.shape[:3], 3), np.float32)
        found[..., 0], found[..., 1] = 0.5, inputs[..., 0] > to_network(50.0)
        return found


def _organs_half_seen():
    """Half of an organ is missed in two of four patients; nobody has the other."""
    hu = np.zeros((4, 4, 4), np.float32)
    truth = np.zeros(hu.shape, np.uint8)
    truth[:, :2] = 1
    hu[:, :2] = 100.0
    hu[:2, 0] = 0.0
    names = ("liver", "unseen")
    return tasks.TaskData(hu, truth, np.ones(4, np.float32), np.arange(4), names)


def _lesions_half_seen():
    """Two patients judged perfectly, two by chance."""
    hu = np.zeros((16, 4, 4), np.float32)
    truth = np.tile(np.array([1, 0, 1, 0], np.uint8), 4)
    hu[truth == 1] = 100.0
    hu[8:] = 50.0
    patients = np.repeat(np.arange(4), 4)
    return tasks.TaskData(hu, truth, np.ones(16, np.float32), patients, ("lesion",))


def test_an_organ_that_nobody_has_is_no_number():
    found, samples = _measured(Painter(), _organs_half_seen(), seed=0)
    assert found["dice"]["liver"] == pytest.approx((2 / 3 * 2 + 2) / 4)
    assert np.isnan(found["dice"]["unseen"])
    assert found["mean_dice"] == found["dice"]["liver"]
    assert found["mean_dice_ci95"] == pytest.approx([2 / 3, 1])
    assert np.isfinite(samples["mean_dice"]).all()


def test_what_is_no_number_is_null_in_the_document(monkeypatch, tmp_path):
    networks = {"unet": Painter(), "lesion_net": Oracle()}
    images = {"unet": _organs_half_seen(), "lesion_net": _lesions_half_seen()}
    monkeypatch.setattr(module, "_kept", lambda folder, *_: networks[folder.name])
    monkeypatch.setattr(
        module,
        "_images",
        lambda name, _, methods, *__: dict.fromkeys(
            (FULL, LOW, *methods), images[name]
        ),
    )
    found = judge({"same": blur}, tmp_path / "out", judges=tmp_path / "judges")
    assert found["rows"][0]["dice"]["unseen"] is None
    assert "NaN" not in (tmp_path / "out" / "judge.json").read_text()
    assert found["rows"][1]["dice_lost_ci95"] == [0, 0]
    assert found["rows"][2]["auc_recovered"] is None


def _rows_and_samples(full, low, net, *, spread):
    """Rows of one measure for both tasks, with samples that differ by their spread."""
    noise = np.random.default_rng(0).normal(0, spread, (3, 2000))
    rows, samples = [], {}
    values = {FULL: full, LOW: low, "net": net}
    for (label, value), sampled in zip(values.items(), noise, strict=True):
        rows.append({"model": label, "mean_dice": value, "auc": value})
        samples[label] = dict.fromkeys(("mean_dice", "auc"), value + sampled)
    rows[1] |= _lost(rows, samples)
    return rows, samples


def test_shares_that_came_back():
    rows, samples = _rows_and_samples(0.9, 0.5, 0.8, spread=0.01)
    assert rows[1]["dice_lost"] == pytest.approx(0.4)
    low, high = rows[1]["auc_lost_ci95"]
    half = 1.96 * 0.01 * 2**0.5
    assert (low, high) == pytest.approx((0.4 - half, 0.4 + half), abs=2e-3)
    shares = _recovered(rows[2], rows, samples)
    for name in ("dice", "auc"):
        assert shares[f"{name}_recovered"] == pytest.approx(0.75)
        low, high = shares[f"{name}_recovered_ci95"]
        # Of a ratio: the samples of the low dose are in both of its parts.
        half = 1.96 * 0.01 / 0.4 * (1 + 0.25**2 + 0.75**2) ** 0.5
        assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=5e-3)


@pytest.mark.parametrize("full", [0.502, 0.5, 0.48])
def test_no_share_of_a_loss_within_its_interval(full):
    rows, samples = _rows_and_samples(full, 0.5, 0.51, spread=0.01)
    shares = _recovered(rows[2], rows, samples)
    assert set(shares.values()) == {None}


def test_dose_out_of_range_is_refused(tmp_path):
    with pytest.raises(CtKerasError) as refusal:
        judge({}, tmp_path / "out", dose=1.0)
    assert refusal.value.code == "CTK-E000"
