"""A network with the algorithm that trains it: the base of every own `train_step`."""

from __future__ import annotations

import keras

from ct_keras.errors import CtKerasError


class TrainingSystem(keras.Model):
    """A denoising network and an algorithm of its own that trains it by `fit`.

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
