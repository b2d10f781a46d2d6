"""Speed of dose simulation: one 512 x 512 slice, 720 views, relative to scikit-image.

Run with ``python benchmarks/simulation.py``. Prints one JSON line; results with
machine and date are listed in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

import numpy as np

from ct_keras.simulation import DoseSimulator, estimate_kernel, estimate_noise

SIZE, PIXEL_MM, VIEWS = 512, 0.8, 720


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="also time scikit-image")
    arguments = parser.parse_args()
    radius = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2)) * PIXEL_MM
    water = np.where(radius < 160, 0, -1000).astype(np.float32)
    start = time.perf_counter()
    simulator = DoseSimulator((SIZE, SIZE), (PIXEL_MM, PIXEL_MM), views=VIEWS)
    results = {"prepare_s": time.perf_counter() - start}

    def best(call):
        times = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    noisy = simulator.tuned(noise_free=True).low_dose(water, 1.0, seed=0)
    results["one_dose_s"] = best(lambda: simulator.low_dose(water, 0.25, seed=0))
    doses = [0.05, 0.1, 0.25]
    results["two_doses_s"] = best(lambda: simulator.low_doses(water, doses[1:], seed=0))
    results["three_doses_s"] = best(lambda: simulator.low_doses(water, doses, seed=0))
    results["estimate_noise_s"] = best(lambda: estimate_noise(simulator, noisy))
    results["estimate_kernel_s"] = best(lambda: estimate_kernel(simulator, noisy))
    if arguments.peer:
        results["scikit_image_s"] = _scikit_image(water)
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps(results))


def _scikit_image(water: np.ndarray) -> float:
    """Times one projection and one reconstruction, as the simulation would need."""
    from skimage.transform import iradon, radon

    angles = np.arange(VIEWS) * 180 / VIEWS
    start = time.perf_counter()
    sinogram = radon(water + 1000, angles, circle=True)
    iradon(sinogram, angles, circle=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
