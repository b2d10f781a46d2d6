"""The training loop on several devices.

Keras 3 cannot `fit` with several workers (keras-team/keras issue 20585, open as of
3.15), so the training step of a model, its own or that of Keras, is run here, with the
same callbacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from ct_keras.models import TrainingSystem
from ct_keras.training.callbacks import StopOnSignal
from ct_keras.training.devices import Devices, telling_loss


def fit_on_devices(
    model: keras.Model,
    batches: tf.data.Dataset,
    devices: Devices,
    *,
    callbacks: Sequence[keras.callbacks.Callback],
    stop: StopOnSignal,
    first_epoch: int,
    epochs: int,
    steps: int,
) -> None:
    """Runs the training steps of a compiled model on every device at once.

    Args:
        model: Built and compiled in the scope of the devices.
        batches: This worker's part of each batch, ``(low, full)``, without end.
        devices: Of the run, with a strategy.
        callbacks: As of `keras.Model.fit`.
        stop: One of them; a signal to any worker ends all after the same step.
        first_epoch: The epoch to begin with, from 0.
        epochs: The epoch to end before.
        steps: Steps of an epoch.

    Raises:
        CtKerasError: CTK-E110, if another worker is gone.
    """
    if isinstance(model, TrainingSystem):
        hook = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: model.begin_epoch(epoch)
        )
        callbacks = [hook, *callbacks]
    callbacks = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=steps
    )
    parts = iter(_distributed(model, batches, devices))
    step = _Step(model, devices)
    model.stop_training = False
    callbacks.on_train_begin()
    try:
        with telling_loss():
            for epoch in range(first_epoch, epochs):
                model.reset_metrics()
                callbacks.on_epoch_begin(epoch)
                for number in range(steps):
                    logs = step(next(parts), stop)
                    callbacks.on_train_batch_end(number, logs)
                    if model.stop_training:
                        break
                callbacks.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
    finally:
        callbacks.on_train_end()


class _Step:
    """One step of all replicas; compiled again when the model changes its step."""

    def __init__(self, model: keras.Model, devices: Devices):
        self._model = model
        self._devices = devices
        self._compiled_for = self._run = None
        self._layers = _normalisations(model)

    def __call__(self, parts, stop: StopOnSignal) -> dict[str, float]:
        self._model.make_train_function()
        if self._run is None or self._compiled_for is not self._model.train_function:
            self._compiled_for = self._model.train_function
            self._run = self._compiled()
        with _synchronised(self._layers):
            signalled, logs = self._run(parts, tf.constant(float(stop.signalled)))
        stop.received = float(signalled) > 0
        return {name: float(value) for name, value in logs.items()}

    def _compiled(self) -> Callable:
        strategy = self._devices.strategy

        def replica(batch, signalled):
            logs = self._model.train_step(batch)
            values = [tf.identity(signalled)]  # one tensor for each device
            values += [tf.cast(value, tf.float32) for value in logs.values()]
            means = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.MEAN, values
            )
            return means[0], dict(zip(logs, means[1:], strict=True))

        @tf.function(reduce_retracing=True, autograph=False)
        def run(parts, signalled):
            results = strategy.run(replica, args=(parts, signalled))
            return tf.nest.map_structure(
                lambda value: strategy.experimental_local_results(value)[0], results
            )

        return run


def _distributed(model: keras.Model, batches: tf.data.Dataset, devices: Devices):
    """Gives each device of this worker its part of what one step uses up.

    A step of several batches gets the device's part of the first, of the second, and
    so on, one after the other, as `TrainingSystem.fit` orders whole batches.
    """
    used = getattr(model, "batches_per_step", 1)
    local = devices.replicas // devices.workers

    def parts(*batch):
        return tuple(_parts(images, local) for images in batch)

    own = batches.batch(used, drop_remainder=True).map(parts).unbatch()
    own = own.prefetch(local)
    return devices.strategy.distribute_datasets_from_function(lambda context: own)


def _parts(images: tf.Tensor, count: int) -> tf.Tensor:
    """Splits (used, batch, ...) into (count, used * batch / count, ...)."""
    used, batch, *shape = images.shape
    images = tf.reshape(images, [used, count, batch // count, *shape])
    images = tf.experimental.numpy.swapaxes(images, 0, 1)
    return tf.reshape(images, [count, used * batch // count, *shape])


def _normalisations(model: keras.Model) -> list[keras.layers.Layer]:
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += _normalisations(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            found.append(layer)
    return found


@contextlib.contextmanager
def _synchronised(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Takes batch statistics over all devices, while the step is traced.

    Saved networks keep the plain layers, which every backend can load.
    """
    for layer in layers:
        layer.synchronized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.synchronized = False
