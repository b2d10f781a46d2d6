"""How good is a denoised image: protocols, statistics and the report page."""

from ct_keras.evaluation.document import NOTICE, build_document
from ct_keras.evaluation.metrics import (
    TISSUES,
    body_mask,
    hu_errors,
    mse,
    psnr,
    rmse,
    tissue_masks,
)
from ct_keras.evaluation.pictures import Picture, PictureChooser
from ct_keras.evaluation.protocols import PROTOCOLS, Protocol, evaluate
from ct_keras.evaluation.report import render_report
from ct_keras.evaluation.runner import evaluate_models
from ct_keras.evaluation.ssim import SSIM_NAMES, ssim, ssim_map
from ct_keras.evaluation.statistics import (
    bootstrap_interval,
    compare,
    holm,
    patient_means,
    sign_flip_p,
    smallest_p,
    summarize,
    wilcoxon_p,
)
from ct_keras.evaluation.tables import summary_rows
from ct_keras.evaluation.vif import vif

__all__ = [
    "NOTICE",
    "PROTOCOLS",
    "Picture",
    "PictureChooser",
    "Protocol",
    "SSIM_NAMES",
    "TISSUES",
    "body_mask",
    "bootstrap_interval",
    "build_document",
    "compare",
    "evaluate",
    "evaluate_models",
    "holm",
    "hu_errors",
    "mse",
    "patient_means",
    "psnr",
    "render_report",
    "rmse",
    "sign_flip_p",
    "smallest_p",
    "ssim",
    "ssim_map",
    "summarize",
    "summary_rows",
    "tissue_masks",
    "vif",
    "wilcoxon_p",
]
