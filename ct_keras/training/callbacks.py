"""Callbacks around training steps and at the end of an epoch."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import signal
import time
from pathlib import Path

import keras
import numpy as np

from ct_keras import hu
from ct_keras.errors import CtKerasError
from ct_keras.files import atomic_file, sha256_of, write_text
from ct_keras.models import TrainingSystem
from ct_keras.progress import start_meter
from ct_keras.training.checkpoints import save_checkpoint
from ct_keras.training.validation import validate

logger = logging.getLogger(__name__)

#: Slices shown in TensorBoard.
PICTURES = 4


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run with CTK-E089 at the first step whose loss is not finite.

    It raises an error, so no later callback runs and the last checkpoint and the best
    weights are kept.
    """

    def on_train_batch_end(self, batch, logs=None):
        """Checks the losses that the step returned."""
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                raise CtKerasError(
                    "CTK-E089",
                    f"training diverged at step {batch + 1} of the epoch",
                    received=f"{name} = {value}",
                    fix="the last good weights are kept; lower the learning rate or "
                    "clip the gradient, then train again",
                )


class StopOnSignal(keras.callbacks.Callback):
    """Makes SIGTERM, SIGINT and SIGHUP end training after the current step.

    A signal that the process ignores, as SIGHUP under nohup, stays ignored.

    Args:
        alone: False for one of several workers, which end after the same step: the loop
            sets `received` when any of them has `signalled`.

    Attributes:
        signalled: Whether this process received a signal.
        received: Whether training ends by it; the current epoch is then incomplete.
    """

    def __init__(self, *, alone: bool = True):
        super().__init__()
        self.alone = alone
        self.signalled = self.received = False
        self._previous = {}

    def on_train_begin(self, logs=None):
        """Installs the signal handlers (in the main thread only)."""
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                self._previous[number] = signal.signal(number, self._receive)
            except ValueError:  # not the main thread: the caller handles signals
                return

    def on_train_end(self, logs=None):
        """Restores the previous handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch, logs=None):
        """Stops training after the step if a signal was received."""
        if self.received:
            self.model.stop_training = True

    def _receive(self, number, frame):
        self.signalled = True
        self.received = self.received or self.alone


class EpochRecorder(keras.callbacks.Callback):
    """Validates, logs, and saves the best weights and a checkpoint after each epoch.

    Args:
        run: The folder of the run.
        denoiser: What is validated and saved, HU to HU.
        network: The network being trained: the denoiser's, or one in another precision
            whose weights the denoiser takes after each epoch.
        pairs: Validation slices, or volumes.
        state: The state of the restored checkpoint: "history" (list of rows) and
            "best".
        stop: The callback that knows whether a signal ended the epoch early.
    """

    def __init__(
        self,
        run: Path,
        denoiser,
        network,
        pairs,
        state: dict,
        stop: StopOnSignal,
    ):
        super().__init__()
        self.run = run
        self.denoiser = denoiser
        self.network = network
        self.pairs = pairs
        self.stop = stop
        self.history = list(state.get("history", []))
        self.best = state.get("best")
        self._board = _Board(run / "tensorboard")
        self._started = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the timer."""
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Records a complete epoch; one ended early by a signal is not recorded."""
        if self.stop.received:
            return
        seconds = time.monotonic() - self._started
        if self.network is not self.denoiser.network:
            self.denoiser.network.set_weights(self.network.get_weights())
        result = validate(self.denoiser, self.pairs)
        row = {"epoch": epoch + 1}
        row |= {name: float(value) for name, value in (logs or {}).items()}
        row |= {f"val_{name}": value for name, value in vars(result).items()}
        row |= {"learning_rate": _learning_rate(self.model), "seconds": seconds}
        self.history.append(row)
        if self.best is None or _error(row) < _error(self.best):
            self.best = {"epoch": row["epoch"]}
            self.best |= {f"val_{name}": value for name, value in vars(result).items()}
            self._save_best()
        if converged(self.model, self.history):
            self.model.stop_training = True
        state = {"epoch": epoch + 1, "history": self.history, "best": self.best}
        save_checkpoint(self.run / "checkpoints", self.model, state)
        write_history(self.run, self.history)
        self._board.write(row, self.denoiser, self.pairs[:PICTURES])
        logger.info(
            "epoch %d: loss %.3e, validation PSNR %.2f dB, RMSE %.1f HU, "
            "of all tissues %.1f HU, %.0f s",
            epoch + 1,
            row.get("loss", math.nan),
            result.psnr,
            result.rmse_hu,
            result.tissue_rmse_hu,
            seconds,
        )

    def on_train_end(self, logs=None):
        """Closes the TensorBoard log."""
        self._board.close()

    def _save_best(self) -> None:
        with atomic_file(self.run / "best.keras") as temporary:
            self.denoiser.model.save(temporary)
        best = self.best | {"sha256": sha256_of(self.run / "best.keras")}
        write_text(self.run / "best.json", json.dumps(best, indent=1))


def converged(model: keras.Model, history: list[dict]) -> bool:
    """Whether the training algorithm of a model ends early, by the history so far."""
    return isinstance(model, TrainingSystem) and model.converged(history)


def _error(row: dict) -> float:
    """What the best epoch has least of; infinite if an older version wrote the row."""
    return row.get("val_tissue_rmse_hu", math.inf)


class ProgressBar(keras.callbacks.Callback):
    """One display for the whole run: a bar in a terminal, a line in a notebook.

    Args:
        epochs: Of the run; by default those that `fit` was given.
        steps: Of an epoch; by default those that `fit` found.
        first_epoch: Epochs that an earlier run has done.
    """

    def __init__(
        self, epochs: int | None = None, steps: int | None = None, first_epoch: int = 0
    ):
        super().__init__()
        self._epochs, self._steps, self._first_epoch = epochs, steps, first_epoch
        self._meter = None

    def on_train_begin(self, logs=None):
        """Starts the display."""
        epochs = self._epochs or self.params.get("epochs")
        steps = self._steps or self.params.get("steps")
        total = epochs * steps if epochs and steps else None
        done = self._first_epoch * (steps or 0)
        self._meter = start_meter("Training", total, done)

    def on_train_batch_end(self, batch, logs=None):
        """Advances the display by one step."""
        if self._meter:
            loss = (logs or {}).get("loss", math.nan)
            self._meter.step(f"Training, loss {loss:.2e}")

    def on_train_end(self, logs=None):
        """Ends the display."""
        if self._meter:
            self._meter.close()


class _Board:
    """Scalars and a few slices in a fixed window for TensorBoard."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer = None

    def write(self, row: dict, denoise, pairs) -> None:
        import tensorflow as tf

        # Created here, so that a run that is already finished gets no further file.
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder))
        step = row["epoch"]
        with self._writer.as_default():
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value, step=step)
            for index, pair in enumerate(pairs):
                panels = [pair.low_hu, denoise(pair.low_hu), pair.full_hu]
                panels = [_middle_slice(panel) for panel in panels]
                picture = hu.to_display(np.hstack(panels), hu.ABDOMEN)
                tf.summary.image(
                    f"slice {index}: low dose, denoised, reference ({hu.ABDOMEN})",
                    picture[None, :, :, None],
                    step=step,
                )
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _middle_slice(hu: np.ndarray) -> np.ndarray:
    """Returns the middle slice of a volume; an image unchanged."""
    return hu if hu.ndim == 2 else hu[len(hu) // 2]


def write_history(run: Path, history: list[dict]) -> None:
    """Writes RUN/history.csv, one row per finished epoch."""
    text = io.StringIO()
    # A row of a run that an older version began can lack a column.
    columns = list(dict.fromkeys(key for row in history for key in row)) or ["epoch"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(run / "history.csv", text.getvalue())


def _learning_rate(model: keras.Model) -> float:
    return float(np.asarray(model.optimizer.learning_rate))
