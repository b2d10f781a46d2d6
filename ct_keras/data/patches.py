"""Selects and cuts the patches of an epoch in the TensorFlow graph."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import tensorflow as tf

from ct_keras.data.body import body_shares
from ct_keras.data.drawn_dose import draw_dose
from ct_keras.data.manifest import Manifest, shard_paths
from ct_keras.data.records import decode, parse
from ct_keras.errors import CtKerasError

#: A patch pair is informative if at least this share of both patches is body. The
#: RED-CNN loaders in circulation require a mean of -614 HU instead: for soft tissue
#: beside air the same share, but it rejects most of the lung.
BODY_SHARE = 0.4
#: Candidate positions for every patch.
_TRIES = 4


class Stream(IntEnum):
    """Independent streams of random numbers, one for each purpose."""

    PATIENTS = 0
    SLICES = 1
    PLACES = 2
    MIX = 3
    TURNS = 4
    NOISE = 5
    DOSE = 6


def fold(seeds: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns new seeds, int64 (2,), derived from `seeds` and a number."""
    return tf.random.experimental.stateless_fold_in(seeds, tf.cast(number, tf.int64))


class RecordTable:
    """The location of each record of a split, grouped by patient.

    Args:
        manifest: Manifest of the records.
        split: train, val or test.

    Attributes:
        shard: For each record, the index of its file in `files`.
        record: For each record, its index in the file.
        patient: For each record, the number of its patient.
        sizes: For each patient, the number of records.
    """

    def __init__(self, manifest: Manifest, split: str):
        paths = shard_paths(manifest, split)
        shards = manifest.of_split(split)
        order = sorted(range(len(shards)), key=lambda i: (shards[i].case, i))
        counts = np.array([shards[i].records for i in order])
        hashes = np.array([shards[i].case for i in order])
        names, numbers = np.unique(hashes, return_inverse=True)
        self.files = [str(path) for path in paths]
        self.shard = np.repeat(np.array(order, np.int64), counts)
        self.record = np.concatenate([np.arange(n, dtype=np.int64) for n in counts])
        self.patient = np.repeat(numbers, counts).astype(np.float64)
        sizes = np.bincount(numbers, weights=counts, minlength=len(names))
        self.sizes = sizes.astype(np.int64)
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.smallest = min(min(shards[i].rows[0], shards[i].columns[0]) for i in order)

    def check_patch(self, patch_size: int) -> None:
        """Refuses a patch that does not fit into every slice (CTK-E086)."""
        if self.smallest < patch_size:
            raise CtKerasError(
                "CTK-E086",
                "the smallest slice is smaller than a patch",
                received=f"{self.smallest} pixels",
                expected=f"at least {patch_size} pixels",
                fix="choose a smaller patch size",
            )

    def draw(
        self, seeds: tf.Tensor, draws: int, share: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Yields a worker's of the `draws` records of an epoch, with a seed for each.

        Every patient is drawn once before any is drawn twice; the same holds for the
        slices of a patient.
        """
        order = self.plan(seeds, draws)
        numbers = tf.data.Dataset.range(share[0], draws, share[1])
        files = tf.constant(self.files)
        shard, record = tf.gather(self.shard, order), tf.gather(self.record, order)

        def fetch(number: tf.Tensor) -> tf.data.Dataset:
            # Without a buffer, skipping reads the frame headers only.
            path = tf.gather(files, tf.gather(shard, number))
            data = tf.data.TFRecordDataset(path, buffer_size=0)
            data = data.skip(tf.gather(record, number)).take(1)
            own_seeds = fold(fold(seeds, Stream.PLACES), number)
            return data.map(lambda serialized: (serialized, own_seeds))

        return numbers.interleave(
            fetch,
            cycle_length=4,
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def plan(self, seeds: tf.Tensor, draws: int) -> tf.Tensor:
        """Returns the numbers of the `draws` records of an epoch."""
        patients, total = len(self.sizes), len(self.shard)
        rounds = -(-draws // patients)
        turns = tf.random.stateless_uniform(
            [rounds, patients], fold(seeds, Stream.PATIENTS)
        )
        patient = tf.reshape(tf.argsort(turns, axis=1), [-1])[:draws]
        within = tf.random.stateless_uniform(
            [total], fold(seeds, Stream.SLICES), dtype=tf.float64
        )
        shuffled = tf.argsort(self.patient + within, stable=True)
        turn = tf.range(draws, dtype=tf.int64) // patients
        place = tf.gather(self.offsets, patient) + turn % tf.gather(self.sizes, patient)
        return tf.gather(shuffled, place)


def read_pair(
    serialized: tf.Tensor, seeds: tf.Tensor, *, doses: tuple[float, float] | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads one record as `parse` does; `doses` replaces its low dose by a new one."""
    pair, rescale, share = parse(serialized)
    if doses is None:
        return pair, rescale, share

    def drawn(data: bytes, own_seeds: np.ndarray) -> tuple[np.ndarray, np.float32]:
        low, share = draw_dose(decode(data), doses, own_seeds)
        return low, np.float32(share)

    low, share = tf.numpy_function(
        drawn, [serialized, fold(seeds, Stream.DOSE)], (tf.int16, tf.float32)
    )
    low = tf.ensure_shape(low, [None, None])
    return tf.stack([low, pair[1]]), rescale, tf.ensure_shape(share, [])


def cut_patches(
    serialized: tf.Tensor,
    seeds: tf.Tensor,
    *,
    patch_size: int,
    count: int,
    reject: bool,
    doses: tuple[float, float] | None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts patches at random positions of one record.

    Returns:
        int16 (count, 2, patch_size, patch_size), the rescale (count, 2) and the noise
        share (count,).
    """
    pair, rescale, share = read_pair(serialized, seeds, doses=doses)
    tries = count * _TRIES if reject else count
    room = tf.shape(pair)[1:] - patch_size + 1
    corners = tf.stack(
        [
            tf.random.stateless_uniform(
                [tries], fold(seeds, axis), maxval=room[axis], dtype=tf.int32
            )
            for axis in range(2)
        ],
        axis=1,
    )
    if reject:
        shares = body_shares(pair, rescale, corners, patch_size)
        good = tf.reduce_all(shares >= BODY_SHARE, axis=0)
        first = tf.argsort(tf.cast(~good, tf.int32), stable=True)
        found = tf.reduce_sum(tf.cast(good, tf.int32))
        # If none is informative (a slice of air), the first positions are taken.
        found = tf.where(found > 0, found, tries)
        corners = tf.gather(corners, tf.gather(first, tf.range(count) % found))
    size = [2, patch_size, patch_size]
    patches = [
        tf.slice(pair, [0, corners[i, 0], corners[i, 1]], size) for i in range(count)
    ]
    return (
        tf.stack(patches),
        tf.tile(rescale[tf.newaxis], [count, 1]),
        tf.fill([count], share),
    )


def turn(pairs: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Applies random flips along rows, columns and the diagonal: 8 orientations.

    Args:
        pairs: float32 (batch, 2, rows, columns); both images of a pair are flipped
            alike.
        seeds: int64 (2,).
    """
    coins = tf.random.stateless_uniform(
        [3, tf.shape(pairs)[0], 1, 1, 1], seeds, maxval=2, dtype=tf.int32
    )
    coins = tf.cast(coins, tf.bool)
    pairs = tf.where(coins[0], tf.reverse(pairs, [2]), pairs)
    pairs = tf.where(coins[1], tf.reverse(pairs, [3]), pairs)
    return tf.where(coins[2], tf.transpose(pairs, [0, 1, 3, 2]), pairs)
