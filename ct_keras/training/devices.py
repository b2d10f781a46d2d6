"""The devices and workers that share a training run, by `tf.distribute`.

Every device works on its part of each batch, and one update sums the gradients of all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras

from ct_keras.errors import CtKerasError
from ct_keras.files import folder_lock

logger = logging.getLogger(__name__)
MIRRORED, MULTI_WORKER = STRATEGIES = ("mirrored", "multi-worker")
#: The variable that describes a cluster to each of its workers.
CLUSTER_VARIABLE = "TF_CONFIG"


@dataclass(frozen=True)
class Devices:
    """Where a run is trained.

    Attributes:
        strategy: A `tf.distribute.Strategy`, or None for Keras' own loop on one device.
        worker: The number of this process among the workers, from 0. Worker 0 is the
            chief, which alone writes the folder of the run.
        workers: The number of processes.
    """

    strategy: object = None
    worker: int = 0
    workers: int = 1

    @property
    def replicas(self) -> int:
        """Devices of all workers."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the folder of the run."""
        return self.worker == 0

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """The context in which models and optimisers are built."""
        if self.strategy is None:
            yield
            return
        with telling_loss(), self.strategy.scope():
            yield

    @contextlib.contextmanager
    def folder(self, run: Path) -> Iterator[Path]:
        """Where this process writes: the run, locked; of other workers a stand-in."""
        if self.is_chief:
            with folder_lock(run):
                yield run
            return
        with tempfile.TemporaryDirectory(prefix="ct-keras-worker-") as folder:
            yield Path(folder) / run.name

    def check(self, batch_size: int, precision: str) -> None:
        """Refuses what the devices cannot share (CTK-E000).

        Args:
            batch_size: Of the recipe; each device takes an equal part.
            precision: Of the steps. Keras cannot scale the losses of float16 on several
                devices (keras-team/keras issue 18666).
        """
        if self.strategy and precision == "mixed_float16":
            raise CtKerasError(
                "CTK-E000",
                "several devices cannot train in float16",
                received=precision,
                expected="float32 or bfloat16 (--precision of train)",
            )
        if batch_size % self.replicas:
            raise CtKerasError(
                "CTK-E000",
                "the batch cannot be shared evenly by the devices",
                received=f"batch size {batch_size}, {self.replicas} devices",
                expected=f"a multiple of {self.replicas}",
                fix="choose another recipe or fewer devices (CUDA_VISIBLE_DEVICES)",
            )

    def check_agreement(self, **values: int) -> None:
        """Refuses workers that are about to train different runs (CTK-E087)."""
        import tensorflow as tf

        if self.workers == 1:
            return
        own = tf.constant([list(values.values())], tf.int64)
        with telling_loss():
            gathered = self.strategy.gather(self.strategy.run(lambda: own), axis=0)
            everyone = gathered.numpy()
        for name, column in zip(values, everyone.T, strict=True):
            if len(set(column)) > 1:
                raise CtKerasError(
                    "CTK-E087",
                    f"the workers do not agree on the {name} of the run",
                    received=", ".join(map(str, column)),
                    fix="start every worker with the same options, and with records "
                    "and a run folder on storage that all of them see",
                )


@contextlib.contextmanager
def telling_loss() -> Iterator[None]:
    """Turns what TensorFlow raises when another worker is gone into CTK-E110."""
    import tensorflow as tf

    errors = tf.errors
    try:
        yield
    except (
        errors.UnavailableError,
        errors.AbortedError,
        errors.CancelledError,
        errors.DeadlineExceededError,
        errors.FailedPreconditionError,
    ) as error:
        raise CtKerasError(
            "CTK-E110",
            "another worker has ended, so this one cannot go on",
            received=type(error).__name__,
            fix="start every worker again with resume=True (--resume of train): they "
            "continue after the last finished epoch",
        ) from error


def find_devices(strategy: object) -> Devices:
    """Returns the devices of a strategy.

    Args:
        strategy: None for one device; "mirrored" for every GPU of this machine (without
            one, every logical CPU device of TensorFlow); "multi-worker" for the cluster
            that TF_CONFIG describes; or a `tf.distribute.Strategy` of this process.

    Raises:
        CtKerasError: CTK-E000 for another name or a TF_CONFIG that describes no
            cluster; CTK-E093, if the backend of Keras is not TensorFlow.
    """
    if strategy is None:
        return Devices()
    if isinstance(strategy, str) and strategy not in STRATEGIES:
        raise CtKerasError(
            "CTK-E000",
            "unknown strategy",
            received=strategy,
            expected=", ".join(STRATEGIES),
        )
    if keras.backend.backend() != "tensorflow":
        raise CtKerasError(
            "CTK-E093",
            "training on several devices needs the TensorFlow backend",
            received=keras.backend.backend(),
            fix="set KERAS_BACKEND=tensorflow",
        )
    if strategy == MULTI_WORKER:
        return _cluster()
    devices = Devices(_mirrored() if strategy == MIRRORED else strategy)
    if devices.replicas == 1:
        logger.warning("there is one device only: the strategy changes nothing")
    return devices


def _mirrored():
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    # TensorFlow's default lets each device reduce when it gets there. With several
    # optimisers in a step their gradients meet in the wrong order.
    reduction = (
        tf.distribute.NcclAllReduce if gpus else tf.distribute.ReductionToOneDevice
    )
    return tf.distribute.MirroredStrategy(
        [device.name for device in devices], reduction()
    )


def _cluster() -> Devices:
    worker, workers = _place(os.environ.get(CLUSTER_VARIABLE, ""))
    import tensorflow as tf

    with telling_loss():
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if workers == 1:
        logger.warning("there is one worker only: add others to TF_CONFIG")
    return Devices(strategy, worker, workers)


def _place(text: str) -> tuple[int, int]:
    """Reads TF_CONFIG: the number of this worker, and how many there are."""
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        roles = [role for role in ("chief", "worker") if cluster.get(role)]
        places = [(role, i) for role in roles for i in range(len(cluster[role]))]
        place = places.index((task["type"], int(task["index"])))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CtKerasError(
            "CTK-E000",
            f"{CLUSTER_VARIABLE} does not describe a cluster and this worker's place "
            "in it",
            received=text or "an empty variable",
            expected='{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            '"worker", "index": 0}}',
            fix="set it for every worker, each with its own index",
        ) from error
    if set(cluster) - set(roles):
        raise CtKerasError(
            "CTK-E000",
            f"{CLUSTER_VARIABLE} names tasks that this training does not have",
            received=", ".join(sorted(cluster)),
            expected="worker, and one chief at most",
        )
    return place, len(places)
