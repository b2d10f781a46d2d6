"""Model files are not trusted: classes by an allow list, parameters before memory."""

import json
import zipfile

import keras
import numpy as np
import pytest

import ct_keras
from ct_keras.denoising import loading
from ct_keras.denoising.model_files import load_keras
from ct_keras.errors import CtKerasError


@pytest.fixture(scope="module")
def network() -> keras.Model:
    image = keras.Input((None, None, 1), name="low_dose")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(image)
    x = keras.layers.Conv2D(1, 3, padding="same", name="b")(x)
    return keras.Model(image, keras.layers.Add(name="denoised")([x, image]), name="n")


@pytest.fixture
def bent(network, tmp_path):
    """Saves the network with a changed configuration."""

    def bend(change) -> str:
        good, path = tmp_path / "good.keras", tmp_path / "bent.keras"
        network.save(good)
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "config.json":
                    content = change(json.loads(content))
                    content = (
                        content if isinstance(content, str) else json.dumps(content)
                    )
                new.writestr(name, content)
        return path

    return bend


def refusal(path) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        load_keras(path)
    assert caught.value.code == "CTK-E091"
    assert "\n" not in str(caught.value)
    return caught.value


def conv(config) -> dict:
    return next(
        each for each in config["config"]["layers"] if each["class_name"] == "Conv2D"
    )


LOSSES = {
    "noise_index_hu": [1, 2],
    "noise_frequency_per_cm": [1, 2, 3],
    "loss_db": [[0.1, None]],
    "usual_db": 0.0,
    "margin_db": 0.5,
    "strength": 1.0,
}


class TestClasses:
    def replaced(self, **changes):
        def change(config):
            conv(config).update(changes)
            return config

        return change

    @pytest.mark.parametrize(
        "changes",
        [
            {"class_name": "Lambda"},
            {"class_name": "TFSMLayer"},
            {"class_name": "JaxLayer"},
            {"class_name": "FlaxLayer"},
            {"class_name": "TorchModuleWrapper"},
            {"class_name": "StringLookup"},  # reads a file
            {"class_name": "RandomFlip"},  # has no place in a denoiser
            {"class_name": "Map", "module": "keras.src.ops.core"},  # takes a function
            {"class_name": "CDLL", "module": "ctypes"},
            {"class_name": "Conv2D", "module": "kerasx.layers"},
            {"class_name": "Popen", "module": "ct_keras.cli.main"},
            {
                "class_name": "x",
                "module": "ct_keras.a",
                "registered_name": "ct_keras>x",
            },
            {"class_name": "__lambda__"},
            {"class_name": ["Conv2D"]},
            {"class_name": "function", "config": "system", "module": "os"},
        ],
    )
    def test_only_what_a_denoiser_needs_is_built(self, bent, changes):
        assert "contains" in refusal(bent(self.replaced(**changes))).received

    def test_a_part_of_a_layer_counts_too(self, bent):
        def change(config):
            conv(config)["config"]["kernel_initializer"] = {
                "module": "builtins",
                "class_name": "function",
                "config": "eval",
                "registered_name": "function",
            }
            return config

        assert "contains" in refusal(bent(change)).received

    def test_what_compile_got_is_not_built(self, bent, network):
        def change(config):
            return config | {"compile_config": {"loss": {"class_name": "SecretLoss"}}}

        image = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype("f4")
        again = load_keras(bent(change))
        np.testing.assert_array_equal(again(image), network(image))

    def test_every_stock_class_of_the_list_exists(self):
        from ct_keras.denoising import allowed_classes

        for name in allowed_classes._LAYERS.split():
            assert issubclass(getattr(keras.layers, name), keras.layers.Layer)
        for name in ("Lambda", "TFSMLayer", "Layer", "Wrapper", "RNN"):
            assert name not in allowed_classes.CLASSES


class TestSize:
    @pytest.mark.parametrize("filters", [10**4, 3 * 10**8])
    def test_parameters_are_counted_before_they_take_memory(self, bent, filters):
        def change(config):
            conv(config)["config"]["filters"] = filters
            for layer in config["config"]["layers"]:
                layer.pop("build_config", None)
            return config

        path = bent(change)
        count = filters * 10 + (9 * filters + 1)
        assert f"{count} parameters" in refusal(path).received
        # Nothing is left that would be given values later.
        layer = keras.layers.Conv2D(1, 1)
        assert layer.compute_output_shape((1, 8, 8, 1)) == (1, 8, 8, 1)

    @pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 5000, "[]", "null", "7"])
    def test_other_configurations(self, bent, text):
        refusal(bent(lambda _: text))

    def test_wrong_arguments_of_a_layer(self, bent):
        def change(config):
            conv(config)["config"]["filters"] = "many"
            return config

        refusal(bent(change))


