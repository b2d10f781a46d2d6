"""Phantoms, projections, and low dose from normal dose."""

from ct_keras.simulation.calibration import (
    NoiseEstimate,
    estimate_kernel,
    estimate_noise,
    soft_tissue,
)
from ct_keras.simulation.dose import DoseSimulator, check_dose
from ct_keras.simulation.iterative import Reconstruction, reconstruct_tv, sart
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
    phantom_scanner,
    write_phantom,
)
from ct_keras.simulation.projection import ParallelBeam, fbp, radon
from ct_keras.simulation.rays import (
    Rays,
    estimate_rays,
    hounsfield,
    low_dose_rays,
    reprojected_rays,
    scan_rays,
)
from ct_keras.simulation.scan import Calibration, SeriesSimulator, simulate_dose
from ct_keras.simulation.sinogram_filters import smooth_adaptive, smooth_penalised

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
    "Rays",
    "Reconstruction",
    "SeriesSimulator",
    "add_gaussian_noise",
    "add_uniform_noise",
    "between",
    "check_dose",
    "estimate_kernel",
    "estimate_noise",
    "estimate_rays",
    "fbp",
    "get_kernel",
    "hounsfield",
    "kernel_by_name",
    "low_dose_rays",
    "make_phantom",
    "phantom_scanner",
    "radon",
    "reconstruct_tv",
    "reprojected_rays",
    "sart",
    "scan_rays",
    "simulate_dose",
    "smooth_adaptive",
    "smooth_penalised",
    "soft_tissue",
    "write_phantom",
]
