"""Task networks that judge images by organ segmentation and lesion detection.

They show which tasks a denoised image still supports. They are trained on phantoms,
whose labels are exact, and measured on held-out phantom patients: at full dose, at a
low dose, and at a low dose after denoising.

Example:
    >>> import ct_keras
    >>> network = ct_keras.tasks.build("unet", width=2, classes=3)
    >>> network.name, network.output.shape[-1]
    ('unet', 3)
"""

from __future__ import annotations

from pathlib import Path

import keras

from ct_keras.errors import CtKerasError
from ct_keras.registry import Registry
from ct_keras.tasks import (
    alexnet,
    applications,
    deconvnet,
    fcn8s,
    lesion_net,
    small_unet,
)
from ct_keras.tasks.excitation import Excitation, strongest_patches
from ct_keras.tasks.layers import (
    LocalResponseNormalization,
    MaxPoolingWithSwitches,
    MaxUnpooling,
)
from ct_keras.tasks.measures import dice, dice_by_class
from ct_keras.tasks.phantom_data import (
    ORGANS,
    TaskData,
    lesion_crops,
    organ_classes,
    organ_slices,
)
from ct_keras.tasks.recipes import TaskRecipe, TaskSpec
from ct_keras.tasks.training import TaskResult, make_data, measure, train
from ct_keras.tasks.vgg import start_from_vgg16

__all__ = [
    "Excitation",
    "LocalResponseNormalization",
    "MaxPoolingWithSwitches",
    "MaxUnpooling",
    "ORGANS",
    "TaskData",
    "TaskRecipe",
    "TaskResult",
    "TaskSpec",
    "build",
    "dice",
    "dice_by_class",
    "get_task",
    "held_out",
    "lesion_crops",
    "list_tasks",
    "make_data",
    "measure",
    "organ_classes",
    "organ_slices",
    "start_from_vgg16",
    "strongest_patches",
    "train_classification",
    "train_segmentation",
]

#: Adding a network: one file in this folder, one line here.
_SPECS = Registry(
    "task network",
    (
        fcn8s.SPEC,
        deconvnet.SPEC,
        small_unet.SPEC,
        alexnet.SPEC,
        *applications.SPECS,
        lesion_net.SPEC,
    ),
)


def list_tasks(kind: str | None = None) -> list[str]:
    """Returns the names of all task networks.

    Args:
        kind: "segmentation" or "classification" for those alone.
    """
    return [name for name, spec in _SPECS.items() if kind in (None, spec.kind)]


def get_task(name: str) -> TaskSpec:
    """Returns the specification of a task network.

    Raises:
        CtKerasError: CTK-E092 for an unknown name.
    """
    return _SPECS.find(name)


def build(name: str, /, **options) -> keras.Model:
    """Builds an untrained task network in network units.

    Args:
        name: One of `list_tasks()`.
        **options: Arguments of its builder, for example `classes` or `width`.

    Returns:
        From `image`, float32 (batch, rows, columns, 1), to `probabilities`, float32
        (batch, rows, columns, classes) for segmentation, (batch, classes) for
        classification.

    Raises:
        CtKerasError: CTK-E092 for an unknown name.
    """
    return get_task(name).builder(**options)


def held_out(name: str, *, recipe: str = "quick", **options) -> TaskData:
    """Returns the held-out patients of a recipe, to measure a network or a denoiser.

    Args:
        name: One of `list_tasks()`.
        recipe: Name of its recipe.
        **options: Arguments of `organ_slices` or `lesion_crops`, for example
            ``denoise=ct_keras.load("red_cnn")`` and ``doses=(0.05,)``.

    Returns:
        The input of `measure`.

    Raises:
        CtKerasError: CTK-E092 for an unknown network, CTK-E084 for an unknown recipe.
    """
    spec = get_task(name)
    return make_data(spec, spec.recipe(recipe), "test", **options)


def train_segmentation(
    name: str = "unet",
    *,
    recipe: str = "quick",
    epochs: int | None = None,
    options: dict | None = None,
    data: dict | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = False,
) -> TaskResult:
    """Trains a network to segment the organs of phantoms, and measures it.

    With the defaults it takes a few minutes on two CPU cores. It is trained at full
    dose only, so its loss at a low dose reflects both missing information and
    unfamiliar noise.

    Args:
        name: One of ``list_tasks("segmentation")``.
        recipe: Name of its recipe.
        epochs: Number of epochs that replaces the recipe's.
        options: Arguments of the builder that replace the recipe's, e.g. `width`.
        data: Values that replace the recipe's: "train" and "test", (first, last + 1)
            seeds of patients, and arguments of `organ_slices`.
        seed: Seed of initial weights, order and augmentation.
        out: A new or empty folder for network.keras and measures.json.
        progress: Whether progress bars are shown.

    Returns:
        The network and, for each dose, Dice by organ in held-out patients.

    Raises:
        CtKerasError: CTK-E092 for an unknown network, CTK-E000 if it is not for
            segmentation, CTK-E084 for an unknown recipe, CTK-E083 if a patient is in
            both splits, CTK-E071 if `out` is not empty.

    Example:
        >>> result = train_segmentation()  # doctest: +SKIP
        >>> result.measures["1"]["mean_dice"]  # doctest: +SKIP
    """
    spec = _get_task_of("segmentation", name)
    chosen = spec.recipe(recipe).changed(epochs=epochs, options=options, data=data)
    return train(spec, chosen, seed=seed, out=out, progress=progress)


def train_classification(
    name: str = "lesion_net",
    *,
    recipe: str = "quick",
    epochs: int | None = None,
    options: dict | None = None,
    data: dict | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = False,
) -> TaskResult:
    """Trains a network to classify whether a crop of the liver contains a lesion.

    It is trained on several doses at once, so its loss at a low dose reflects missing
    information and not unfamiliar noise. With the defaults it takes a few minutes on
    two CPU cores.

    Args:
        name: One of ``list_tasks("classification")``.
        recipe: Name of its recipe.
        epochs: Number of epochs that replaces the recipe's.
        options: Arguments of the builder that replace the recipe's, e.g. `width`.
        data: Values that replace the recipe's: "train" and "test", (first, last + 1)
            seeds of patients, and arguments of `lesion_crops`.
        seed: Seed of initial weights, order and augmentation.
        out: A new or empty folder for network.keras and measures.json.
        progress: Whether progress bars are shown.

    Returns:
        The network and, for each dose, the AUC in held-out patients.

    Raises:
        CtKerasError: As `train_segmentation`.

    Example:
        >>> result = train_classification()  # doctest: +SKIP
        >>> result.measures["1"]["auc"] > result.measures["0.05"]["auc"]
        ... # doctest: +SKIP
    """
    spec = _get_task_of("classification", name)
    chosen = spec.recipe(recipe).changed(epochs=epochs, options=options, data=data)
    return train(spec, chosen, seed=seed, out=out, progress=progress)


def _get_task_of(kind: str, name: str) -> TaskSpec:
    spec = get_task(name)
    if spec.kind != kind:
        raise CtKerasError(
            "CTK-E000",
            f"{name} is not a network for {kind}",
            received=spec.kind,
            expected=", ".join(list_tasks(kind)),
        )
    return spec
