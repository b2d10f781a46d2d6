# %% [markdown]
# # From your own DICOM to a denoised series
#
# From a CT series to a denoised CT series, step by step:
# inspect, lower the dose, train, measure, denoise, check the written series.
# Without data of your own, a phantom patient is used.
#
# Takes about one minute on two CPU cores. With `GPU = True` the network is trained
# for longer (an estimated half hour on a T4-class GPU).
#
# > Research use only. Not for diagnostic use.

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
# %% [markdown]
# ## 1. The series
#
# `STUDY` is a folder with **one normal-dose CT series** (Colab: upload it, or mount Drive with
# `from google.colab import drive; drive.mount("/content/drive")`). Leave it empty for a
# phantom, which is first written as DICOM, so the rest of the notebook treats it like a scan.

# %%
STUDY = ""  # @param {type:"string"}

from ct_keras.phantoms import make_phantom, write_phantom

WORK = Path("ct_keras_work")
SHAPE = (16, 512, 512) if GPU else (6, 256, 256)
SPACING_MM = (5.0, 380 / SHAPE[1], 380 / SHAPE[2])

if not STUDY:
    phantom = make_phantom(seed=301, region="abdomen", shape=SHAPE, spacing_mm=SPACING_MM)
    write_phantom(phantom, WORK / "study", overwrite=True)
    STUDY = WORK / "study"

series = ct_keras.read_series(STUDY)
print(series)
print("spacing, mm (slice, row, column):", tuple(round(step, 3) for step in series.spacing_mm))
print(f"kernel {series.kernel}, {series.kvp} kV, {series.exposure_mas} mAs")
print(f"values from {series.hu.min():.0f} to {series.hu.max():.0f} HU")
for finding in series.findings:
    print("finding:", finding)

# %% [markdown]
# Slices are sorted by position along the slice normal, not by file name or InstanceNumber. HU are
# *slope x stored + intercept*, in floating point. Unusual properties of a series are listed
# above or refused with a code, which prevents silent errors such as an offset of 1024 HU.
#
# Try: choose a slice. The same slice looks different in each of the three windows.

# %%
SLICE = 4  # @param {type:"slider", min:0, max:60, step:1}
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


def show_errors(panels, reference, limit=60):
    """Shows image minus reference in HU, all with one symmetric range."""
    size = (2.5 * len(panels), 2.9)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (title, image) in zip(axes.flat, panels.items(), strict=True):
        picture = axis.imshow(image - reference, "RdBu_r", vmin=-limit, vmax=limit)
        error = np.sqrt(np.mean((image - reference) ** 2))
        axis.set_title(f"{title}\nRMSE {error:.1f} HU")
        axis.set_axis_off()
    figure.colorbar(picture, ax=axes, label="error, HU", shrink=0.8)
    plt.show()


# %%
SLICE = min(SLICE, len(series) - 1)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for axis, window in zip(axes, (hu.ABDOMEN, hu.LUNG, hu.BONE)):
    axis.imshow(hu.to_display(series.hu[SLICE], window), "gray")
    axis.set_title(f"{window}: {window.low:g} to {window.high:g} HU")
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ## 2. The same patient at a tenth of the dose
#
# Noise is not added to the image directly. The slice is projected, each ray gets the noise of
# the lower photon count, and only this *additional* noise is reconstructed, with the scan's
# own kernel ([Yu et al. 2012](https://doi.org/10.1097/RCT.0b013e318258e891)).
# The variance of quantum noise is proportional to 1/dose, so at dose *d* the standard deviation
# should be about $1/\sqrt{d}$ times that of the scan.

# %%
DOSE = 0.1  # @param {type:"slider", min:0.05, max:1, step:0.05}

low = ct_keras.simulate_dose(series, DOSE, seed=1)
normal_sd = ct_keras.image_quality.noise_level_hu(series)
low_sd = ct_keras.image_quality.noise_level_hu(low)
print(f"noise in soft tissue: {normal_sd:.1f} HU at normal dose, {low_sd:.1f} HU at {DOSE:.0%}")
print(f"ratio {low_sd / normal_sd:.2f}, 1/sqrt(dose) = {DOSE**-0.5:.2f}")

