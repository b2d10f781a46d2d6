"""Metrics against a reference image: errors, similarity, protocols, statistics."""

from ct_keras.metrics.metric import METRICS, Metric
from ct_keras.metrics.pixelwise import hu_errors, mse, psnr, rmse
from ct_keras.metrics.protocols import PROTOCOLS, Protocol, evaluate
from ct_keras.metrics.ssim import SSIM_NAMES, ssim, ssim_map
from ct_keras.metrics.statistics import (
    auc,
    bootstrap_interval,
    compare,
    holm,
    mean_interval,
    patient_means,
    percentile_interval,
    resample_weights,
    sign_flip_p,
    smallest_p,
    summarize,
    wilcoxon_p,
)
from ct_keras.metrics.tissues import TISSUES, body_mask, tissue_masks
from ct_keras.metrics.vif import vif

__all__ = [
    "METRICS",
    "Metric",
    "PROTOCOLS",
    "Protocol",
    "SSIM_NAMES",
    "TISSUES",
    "auc",
    "body_mask",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "holm",
    "hu_errors",
    "mean_interval",
    "mse",
    "patient_means",
    "percentile_interval",
    "psnr",
    "resample_weights",
    "rmse",
    "sign_flip_p",
    "smallest_p",
    "ssim",
    "ssim_map",
    "summarize",
    "tissue_masks",
    "vif",
    "wilcoxon_p",
]
