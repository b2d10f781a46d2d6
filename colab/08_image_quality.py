# %% [markdown]
# # Image quality: sharpness, noise and what can be detected
#
# A higher PSNR does not mean that more is seen. Medical physics measures an image by its task: how sharp is an edge of this contrast, which
# spectrum has the noise, and how often does an observer tell an image with a lesion from one without? Each measure is first checked
# against a closed form, then applied to a filter that raises the PSNR.
#
# Takes about a minute on two CPU cores; a GPU is not needed.

# %% cellView="form"
# @title Install ct_keras
# Does nothing if ct_keras is installed. Otherwise installs it from SOURCE: the folder of
# a checkout or "git+https://..." (ct_keras is not on PyPI yet).
SOURCE = ".."  # @param {type:"string"}
KEEP = ("tensorflow", "keras", "numpy", "protobuf")

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

if importlib.util.find_spec("ct_keras") is None:
    # Keeps Colab's versions of these packages.
    installed = {package.name: package.version for package in importlib.metadata.distributions()}
    constraints = Path(tempfile.mkdtemp()) / "keep.txt"
    lines = [f"{name}=={installed[name]}\n" for name in KEEP if name in installed]
    constraints.write_text("".join(lines))
    command = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*command, "--constraint", str(constraints), SOURCE], check=True)
# %%
GPU = False  # @param {type:"boolean"}

import os

import matplotlib.pyplot as plt
import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)  # hides the start-up messages of TensorFlow
import keras
import tensorflow as tf

has_gpu = bool(tf.config.list_physical_devices("GPU"))
os.dup2(stderr, 2)

import ct_keras
from ct_keras import hu

keras.utils.set_random_seed(1)
print(f"ct_keras {ct_keras.__version__}, TensorFlow {tf.__version__}, Keras {keras.__version__}")
if GPU and not has_gpu:
    print("No GPU here: with GPU = True this notebook will take hours.")
# %% cellView="form"
# @title Plotting: all panels use one window, named in the title
plt.rcParams.update({"figure.dpi": 100, "font.size": 9, "axes.titlesize": 9})


def show(panels, heading="", window=hu.ABDOMEN, zoom=None):
    """Shows images in HU; `zoom` (row, column, size) adds a row of details."""
    rows = 1 if zoom is None else 2
    size = (2.5 * len(panels), 2.7 * rows + 0.4)
    figure, axes = plt.subplots(
        rows, len(panels), figsize=size, squeeze=False, layout="constrained"
    )
    limits = {"cmap": "gray", "vmin": window.low, "vmax": window.high}
    for column, (title, image) in enumerate(panels.items()):
        axes[0, column].imshow(image, **limits)
        axes[0, column].set_title(title)
        if zoom is not None:
            top, left, side = zoom
            box = plt.Rectangle((left, top), side, side, fill=False, color="yellow")
            axes[0, column].add_patch(box)
            axes[1, column].imshow(image[top : top + side, left : left + side], **limits)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(f"{heading}\n{window}: {window.low:g} to {window.high:g} HU", fontsize=10)
    plt.show()


# %% [markdown]
# ## 1. Sharpness: the edge of a disc
#
# The task transfer function (TTF) follows from the edge of a disc: edge profile, derivative, Fourier transform. Blurred by a Gaussian of
# width $s$, it must be $\exp(-2\pi^2 s^2 f^2)$, which is a half at $\sqrt{\ln 2/2}/(\pi s)$.

# %%
from scipy import ndimage

from ct_keras.image_quality.ttf import task_transfer

PIXEL_MM, RADIUS_MM, FINE = 0.5, 15.0, 8
rows, columns = np.indices((160 * FINE, 160 * FINE)) - (160 * FINE - 1) / 2
sharp = 100.0 * (np.hypot(rows, columns) * PIXEL_MM / FINE < RADIUS_MM)
sharp = sharp.reshape(160, FINE, 160, FINE).mean(axis=(1, 3))  # each pixel is the mean of its area
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for blur_mm in (0.6, 0.8, 1.2):
    blurred = ndimage.gaussian_filter(sharp, blur_mm / PIXEL_MM)
    found = task_transfer(blurred, PIXEL_MM, radius_mm=RADIUS_MM)
    axes[0].plot(blurred[80, 80:130])
    line = axes[1].plot(found.frequency_mm, found.transfer, label=f"blur {blur_mm} mm")[0]
    closed = np.exp(-2 * (np.pi * blur_mm * found.frequency_mm) ** 2)
    axes[1].plot(found.frequency_mm, closed, ":", color=line.get_color())
    half = np.sqrt(np.log(2) / 2) / (np.pi * blur_mm)
    measured = found.f50
    print(f"blur {blur_mm} mm: half at {measured:.3f} per mm, closed form {half:.3f}")
    assert np.isclose(measured, half, rtol=0.06)
axes[0].set_title("edge, HU against pixels")
axes[1].set_title("TTF; dotted: closed form")
axes[1].set_xlim(0, 1)
axes[1].legend(fontsize=7)
plt.show()

