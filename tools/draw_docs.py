"""Draws the pictures of the documentation from phantoms: `python tools/draw_docs.py`.

Every picture is made by the same functions that users call, with fixed seeds, in a
minute or two on two CPU cores. `--size 96` draws small ones, for a quick look.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import ct_keras
from ct_keras.denoising.methods import get_method
from ct_keras.hu import ABDOMEN, LUNG
from ct_keras.image_quality import noise_of_repeats, noise_power_spectrum
from ct_keras.phantoms import make_phantom, phantom_scanner

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
FIELD_MM = 400.0
SEED = 4
#: Of the WebP files: none above 200 kB, and texture is still texture.
QUALITY = 70
#: A tenth of the dose: what most pictures show.
LOW = 0.1
#: Names of methods and what the panel says.
METHODS = {
    "input": "10 % of the dose",
    "filter:gaussian": "Gaussian",
    "filter:nlm": "non-local means",
    "filter:bm3d": "BM3D",
    "red_cnn": "RED-CNN",
    "wgan_vgg": "WGAN-VGG",
    "pix2pix": "pix2pix",
    "adl": "ADL",
    "seo_resnet": "Seo's ResNet",
    "quiet_net": "Quiet-Net",
}


class Scene:
    """One phantom slice at every dose; what the pictures share.

    Args:
        size: Rows and columns of the slice.
        region: "abdomen" or "thorax".
    """

    def __init__(self, size: int, region: str = "abdomen"):
        spacing_mm = FIELD_MM / size
        self.phantom = make_phantom(
            SEED,
            region=region,
            shape=(1, size, size),
            spacing_mm=(5.0, spacing_mm, spacing_mm),
        )
        self.truth_hu = self.phantom.hu[0]
        self.scanner = phantom_scanner(self.phantom)

    def at(self, dose: float, seed: int = 0) -> np.ndarray:
        """Returns the slice as a scan at a fraction of the normal dose shows it."""
        return self.scanner.low_dose(self.truth_hu, dose, seed=seed)


def psnr(image_hu: np.ndarray, truth_hu: np.ndarray) -> str:
    """Returns the PSNR by the protocol of the comparison report, for a title."""
    return f"{ct_keras.evaluate(image_hu, truth_hu)['psnr']:.1f} dB"


def panels(images, titles, *, window=ABDOMEN, columns=None, width=3.0):
    """Draws images in rows, each with a title, all in one window."""
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    size = (width * columns, (width + 0.35) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=window.low, vmax=window.high)
        axis.set_title(title, fontsize=10)
    figure.tight_layout(pad=0.3)
    return figure


def middle(image: np.ndarray, share: float = 0.45) -> np.ndarray:
    """Returns the part of a slice that holds the liver, for close-ups."""
    rows, columns = image.shape
    top, left = int(0.3 * rows), int(0.12 * columns)
    return image[top : top + int(share * rows), left : left + int(share * columns)]


def front(size: int):
    """Before, after, and the truth."""
    scene = Scene(size)
    low = scene.at(LOW)
    denoised = ct_keras.denoise(low, model="quiet_net")
    images = [middle(image) for image in (low, denoised, scene.truth_hu)]
    titles = ["a tenth of the dose", "denoised by ct_keras", "without any noise"]
    return panels(images, titles)


def doses(size: int):
    """One slice at falling doses, whole and close."""
    scene = Scene(size)
    fractions = (1.0, 0.25, 0.1, 0.05)
    images = [scene.at(dose) for dose in fractions]
    titles = [
        f"{dose:.0%} of the dose, {psnr(image, scene.truth_hu)}"
        for dose, image in zip(fractions, images, strict=True)
    ]
    closer = [middle(image) for image in images]
    return panels(images + closer, titles + [""] * 4, columns=4)


def methods(size: int):
    """What each method makes of the same slice."""
    scene = Scene(size)
    low = scene.at(LOW)
    images = {name: get_method(name)(low) for name in METHODS}
    titles = [
        f"{METHODS[name]}, {psnr(image, scene.truth_hu)}"
        for name, image in images.items()
    ]
    return panels([middle(image) for image in images.values()], titles, columns=5)


def removed(size: int):
    """What each method took away: noise, or structure too."""
    scene = Scene(size)
    low = scene.at(LOW)
    names = [name for name in METHODS if name != "input"]
    differences = [middle(low - get_method(name)(low)) for name in names]
    figure = panels(differences, [METHODS[name] for name in names], columns=5)
    for axis in figure.axes:
        for shown in axis.images:
            shown.set_clim(-120, 120)
    return figure


def patients(size: int):
    """Four random patients."""
    images = [
        make_phantom(seed, region="abdomen", shape=(1, size, size)).hu[0]
        for seed in range(1, 5)
    ]
    return panels(images, [f"patient {seed}" for seed in range(1, 5)])


def chest(size: int):
    """A chest in the lung window: input, output, truth."""
    scene = Scene(size, "thorax")
    low = scene.at(LOW)
    images = [low, ct_keras.denoise(low, model="quiet_net"), scene.truth_hu]
    titles = ["a tenth of the dose", "denoised", "without any noise"]
    return panels(images, titles, window=LUNG)


def spectra(size: int):
    """Noise power of water before and after: how texture changes."""
    scene = Scene(size)
    spacing_mm = FIELD_MM / size
    place_mm = (np.arange(size) - (size - 1) / 2) * spacing_mm
    inside = np.hypot(place_mm[:, None], place_mm) < 130
    water = np.where(inside, 0, -1000).astype(np.float32)
    scans = [scene.scanner.low_dose(water, LOW, seed=seed) for seed in range(12)]
    low, high = size // 2 - size // 8, size // 2 + size // 8
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for name in ("input", "filter:gaussian", "filter:bm3d", "red_cnn", "quiet_net"):
        method = get_method(name)
        rois = np.stack([method(scan)[low:high, low:high] for scan in scans])
        noise = noise_of_repeats(rois)
        spectrum = noise_power_spectrum(noise, (spacing_mm,) * 2, trend="none")
        frequency, power = spectrum.radial()
        axis.plot(frequency * 10, power, label=METHODS[name])
    axis.set(xlabel="frequency, 1/cm", ylabel="noise power, HU² mm²", yscale="log")
    axis.legend(fontsize=8)
    figure.tight_layout()
    return figure


PICTURES: dict[str, Callable] = {
    "front": front,
    "doses": doses,
    "methods": methods,
    "removed": removed,
    "patients": patients,
    "chest": chest,
    "spectra": spectra,
}


def main(arguments: list[str] | None = None) -> None:
    """Draws all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(PICTURES))
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--out", type=Path, default=IMAGES)
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name in chosen.names or PICTURES:
        figure = PICTURES[name](chosen.size)
        path = chosen.out / f"{name}.webp"
        figure.savefig(
            path,
            dpi=110,
            bbox_inches="tight",
            pad_inches=0.03,
            pil_kwargs={"quality": QUALITY},
        )
        plt.close(figure)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
