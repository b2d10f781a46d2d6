"""Published weights, from a folder of CT to the model card, and nothing twice."""

import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.files import MARKER, sha256_of

MAKE_WEIGHTS = Path(__file__).resolve().parents[2] / "tools" / "make_weights.py"
SMALL = {"region": "abdomen", "shape": [3, 96, 96], "spacing_mm": [8.0, 4.0, 4.0]}


def _notes() -> dict:
    """The real notes with a tiny network, two phantoms and one dose."""
    notes = json.loads(MAKE_WEIGHTS.with_name("weights.json").read_text())
    tiny = {"recipe": "quick", "epochs": 1, "steps": 2, "validation_slices": 1}
    tiny["options"] = {"width": 4}
    card = notes["networks"]["red_cnn"]["card"]
    return notes | {
        "doses": [0.1],
        "phantoms": [{"seed": 11, "kernel": "B45f"} | SMALL],
        "compared_with": ["input", "filter:gaussian"],
        "test_slices": 2,
        "quality": {"doses": [0.5], "repeats": 4, "size": 96, "spacing_mm": 1.8},
        "networks": {
            "red_cnn": {"training": tiny, "card": card},
            "red_cnn_6": {
                "network": "red_cnn",
                "widen": "red_cnn",
                "training": tiny | {"options": {"width": 6, "name": "red_cnn_6"}},
                "card": card,
            },
        },
    }


def _contents(*folders: Path) -> dict[str, str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): sha256_of(path) for path in files if path.name != MARKER}


@pytest.fixture(autouse=True)
def _beside_the_tools(monkeypatch):
    monkeypatch.syspath_prepend(str(MAKE_WEIGHTS.parent))


def test_weights_are_made_from_scans_to_the_card(phantom_patients, tmp_path):
    tool = runpy.run_path(str(MAKE_WEIGHTS))
    work, saved, notes = (tmp_path / name for name in ("work", "saved", "notes.json"))
    notes.write_text(json.dumps(_notes()))
    command = [phantom_patients, work, "--notes", notes, "--saved-models", saved]
    tool["main"](list(map(str, command)))

    card = json.loads((saved / "red_cnn" / "metadata.json").read_text())
    assert [row["model"] for row in card["metrics"]["rows"]] == [
        *("input", "filter:gaussian", "red_cnn"),
    ]
    assert card["metrics"]["by_dose"][0]["dose_fraction"] == 0.1
    assert card["metrics"]["rows"][2]["slices"] == 2  # those in the middle, of 3
    biases = {row["model"]: row["bias_hu_soft"] for row in card["metrics"]["by_dose"]}
    assert list(biases) == ["input", "filter:gaussian", "red_cnn"]
    assert [row["model"] for row in card["metrics"]["by_patient"]] == list(biases)
    assert [row[0] for row in card["image_quality"]["rows"]] == list(biases)
    assert card["version"] == "1"
    assert card["training"]["recipe"]["options"]["width"] == 4
    assert card["description"] in (saved / "red_cnn" / "README.md").read_text()
    # 2 phantoms in train, one of them noise-free and sharper, and 3 patients.
    assert len(list((work / "collection").glob("*/*"))) == 5
    denoiser = ct_keras.load(saved / "red_cnn")
    with np.load(saved / "red_cnn" / "golden.npz") as golden:
        assert np.array_equal(denoiser(golden["low_dose_hu"]), golden["denoised_hu"])

    wider = json.loads((saved / "red_cnn_6" / "metadata.json").read_text())
    assert wider["name"] == wider["metrics"]["rows"][2]["model"] == "red_cnn_6"
    assert wider["paper"] == card["paper"]
    begun = ct_keras.load(work / "starts" / "red_cnn_6.keras")
    assert begun.network.count_params() == wider["parameters"] > card["parameters"]
    low_hu = np.random.default_rng(1).normal(0, 60, (40, 40))
    assert np.max(np.abs(begun(low_hu) - denoiser.at_strength(1)(low_hu))) < 0.05
    digest = begun.identity.weights_sha256
    assert wider["training"]["recipe"]["start_from"] == f"red_cnn (sha256 {digest})"

    before = _contents(work, saved)
    tool["main"](list(map(str, command)))
    tool["main"]([*map(str, command), "--cards"])
    assert _contents(work, saved) == before
    other = _notes()
    del other["networks"]["red_cnn_6"]
    del other["networks"]["red_cnn"]["training"]  # as if another tool had trained it
    other["networks"]["red_cnn"]["card"] = {"description": "Tiny.", "data": "None."}
    notes.write_text(json.dumps(other))
    tool["main"](list(map(str, command)))
    assert _contents(work, saved) == before
    tool["main"]([*map(str, command), "--cards"])
    assert json.loads((saved / "red_cnn" / "metadata.json").read_text()) == card | {
        "description": "Tiny.",
        "data": "None.",
    }
    assert tool["next_version"](saved / "red_cnn") == 2


def test_the_copies_of_a_feature_map_learn_different_things():
    from widen import widened

    keras.utils.set_random_seed(1)
    narrow = ct_keras.models.build("red_cnn", width=4)
    wide = widened(narrow, ct_keras.models.build("red_cnn", width=8))
    kernel = np.asarray(wide.get_layer("conv2").kernel)
    assert np.all(np.abs(kernel[:, :, :4] - kernel[:, :, 4:]).max(axis=(0, 1)) > 1e-4)


def test_joined_feature_maps_are_refused():
    from widen import widened

    def joined(width):
        image = keras.Input((None, None, 1))
        maps = [keras.layers.Conv2D(width, 3)(image) for _ in range(2)]
        return keras.Model(
            image, keras.layers.Conv2D(1, 3)(keras.layers.Concatenate()(maps))
        )

    keras.utils.set_random_seed(1)
    with pytest.raises(ValueError, match="differs by"):
        widened(joined(2), joined(4))
