"""Makes a wider network that computes the same, to go on training from (Net2Net).

    python tools/widen.py MODEL OUT.keras --width 96

MODEL is what `ct_keras.load` takes. Every feature map is repeated until the width is
reached, and what leaves the copies of a map is shared out unevenly, so that they learn
different things (Chen et al. 2016, https://arxiv.org/abs/1511.05641, section 3). This
holds for networks of convolutions whose maps are added, not joined; the outputs of both
networks are compared before anything is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import ct_keras
from ct_keras.denoising import Denoiser
from ct_keras.files import atomic_file
from ct_keras.models import build

#: Largest difference of the outputs in network units: about 0.02 HU.
TOLERANCE = 5e-6
#: A copy gets this much more or less than an equal share.
UNEVENNESS = 0.5


def widened(narrow: keras.Model, wide: keras.Model, seed: int = 0) -> keras.Model:
    """Gives a network the function of a narrower one.

    Args:
        narrow: The trained network.
        wide: The same with more feature maps; its weights are replaced.
        seed: Of the uneven shares.

    Returns:
        `wide`.

    Raises:
        ValueError: If the outputs differ: not every network can be widened this way.
    """
    generator = np.random.default_rng(seed)
    for layer, wider in zip(narrow.layers, wide.layers, strict=True):
        if layer.weights:
            transposed = isinstance(layer, keras.layers.Conv2DTranspose)
            wider.set_weights(_repeated(layer, wider, generator, transposed))
    image = generator.uniform(0.2, 0.5, (1, 64, 64, 1)).astype("float32")
    difference = float(keras.ops.max(keras.ops.abs(wide(image) - narrow(image))))
    if not difference <= TOLERANCE:
        raise ValueError(f"the wider network differs by {difference:g}")
    return wide


def _repeated(
    layer: keras.Layer, wider: keras.Layer, generator, transposed: bool
) -> list[np.ndarray]:
    """Kernel and bias of a layer with its maps repeated, its inputs shared out."""
    kernel, bias = layer.get_weights()
    inputs, outputs = (3, 2) if transposed else (2, 3)
    shape = wider.kernel.shape
    sources = np.arange(shape[inputs]) % kernel.shape[inputs]
    shares = generator.uniform(1 - UNEVENNESS, 1 + UNEVENNESS, sources.size)
    shares /= np.bincount(sources, shares)[sources]
    kernel = np.take(kernel, sources, axis=inputs)
    kernel *= np.expand_dims(shares, [a for a in range(4) if a != inputs])
    maps = np.arange(shape[outputs]) % kernel.shape[outputs]
    return [np.take(kernel, maps, axis=outputs).astype("float32"), bias[maps]]


def widen(model: str | Path, out: str | Path, width: int) -> None:
    """Saves a wider network with the function of a trained one.

    Args:
        model: What `ct_keras.load` takes.
        out: The new .keras file.
        width: Feature maps of the new network.

    Raises:
        CtKerasError: As `ct_keras.load`.
        ValueError: As `widened`.
    """
    narrow = ct_keras.load(model).network
    wide = widened(narrow, build(narrow.name, width=width))
    with atomic_file(out) as path:
        Denoiser(wide).model.save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Widens a network and saves it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, required=True)
    given = parser.parse_args(arguments)
    widen(given.model, given.out, given.width)


if __name__ == "__main__":
    main()
