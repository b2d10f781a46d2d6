"""The training batches of a recipe, and what damaged records are told as."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ct_keras.data import iterate_pairs, training_patches, training_volumes
from ct_keras.models import Recipe


def training_examples(recipe: Recipe, records: str | Path, **options):
    """Returns the training batches of a recipe: patches, or sub-volumes."""
    options |= {
        "patch_size": recipe.patch_size,
        "batch_size": recipe.batch_size,
        "augment": recipe.augment,
    }
    if recipe.noise is not None:
        options["noise"] = recipe.noise
    if recipe.depth is None:
        return training_patches(
            records,
            patches_per_slice=recipe.patches_per_slice,
            doses=recipe.doses,
            noise_free_targets=recipe.loss == "noise_free",
            **options,
        )
    return training_volumes(records, depth=recipe.depth, **options)


@contextlib.contextmanager
def telling_damage(records: str | Path) -> Iterator[None]:
    """Turns TensorFlow's error about a damaged record into CTK-E080.

    Args:
        records: The folder whose records are read meanwhile.

    Raises:
        CtKerasError: CTK-E080.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.InvalidArgumentError:
        for _ in iterate_pairs(records, "train"):
            pass  # a damaged record raises
        raise
