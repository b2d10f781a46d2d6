"""The specification of a task network and its training recipes, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import keras

from ct_keras.registry import Registry
from ct_keras.settings import Settings

#: Soft tissue and bone of the trunk.
ORGAN_WINDOW = (-200.0, 400.0)
#: Patients for `organ_slices`; no seed is in both.
ORGAN_DATA = {"train": (1000, 1024), "test": (9000, 9012), "doses": (1.0,)}
#: Patients for `lesion_crops`.
LESION_DATA = {"train": (2000, 2050), "test": (9100, 9130)}


@dataclass(frozen=True)
class TaskRecipe(Settings):
    """How a task network is trained.

    Attributes:
        name: "report" (the seed document), "paper" or "quick".
        description: The source of the values, and what differs from it.
        batch_size: Images per step.
        epochs: Passes over all training images.
        learning_rate: Initial learning rate.
        options: Arguments of the builder.
        data: "train" and "test" are ranges of patients' seeds; the rest are arguments
            of `organ_slices` or `lesion_crops`.
        test_doses: Doses at which the held-out patients are measured.
        loss: Arguments of `ct_keras.losses.SegmentationLoss`; classifiers use the
            cross-entropy of the two classes.
        final_learning_rate: Learning rate at the last step of a cosine decay, or None.
        momentum: None for Adam, otherwise SGD with this momentum.
        weight_decay: Weight decay of kernels, as an L2 penalty in the gradient.
        augment: "none", "mirror", "flips" (mirror images and half turns), "turns"
            (flips and quarter turns, all eight symmetries of a square), or "affine"
            (mirror images, rotation, shear and scaling).
    """

    name: str
    description: str
    batch_size: int
    epochs: int
    learning_rate: float
    options: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    test_doses: tuple[float, ...] = (1.0, 0.05)
    loss: Mapping[str, object] = field(default_factory=dict)
    final_learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float = 0.0
    augment: Literal["none", "mirror", "flips", "turns", "affine"] = "none"

    def changed(self, **values) -> TaskRecipe:
        """Returns the recipe with other values; mappings are merged, None is ignored.

        Args:
            **values: Attributes of this class.
        """
        given = {name: value for name, value in values.items() if value is not None}
        for name in ("options", "data", "loss"):
            if name in given:
                given[name] = dict(getattr(self, name)) | dict(given[name])
        return replace(self, **given)


@dataclass(frozen=True)
class TaskSpec:
    """One task network.

    Attributes:
        name: The key in the registry.
        builder: Returns an untrained `keras.Model` in network units.
        kind: "segmentation" or "classification".
        title: A short description.
        paper: Citation with DOI, or another source.
        file: Its source file in this project.
        recipes: Named recipes, empty if the source gives none.
    """

    name: str
    builder: Callable[..., keras.Model]
    kind: str
    title: str
    paper: str
    file: str
    recipes: tuple[TaskRecipe, ...] = ()

    def recipe(self, name: str) -> TaskRecipe:
        """Returns a recipe by name.

        Raises:
            CtKerasError: CTK-E084 for an unknown name.
        """
        kind = f"recipe of {self.name}"
        return Registry(kind, self.recipes, code="CTK-E084").find(name)
