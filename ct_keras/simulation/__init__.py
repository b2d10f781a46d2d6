"""Low-dose simulation: projections, noise, and low dose from normal dose."""

from ct_keras.simulation.calibration import Calibration, calibrate, relative_currents
from ct_keras.simulation.dose import DoseSimulator, check_dose, check_doses
from ct_keras.simulation.estimates import (
    NoiseEstimate,
    estimate_kernel,
    estimate_noise,
    soft_tissue,
)
from ct_keras.simulation.helical import (
    helical_path,
    helical_scan,
    slice_profile,
    slice_width_mm,
)
from ct_keras.simulation.kernels import (
    APERTURE_MM,
    KERNELS,
    Kernel,
    between,
    get_kernel,
    kernel_by_name,
)
from ct_keras.simulation.noise import (
    CONTAMINATIONS,
    add_gaussian_noise,
    add_uniform_noise,
    contaminate,
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
from ct_keras.simulation.scan import SeriesSimulator, simulate_dose
from ct_keras.simulation.slice_physics import SlicePhysics

__all__ = [
    "APERTURE_MM",
    "CONTAMINATIONS",
    "Calibration",
    "DoseSimulator",
    "KERNELS",
    "Kernel",
    "NoiseEstimate",
    "ParallelBeam",
    "Rays",
    "SeriesSimulator",
    "SlicePhysics",
    "add_gaussian_noise",
    "add_uniform_noise",
    "between",
    "calibrate",
    "check_dose",
    "check_doses",
    "contaminate",
    "estimate_kernel",
    "estimate_noise",
    "estimate_rays",
    "fbp",
    "get_kernel",
    "helical_path",
    "helical_scan",
    "hounsfield",
    "kernel_by_name",
    "low_dose_rays",
    "radon",
    "relative_currents",
    "reprojected_rays",
    "scan_rays",
    "simulate_dose",
    "slice_profile",
    "slice_width_mm",
    "soft_tissue",
]
