"""The model of a recipe, compiled and ready to be restored."""

from __future__ import annotations

import keras

from ct_keras.errors import CtKerasError
from ct_keras.models import ModelSpec, Recipe, TrainingSystem
from ct_keras.models.recipes import make_loss, make_optimizer


def compiled_model(
    spec: ModelSpec, recipe: Recipe, seed: int, deterministic: bool
) -> keras.Model:
    """Returns the compiled model, with optimisers built for restoring them."""
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.mixed_precision)
    try:
        if spec.make_system:
            return _with_its_loss(spec.make_system(recipe), recipe)
        model = spec.builder(**recipe.options)
    finally:
        keras.config.set_dtype_policy(policy)
    model.compile(
        make_optimizer(recipe), make_loss(recipe), jit_compile=recipe.jit_compile
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _with_its_loss(system: TrainingSystem, recipe: Recipe) -> TrainingSystem:
    """Refuses a loss that the system's own training step would not use."""
    own_step = type(system).train_step is not keras.Model.train_step
    if recipe.loss == "noise_free" and own_step:
        raise CtKerasError(
            "CTK-E000",
            f"the training algorithm of {system.name} has losses of its own",
            received=recipe.loss,
            fix="leave out loss (--loss of train)",
        )
    return system
