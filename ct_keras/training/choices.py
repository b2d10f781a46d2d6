"""A recipe with the values that a caller of `train` chose instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ct_keras.errors import CtKerasError
from ct_keras.models import ModelSpec, Recipe
from ct_keras.training.passes import with_passes

#: Keras dtype policies while training, by the name of the precision.
_POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def chosen_recipe(
    spec: ModelSpec,
    name: str,
    records: str | Path,
    *,
    epochs: int | None,
    steps: int | None,
    options: dict | None,
    training: dict | None,
    doses: tuple[float, float] | None,
    loss: str | None,
    patches_per_slice: int | None,
    learning_rate: float | None,
    start_from: str | Path | None,
    precision: str | None,
) -> Recipe:
    """Returns a recipe of a network with these values; None keeps the recipe's.

    Args:
        spec: The network.
        name: The recipe.
        records: What it is trained on: an epoch may be a pass over it.
        epochs: See `ct_keras.training.train`, also for the others.

    Raises:
        CtKerasError: CTK-E084 for an unknown recipe; CTK-E000 for an invalid value.
    """
    recipe = spec.recipe(name).with_length(epochs, steps)
    if patches_per_slice:
        recipe = replace(recipe, patches_per_slice=patches_per_slice)
    recipe = with_passes(recipe, records)
    recipe = _with_values(spec, recipe, options or {}, training or {})
    recipe = _with_doses(recipe, doses, loss)
    recipe = _with_learning_rate(recipe, learning_rate)
    return _with_start(recipe, start_from, precision)


def _with_values(
    spec: ModelSpec, recipe: Recipe, options: dict, training: dict
) -> Recipe:
    """Returns the recipe with other builder arguments and training settings."""
    changed = replace(
        recipe,
        options=dict(recipe.options) | options,
        training=dict(recipe.training) | training,
    )
    spec.settings.from_plain(changed.training)
    return changed


def _with_doses(
    recipe: Recipe, doses: tuple[float, float] | None, loss: str | None
) -> Recipe:
    """Returns the recipe with another range of doses and another loss, if given."""
    if doses and recipe.depth is not None:
        raise CtKerasError(
            "CTK-E000",
            "a network of volumes trains at the doses of the records",
            received=doses,
            fix="leave out doses (--doses of train) and convert at several doses",
        )
    return replace(recipe, doses=doses or recipe.doses, loss=loss or recipe.loss)


def _with_learning_rate(recipe: Recipe, learning_rate: float | None) -> Recipe:
    """Returns the recipe with another learning rate, if given, on the same schedule."""
    if learning_rate is None:
        return recipe
    if not learning_rate > 0:
        raise CtKerasError(
            "CTK-E000",
            "invalid learning rate",
            received=learning_rate,
            expected="more than 0",
        )
    final = recipe.final_learning_rate
    if final is not None:
        final *= learning_rate / recipe.learning_rate
    return replace(recipe, learning_rate=learning_rate, final_learning_rate=final)


def _with_start(
    recipe: Recipe, start_from: str | Path | None, precision: str | None
) -> Recipe:
    """Returns the recipe with another start and another precision, if given."""
    if precision and precision not in _POLICIES:
        raise CtKerasError(
            "CTK-E000",
            "unknown precision for training",
            received=precision,
            expected=", ".join(_POLICIES),
        )
    return replace(
        recipe,
        start_from=str(start_from) if start_from else recipe.start_from,
        mixed_precision=_POLICIES.get(precision, recipe.mixed_precision),
    )
