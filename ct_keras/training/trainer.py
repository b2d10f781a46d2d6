"""Runs a training recipe on records, from the start or from the last checkpoint."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import keras

from ct_keras.data import read_manifest, training_ranges
from ct_keras.data.manifest import shard_paths
from ct_keras.denoising.denoiser import Denoiser
from ct_keras.denoising.half_network import in_float32
from ct_keras.files import check_output_folder, write_text
from ct_keras.models import ModelSpec, Recipe, TrainingSystem, get_spec
from ct_keras.training.callbacks import (
    EpochRecorder,
    ProgressBar,
    StopOnNaN,
    StopOnSignal,
    converged,
    write_history,
)
from ct_keras.training.checkpoints import latest_state, restore
from ct_keras.training.choices import chosen_recipe
from ct_keras.training.compiled import compiled_model
from ct_keras.training.configuration import can_resume, checksum, configuration
from ct_keras.training.devices import Devices, find_devices
from ct_keras.training.examples import telling_damage, training_examples
from ct_keras.training.passes import describe_length
from ct_keras.training.start import begin_with, load_start, name_with_hash
from ct_keras.training.validation import (
    ValidationResult,
    fixed_slices,
    fixed_volumes,
    validate,
    with_drawn_noise,
    with_noise_free_references,
)

logger = logging.getLogger(__name__)
#: The fix if the folder of a run is not empty.
_FILLED = (
    "choose another folder, or resume the run in it: resume=True (--resume of train)"
)


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run.

    Attributes:
        run: The folder of the run; `ct_keras.load(run)` loads its best weights.
        best: Epoch and validation measures (``val_psnr``, ``val_rmse_hu``,
            ``val_tissue_rmse_hu``) of the best weights, those with the least error over
            all tissues.
        untreated: The same measures of the noisy input.
        finished: False if a signal stopped it before the last epoch.
    """

    run: Path
    best: dict
    untreated: ValidationResult
    finished: bool

    @property
    def better_than_input(self) -> bool:
        """Whether the best weights improve on the noisy input."""
        error = self.best.get("val_tissue_rmse_hu", math.inf)
        return error < self.untreated.tissue_rmse_hu


def train(
    name: str,
    records: str | Path,
    *,
    out: str | Path,
    recipe: str = "report",
    epochs: int | None = None,
    steps: int | None = None,
    options: dict | None = None,
    training: dict | None = None,
    doses: tuple[float, float] | None = None,
    loss: str | None = None,
    patches_per_slice: int | None = None,
    learning_rate: float | None = None,
    start_from: str | Path | None = None,
    precision: str | None = None,
    trust: bool = False,
    seed: int = 0,
    resume: bool = False,
    validation_slices: int = 16,
    deterministic: bool = True,
    progress: bool = False,
    strategy: object = None,
) -> TrainingResult:
    """Trains a network of the zoo and keeps its best weights in `out`/best.keras.

    The patches of each epoch are a pure function of seed and epoch, and a checkpoint
    holds every variable. So a run that was interrupted at any time and resumed ends
    with bit-identical weights to an uninterrupted run (on the same machine and
    versions, with `deterministic`).

    Args:
        name: One of `ct_keras.models.list_models()`.
        records: A folder of TFRecords with the splits train and val.
        out: The folder of the run: config.json, ranges.json (the reference values of
            the guards), history.csv, best.keras, best.json, checkpoints/, tensorboard/.
        recipe: "quick", "report" or "paper".
        epochs: Number of epochs that replaces the recipe's.
        steps: Steps per epoch that replace the recipe's.
        options: Arguments of the builder that replace the recipe's, e.g. `width`.
        training: Settings of the network's own training algorithm that replace the
            recipe's, e.g. `feature_extractor` of WGAN-VGG: fields of
            `get_spec(name).settings`.
        doses: A range of doses that replaces the recipe's: every patch is simulated at
            a dose drawn from it, with new noise. The records must come from the layout
            `single`; validation uses their own low dose.
        loss: "mse", "mae" or "noise_free" instead of the recipe's; the last learns the
            noise-free image from references with noise.
        patches_per_slice: Patches that are cut from a slice each time it is read, and
            with `doses` simulated, instead of the recipe's number. Simulation takes
            more time than a step of a small network; more patches save most of it.
        learning_rate: At the start, instead of the recipe's, whose schedule is scaled
            with it. Less than the recipe's keeps what `start_from` has learned.
        start_from: The name of published weights, a run or a `.keras` file of the same
            network: training begins with its weights instead of new ones. Optimisers,
            critics and discriminators begin anew.
        precision: "float32", "bfloat16" or "float16": the network computes its steps in
            it, with weights in float32. bfloat16 takes about half the time on
            processors with instructions for it. What is validated and saved is float32.
        trust: For `start_from`, as of `ct_keras.load`.
        seed: Seed of the initial weights and of the patches.
        resume: Whether to continue from the newest intact checkpoint in `out`, if any.
        validation_slices: Slices of the split val used after each epoch; for a network
            of volumes at least as many, in two or more stacks of the recipe's depth.
        deterministic: Whether TensorFlow's operations are made deterministic (in this
            process).
        progress: Whether a progress bar is shown.
        strategy: None for one device; "mirrored" for every GPU of this machine;
            "multi-worker" for the cluster of which TF_CONFIG tells each worker its
            place; or a `tf.distribute.Strategy`. The recipe's batch is shared by all
            devices. Workers need records and run folder on storage that all of them
            see; the first alone writes the run. Two devices draw the same dropout
            masks.

    Returns:
        The result of the run.

    Raises:
        CtKerasError: CTK-E071 if `out` is not empty and `resume` is false, overlaps
            `records`, or is being written by another run; CTK-E084 for an unknown
            recipe or a missing split; CTK-E080 for damaged records, CTK-E085 for
            records that lack what `doses` or `loss` needs; CTK-E000 for an unknown
            setting or invalid value of the training algorithm, or for a `loss` that it
            does not use; CTK-E087 if the run to resume has different settings, or the
            weights to start from belong to a different network; CTK-E090, E091 or E092
            if they cannot be loaded; CTK-E092 for an unknown network; CTK-E089 if
            training diverges; CTK-E000 also for an unknown strategy, an invalid
            TF_CONFIG, or a batch or precision that several devices cannot share;
            CTK-E110, if another worker ends.
    """
    devices = find_devices(strategy)
    spec = get_spec(name)
    chosen = chosen_recipe(
        spec,
        recipe,
        records,
        epochs=epochs,
        steps=steps,
        options=options,
        training=training,
        doses=doses,
        loss=loss,
        patches_per_slice=patches_per_slice,
        learning_rate=learning_rate,
        start_from=start_from,
        precision=precision,
    )
    start = load_start(chosen.start_from, trust=trust)
    run = Path(out)
    manifest = read_manifest(records)
    for split in ("train", "val"):
        shard_paths(manifest, split)  # refuses damaged shards first
    check_output_folder(run, inputs=[records], resumable=True)
    devices.check(chosen.batch_size, chosen.mixed_precision)
    config = configuration(spec, chosen, records, seed, validation_slices)
    config["recipe"]["start_from"] = name_with_hash(start)
    config |= {"workers": devices.workers}
    with devices.folder(run) as folder:
        resume = resume and can_resume(run, config)
        if not resume and devices.is_chief:
            check_output_folder(run, fix=_FILLED)
        return _trained(
            folder,
            spec,
            chosen,
            config,
            records,
            devices,
            start,
            resume=run if resume else None,
            deterministic=deterministic,
            progress=progress,
        )