class TestDocuments:
    """metadata.json, best.json and ranges.json may hold anything."""

    @pytest.fixture
    def published(self, network, tmp_path):
        from ct_keras.files import sha256_of

        folder = tmp_path / "published"
        folder.mkdir()
        ct_keras.Denoiser(network).model.save(folder / "n.keras")
        card = {"name": "n", "version": "1", "ranges": {"pixel_spacing_mm": [0.5, 1]}}
        card["weights"] = {"file": "n.keras", "sha256": sha256_of(folder / "n.keras")}
        return folder, card

    def load(self, published, document) -> ct_keras.Denoiser:
        folder = published[0]
        text = document if isinstance(document, str) else json.dumps(document)
        (folder / "metadata.json").write_text(text)
        return ct_keras.load(folder)

    def test_a_good_card(self, published):
        assert self.load(published, published[1]).name == "n"

    @pytest.mark.parametrize(
        "change",
        [
            {"name": 7},
            {"version": None},
            {"weights": "n.keras"},
            {"weights": {"file": "../n.keras", "sha256": ""}},
            {"weights": {"file": "n.keras"}},
            {"ranges": [1, 2]},
            {"ranges": {"pixel_spacing_mm": "wide"}},
            {"ranges": {"noise_index_hu": [1]}},
            {"ranges": {"kernels": "B30f"}},
            {"ranges": {"kvp": {"low": 80}}},
            {"ranges": {"body_parts": "chest"}},
            {"ranges": {"contrast": "no"}},
            {"ranges": {"losses": {"loss_db": []}}},
            {"ranges": {"losses": LOSSES | {"loss_db": [[0.1]]}}},
            {"ranges": {"losses": LOSSES | {"loss_db": [[0.1, "?"]]}}},
            {"ranges": {"losses": LOSSES | {"noise_index_hu": []}}},
            {"default_strength": "much"},
        ],
    )
    def test_wrong_entries(self, published, change):
        with pytest.raises(CtKerasError, match="CTK-E091"):
            self.load(published, published[1] | change)

    @pytest.mark.parametrize("text", ["", "{", "[]", "[" * 200_000, '"a"'])
    def test_damage(self, published, text):
        with pytest.raises(CtKerasError, match="CTK-E091"):
            self.load(published, text)

    def test_a_damaged_run(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "best.json").write_text("[]")
        with pytest.raises(CtKerasError, match="CTK-E091"):
            ct_keras.load(tmp_path)

    def test_other_weights_need_trust(self, published, monkeypatch):
        folder, card = published
        card["weights"]["sha256"] = "0" * 64
        with pytest.raises(CtKerasError, match="CTK-E090") as caught:
            self.load(published, card)
        assert "--trust" in caught.value.fix
        denoiser = ct_keras.load(folder, trust=True)
        from ct_keras.files import sha256_of

        assert denoiser.identity.weights_sha256 == sha256_of(folder / "n.keras")
        monkeypatch.setattr(loading.keras, "__version__", "3.13.2")
        with pytest.raises(CtKerasError, match="CTK-E090") as caught:
            ct_keras.load(folder, trust=True)
        assert "3.15.1" in caught.value.expected


def test_a_damaged_directory_is_not_an_unreadable_file(network, tmp_path):
    """Bytes are missing, so that the first member begins before the file."""
    path = tmp_path / "n.keras"
    network.save(path)
    content = bytearray(path.read_bytes())
    del content[60:70]
    path.write_bytes(content)
    with pytest.raises(CtKerasError, match="CTK-E091"):
        load_keras(path)
    with pytest.raises(CtKerasError, match="CTK-E005"):
        load_keras(tmp_path)  # a folder


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        (10, (8).to_bytes(2, "little")),  # deflated, which it is not
        (10, (14).to_bytes(2, "little")),  # LZMA
        (20, 2 * (60_000).to_bytes(4, "little")),  # longer than the file
    ],
)
def test_a_member_that_ends_too_early_is_damaged(network, tmp_path, entry, value):
    """Each ends in another type of error, of several libraries."""
    path = tmp_path / "n.keras"
    network.save(path)
    content = bytearray(path.read_bytes())
    assert len(content) < 60_000
    start = content.rindex(b"PK\1\2") + entry  # the directory tells of the last member
    content[start : start + len(value)] = value
    path.write_bytes(content)
    assert "damaged" in refusal(path).received


@pytest.mark.parametrize("rank", [2, 3])
def test_a_small_file_cannot_make_huge_layers(tmp_path, rank):
    """A thousand parameters, and an output that no machine holds."""
    factor = 4096 if rank == 2 else 256
    image = keras.Input((None,) * rank + (1,), name="low_dose")
    x = getattr(keras.layers, f"UpSampling{rank}D")(factor)(image)
    x = getattr(keras.layers, f"AveragePooling{rank}D")(factor)(x)
    path = tmp_path / "n.keras"
    keras.Model(image, x, name="n").save(path)
    denoiser = ct_keras.load(path)
    shape = (512, 512) if rank == 2 else (4, 64, 64)
    with pytest.raises(CtKerasError, match="CTK-E041") as refused:
        denoiser(np.zeros(shape, np.float32))
    assert "GiB of memory" in str(refused.value)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".keras", "a/" * 3000, "a\0b"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(CtKerasError, match="CTK-E092"):
        ct_keras.load(name)
