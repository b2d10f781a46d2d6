"""Runs: what they write, that they resume exactly, and that they fail safely."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from patience import wait_for
from run_arrays import arrays_of, same_run

import ct_keras
from ct_keras import models
from ct_keras.data import SlicePair, count_slices, read_manifest, training_patches
from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError
from ct_keras.files import sha256_of
from ct_keras.models import RedCNN, get_spec
from ct_keras.training import train, trainer
from ct_keras.training.callbacks import (
    EpochRecorder,
    StopOnSignal,
    write_history,
)
from ct_keras.training.checkpoints import latest_state, restore, save_checkpoint
from ct_keras.training.configuration import configuration
from ct_keras.training.examples import telling_damage
from ct_keras.training.passes import describe_length, with_passes
from ct_keras.training.validation import (
    fixed_slices,
    validate,
    with_drawn_noise,
    with_noise_free_references,
)

SMALL = {"recipe": "quick", "options": {"width": 4}, "validation_slices": 2}


def _train(records, out, **options):
    settings = SMALL | {"epochs": 3, "steps": 4, "seed": 5} | options
    return train("red_cnn", records, out=out, **settings)


def test_config_names_files_by_content(tmp_path):
    weights = tmp_path / "vgg19.h5"
    weights.write_bytes(b"abc")
    spec = get_spec("wgan_vgg")
    recipe = spec.recipe("quick")
    settings = recipe.training | {"feature_extractor": str(weights)}
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    config = configuration(spec, replace(recipe, training=settings), tmp_path, 0, 1)
    assert config["recipe"]["training"] == settings | {
        "feature_extractor": "vgg19.h5 (sha256 ba7816bf8f01cfea414140de5dae2223"
        "b00361a396177a9cb410ff61f20015ad)"
    }


@pytest.fixture(scope="module")
def undisturbed(phantom_records, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    return _train(phantom_records, run)


def test_a_run_holds_what_it_should(undisturbed):
    run = undisturbed.run
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == "red_cnn"
    assert config["recipe"]["options"]["width"] == 4
    assert str(run) not in (run / "config.json").read_text()
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = min(rows, key=lambda row: float(row["val_tissue_rmse_hu"]))
    assert undisturbed.best["epoch"] == int(best["epoch"])
    assert undisturbed.finished
    assert list((run / "tensorboard").glob("events*"))


def test_best_weights_give_the_best_validation_value(undisturbed, phantom_records):
    pairs = fixed_slices(phantom_records, "val", 2)
    again = validate(ct_keras.load(undisturbed.run), pairs)
    assert again.psnr == pytest.approx(undisturbed.best["val_psnr"], abs=1e-6)
    untreated = undisturbed.untreated.tissue_rmse_hu
    assert undisturbed.better_than_input == (again.tissue_rmse_hu < untreated)


def _slices_of_three_tissues():
    """A lung, soft tissue around it, and bone; the best value lies in one window."""
    rows, columns = np.mgrid[:96, :96]
    radius = np.hypot(rows - 48, columns - 48)
    full = np.full(radius.shape, -1000, np.float32)
    full[radius < 44] = 40
    full[radius < 24] = -850
    full[(radius > 34) & (radius < 38)] = 700
    noise = np.random.default_rng(0).normal(0, 40, full.shape).astype(np.float32)
    return full, [SlicePair(low_hu=full + noise, full_hu=full)]


def test_validation_counts_every_tissue(tmp_path):
    full, pairs = _slices_of_three_tissues()
    noise = pairs[0].low_hu - full
    window = (full > -160) & (full < 240)

    def narrow(hu):  # better in the abdomen window, worse everywhere else
        return full + noise * np.where(window, 0.4, 3)

    def even(hu):
        return full + noise * 0.5

    found = {method: validate(method, pairs) for method in (narrow, even)}
    assert found[narrow].psnr > found[even].psnr
    assert found[narrow].tissue_rmse_hu > 2 * found[even].tissue_rmse_hu
    # Lung, soft tissue and bone, each with noise of 20 HU.
    assert found[even].tissue_rmse_hu == pytest.approx(20, rel=0.05)
    ratio = (0.4 * 3 * 3) ** (1 / 3) / 0.5
    tissues = found[narrow].tissue_rmse_hu / found[even].tissue_rmse_hu
    assert tissues == pytest.approx(ratio, rel=0.05)


def test_the_best_epoch_is_the_best_over_all_tissues(tmp_path):
    full, pairs = _slices_of_three_tissues()
    noise = pairs[0].low_hu - full
    window = (full > -160) & (full < 240)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")

    class Methods:
        """Epoch 1 is even over tissues, epoch 2 better in one window only."""

        scales = 0.5, np.where(window, 0.4, 3)

        def __init__(self):
            self.model = self.network = model

        def __call__(self, hu):
            return full + noise * self.scales[min(recorder.model.epoch, 1)]

    recorder = EpochRecorder(tmp_path, Methods(), model, pairs, {}, StopOnSignal())
    recorder.set_model(model)
    recorder._board.write = lambda *nothing: None
    for epoch in range(2):
        model.epoch = epoch
        recorder.on_epoch_begin(epoch)
        recorder.on_epoch_end(epoch, {"loss": 1.0})
    assert recorder.history[1]["val_psnr"] > recorder.history[0]["val_psnr"]
    assert recorder.best["epoch"] == 1
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 1


def test_history_of_a_run_that_an_older_version_began(tmp_path):
    write_history(tmp_path, [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "new": 3.0}])
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"epoch": "1", "loss": "2.0", "new": ""}
    assert rows[1]["new"] == "3.0"


def test_validation_is_the_protocol_of_the_report(phantom_records):
    pairs = fixed_slices(phantom_records, "val", 2)
    expected = [ct_keras.evaluate(p.low_hu, p.full_hu)["psnr"] for p in pairs]
    measured = validate(lambda low_hu: low_hu, pairs).psnr
    assert measured == pytest.approx(np.mean(expected), abs=1e-9)


def test_same_seed_same_weights_other_seed_others(
    undisturbed, phantom_records, tmp_path
):
    _train(phantom_records, tmp_path / "same")
    _train(phantom_records, tmp_path / "other", seed=6)
    assert same_run(undisturbed.run, tmp_path / "same")
    assert not same_run(undisturbed.run, tmp_path / "other")


def test_a_run_at_drawn_doses_for_the_noise_free_image(phantom_records, tmp_path):
    choices = {"doses": (0.05, 0.5), "loss": "noise_free", "epochs": 2, "steps": 2}
    result = _train(phantom_records, tmp_path / "run", **choices)
    recipe = json.loads((result.run / "config.json").read_text())["recipe"]
    assert (recipe["doses"], recipe["loss"]) == ([0.05, 0.5], "noise_free")
    pairs = with_noise_free_references(fixed_slices(phantom_records, "val", 2))
    assert result.untreated == validate(lambda low_hu: low_hu, pairs)
    assert result.best["val_psnr"] == pytest.approx(
        validate(ct_keras.load(result.run), pairs).psnr, abs=1e-6
    )
    _train(phantom_records, tmp_path / "again", **choices)
    assert same_run(result.run, tmp_path / "again")
    plain = _train(phantom_records, tmp_path / "mse", **choices | {"loss": "mse"})
    assert not same_run(result.run, plain.run)


def test_noise_free_references_have_the_truth_as_their_mean_given_the_low_dose():
    generator = np.random.default_rng(0)
    truth, share, sd = 40.0, 0.3, 20.0
    noise, inserted = generator.normal(0, sd, (2, 400, 400))
    full = truth + noise
    low = full + np.sqrt(1 / share - 1) * inserted
    pair = SlicePair(low_hu=low, full_hu=full, noise_share=share)
    (changed,) = with_noise_free_references([pair])
    rest = changed.full_hu - truth
    assert np.mean(rest * (low - truth)) / np.mean((low - truth) ** 2) == pytest.approx(
        0, abs=0.01
    )
    assert rest.var() == pytest.approx(sd**2 / (1 - share), rel=0.02)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("wgan_vgg", {"loss": "noise_free"}),
        ("adl3d", {"doses": (0.1, 0.5)}),
        ("red_cnn", {"loss": "psnr"}),
        ("red_cnn", {"doses": (0.5, 0.1)}),
    ],
)
def test_a_loss_or_doses_without_effect_are_refused(
    phantom_records, tmp_path, name, choice
):
    with pytest.raises(CtKerasError, match="CTK-E000"):
        train(name, phantom_records, out=tmp_path / "r", **{"recipe": "quick"} | choice)
    assert not (tmp_path / "r" / "best.keras").exists()


def test_a_run_begins_with_the_weights_of_another(
    undisturbed, phantom_records, tmp_path
):
    result = _train(
        phantom_records,
        tmp_path / "on",
        epochs=1,
        steps=1,
        learning_rate=1e-4,
        patches_per_slice=3,
        start_from=undisturbed.run,
    )
    before, after = (ct_keras.load(run) for run in (undisturbed.run, result.run))
    # The first step of Adam changes a weight by the learning rate.
    pairs = zip(before.network.get_weights(), after.network.get_weights(), strict=True)
    change = max(np.abs(old - new).max() for old, new in pairs)
    assert change == pytest.approx(1e-4, rel=0.01)
    config = json.loads((result.run / "config.json").read_text())
    digest = before.identity.weights_sha256
    recipe = config["recipe"]
    assert recipe["start_from"] == f"red_cnn (sha256 {digest})"
    assert recipe["patches_per_slice"] == 3
    assert recipe["learning_rate"] == 1e-4
    assert recipe["final_learning_rate"] == pytest.approx(5e-6)


def test_a_start_from_another_network_is_refused(
    undisturbed, phantom_records, tmp_path
):
    with pytest.raises(CtKerasError) as refusal:
        _train(
            phantom_records,
            tmp_path / "wider",
            options={"width": 5},
            start_from=undisturbed.run,
        )
    assert refusal.value.code == "CTK-E087"
    assert not (tmp_path / "wider" / "config.json").exists()


@pytest.mark.parametrize("name", ["red_cnn", "pix2pix"])
def test_what_is_trained_in_bfloat16_is_saved_in_float32(
    phantom_records, tmp_path, name
):
    result = train(
        name,
        phantom_records,
        out=tmp_path / "half",
        recipe="quick",
        epochs=1,
        steps=2,
        validation_slices=2,
        precision="bfloat16",
    )
    network = ct_keras.load(result.run).network
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    arrays = arrays_of(result.run)
    trained = [value for key, value in arrays.items() if key.startswith("model/")]
    for weight in network.get_weights():
        assert any(np.array_equal(weight, value) for value in trained)
    config = json.loads((result.run / "config.json").read_text())
    assert config["recipe"]["mixed_precision"] == "mixed_bfloat16"


@pytest.mark.parametrize("epochs_lost", [1, 2])
def test_resume_from_an_earlier_checkpoint_ends_alike(
    undisturbed, phantom_records, tmp_path, epochs_lost
):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(undisturbed.run, run)
    for checkpoint in sorted((run / "checkpoints").iterdir())[-epochs_lost:]:
        shutil.rmtree(checkpoint)
    result = _train(phantom_records, run, resume=True)
    assert result.finished
    assert same_run(undisturbed.run, run)
    epochs = [row["epoch"] for row in csv.DictReader((run / "history.csv").open())]
    assert epochs == ["1", "2", "3"]


def test_damaged_checkpoint_falls_back_to_the_one_before(
    undisturbed, phantom_records, tmp_path
):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(undisturbed.run, run)
    newest = sorted((run / "checkpoints").iterdir())[-1] / "arrays.npz"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 255
    newest.write_bytes(data)
    checkpoint, state, findings = latest_state(run / "checkpoints")
    assert state["epoch"] == 2
    assert checkpoint.name == "ckpt-00002"
    assert [finding.code for finding in findings] == ["CTK-W082"]
    _train(phantom_records, run, resume=True)
    assert same_run(undisturbed.run, run)


def test_resume_with_other_settings_is_refused(undisturbed, phantom_records):
    with pytest.raises(CtKerasError) as refusal:
        _train(phantom_records, undisturbed.run, resume=True, seed=9, epochs=7)
    assert refusal.value.code == "CTK-E087"
    assert "received: seed, recipe.epochs;" in str(refusal.value)


def test_a_run_of_a_version_without_a_setting_is_resumed(
    undisturbed, phantom_records, tmp_path
):
    run = tmp_path / "older"
    shutil.copytree(undisturbed.run, run)
    config = json.loads((run / "config.json").read_text())
    del config["recipe"]["whole_passes"]
    (run / "config.json").write_text(json.dumps(config))
    assert _train(phantom_records, run, resume=True).finished


def test_an_epoch_of_a_report_is_a_pass_over_the_slices(phantom_records, caplog):
    slices = count_slices(read_manifest(phantom_records), "train")
    report = get_spec("pix2pix").recipe("report")
    assert with_passes(report, phantom_records).steps_per_epoch == slices
    of_four = replace(report, batch_size=4)
    assert with_passes(of_four, phantom_records).steps_per_epoch == slices // 4
    given = with_passes(report.with_length(2, 7), phantom_records)
    assert (given.epochs, given.steps_per_epoch) == (2, 7)
    words = describe_length(with_passes(report, phantom_records), phantom_records)
    assert f"30 epochs of {slices} steps, batch size 1" in words
    assert f"1 passes over {slices} training slices" in words


@pytest.mark.parametrize("recipe", ["report", "paper"])
@pytest.mark.parametrize("name", models.list_models())
def test_a_recipe_says_what_an_epoch_is(name, recipe):
    spec = get_spec(name)
    if recipe not in {each.name for each in spec.recipes}:
        pytest.skip("no such recipe")
    chosen = spec.recipe(recipe)
    steps = chosen.steps_per_epoch, chosen.epochs * chosen.steps_per_epoch
    says = [f"{number:,} steps" in chosen.description for number in steps]
    if spec.name == "seo_resnet" and recipe == "paper":
        assert "The same as report" in chosen.description
    else:
        assert any(says) != chosen.whole_passes


def test_an_algorithm_can_end_early_and_stays_ended(
    phantom_records, tmp_path, monkeypatch
):
    def ended(system, history):
        return len(history) == 2

    monkeypatch.setattr(models.TrainingSystem, "converged", ended)
    options = {
        "recipe": "quick",
        "epochs": 4,
        "steps": 1,
        "options": {"initializer": "identity"},
        "validation_slices": 1,
    }
    for resume in (False, True):
        out = tmp_path / "run"
        result = train("seo_resnet", phantom_records, out=out, resume=resume, **options)
        assert result.finished
        assert len(list(csv.DictReader((out / "history.csv").open()))) == 2


def test_a_run_is_not_overwritten(undisturbed, phantom_records):
    with pytest.raises(CtKerasError) as refusal:
        _train(phantom_records, undisturbed.run)
    assert refusal.value.code == "CTK-E071"


def test_divergence_stops_and_keeps_the_last_good_weights(
    phantom_records, tmp_path, monkeypatch
):
    class Explodes(ct_keras.Denoiser):
        """Makes the weights infinite after the first validation."""

        calls = 0

        def __call__(self, hu_in, **options):
            result = super().__call__(hu_in, **options)
            Explodes.calls += 1
            if Explodes.calls == 4:  # two validation slices, two pictures
                for weight in self.network.weights:
                    weight.assign(np.full(weight.shape, np.inf))
            return result

    monkeypatch.setattr(trainer, "Denoiser", Explodes)
    with pytest.raises(CtKerasError) as refusal:
        train(
            "red_cnn",
            phantom_records,
            out=tmp_path / "run",
            **SMALL | {"epochs": 3, "steps": 4},
        )
    assert refusal.value.code == "CTK-E089"
    _, state, _ = latest_state(tmp_path / "run" / "checkpoints")
    assert state["epoch"] == 1
    assert np.isfinite(ct_keras.load(tmp_path / "run")(np.zeros((30, 30)))).all()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    model = RedCNN(width=2)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.set_weights([np.full(w.shape, np.nan) for w in model.weights])
    with pytest.raises(CtKerasError) as refusal:
        save_checkpoint(tmp_path, model, {"epoch": 1})
    assert refusal.value.code == "CTK-E089"
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_keeps_the_adam_moments(tmp_path):
    def compiled():
        model = RedCNN(width=2)
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    x = np.random.default_rng(0).uniform(size=(2, 24, 24, 1))
    model = compiled()
    model.fit(x, x * 0.5, verbose=0)
    save_checkpoint(tmp_path, model, {"epoch": 1})
    other = compiled()
    checkpoint, _, _ = latest_state(tmp_path)
    restore(checkpoint, other)
    before = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
    after = [keras.ops.convert_to_numpy(v) for v in other.optimizer.variables]
    assert int(before[0]) == 1
    assert any(np.abs(moment).max() > 0 for moment in before[2:])
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_checkpoint_of_another_network_is_refused(tmp_path, undisturbed):
    model = RedCNN(width=3)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    checkpoint, _, _ = latest_state(undisturbed.run / "checkpoints")
    with pytest.raises(CtKerasError) as refusal:
        restore(checkpoint, model)
    assert refusal.value.code == "CTK-E087"


def test_sigterm_ends_with_75_and_resumes(phantom_records, tmp_path, undisturbed):
    run = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "ct_keras", "train", "red_cnn"),
        *(str(phantom_records), "--out", str(run), "--recipe", "quick"),
        *("--width", "4", "--epochs", "50", "--steps", "4"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    wait_for((run / "best.json").exists, [process])
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: process.poll() is not None, [process])
    assert process.returncode == 75
    _, state, _ = latest_state(run / "checkpoints")
    assert 1 <= state["epoch"] < 50


def test_a_recipe_that_draws_noise_is_validated_on_it(
    phantom_records, tmp_path, monkeypatch
):
    spec = get_spec("red_cnn")
    noise = DrawnNoise("gaussian", sigma=0.01)
    recipe = replace(spec.recipe("quick"), noise=noise, epochs=1, steps_per_epoch=2)
    monkeypatch.setitem(models._SPECS, "red_cnn", replace(spec, recipes=(recipe,)))
    options = {"recipe": "quick", "options": {"width": 4}, "validation_slices": 2}
    result = train("red_cnn", phantom_records, out=tmp_path / "run", **options)
    # 0.01 network units; the records' low dose differs from its reference by more.
    assert result.untreated.rmse_hu == pytest.approx(40.96, rel=0.02)
    low = validate(lambda hu: hu, fixed_slices(phantom_records, "val", 2))
    assert abs(low.rmse_hu - 40.96) > 5
    pairs = fixed_slices(phantom_records, "val", 2)
    again = with_drawn_noise(pairs, noise)
    for one, other in zip(with_drawn_noise(pairs, noise), again, strict=True):
        np.testing.assert_array_equal(one.low_hu, other.low_hu)
    added = [pair.low_hu - pair.full_hu for pair in again]
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signals_stop_training_unless_the_process_ignores_them(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    try:
        for handler, stops in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):
            signal.signal(number, handler)
            stop = StopOnSignal()
            stop.on_train_begin()
            signal.raise_signal(number)
            stop.on_train_end()
            assert stop.received is stops
            assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        ("report", {0: 1e-5, 100_000: 1e-5}),
        ("paper", {0: 1e-4, 50_000: 10**-4.5, 100_000: 1e-5}),
        ("quick", {25: 5.05e-4, 50: 1e-3, 1525: 5.25e-4, 3000: 5e-5}),
    ],
)
def test_learning_rate_over_the_run(recipe, values):
    from ct_keras.models import get_spec
    from ct_keras.models.recipes import learning_rate_schedule

    schedule = learning_rate_schedule(get_spec("red_cnn").recipe(recipe))
    for step, expected in values.items():
        rate = schedule(step) if callable(schedule) else schedule
        assert float(rate) == pytest.approx(expected, rel=1e-4)


def _forge(records: Path, folder: Path) -> Path:
    """A copy in which a record lacks its images; the sums of the manifest are right."""
    import tensorflow as tf

    shutil.copytree(records, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = next(each for each in manifest["shards"] if each["split"] == "train")
    path = folder / shard["file"]
    first, *others = [item.numpy() for item in tf.data.TFRecordDataset(str(path))]
    example = tf.train.Example.FromString(first)
    del example.features.feature["low"]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in (example.SerializeToString(), *others):
            writer.write(record)
    shard |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_record_that_tensorflow_cannot_parse_is_told(phantom_records, tmp_path):
    import tensorflow as tf

    forged = _forge(phantom_records, tmp_path / "forged")
    batches = training_patches(forged, patch_size=16, batch_size=2)
    with pytest.raises(CtKerasError) as refusal, telling_damage(forged):
        for _ in batches:
            pass
    assert refusal.value.code == "CTK-E080"
    fault = tf.errors.InvalidArgumentError(None, None, "of the network")
    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="of the network"),
        telling_damage(phantom_records),
    ):
        raise fault
