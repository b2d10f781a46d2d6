"""The length of an epoch: a pass over the training slices, or a number of steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ct_keras.data import count_slices, read_manifest, steps_per_pass
from ct_keras.models import Recipe


def with_passes(recipe: Recipe, records: str | Path) -> Recipe:
    """Returns a recipe whose epochs see every training slice of the records once.

    A recipe whose epoch is not a pass is returned unchanged.

    Raises:
        CtKerasError: As `steps_per_pass`.
    """
    if not recipe.whole_passes:
        return recipe
    steps = steps_per_pass(
        records,
        batch_size=recipe.batch_size,
        patches_per_slice=recipe.patches_per_slice,
    )
    return replace(recipe, steps_per_epoch=steps)


def describe_length(recipe: Recipe, records: str | Path) -> str:
    """Returns the length of a run in words, with what an epoch stands for."""
    slices = count_slices(read_manifest(records), "train")
    words = (
        f"recipe {recipe.name}: {recipe.epochs:,} epochs of {recipe.steps_per_epoch:,} "
        f"steps, batch size {recipe.batch_size}"
    )
    if recipe.depth:
        return f"{words}, from {slices:,} training slices"
    passes = recipe.steps_per_epoch * recipe.batch_size
    passes /= recipe.patches_per_slice * slices
    return f"{words}: an epoch is {passes:.3g} passes over {slices:,} training slices"