# %% [markdown]
# ## 2. Detectability in closed form
#
# The non-prewhitening observer (NPW) compares an image with the expected lesion. For a disc of contrast $c$ and radius $R$ in white noise of
# SD $\sigma$ and pixels $dx$, its detectability is $d' = c\sqrt\pi R/(\sigma\,dx)$.

# %%
from ct_keras.image_quality.observers import auc_of, disc_task, npw

SIGMA, STEP_MM, SIDE = 20.0, 0.7, 256
frequency = np.fft.fftfreq(SIDE, STEP_MM)
radial = np.hypot(frequency[:, None], frequency)
cell = 1 / (SIDE * STEP_MM) ** 2
contrasts = np.array([2.0, 5.0, 10.0, 20.0])
plt.figure(figsize=(5, 3), layout="constrained")
for radius_mm in (1.5, 3.0, 6.0):
    found = [
        npw(disc_task(radial, contrast_hu=c, radius_mm=radius_mm), np.ones_like(radial),
            np.full(radial.shape, SIGMA**2 * STEP_MM**2), cell=cell)
        for c in contrasts
    ]  # fmt: skip
    closed = contrasts * np.sqrt(np.pi) * radius_mm / (SIGMA * STEP_MM)
    plt.plot(contrasts, [auc_of(value) for value in found], "o-", label=f"radius {radius_mm} mm")
    assert np.allclose(found, closed, rtol=0.05)
plt.xlabel("contrast, HU")
plt.ylabel("area under the ROC curve")
plt.legend(fontsize=7)
plt.show()

# %% [markdown]
# ## 3. An observer that learns from images
#
# The channelised Hotelling observer (CHO) sees an image through a few channels and learns the best combination. For a Gaussian lesion of
# 8 HU and width 4 pixels in white noise of 20 HU, $d' = 8\sqrt\pi\,4/20 = 2.836$ and the area is 0.977.

# %%
from ct_keras.image_quality.channels import laguerre_gauss
from ct_keras.image_quality.cho import cho

REGION, COUNT = 32, 400 if GPU else 200
random = np.random.default_rng(0)
rows, columns = np.indices((REGION, REGION)) - (REGION - 1) / 2
lesion = 8 * np.exp(-(rows**2 + columns**2) / (2 * 4.0**2))
absent, present = (random.normal(0, 20, (COUNT, REGION, REGION)) for _ in range(2))
channels = laguerre_gauss(REGION, 4 * np.sqrt(2 * np.pi))
result = cho(present + lesion, absent, channels, resamples=100)
print(f"area {result.auc:.3f} [{result.auc_interval[0]:.3f}, {result.auc_interval[1]:.3f}], closed form {auc_of(2.836):.3f}")
assert abs(result.auc - auc_of(2.836)) < 0.03
noisy = (present + lesion)[0]
panels = {"lesion, contrast x 5": 5 * lesion, "in noise": noisy, "absent": absent[0]}
show(panels, "Gaussian lesion", hu.Window("narrow", 0, 160))
figure, axes = plt.subplots(1, 5, figsize=(8, 1.9), layout="constrained")
for number, axis in enumerate(axes):
    axis.imshow(channels[:, number].reshape(REGION, REGION), "RdBu_r")
    axis.set_title(f"channel {number}")
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ## 4. PSNR rises, detection does not
#
# A Gaussian filter lowers the noise, so PSNR rises. But it removes signal and noise at the same
# frequencies: an ideal observer gains nothing, since whatever the filter does to the data, the observer could have done as well.

# %%
WIDTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
clean = np.full((COUNT, REGION, REGION), 40.0) + lesion
psnr, areas, intervals = [], [], []
for width in WIDTHS:
    smooth = [ndimage.gaussian_filter(images, (0, width, width), mode="wrap") for images in (present + lesion, absent)]
    error = np.mean((smooth[0] + 40 - clean) ** 2)
    psnr.append(10 * np.log10(400**2 / error))
    found = cho(*smooth, channels, resamples=100)
    areas.append(found.auc)
    intervals.append(np.abs(np.subtract(found.auc_interval, found.auc)))
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(WIDTHS, psnr, "o-")
axes[0].set_title("PSNR, dB")
axes[1].errorbar(WIDTHS, areas, np.transpose(intervals), fmt="o-")
axes[1].set_ylim(0.5, 1)
axes[1].set_title("area under the ROC curve of the CHO")
figure.supxlabel("width of the Gaussian filter, pixels", fontsize=9)
plt.show()
print("PSNR:", np.round(psnr, 1), " area:", np.round(areas, 3))
assert max(psnr) > psnr[0] + 8 and max(areas) < areas[0] + 0.02

# %% [markdown]
# ## Summary
#
# - Measures of the task have closed forms, and the implementations meet them.
# - A filter can gain 20 dB of PSNR without making a lesion more visible to an observer that uses the whole image.
# - `ct-keras quality MODEL --out QUALITY` measures all of this for a network: NPS, TTF for each contrast, bias of HU, observers, by dose.
# - *Try:* another lesion, correlated noise, fewer channels.
