"""What the zoo knows about a network: its builder, its sizes and its recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace

import keras

from ct_keras.errors import CtKerasError


@dataclass(frozen=True)
class SizeRule:
    """The image sizes that a network accepts without padding.

    Attributes:
        multiple: Rows and columns must be multiples of this.
        minimum: Smallest number of rows and of columns.
    """

    multiple: int = 1
    minimum: int = 1


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, as plain values that end up in a run's config.json.

    Attributes:
        name: "report" (as the seed report says), "paper" (the original publication) or
            "quick" (minutes on two CPU cores).
        description: Where the values come from and what is different here.
        options: Arguments of the builder.
        patch_size: Rows and columns of a training patch.
        batch_size: Patches a step.
        epochs: An epoch ends with a validation and a checkpoint.
        steps_per_epoch: Steps between validations.
        learning_rate: Of Adam, at the start.
        final_learning_rate: Reached at the last step; None keeps it constant.
        schedule: How it is reached: "exponential" (geometrically) or "cosine".
        warmup_steps: Steps of a linear rise to `learning_rate`, for "cosine".
        betas: Of Adam.
        epsilon: Of Adam. Errors of a few HU are 1e-3 in network units and gradients
            smaller still, so the usual 1e-7 can slow the last part of a run.
        clip_norm: Global norm to which gradients are clipped, None for no clipping.
        loss: "mse" or "mae", in network units.
        augment: Flips and quarter turns of the patches.
        mixed_precision: Keras dtype policy of the network.
        jit_compile: XLA; off by default, so that CPU and GPU runs are told apart by
            nothing hidden.
    """

    name: str
    description: str
    patch_size: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    learning_rate: float
    options: Mapping[str, object] = field(default_factory=dict)
    final_learning_rate: float | None = None
    schedule: str = "exponential"
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-7
    clip_norm: float | None = None
    loss: str = "mse"
    augment: bool = True
    mixed_precision: str = "float32"
    jit_compile: bool = False

    def with_length(self, epochs: int | None, steps: int | None) -> Recipe:
        """The same recipe with other numbers of epochs and steps, where given."""
        return replace(
            self,
            epochs=epochs or self.epochs,
            steps_per_epoch=steps or self.steps_per_epoch,
        )

    def to_json(self) -> dict:
        """Plain values for a JSON file."""
        return asdict(self) | {"options": dict(self.options)}


@dataclass(frozen=True)
class ModelSpec:
    """One network of the zoo.

    Attributes:
        name: The key in the registry.
        builder: Returns an untrained `keras.Model` in network units.
        title: What it is, in a few words.
        paper: Citation with DOI.
        file: Where all of the paper lies in this project.
        size_rule: Sizes that the network accepts.
        receptive_field: Side of the square of input pixels that one output pixel sees.
        halo: Pixels by which tiles must overlap; None if it must not be tiled.
        recipes: Named training recipes.
    """

    name: str
    builder: Callable[..., keras.Model]
    title: str
    paper: str
    file: str
    size_rule: SizeRule
    receptive_field: int
    halo: int | None
    recipes: tuple[Recipe, ...]

    def recipe(self, name: str) -> Recipe:
        """Returns a recipe by name.

        Raises:
            CtKerasError: CTK-E084, if there is none of that name.
        """
        for recipe in self.recipes:
            if recipe.name == name:
                return recipe
        raise CtKerasError(
            "CTK-E084",
            f"{self.name} has no such recipe",
            received=name,
            expected=", ".join(recipe.name for recipe in self.recipes),
        )
