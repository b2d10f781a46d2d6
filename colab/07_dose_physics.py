# %% [markdown]
# # Low dose from normal dose, and the physics that it must obey
#
# How does an image at a quarter of the dose look, if only the one at full dose exists? ct_keras projects the image, draws the missing noise
# of every ray, reconstructs that noise and adds it. This notebook simulates doses, and checks the result against closed forms:
# the noise must grow as the photons say, its spectrum must have its variance, and projections must be what geometry demands.
#
# The physics is explained in `docs/explained/physics.md`. Takes less than a minute on two CPU cores; a GPU is not needed.

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
# ## 1. Projections: the line integral through a disc
#
# A ray at the distance $s$ from the centre of a disc of radius $R$ crosses $2\sqrt{R^2 - s^2}$ of it.

# %%
from ct_keras.simulation import fbp, radon

EDGE, PIXEL_MM, RADIUS_MM = 256, 1.0, 80.0
row_mm, column_mm = (np.indices((EDGE, EDGE)) - (EDGE - 1) / 2) * PIXEL_MM
disc = (np.hypot(row_mm, column_mm) < RADIUS_MM).astype(np.float32)
sinogram = radon(disc, views=180)
distance_mm = (np.arange(len(sinogram)) - len(sinogram) // 2) * PIXEL_MM
chord_mm = 2 * np.sqrt(np.maximum(RADIUS_MM**2 - distance_mm**2, 0))
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
axes[0].imshow(sinogram.T, "gray", aspect="auto")
axes[0].set_title("sinogram: view against ray")
axes[1].plot(distance_mm, sinogram[:, 0], label="projection")
axes[1].plot(distance_mm, chord_mm, "--", label="chord")
axes[1].set_xlabel("distance from the axis, mm")
axes[1].legend(fontsize=7)
restored = fbp(sinogram, disc.shape)
axes[2].imshow(restored, "gray", vmin=0.9, vmax=1.1)
axes[2].set_title("filtered back-projection, 0.9 to 1.1")
axes[2].set_axis_off()
plt.show()
inside = np.abs(distance_mm) < 0.95 * RADIUS_MM
print(f"largest difference from the chord: {np.abs(sinogram[inside].T - chord_mm[inside]).max():.2f} mm")
assert np.abs(sinogram[inside].T - chord_mm[inside]).max() < 2.5  # the disc is made of pixels
assert np.abs(restored[disc > 0].mean() - 1) < 0.01

# %% [markdown]
# ## 2. The noise of a dose
#
# At the fraction $d$ of the dose the variance of a ray with $N$ expected photons is $1/(dN) + e^2/(dN)^2$: quantum noise, and the noise $e$ of
# the electronics. So the standard deviation of the image grows as $1/\sqrt d$ without electronics, and faster with them.

# %%
from ct_keras.simulation import DoseSimulator

SIZE, DOSES = 192 if GPU else 128, (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)
spacing_mm = (320 / SIZE, 320 / SIZE)
row_mm, column_mm = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * spacing_mm[0]
water = np.where(np.hypot(row_mm, column_mm) < 130, 0.0, -1000.0).astype(np.float32)
middle = np.hypot(row_mm, column_mm) < 50
deviations = {}
for name, electronics in (("quantum noise alone", 0.0), ("with electronics", 15.0)):
    simulator = DoseSimulator(
        water.shape, spacing_mm, photons=4e5, noise_free=True, electronic_noise=electronics, views=360
    )
    images = simulator.low_doses(water, DOSES, seed=3)
    deviations[name] = np.array([np.std(image[middle]) for image in images])
show({f"dose {dose:g}": image for dose, image in zip(DOSES, images, strict=True)}, "A cylinder of water of 26 cm")
plt.figure(figsize=(5, 3), layout="constrained")
for name, values in deviations.items():
    plt.loglog(DOSES, values, "o-", label=name)
plt.loglog(DOSES, deviations["quantum noise alone"][0] / np.sqrt(DOSES), "k:", label="1 / sqrt(dose)")
plt.xlabel("dose")
plt.ylabel("noise in the middle, HU")
plt.legend(fontsize=7)
plt.show()
relative = deviations["quantum noise alone"] * np.sqrt(DOSES) / deviations["quantum noise alone"][0]
print("noise over 1 / sqrt(dose):", relative.round(3))
assert np.allclose(relative, 1, atol=0.06)
assert deviations["with electronics"][-1] > 1.1 * deviations["quantum noise alone"][-1]

# %% [markdown]
# The same seed draws the same random numbers for every dose, so the images of one row differ in strength only. Half of the dose twice must
# give the noise of a quarter: a scan that already has the noise of half of the dose gets only the difference.

# %%
quiet = DoseSimulator(water.shape, spacing_mm, photons=1e5, noise_free=True, electronic_noise=0.0, views=360)
scan = quiet.low_dose(water, 0.5, seed=1)
half = quiet.tuned(photons=5e4, noise_free=False)
twice = half.low_dose(scan, 0.5, seed=2)
once = quiet.low_dose(water, 0.25, seed=3)
print(f"noise at half: {np.std(scan[middle]):.1f} HU; half of that: {np.std(twice[middle]):.1f} HU; "
      f"a quarter at once: {np.std(once[middle]):.1f} HU")  # fmt: skip
assert np.isclose(np.std(twice[middle]), np.std(once[middle]), rtol=0.06)

# %% [markdown]
# ## 3. Its spectrum
#
# CT noise is not white: filtered back-projection removes the slow part, the kernel the fast one. The integral of the noise power spectrum
# (NPS) is the variance, whatever the kernel. White noise of SD $\sigma$ in pixels of $dx \times dy$ has the spectrum $\sigma^2 dx\,dy$.

# %%
from ct_keras.image_quality.nps import noise_power_spectrum
from ct_keras.simulation import contaminate

COUNT, FINE_MM = 48, (0.8, 0.8)
row_mm, column_mm = (np.indices((160, 160)) - 79.5) * FINE_MM[0]
small = np.where(np.hypot(row_mm, column_mm) < 55, 0.0, -1000.0).astype(np.float32)
side = slice(56, 104)
noises = {}
for kernel in ("b30", "d45"):
    simulator = DoseSimulator(
        small.shape, FINE_MM, photons=3e4, noise_free=True, kernel=kernel, views=360
    )
    noises[kernel] = np.stack([simulator.low_dose(small, 1.0, seed=n)[side, side] for n in range(COUNT)])
level = np.std(noises["b30"] - noises["b30"].mean(axis=0))
white = np.stack([contaminate(small, "uniform", level * np.sqrt(3), seed=n)[side, side] for n in range(COUNT)])
noises["plain uniform noise of the same SD"] = white
figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
for axis, (name, images) in zip(axes, noises.items(), strict=False):
    spectrum = noise_power_spectrum(images - images.mean(axis=0), FINE_MM, trend="none")
    variance = np.var(images - images.mean(axis=0))
    print(f"{name:36} variance {variance:8.1f} HU², integral of the spectrum {spectrum.variance:8.1f} HU²")
    assert np.isclose(spectrum.variance, variance, rtol=1e-3)
    axes[3].plot(*spectrum.radial(), label=name[:13])
    axis.imshow(images[0], "gray", vmin=-4 * level, vmax=4 * level)
    axis.set_title(name if len(name) < 10 else "plain uniform noise")
    axis.set_axis_off()
axes[3].set_xlabel("frequency, 1/mm")
axes[3].set_ylabel("NPS, HU² mm²")
axes[3].legend(fontsize=7)
plt.show()
power = noise_power_spectrum(white - white.mean(axis=0), FINE_MM, trend="none").radial()[1]
expected = level**2 * FINE_MM[0] * FINE_MM[1]
assert np.allclose(power[2:], expected, rtol=0.25)

# %% [markdown]
# The variance of the plain noise is that of the scan, but none of its texture: a network trained on plain noise has not seen CT noise.
#
# ## 4. Streaks where few photons arrive
#
# In a pelvis the long way from hip to hip lets few photons through. The noise of these rays, and only of these, becomes horizontal streaks:

# %%
step_mm = 420 / SIZE
row_mm, column_mm = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) * step_mm
pelvis = np.where((row_mm / 110) ** 2 + (column_mm / 190) ** 2 < 1, 40.0, -1000.0)
for centre_mm in (-120, 120):
    pelvis[np.hypot(row_mm, column_mm - centre_mm) < 28] = 700
