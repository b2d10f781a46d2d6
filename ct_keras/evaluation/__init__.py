"""Evaluation of many methods: slice pairs, metrics and groups."""

from ct_keras.evaluation.document import build_document
from ct_keras.evaluation.lcd import measure_lcd
from ct_keras.evaluation.measure import measure
from ct_keras.evaluation.pictures import Picture, PictureChooser
from ct_keras.evaluation.quality import QualityPlan, measure_quality
from ct_keras.evaluation.runner import Evaluation, evaluate_models

__all__ = [
    "Evaluation",
    "Picture",
    "PictureChooser",
    "QualityPlan",
    "build_document",
    "evaluate_models",
    "measure",
    "measure_lcd",
    "measure_quality",
]
