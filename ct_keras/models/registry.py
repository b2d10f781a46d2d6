"""What the zoo knows about a network: builder, recipes, training algorithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from ct_keras.models.recipes import Recipe
from ct_keras.models.systems import TrainingSystem
from ct_keras.registry import Registry
from ct_keras.settings import Settings


@dataclass(frozen=True)
class ModelSpec:
    """One network of the zoo.

    Attributes:
        name: The key in the registry.
        builder: Returns an untrained `keras.Model` in network units.
        title: What it is, in a few words.
        paper: Citation with DOI.
        file: The file of this project that implements the paper.
        receptive_field: Side of the square of input pixels that one output pixel sees;
            None if it sees the whole image.
        recipes: Named training recipes.
        make_system: For a network with its own training algorithm: builds it from
            a recipe, compiled. None: `fit` with the recipe's loss.
        settings: What `Recipe.training` holds for that algorithm, by name.
        dimensions: 2, or 3 for a network of volumes.
    """

    name: str
    builder: Callable[..., keras.Model]
    title: str
    paper: str
    file: str
    receptive_field: int | None
    recipes: tuple[Recipe, ...]
    make_system: Callable[[Recipe], TrainingSystem] | None = None
    settings: type[Settings] = Settings
    dimensions: int = 2

    def recipe(self, name: str) -> Recipe:
        """Returns a recipe by name.

        Raises:
            CtKerasError: CTK-E084, if there is none of that name.
        """
        kind = f"recipe of {self.name}"
        return Registry(kind, self.recipes, code="CTK-E084").find(name)
