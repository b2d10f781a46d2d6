"""How a network is trained: recipes as plain values, and their optimisers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import keras

from ct_keras.data.noises import DrawnNoise
from ct_keras.losses import NoiseFreeLoss
from ct_keras.settings import Settings


@dataclass(frozen=True)
class Recipe(Settings):
    """How a network is trained, as plain values that end up in a run's config.json.

    Attributes:
        name: "report" (as the seed report says), "paper" (the original publication) or
            "quick" (minutes on two CPU cores).
        description: Where the values come from and what is different here.
        options: Arguments of the builder.
        patch_size: Rows and columns of a training patch.
        patches_per_slice: Patches cut from a slice each time it is read; 1 where a
            patch is a whole slice.
        batch_size: Patches a step.
        epochs: An epoch ends with a validation and a checkpoint.
        steps_per_epoch: Steps between validations.
        whole_passes: Whether `train` replaces `steps_per_epoch` by the number of steps
            that see every training slice once, as in the source. Not for volumes.
        learning_rate: Of Adam, at the start.
        final_learning_rate: Reached at the last step; None keeps it constant.
        schedule: How it is reached: "exponential" (geometrically) or "cosine".
        warmup_steps: Steps of a linear rise to `learning_rate`, for "cosine".
        betas: Of Adam.
        epsilon: Of Adam. Errors of a few HU are 1e-3 in network units and gradients
            smaller still, so the usual 1e-7 can slow the last part of a run.
        clip_norm: Global norm to which gradients are clipped, None for no clipping.
        loss: "mse", "mae" or "noise_free" (see `ct_keras.losses.NoiseFreeLoss`), in
            network units; networks with a training algorithm of their own ignore it.
        doses: None to train at the doses of the records; else a range, and every patch
            is simulated at a dose drawn from it, with new noise.
        training: Settings of that algorithm (weights of losses, updates of a critic).
        augment: Flips and quarter turns of the patches.
        noise: None to train on the pairs of the records; else the noise that is drawn
            onto the full-dose patch instead, as some reports did.
        depth: Slices of a sub-volume, for networks of volumes.
        start_from: None for new weights; else the trained network whose weights
            training begins with, as `ct_keras.load` takes it.
        mixed_precision: Keras dtype policy of the network while it is trained. What is
            validated and saved is always float32.
        jit_compile: XLA; off by default, so that CPU and GPU run the same graph.

    Raises:
        CtKerasError: CTK-E000 for a value of another type.
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
    schedule: Literal["exponential", "cosine"] = "exponential"
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-7
    clip_norm: float | None = None
    patches_per_slice: int = 16
    loss: Literal["mse", "mae", "noise_free"] = "mse"
    doses: tuple[float, float] | None = None
    training: Mapping[str, object] = field(default_factory=dict)
    augment: bool = True
    noise: DrawnNoise | None = None
    depth: int | None = None
    whole_passes: bool = False
    start_from: str | None = None
    mixed_precision: str = "float32"
    jit_compile: bool = False

    def with_length(self, epochs: int | None, steps: int | None) -> Recipe:
        """The same recipe with other numbers of epochs and steps, if given."""
        return replace(
            self,
            epochs=epochs or self.epochs,
            steps_per_epoch=steps or self.steps_per_epoch,
            whole_passes=self.whole_passes and not steps,
        )


def make_loss(recipe: Recipe) -> str | keras.losses.Loss:
    """Returns the recipe's loss for `compile`."""
    return NoiseFreeLoss() if recipe.loss == "noise_free" else recipe.loss


def quick_recipe(description: str, **values) -> Recipe:
    """A recipe of minutes on two CPU cores: short, with Adam on a cosine.

    Args:
        description: Of the recipe.
        **values: Attributes of `Recipe` in which it differs from the other quick ones.
    """
    shared = {
        "patch_size": 64,
        "batch_size": 16,
        "epochs": 10,
        "steps_per_epoch": 120,
        "learning_rate": 1e-3,
        "final_learning_rate": 5e-5,
        "schedule": "cosine",
        "warmup_steps": 50,
        "epsilon": 1e-9,
    }
    return Recipe(name="quick", description=description, **shared | values)


def make_optimizer(
    recipe: Recipe, *, learning_rate=None, updates_per_step: int = 1
) -> keras.optimizers.Adam:
    """Makes Adam with the recipe's values and its schedule over the whole run.

    Args:
        recipe: Learning rates, betas, epsilon, clipping and length.
        learning_rate: Instead of the recipe's, for a second network; a schedule of
            Keras is taken as it is.
        updates_per_step: Updates that this optimiser makes in one training step.
    """
    return keras.optimizers.Adam(
        learning_rate_schedule(
            recipe, learning_rate=learning_rate, updates_per_step=updates_per_step
        ),
        *recipe.betas,
        epsilon=recipe.epsilon,
        global_clipnorm=recipe.clip_norm,
    )


def learning_rate_schedule(
    recipe: Recipe, *, learning_rate=None, updates_per_step: int = 1
):
    """Returns the learning rate over the whole run; see `make_optimizer`."""
    start = learning_rate or recipe.learning_rate
    if recipe.final_learning_rate is None or callable(start):
        return start
    factor = recipe.final_learning_rate / recipe.learning_rate
    updates = recipe.epochs * recipe.steps_per_epoch * updates_per_step
    if recipe.schedule == "exponential":
        return keras.optimizers.schedules.ExponentialDecay(start, updates, factor)
    warmup = min(recipe.warmup_steps * updates_per_step, updates // 2)
    return keras.optimizers.schedules.CosineDecay(
        start / 100,
        max(1, updates - warmup),
        alpha=factor,
        warmup_target=start,
        warmup_steps=warmup,
    )
