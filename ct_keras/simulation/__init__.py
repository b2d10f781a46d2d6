"""Phantoms, projections, and low dose from normal dose."""

from ct_keras.simulation.calibration import (
    NoiseEstimate,
    estimate_kernel,
    estimate_noise,
    soft_tissue,
)
from ct_keras.simulation.dose import DoseSimulator, check_dose
from ct_keras.simulation.kernels import (
    APERTURE_MM,
    KERNELS,
    Kernel,
    between,
    get_kernel,
    kernel_by_name,
)
from ct_keras.simulation.noise import add_gaussian_noise, add_uniform_noise
from ct_keras.simulation.phantoms import (
    LABELS,
    REGIONS,
    Lesion,
    Phantom,
    make_phantom,
    write_phantom,
)
from ct_keras.simulation.projection import ParallelBeam, fbp, radon
from ct_keras.simulation.scan import Calibration, SeriesSimulator, simulate_dose

__all__ = [
    "APERTURE_MM",
    "Calibration",
    "DoseSimulator",
    "KERNELS",
    "Kernel",
    "LABELS",
    "Lesion",
    "NoiseEstimate",
    "ParallelBeam",
    "Phantom",
    "REGIONS",
    "SeriesSimulator",
    "add_gaussian_noise",
    "add_uniform_noise",
    "between",
    "check_dose",
    "estimate_kernel",
    "estimate_noise",
    "fbp",
    "get_kernel",
    "kernel_by_name",
    "make_phantom",
    "radon",
    "simulate_dose",
    "soft_tissue",
    "write_phantom",
]