def _trained(
    run: Path,
    spec: ModelSpec,
    chosen: Recipe,
    config: dict,
    records: str | Path,
    devices: Devices,
    start: Denoiser | None,
    *,
    resume: Path | None,
    deterministic: bool,
    progress: bool,
) -> TrainingResult:
    """Trains in a folder that is checked and locked; `resume` is the run to go on."""
    seed, validation_slices = config["seed"], config["validation_slices"]
    if chosen.depth is None:
        pairs = fixed_slices(records, "val", validation_slices)
    else:
        pairs = fixed_volumes(records, "val", validation_slices, chosen.depth)
    if chosen.noise is not None:
        pairs = with_drawn_noise(pairs, chosen.noise)
    if chosen.loss == "noise_free":
        pairs = with_noise_free_references(pairs)
    with devices.scope():
        model = compiled_model(spec, chosen, seed, deterministic)
    network = model.network if isinstance(model, TrainingSystem) else model
    if start is not None:
        begin_with(network, start)
    state = {}
    if resume:
        state = _restore_latest(resume, model)
        write_history(run, state.get("history", []))
    else:
        ranges = json.dumps(training_ranges(records, doses=chosen.doses), indent=1)
        write_text(run / "ranges.json", ranges + "\n")
        write_text(run / "config.json", json.dumps(config, indent=1) + "\n")
    logger.info("%s", describe_length(chosen, records))
    untreated = validate(lambda low_hu: low_hu, pairs)
    logger.info("noisy input: validation PSNR %.2f dB", untreated.psnr)

    stop = StopOnSignal(alone=devices.strategy is None)
    denoiser = Denoiser(in_float32(network))
    recorder = EpochRecorder(run, denoiser, network, pairs, state, stop)
    epoch, progress = state.get("epoch", 0), progress and devices.is_chief
    devices.check_agreement(settings=checksum(config), epoch=epoch)
    _fit(model, chosen, records, devices, seed, epoch, recorder, progress)
    return TrainingResult(run, recorder.best or {}, untreated, not stop.received)


def _fit(
    model: keras.Model,
    recipe: Recipe,
    records: str | Path,
    devices: Devices,
    seed: int,
    first_epoch: int,
    recorder: EpochRecorder,
    progress: bool,
) -> None:
    if first_epoch >= recipe.epochs or converged(model, recorder.history):
        return
    steps = recipe.steps_per_epoch
    examples = training_examples(
        recipe,
        records,
        seed=seed,
        steps=steps * getattr(model, "batches_per_step", 1),
        first_epoch=first_epoch,
        share=(devices.worker, devices.workers),
    )
    callbacks = [StopOnNaN(), recorder.stop, recorder]
    if progress:
        callbacks.append(ProgressBar(recipe.epochs, steps, first_epoch))
    with telling_damage(records):
        if devices.strategy:
            from ct_keras.training.distributed import fit_on_devices

            fit_on_devices(
                model,
                examples,
                devices,
                callbacks=callbacks,
                stop=recorder.stop,
                first_epoch=first_epoch,
                epochs=recipe.epochs,
                steps=steps,
            )
            return
        model.fit(
            examples,
            initial_epoch=first_epoch,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )


def _restore_latest(run: Path, model: keras.Model) -> dict:
    checkpoint, state, findings = latest_state(run / "checkpoints")
    for finding in findings:
        logger.warning("%s", finding)
    if checkpoint is None:
        return {}
    restore(checkpoint, model)
    logger.info("resuming after epoch %d", state["epoch"])
    return state
