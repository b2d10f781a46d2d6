"""Runs a recipe: checkpoints that survive a kill, exact resume, logs, best weights."""

from ct_keras.training.trainer import TrainingResult, train

__all__ = ["TrainingResult", "train"]
