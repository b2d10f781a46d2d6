"""Writes the outputs of the image filters of tensorflow-addons for one small image.

    python3.11 -m venv tfa
    tfa/bin/pip install tensorflow==2.15.1 tensorflow-addons==0.23.0
    tfa/bin/python tools/make_tfa_fixtures.py tests/fixtures/filters/tfa.npz

tensorflow-addons supports at most TensorFlow 2.15 and Python 3.11, so it runs in a
separate virtual environment; the tests compare the filters of ct_keras with this file.
Names are FILTER_PARAMETER_PADDING, with TensorFlow's names of paddings.
"""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

SIZES = (3, 5)
SIGMAS = (0.5, 1.0, 1.5)
PADDINGS = ("SYMMETRIC", "REFLECT")


def main() -> None:
    """Runs all filters and stores inputs, outputs and versions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="The .npz file to write.")
    out = parser.parse_args().out
    image = _image()
    arrays = {"image": image}
    for padding in PADDINGS:
        for size in SIZES:
            for name in ("mean", "median"):
                function = getattr(tfa.image, f"{name}_filter2d")
                result = function(image[..., None], size, padding=padding)
                arrays[f"{name}_{size}_{padding}"] = result.numpy()[..., 0]
        for sigma in SIGMAS:
            # The width of a kernel truncated at four standard deviations.
            size = 2 * int(np.ceil(4 * sigma)) + 1
            result = tfa.image.gaussian_filter2d(
                image[..., None], size, sigma, padding=padding
            )
            arrays[f"gaussian_{sigma}_{padding}"] = result.numpy()[..., 0]
    versions = {"tensorflow": tf.__version__, "tensorflow-addons": tfa.__version__}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    np.savez_compressed(out, versions=text, **arrays)
    print(f"{len(arrays)} arrays made with {text}")


def _image() -> np.ndarray:
    """Soft tissue with bone, lung and noise: float32 (24, 20), HU."""
    image = np.full((24, 20), 50, np.float32)
    image[6:12, 5:11] = 700
    image[15:20, 12:] = -900
    noise = np.random.default_rng(0).normal(0, 20, image.shape)
    return np.rint(image + noise).astype(np.float32)


if __name__ == "__main__":
    main()
