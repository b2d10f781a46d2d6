"""The published weights: what lies in saved_models/ is what its cards say."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ct_keras
from ct_keras.denoising import list_published, read_card
from ct_keras.denoising.loading import published_folder
from ct_keras.errors import CtKerasError
from ct_keras.files import MARKER, sha256_of
from ct_keras.serving import complete_card, history_of, rewrap
from ct_keras.serving.cards import card_text

NAMES = list_published()
#: Too slow, and a network of volumes: their guards take ranges of the training data.
NOT_COMPARED = ("red_cnn_96", "adl3d")


@pytest.fixture(scope="module", params=NAMES)
def published(request):
    return request.param, ct_keras.load(request.param)


def test_the_default_model_is_published():
    assert ct_keras.load().identity == ct_keras.load("quiet_net").identity


def test_weights_give_their_golden_output(published):
    name, denoiser = published
    with np.load(published_folder() / name / "golden.npz") as golden:
        difference = denoiser(golden["low_dose_hu"]) - golden["denoised_hu"]
    # Other processors sum in another order.
    assert np.abs(difference).max() <= 0.01


def test_savedmodel_agrees(published):
    name, denoiser = published
    folder = published_folder() / name
    if not (folder / denoiser.identity.version).is_dir():
        pytest.skip("an installed package holds no SavedModels")
    low_hu = np.load(folder / "golden.npz")["low_dose_hu"][..., :57, :33]
    served = tf.saved_model.load(str(folder / denoiser.identity.version))
    result = served.signatures["serving_default"](
        tf.constant(low_hu[None, ..., None], tf.float32)
    )
    difference = result["denoised_hu"].numpy()[0, ..., 0] - denoiser(low_hu)
    assert np.abs(difference).max() <= 1e-3


def test_card_tells_what_the_weights_are(published):
    name, denoiser = published
    card = read_card(name)
    assert card["parameters"] == denoiser.network.count_params()
    assert card["weights"]["sha256"] == denoiser.identity.weights_sha256
    by_model = {row["model"]: row for row in card["metrics"]["rows"]}
    assert by_model[name]["psnr"] > by_model["input"]["psnr"]
    if name not in NOT_COMPARED:
        losses = card["ranges"]["losses"]
        assert losses["strength"] == denoiser.default_strength
        assert losses["margin_db"] == pytest.approx(losses["usual_db"] + 0.5)
    for field in ("licence", "attribution", "data", "contraindications"):
        assert card[field]
    text = (published_folder() / name / "README.md").read_text(encoding="utf-8")
    assert text == card_text(card)


def test_checksums_cover_every_file(published):
    folder = published_folder() / published[0]
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {
        str(path.relative_to(folder)): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", ".ct_keras")
    }
    assert files and sums.items() >= files.items()


def test_changed_weights_are_refused(published, tmp_path):
    name, _ = published
    copy = shutil.copytree(published_folder() / name, tmp_path / name)
    card = json.loads((copy / "metadata.json").read_text())
    path = copy / card["weights"]["file"]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CtKerasError) as refusal:
        ct_keras.load(copy)
    assert refusal.value.code == "CTK-E090"


def test_measurements_are_added_to_the_card_of_the_same_weights(tmp_path):
    copy = shutil.copytree(published_folder() / "seo_resnet", tmp_path / "seo_resnet")
    card = read_card("seo_resnet")
    losses = card["ranges"]["losses"] | {"strength": 0.5}
    row = {"set": "phantoms", "slices": 6, "dose_fraction": 0.1}
    row |= {"psnr": {"input": 29.314, "seo_resnet": 35.77}, "psnr_as_it_comes": 35.21}
    (tmp_path / "history.csv").write_text(
        "epoch,loss,mse,val_psnr,seconds\n"
        + "".join(f"{n},{1 / n},7,{30 + n},1800\n" for n in range(1, 31))
    )
    history = history_of(tmp_path)
    complete_card(copy, losses=losses, by_set=[row], history=history)
    changed = ct_keras.load(copy).card
    assert changed["ranges"] == card["ranges"] | {"losses": losses}
    assert changed["by_set"] == [row]
    same = card.keys() - {"ranges", "by_set", "training"}
    assert {key: changed[key] for key in same} == {key: card[key] for key in same}
    text = (copy / "README.md").read_text(encoding="utf-8")
    assert "| set | slices | dose_fraction | input | seo_resnet | as it comes |" in text
    assert "| phantoms | 6 | 0.1 | 29.31 | 35.77 | 35.21 |" in text
    assert changed["training"] == card["training"] | {"history": history}
    epoch = {"epoch": 30.0, "loss": 1 / 30, "val_psnr": 60.0, "seconds": 1800.0}
    assert (len(history), history[-1]) == (30, pytest.approx(epoch))
    assert "It took 15.0 hours:" in text
    assert "| epoch | loss | validation PSNR (dB) |" in text
    curve = [line for line in text.splitlines() if line.startswith(("| 2 |", "| 30 |"))]
    assert curve == ["| 2 | 0.5 | 32 |", "| 30 | 0.03333 | 60 |"]
    before, after = (each / MARKER for each in (published_folder() / copy.name, copy))
    assert json.loads(after.read_text()) == json.loads(before.read_text())
    for line in (copy / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split("  ")
        assert sha256_of(copy / name) == sha256


def test_weights_written_again_are_the_same_network(tmp_path):
    copy = shutil.copytree(published_folder() / "seo_resnet", tmp_path / "seo_resnet")
    before = ct_keras.load(copy)
    card = json.loads((copy / "metadata.json").read_text())
    rewrap(copy)
    after = ct_keras.load(copy)
    changed = json.loads((copy / "metadata.json").read_text())
    assert int(changed["version"]) == int(card["version"]) + 1
    assert [path.name for path in copy.glob("[0-9]*")] == [changed["version"]]
    for old, new in zip(before.network.weights, after.network.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    same = {"metrics", "training", "data", "parameters", "ranges", "reached"}
    assert {key: changed[key] for key in same} == {key: card[key] for key in same}
    with np.load(copy / "golden.npz") as golden:
        out = after(golden["low_dose_hu"])
        np.testing.assert_array_equal(out, golden["denoised_hu"])
