"""Task-based image quality: noise, sharpness and detectability."""

from ct_keras.image_quality.channels import (
    CHANNELS,
    difference_of_gaussians,
    gabor,
    get_channels,
    laguerre_gauss,
)
from ct_keras.image_quality.cho import (
    ObserverResult,
    auc_difference,
    cho,
    hotelling_template,
)
from ct_keras.image_quality.cnr import cnr, disc_mask, mean_and_sd
from ct_keras.image_quality.describe import describe_series
from ct_keras.image_quality.dose_curves import dose_curves, equivalent_dose
from ct_keras.image_quality.figures import write_quality
from ct_keras.image_quality.lcd_ct import (
    LcdInsert,
    LcdStudy,
    read_lcd_ct,
    read_metaimage,
)
from ct_keras.image_quality.noise import (
    noise_frequency_per_cm,
    noise_index_hu,
    noise_level_hu,
)
from ct_keras.image_quality.nps import (
    NoisePower,
    mean_radial_frequency,
    nnps_difference,
    noise_of_repeats,
    noise_power_spectrum,
    peak_frequency,
    squares,
)
from ct_keras.image_quality.observers import (
    auc_of,
    disc_task,
    dprime_of,
    eye_filter,
    gaussian_task,
    npw,
    npwe,
    pw,
)
from ct_keras.image_quality.summary import lcd_rows, summary_rows
from ct_keras.image_quality.ttf import TaskTransfer, find_disc, task_transfer

__all__ = [
    "CHANNELS",
    "LcdInsert",
    "LcdStudy",
    "NoisePower",
    "ObserverResult",
    "TaskTransfer",
    "auc_difference",
    "auc_of",
    "cho",
    "cnr",
    "describe_series",
    "difference_of_gaussians",
    "disc_mask",
    "disc_task",
    "dose_curves",
    "dprime_of",
    "equivalent_dose",
    "eye_filter",
    "find_disc",
    "gabor",
    "gaussian_task",
    "get_channels",
    "hotelling_template",
    "laguerre_gauss",
    "lcd_rows",
    "mean_and_sd",
    "mean_radial_frequency",
    "nnps_difference",
    "noise_frequency_per_cm",
    "noise_index_hu",
    "noise_level_hu",
    "noise_of_repeats",
    "noise_power_spectrum",
    "npw",
    "npwe",
    "peak_frequency",
    "pw",
    "read_lcd_ct",
    "read_metaimage",
    "squares",
    "summary_rows",
    "task_transfer",
    "write_quality",
]
