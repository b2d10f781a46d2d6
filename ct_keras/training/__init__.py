"""Runs a training recipe: atomic checkpoints, exact resume, logs, best weights."""

from ct_keras.training.trainer import TrainingResult, train

__all__ = ["TrainingResult", "train"]