ZOOM = (int(0.42 * series.shape[1]), int(0.22 * series.shape[2]), series.shape[1] // 4)
panels = {"normal dose": series.hu[SLICE], f"{DOSE:.0%} dose": low.hu[SLICE]}
show(panels, "Quantum noise has a texture", zoom=ZOOM)


# %%
def noise_power(noise):
    """Radial mean of the power spectrum of a square noise image."""
    side = min(noise.shape)
    power = np.abs(np.fft.fftshift(np.fft.fft2(noise[:side, :side]))) ** 2
    rows, columns = np.indices(power.shape) - side // 2
    radius = np.hypot(rows, columns).astype(int).ravel()
    return np.bincount(radius, power.ravel())[: side // 2] / np.bincount(radius)[: side // 2]


added = low.hu[SLICE] - series.hu[SLICE]
white = np.random.default_rng(0).normal(0, added.std(), added.shape)
frequency = np.arange(min(added.shape) // 2) / (min(added.shape) * series.spacing_mm[1]) * 10
plt.figure(figsize=(5, 3))
plt.plot(frequency, noise_power(added) / noise_power(white).mean(), label="simulated CT noise")
plt.plot(
    frequency, noise_power(white) / noise_power(white).mean(), label="white noise, same variance"
)
plt.xlabel("frequency, line pairs per cm")
plt.ylabel("noise power (white = 1)")
plt.legend()
plt.show()

# %% [markdown]
# Filtered back-projection leaves little noise near frequency 0 (the ramp filter). The noise power rises with frequency until the kernel cuts it off;
# for a soft kernel and large pixels as here this is near the end of the plot, for 512 x 512 pixels well inside it. A network trained on white noise
# has not learned this texture, so the training data below are simulated in the same way.

# %% [markdown]
# ## 3. Training data: phantom patients other than the test patient
#
# Each seed gives a different patient. `convert` simulates the low dose and writes TFRecords,
# split by patient. If you have more scans of your own, add them here.

# %%
PATIENTS = {"train": (101, 102, 103, 104), "val": (201,)}
for split, seeds in PATIENTS.items():
    for seed in seeds:
        patient = make_phantom(
            seed, region="abdomen" if seed % 2 else "thorax", shape=SHAPE, spacing_mm=SPACING_MM
        )
        write_phantom(patient, WORK / "patients" / split / str(seed), noise=False, overwrite=True)

key = WORK / "hash.key"  # patients are named in the records by a keyed hash
key.write_text("any secret of yours")
manifest = ct_keras.data.convert(
    WORK / "patients", WORK / "records", layout="single", split="folders", doses=(DOSE,),
    hash_key_file=key, overwrite=True, workers=1, progress=True,
)  # fmt: skip
print(manifest.splits)

# %%
low_patches, full_patches = next(
    iter(ct_keras.data.training_patches(WORK / "records", patch_size=64, batch_size=6, steps=1))
)
panels = {f"low {n}": hu.to_hu(patch[..., 0]) for n, patch in enumerate(low_patches[:3])}
panels |= {f"full {n}": hu.to_hu(patch[..., 0]) for n, patch in enumerate(full_patches[:3])}
show(panels, "Training patches: 64 x 64 pixels, converted from network units to HU")

# %% [markdown]
# Network units are $u = (HU + 1024)/4096$ for all networks, without a window or clipping: a
# network trained in a display window cannot restore HU outside it.
#
# ## 4. Training
#
# RED-CNN ([Chen et al. 2017](https://doi.org/10.1109/TMI.2017.2715284)): five convolutions, five
# transposed convolutions, three shortcuts, mean squared error. With the recipe `quick` it starts as the
# identity: untrained, the network returns its input, and training is judged
# relative to that.

# %%
import shutil

from ct_keras.training import train

LENGTH = {"epochs": 30, "steps": 250} if GPU else {"epochs": 5, "steps": 25}
OPTIONS = {"width": 32 if GPU else 16}
shutil.rmtree(WORK / "run", ignore_errors=True)
result = train(
    "red_cnn", WORK / "records", out=WORK / "run",
    recipe="quick", validation_slices=4, options=OPTIONS, progress=True, **LENGTH,
)  # fmt: skip
print(f"validation: input {result.untreated.psnr:.2f} dB, best {result.best['val_psnr']:.2f} dB")
assert result.better_than_input

# %%
import csv

with open(WORK / "run" / "history.csv") as lines:
    history = list(csv.DictReader(lines))
plt.figure(figsize=(5, 3))
plt.plot([int(row["epoch"]) for row in history], [float(row["val_psnr"]) for row in history], "o-")
plt.axhline(result.untreated.psnr, color="gray", linestyle="--", label="low-dose input")
plt.xlabel("epoch")
plt.ylabel("validation PSNR, dB\n[-160, 240] HU, range 400")
plt.legend()
plt.show()

# %% [markdown]
# ## 5. Denoise and measure
#
# `ct_keras.Denoiser` takes and returns HU, for any image size. The other rows are needed to
# interpret its numbers: the input, and classical filters **tuned on the validation patient**.

# %%
denoiser = ct_keras.load(WORK / "run")
validation = list(ct_keras.data.iterate_pairs(WORK / "records", "val"))[::3]
methods = {f"RED-CNN, {LENGTH['epochs'] * LENGTH['steps']} steps": denoiser}
for name in ("gaussian", "nlm"):
    methods[f"{name}, tuned"] = ct_keras.filters.tune(ct_keras.filters.get(name), validation)
methods["red_cnn, published"] = ct_keras.load()

outputs = {"low dose": low.hu} | {name: method(low.hu) for name, method in methods.items()}
print(
    f"{'':28}{'PSNR dB':>9}{'SSIM':>8}{'RMSE HU':>9}{'bias HU':>9}   protocol report, [-160, 240] HU"
)
for name, output in outputs.items():
    found = ct_keras.evaluate(output, series.hu)
    print(
        f"{name:28}{found['psnr']:9.2f}{found['ssim']:8.4f}{found['rmse_hu']:9.2f}{found['bias_hu']:+9.2f}"
    )

# %%
show({name: output[SLICE] for name, output in outputs.items()} | {"normal dose": series.hu[SLICE]},
     "One slice, all methods", zoom=ZOOM)  # fmt: skip
show_errors({name: output[SLICE] for name, output in outputs.items()}, series.hu[SLICE])

# %% [markdown]
# The Gaussian filter does not help: the blur of skin, bone and table (edges of 1000 HU, see the errors) adds more error than the
# smoothing removes, even with the smallest sigma of its grid.
#
# The published weights were trained on other patients, pixel sizes and doses; the network of this notebook was trained on
# exactly this kind of image. Read their model card before you compare, and try both on your own series. `ct-keras models` lists the others.
#
# The reference is a *scan* with noise of its own, which no method can or should
# reproduce. For a phantom the noise-free truth is known. A well denoised image is closer to the truth
# than to the reference scan; the input is not, because it also contains the noise of that scan.

# %%
if "phantom" in globals():
    print(f"{'RMSE in HU, no window':28}{'to the scan':>12}{'to the truth':>14}")
    for name, output in outputs.items():
        errors = [np.sqrt(np.mean((output - other) ** 2)) for other in (series.hu, phantom.hu)]
        print(f"{name:28}{errors[0]:12.2f}{errors[1]:14.2f}")

# %% [markdown]
# Edges in the difference are structure that was removed with the noise. Try: restore
# some of the noise. `strength` blends input and output.

# %%
STRENGTH = 0.6  # @param {type:"slider", min:0, max:1, step:0.1}
mixed = denoiser(low.hu[SLICE], strength=STRENGTH)
show(
    {"0": low.hu[SLICE], f"{STRENGTH}": mixed, "1": denoiser(low.hu[SLICE])}, "Strength", zoom=ZOOM
)

# %% [markdown]
# ## 6. Writing a DICOM series
#
# The low-dose series is written, read back, and denoised slice by slice in bounded
# memory: `ct-keras denoise STUDY OUT` does the same in one line.

# %%
from ct_keras.dicom import Derivation, find_series, write_series
from ct_keras.serving.series import denoise_series

write_series(low, WORK / "low_dose", derivation=Derivation.simulated_dose(DOSE), overwrite=True)
(source,) = find_series(WORK / "low_dose")
done = denoise_series(
    source, WORK / "denoised", denoiser, precision="float32", overwrite=True
)
print(done)

denoised = ct_keras.read_series(WORK / "denoised")
before, after = source.header, denoised.header
for keyword in ("ImageType", "SeriesDescription", "DerivationDescription", "ImageComments"):
    print(f"{keyword:22}{after.get(keyword)}")
for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "StudyInstanceUID"):
    kept = "kept" if before[keyword].value == after[keyword].value else "new"
    print(f"{keyword:22}{kept}")
assert after.ImageType[0] == "DERIVED"
padding = np.stack([source.read(index).padding for index in range(len(source))])
difference = np.abs(denoised.hu - denoiser(source.hu))[~padding]  # padding stays as it is
assert difference.max() <= 0.5 * float(after.RescaleSlope) + 1e-3

# %% [markdown]
# A receiver can rely on new UIDs for series and images, the original frame of reference
# (so that it stays aligned with other series), `DERIVED`, references to the source images,
# and the note that it is not for diagnostic use. With `strength=0` every stored pixel value is
# unchanged, so only the network changes values.

# %%
denoise_series(source, WORK / "untouched", denoiser, strength=0.0, overwrite=True)
untouched = ct_keras.read_series(WORK / "untouched")
for index in range(len(source)):
    assert np.array_equal(untouched.read(index).stored, source.read(index).stored)
print(f"{len(source)} slices with strength 0: stored pixels are identical")
archive = shutil.make_archive(str(WORK / "denoised"), "zip", WORK / "denoised")
print("to download:", Path(archive).name, f"{Path(archive).stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Next steps
#
# - With more doses in `doses=` and more patients, the network is no longer tied to one noise level.
# - `ct-keras evaluate` writes all protocols with intervals over patients into one page.
# - Notebook 2 compares networks; notebook 5 explains the filters of the table.
