"""A network with the algorithm that trains it: the base of every own `train_step`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras

from ct_keras.errors import CtKerasError


class TrainingSystem(keras.Model):
    """A denoising network with its own training algorithm, run by `fit`.

    Subclasses override `compile` (which builds every optimiser, so that a checkpoint
    holds all of their state) and `train_step`. Only `network` is the product: it is
    what gets wrapped, saved and exported.

    Args:
        network: The network that denoises, in network units.

    Attributes:
        network: The same.
        batches_per_step: Batches of the data set that one training step uses up.

    Raises:
        CtKerasError: CTK-E093, if the backend of Keras is not TensorFlow.
    """

    batches_per_step = 1

    def __init__(self, network: keras.Model):
        if keras.backend.backend() != "tensorflow":
            raise CtKerasError(
                "CTK-E093",
                f"the training algorithm of {network.name} needs the TensorFlow "
                "backend",
                received=keras.backend.backend(),
                fix="set KERAS_BACKEND=tensorflow; the network itself runs everywhere",
            )
        super().__init__(name=network.name)
        self.network = network
        self.built = True

    def call(self, inputs, training=False):
        """Denoises, in network units."""
        return self.network(inputs, training=training)

    def begin_epoch(self, epoch: int) -> None:
        """Called by `fit` before each epoch, counted from 0; for schedules and phases.

        A phase that changes what `train_step` does calls
        ``self.make_train_function(force=True)`` here.
        """

    def converged(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether training ends early, after epochs with these means; for `train`.

        Args:
            history: For each epoch its number and means, as in history.csv.
        """
        return False

    def fit(self, x, *, callbacks=None, **options):
        """Runs `keras.Model.fit` on a data set of batches ``(low, full)``.

        Batches are put together to what one step uses up (`batches_per_step`).
        """
        if self.batches_per_step > 1:
            batch_size = x.element_spec[0].shape[0]
            x = x.rebatch(batch_size * self.batches_per_step, drop_remainder=True)
        hook = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.begin_epoch(epoch)
        )
        return super().fit(x, callbacks=[hook, *(callbacks or [])], **options)


class TwoPlayerSystem(TrainingSystem):
    """A denoising network and an opponent that learns to tell its output from real.

    Each has an optimiser. Subclasses write the losses of both and call `update`.

    Args:
        network: The network that denoises, in network units.
        opponent: The discriminator or critic.
        meters: Names of the means that `fit` reports, "loss" first.

    Attributes:
        network: The same.
        opponent: The same.
        opponent_optimizer: The optimiser of the opponent; `optimizer` is the network's.
    """

    def __init__(
        self, network: keras.Model, opponent: keras.Model, *, meters: Sequence[str]
    ):
        super().__init__(network)
        self.opponent = opponent
        self._means = {name: keras.metrics.Mean(name=name) for name in meters}

    @property
    def trained(self) -> keras.Model:
        """What the first optimiser trains: the network, or one that contains it."""
        return self.network

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        opponent_optimizer: keras.optimizers.Optimizer,
        *,
        jit_compile: bool = False,
    ) -> None:
        """Takes the two optimisers and builds both, so that a checkpoint holds both.

        Under the policy mixed_float16 both scale their losses, see `update`.

        Raises:
            CtKerasError: CTK-E000 for one optimiser for both.
        """
        if optimizer is opponent_optimizer:
            raise CtKerasError(
                "CTK-E000",
                "a network and its opponent need separate optimisers",
                received="the same object for both",
            )
        # Keras would scale one of the two, and only in its own `train_step`.
        super().compile(
            optimizer=self._scaling(optimizer),
            jit_compile=jit_compile,
            auto_scale_loss=False,
        )
        self.opponent_optimizer = self._scaling(opponent_optimizer)
        self.optimizer.build(self.trained.trainable_variables)
        self.opponent_optimizer.build(self.opponent.trainable_variables)

    def _scaling(self, optimizer):
        if self.dtype_policy.name != "mixed_float16":
            return optimizer
        return keras.optimizers.LossScaleOptimizer(optimizer)

    def update(
        self,
        player: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        losses: Callable[[object], Sequence],
        *,
        learns: bool = True,
    ) -> tuple:
        """Computes the losses of a player, and makes one update of its weights.

        On several devices the losses are those of a device's part of the batch, and the
        update is by their mean.

        Args:
            player: `trained` or `opponent`.
            optimizer: Its optimiser.
            losses: From the gradient tape to the loss and whatever else is measured.
            learns: False only computes them.

        Returns:
            What `losses` returned.
        """
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss, *terms = losses(tape)
            scaled = optimizer.scale_loss(loss) / replicas()
        if learns:
            weights = player.trainable_variables
            optimizer.apply(tape.gradient(scaled, weights), weights)
        return loss, *terms

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The means that `fit` reports and starts anew in each epoch."""
        return list(self._means.values())

    def measure(self, **values) -> dict:
        """Adds values to the means of their names; returns all means."""
        for name, value in values.items():
            self._means[name].update_state(value)
        return {name: mean.result() for name, mean in self._means.items()}


def replicas() -> int:
    """Devices that share a step; an optimiser adds up what they hand it."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def own_part(values):
    """This device's part of values that were drawn for the whole batch.

    So the devices draw different numbers, the same ones as a single device would.

    Args:
        values: (batch, ...), the batch being that of all devices.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    size = values.shape[0] // context.num_replicas_in_sync
    start = context.replica_id_in_sync_group * size
    return values[start : start + size]
