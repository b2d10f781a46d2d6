"""Baselines of the projection domain."""

from ct_keras.reconstruction.iterative import Reconstruction, reconstruct_tv, sart
from ct_keras.reconstruction.sinogram_filters import smooth_adaptive, smooth_penalised

__all__ = [
    "Reconstruction",
    "reconstruct_tv",
    "sart",
    "smooth_adaptive",
    "smooth_penalised",
]