pelvis[(row_mm / 25) ** 2 + (column_mm / 40) ** 2 < 1] = 0  # the bladder
simulator = DoseSimulator((SIZE, SIZE), (step_mm, step_mm), photons=6e5, noise_free=True, views=360)
slices = {"full dose": 1.0, "a quarter": 0.25, "a twentieth": 0.05}
simulated = {name: simulator.low_dose(pelvis, dose, seed=1) for name, dose in slices.items()}
show({"phantom": pelvis} | simulated, "Hips at three doses", zoom=(SIZE // 3, SIZE // 3, SIZE // 3))
noise = (simulated["a twentieth"] - pelvis)[SIZE * 3 // 8 : SIZE * 5 // 8, SIZE // 3 : SIZE * 2 // 3]
spread = [np.mean(np.abs(np.diff(noise, axis=axis))) for axis in (0, 1)]
print(f"mean step of the noise from row to row {spread[0]:.1f} HU, from column to column {spread[1]:.1f} HU")
assert spread[0] > spread[1]  # streaks run along the rows

# %% [markdown]
# ## 5. What is measured on it
#
# PSNR of the same slice under several protocols: compare only within a column. A filter gains more on plain noise than on the
# noise of a dose, since more of its power lies at high frequencies, where there is little anatomy.

# %%
keys = ("psnr", "psnr_dugan600", "psnr_ldctbench2924", "psnr_full4096")
print(f"{'image':24}" + "".join(f"{key:>20}" for key in keys))
strength = np.std(noise)
measured = {name: simulated[name] for name in ("a quarter", "a twentieth")}
measured["plain noise"] = contaminate(pelvis, "uniform", strength * np.sqrt(3), seed=1)
gaussian = ct_keras.filters.get("gaussian")
measured |= {f"{name}, filtered": gaussian(image) for name, image in measured.items()}
for name, image in measured.items():
    found = ct_keras.evaluate(image, pelvis)
    print(f"{name:24}" + "".join(f"{found[key]:20.2f}" for key in keys))
    assert found["psnr"] < found["psnr_full4096"]
gains = [
    np.subtract(*(ct_keras.evaluate(measured[f"{name}{end}"], pelvis)["psnr"] for end in (", filtered", "")))
    for name in ("plain noise", "a twentieth")
]
print(f"gain of the filter: {gains[0]:.1f} dB on plain noise, {gains[1]:.1f} dB on the noise of a twentieth")
assert gains[0] > gains[1]
show({name: measured[name] for name in ("a twentieth", "a twentieth, filtered", "plain noise", "plain noise, filtered")},
     f"Noise of SD {strength:.0f} HU: of a dose, and plain", hu.Window("wide", 0, 1000))  # fmt: skip

# %% [markdown]
# ## Summary
#
# - Noise is simulated where it arises, in the projections; only noise is reconstructed, so the anatomy stays as it is.
# - What can be checked in closed form is checked: chords, $1/\sqrt d$, half of a half, the integral of the spectrum.
# - What is not modelled: scatter, beam hardening, fan and cone geometry, iterative reconstruction.
# - *Try:* other kernels and photon numbers; `ct-keras simulate STUDY LOW --dose 0.1` does the same for your own series.
