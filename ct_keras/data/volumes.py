"""Sub-volumes from records: consecutive slices of one series at one dose.

As for patches, the batches of epoch e depend on the seed and e only, and a slice is
read by its number in the shard. Each slice is cropped as soon as it is read, so whole
volumes are never in memory.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from ct_keras.data.body import body_shares
from ct_keras.data.datasets import epochs, numbered, ordered
from ct_keras.data.drawn_noise import noise_drawer
from ct_keras.data.manifest import Manifest, read_manifest
from ct_keras.data.noises import DrawnNoise
from ct_keras.data.patches import BODY_SHARE, RecordTable, Stream, fold
from ct_keras.data.records import network_units, parse
from ct_keras.data.runs import consecutive_runs, read_places
from ct_keras.errors import CtKerasError

#: Candidate positions for every sub-volume.
_TRIES = 4


class VolumeTable(RecordTable):
    """The location of each sub-volume of a split, grouped by patient.

    Every slice with enough consecutive slices above it begins a sub-volume.

    Args:
        manifest: Manifest of the records.
        split: train, val or test.
        depth: Slices of a sub-volume.

    Attributes:
        shard: For each sub-volume and slice, the index of its file in `files`.
        record: For each sub-volume and slice, its index in the file.
        patient: For each sub-volume, the number of its patient.
        sizes: For each patient, the number of sub-volumes.
        disjoint: The number of sub-volumes without common slices.

    Raises:
        CtKerasError: CTK-E086, if there is no sub-volume.
    """

    def __init__(self, manifest: Manifest, split: str, depth: int):
        super().__init__(manifest, split)
        places = read_places(manifest, split)
        located = zip(self.shard, self.record, strict=True)
        runs = consecutive_runs([places[shard][record] for shard, record in located])
        _check_depth(runs, depth)
        long = [np.array(run) for run in runs if len(run) >= depth]
        windows = np.lib.stride_tricks.sliding_window_view
        records = np.concatenate([windows(run, depth) for run in long])
        self.shard, self.record = self.shard[records], self.record[records]
        _, numbers = np.unique(self.patient[records[:, 0]], return_inverse=True)
        self.patient = numbers.astype(np.float64)
        self.sizes = np.bincount(numbers).astype(np.int64)
        self.offsets = np.cumsum(self.sizes) - self.sizes
        self.disjoint = sum(len(run) // depth for run in long)

    def draw(
        self, seeds: tf.Tensor, draws: int, share: tuple[int, int] = (0, 1)
    ) -> tf.data.Dataset:
        """Yields a data set of records for each of a worker's volumes of an epoch.

        Each record comes with the seed of its volume. Every patient is drawn once
        before any is drawn twice; the same holds for the sub-volumes of a patient.
        """
        order = self.plan(seeds, draws)
        files = tf.constant(self.files)
        shard, record = tf.gather(self.shard, order), tf.gather(self.record, order)

        def fetch(shard: tf.Tensor, record: tf.Tensor) -> tf.data.Dataset:
            # Without a buffer, skipping reads the frame headers only.
            data = tf.data.TFRecordDataset(tf.gather(files, shard), buffer_size=0)
            return data.skip(record).take(1)

        def volume(number: tf.Tensor) -> tf.data.Dataset:
            own_seeds = fold(fold(seeds, Stream.PLACES), number)
            slices = tf.data.Dataset.from_tensor_slices((shard[number], record[number]))
            return slices.flat_map(fetch).map(lambda record: (record, own_seeds))

        return tf.data.Dataset.range(share[0], draws, share[1]).map(volume)


def training_volumes(
    records: str | os.PathLike,
    *,
    split: str = "train",
    depth: int = 40,
    patch_size: int = 64,
    batch_size: int = 1,
    seed: int = 0,
    steps: int | None = None,
    first_epoch: int | None = None,
    augment: bool = True,
    reject: bool = True,
    noise: DrawnNoise | Mapping[str, object] | None = None,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Random sub-volume pairs, drawn evenly from the patients of a split.

    The slices of a sub-volume are consecutive slices of one series at one dose.
    Patients without `depth` consecutive slices are left out.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.
        depth: Slices of a sub-volume.
        patch_size: Rows and columns of a sub-volume.
        batch_size: Sub-volumes in a batch.
        seed: Seed of all random numbers.
        steps: Batches in an epoch; by default about one pass over all slices.
        first_epoch: None for a data set of `steps` batches, in which every iteration is
            the next epoch. A number gives an endless stream that begins with this
            epoch, for ``fit(steps_per_epoch=steps, initial_epoch=first_epoch)``.
        augment: Whether sub-volumes are flipped along each axis and rotated in the
            plane by multiples of 90 degrees.
        reject: Whether to avoid sub-volumes of which less than 40 % is body.
        noise: None for the low dose of the records; otherwise a
            `ct_keras.data.noises.DrawnNoise`, applied to the full dose instead.
        share: As of `ct_keras.data.training_patches`.

    Returns:
        Batches ``(low, full)``, float32 (batch_size / workers, depth, patch_size,
        patch_size, 1), network units. The same arguments give the same batches, bit for
        bit.

    Raises:
        CtKerasError: CTK-E085, E081, E080, E084 for records that cannot be read;
            CTK-E086, if a slice is smaller than `patch_size` or no series has `depth`
            consecutive slices; CTK-E000 for an invalid noise.
    """
    table = VolumeTable(read_manifest(records), split, depth)
    table.check_patch(patch_size)
    steps = max(1, table.disjoint // batch_size) if steps is None else steps
    cut = functools.partial(_cut, patch_size=patch_size, tries=_TRIES if reject else 1)
    draw_noise = None if noise is None else noise_drawer(noise)

    def read(slices: tf.data.Dataset) -> tf.data.Dataset:
        return slices.map(cut).batch(depth, drop_remainder=True).map(_informative)

    def epoch_dataset(epoch: tf.Tensor) -> tf.data.Dataset:
        seeds = tf.stack([tf.cast(seed, tf.int64), epoch])
        volumes = table.draw(seeds, steps * batch_size, share).interleave(
            read,
            cycle_length=4,
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        finish = functools.partial(
            _finish, seeds=seeds, augment=augment, draw_noise=draw_noise
        )
        batches = volumes.batch(batch_size // share[1], drop_remainder=True)
        return numbered(batches, share).map(finish)

    dataset = epochs(first_epoch).flat_map(epoch_dataset)
    if first_epoch is None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return ordered(dataset).prefetch(tf.data.AUTOTUNE)


def _check_depth(runs: list[list[int]], depth: int) -> None:
    longest = max(map(len, runs))
    if longest < depth:
        raise CtKerasError(
            "CTK-E086",
            "no series has as many consecutive slices as a sub-volume",
            received=f"at most {longest} consecutive slices",
            expected=f"at least {depth} slices",
            fix="choose a smaller depth",
        )


def _cut(
    serialized: tf.Tensor, seeds: tf.Tensor, *, patch_size: int, tries: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops one slice of a sub-volume at `tries` positions.

    The seeds are those of the sub-volume, so all its slices are cropped alike.

    Returns:
        float32 (tries, 2, patch_size, patch_size), network units, and the share of
        body in each, float32 (tries, 2).
    """
    pair, rescale, _ = parse(serialized)
    room = tf.cast(tf.shape(pair)[1:] - patch_size + 1, tf.float32)
    share = tf.random.stateless_uniform([tries, 2], seeds)
    corners = tf.cast(share * room, tf.int32)
    size = [2, patch_size, patch_size]
    patches = [
        tf.slice(pair, [0, corners[i, 0], corners[i, 1]], size) for i in range(tries)
    ]
    if tries == 1:
        shares = tf.ones([1, 2])
    else:
        shares = tf.transpose(body_shares(pair, rescale, corners, patch_size))
    return network_units(tf.stack(patches), rescale), shares


def _informative(volumes: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Takes the first candidate of which enough is body in both images.

    Args:
        volumes: float32 (depth, tries, 2, rows, columns).
        shares: float32 (depth, tries, 2), the share of body.

    Returns:
        float32 (depth, 2, rows, columns); the first candidate, if none is informative.
    """
    good = tf.reduce_all(tf.reduce_mean(shares, axis=0) >= BODY_SHARE, axis=1)
    return volumes[:, tf.argmax(tf.cast(good, tf.int32))]


def _finish(
    number: tf.Tensor,
    volumes: tf.Tensor,
    *,
    seeds: tf.Tensor,
    augment: bool,
    draw_noise: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Augments a batch of sub-volumes and splits it into low dose and full dose."""
    if augment:
        volumes = _turn(volumes, fold(fold(seeds, Stream.TURNS), number))
    low, full = (volumes[:, :, image, ..., tf.newaxis] for image in range(2))
    if draw_noise is not None:
        low = draw_noise(full, fold(fold(seeds, Stream.NOISE), number))
    return low, full


def _turn(volumes: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Applies random flips along slices, rows, columns and the in-plane diagonal.

    Args:
        volumes: float32 (batch, depth, 2, rows, columns).
        seeds: int64 (2,).
    """
    coins = tf.random.stateless_uniform(
        [4, tf.shape(volumes)[0], 1, 1, 1, 1], seeds, maxval=2, dtype=tf.int32
    )
    coins = tf.cast(coins, tf.bool)
    for coin, axis in zip(range(3), (1, 3, 4), strict=True):
        volumes = tf.where(coins[coin], tf.reverse(volumes, [axis]), volumes)
    return tf.where(coins[3], tf.transpose(volumes, [0, 1, 2, 4, 3]), volumes)
