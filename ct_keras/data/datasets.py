"""tf.data pipelines from records: training patches and whole slices.

The batches of epoch e depend on the seed and e only, so a resumed run sees the same
batches as an uninterrupted one. Only the records of an epoch are read, by their number
in the shard, so an epoch of any length draws evenly from all patients and from all
slices of each.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from ct_keras.data.drawn_dose import check_doses
from ct_keras.data.drawn_noise import noise_drawer
from ct_keras.data.manifest import Manifest, count_slices, read_manifest, shard_paths
from ct_keras.data.noises import DrawnNoise
from ct_keras.data.patches import RecordTable, Stream, cut_patches, fold, turn
from ct_keras.data.records import network_units, parse
from ct_keras.errors import CtKerasError

#: Patches are shuffled over this many slices.
_MIXED_SLICES = 32


def steps_per_pass(
    records: str | os.PathLike,
    *,
    split: str = "train",
    batch_size: int = 32,
    patches_per_slice: int = 16,
) -> int:
    """Returns the number of batches in one pass over a split, at least 1."""
    slices = count_slices(read_manifest(records), split)
    return max(1, slices * patches_per_slice // batch_size)


def training_patches(
    records: str | os.PathLike,
    *,
    split: str = "train",
    patch_size: int = 80,
    batch_size: int = 32,
    seed: int = 0,
    steps: int | None = None,
    first_epoch: int | None = None,
    patches_per_slice: int = 16,
    augment: bool = True,
    reject: bool = True,
    noise: DrawnNoise | Mapping[str, object] | None = None,
    doses: tuple[float, float] | None = None,
    noise_free_targets: bool = False,
    share: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Random patch pairs, drawn evenly from the patients of a split.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.
        patch_size: Rows and columns of a patch.
        batch_size: Patches in a batch.
        seed: Seed of all random numbers.
        steps: Batches in an epoch; by default those of one pass.
        first_epoch: None for a data set of `steps` batches, in which every iteration is
            the next epoch. A number gives an endless stream that begins with this
            epoch, for ``fit(steps_per_epoch=steps, initial_epoch=first_epoch)``.
        patches_per_slice: Patches cut from a slice each time it is drawn.
        augment: Whether patches are flipped and rotated by multiples of 90 degrees.
        reject: Whether to avoid patches of which less than 40 % is body.
        noise: None for the low dose of the records; otherwise a
            `ct_keras.data.noises.DrawnNoise`, applied to the full dose instead.
            The positions of the patches do not depend on it.
        doses: None for the low dose of the records; otherwise a range from which the
            dose is drawn (log-uniform) and simulated each time a slice is read.
        noise_free_targets: Whether the second element of a batch has the three channels
            of `ct_keras.losses.NoiseFreeLoss`: full dose, low dose, noise share.
        share: The number of this worker, from 0, and of all. Each reads its own of the
            slices that an epoch draws, and gives that share of every batch.

    Returns:
        Batches ``(low, full)``, float32 (batch_size / workers, patch_size, patch_size,
        1), network units. The same arguments give the same batches, bit for bit.

    Raises:
        CtKerasError: CTK-E085, E081, E080, E084 for records that cannot be read;
            CTK-E085 also if they lack what `doses` or `noise_free_targets` needs;
            CTK-E086, if a slice is smaller than a patch; CTK-E000 for an invalid noise
            or range, or for both.
    """
    manifest = read_manifest(records)
    table = RecordTable(manifest, split)
    table.check_patch(patch_size)
    size = max(1, len(table.shard) * patches_per_slice // batch_size)
    steps = size if steps is None else steps
    own_size = batch_size // share[1]
    if doses is not None:
        doses = check_doses(doses, manifest, split)
    elif noise_free_targets:
        _check_shares(manifest, split)
    _check_noise(noise, doses, noise_free_targets)
    cut = functools.partial(
        cut_patches,
        patch_size=patch_size,
        count=patches_per_slice,
        reject=reject,
        doses=doses,
    )
    draw_noise = None if noise is None else noise_drawer(noise)

    def epoch_dataset(epoch: tf.Tensor) -> tf.data.Dataset:
        seeds = tf.stack([tf.cast(seed, tf.int64), epoch])
        draws = share[1] * -(-steps * own_size // patches_per_slice)
        patches = table.draw(seeds, draws, share).map(
            cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        blocks = numbered(patches.batch(_MIXED_SLICES), share)
        mix = functools.partial(_mix, seeds=fold(seeds, Stream.MIX))
        patches = blocks.map(
            mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        batches = patches.rebatch(own_size, drop_remainder=True).take(steps)
        finish = functools.partial(
            _finish,
            seeds=seeds,
            augment=augment,
            draw_noise=draw_noise,
            noise_free_targets=noise_free_targets,
        )
        return numbered(batches, share).map(
            finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    dataset = epochs(first_epoch).flat_map(epoch_dataset)
    if first_epoch is None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return ordered(dataset).prefetch(tf.data.AUTOTUNE)


def slices(records: str | os.PathLike, *, split: str = "test") -> tf.data.Dataset:
    """Whole slice pairs in the order of the records, for validation and testing.

    Args:
        records: The folder that `convert` wrote.
        split: train, val or test.

    Returns:
        ``(low, full)``, float32 (1, rows, columns, 1), network units.

    Raises:
        CtKerasError: CTK-E085, E081, E080, E084 for records that cannot be read.
    """
    manifest = read_manifest(records)
    paths = [str(path) for path in shard_paths(manifest, split)]

    def whole(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pair, rescale, _ = parse(serialized)
        units = network_units(pair, rescale)[..., tf.newaxis]
        return units[:1], units[1:]

    dataset = tf.data.TFRecordDataset(paths).map(
        whole, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    count = count_slices(manifest, split)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return ordered(dataset).prefetch(tf.data.AUTOTUNE)


def ordered(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Keeps the order of the elements despite parallel processing."""
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = True
    return dataset.with_options(options)


def numbered(dataset: tf.data.Dataset, share: tuple[int, int]) -> tf.data.Dataset:
    """Pairs the elements of a worker with numbers that no other worker has."""
    numbers = tf.data.Dataset.range(share[0], np.iinfo(np.int64).max, share[1])
    return tf.data.Dataset.zip(numbers, dataset)


def epochs(first_epoch: int | None) -> tf.data.Dataset:
    """Yields epoch numbers: one per iteration, or all from the first onwards."""
    if first_epoch is not None:
        return tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    numbers = itertools.count()

    def next_epoch() -> Iterator[int]:
        yield next(numbers)

    signature = tf.TensorSpec([], tf.int64)
    return tf.data.Dataset.from_generator(next_epoch, output_signature=signature)


def _mix(
    number: tf.Tensor, block: tuple[tf.Tensor, ...], *, seeds: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Shuffles the patches of a block of slices.

    With `Dataset.shuffle`, the order would depend on TensorFlow's global seed.
    """
    flat = [
        tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], axis=0))
        for part in block
    ]
    noise = tf.random.stateless_uniform([tf.shape(flat[0])[0]], fold(seeds, number))
    order = tf.argsort(noise)
    return tuple(tf.gather(part, order) for part in flat)


def _finish(
    number: tf.Tensor,
    batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    *,
    seeds: tf.Tensor,
    augment: bool,
    draw_noise: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None,
    noise_free_targets: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Converts a batch of stored patches to network units and augments it."""
    stored, rescale, share = batch
    units = network_units(stored, rescale[:, tf.newaxis, tf.newaxis, tf.newaxis])
    if augment:
        units = turn(units, fold(fold(seeds, Stream.TURNS), number))
    low, full = units[:, 0, :, :, tf.newaxis], units[:, 1, :, :, tf.newaxis]
    if draw_noise is not None:
        low = draw_noise(full, fold(fold(seeds, Stream.NOISE), number))
    if noise_free_targets:
        share = tf.reshape(share, [-1, 1, 1, 1]) * tf.ones_like(full)
        return low, tf.concat([full, low, share], axis=-1)
    return low, full


def _check_shares(manifest: Manifest, split: str) -> None:
    """Requires records that tell how much noise the full dose holds."""
    if not all(shard.noise_shares for shard in manifest.of_split(split)):
        raise CtKerasError(
            "CTK-E085",
            "the dose of some low-dose slices is unknown, and the noise-free loss "
            "depends on it",
            received=f"records of the layout {manifest.layout}, schema "
            f"{manifest.schema_version}",
            expected="a dose for every pair, schema 1.3 or later",
            fix="convert again with the dose of the low-dose images (--dose of "
            "convert), or choose another loss",
        )


def _check_noise(noise, doses, noise_free_targets: bool) -> None:
    """Refuses an artificial noise together with what needs a dose."""
    if noise is not None and (doses is not None or noise_free_targets):
        raise CtKerasError(
            "CTK-E000",
            "an artificial noise has no dose",
            received="a drawn noise together with doses or the noise-free loss",
            expected="one of them",
        )
