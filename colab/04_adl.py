# %% [markdown]
# # ADL: adversarial distortion learning and its losses
#
# A U-Net denoises at three scales at once. Its loss compares pixels, *textures* and *histograms*, and a second U-Net is the
# discriminator. This notebook examines each loss on CT slices, trains a small ADL in its three phases, and ends with pairs of
# images as in the post: one noisy frame and the mean of fifty.
#
# It follows the ADL blog post; the method is that of
# [Ghahremani et al. 2022](https://arxiv.org/abs/2204.14100), with details from its figures and the public code.
#
# Takes about one and a half minutes on two CPU cores.

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


# %% [markdown]
# ## 1. Fifty frames of the same object
#
# The post trains with pairs *noisy frame - mean of 50 frames*. A patient cannot be scanned fifty times, but
# a phantom can. The noise of the mean falls with $1/\sqrt{n}$:

# %%
from ct_keras.simulation import DoseSimulator
from ct_keras.phantoms import make_phantom

SIZE = 256 if GPU else 192
SPACING_MM = (6.0, 380 / SIZE, 380 / SIZE)
DOSE = 0.1  # @param {type:"slider", min:0.05, max:1, step:0.05}
SIMULATOR = DoseSimulator((SIZE, SIZE), SPACING_MM[1:], noise_free=True, photons=8e5)


def body(seed, region="abdomen", slices=4):
    return make_phantom(seed, region=region, shape=(slices, SIZE, SIZE), spacing_mm=SPACING_MM).hu


truth = body(301)[1]
frames = np.stack([SIMULATOR.low_dose(truth, DOSE, seed=n) for n in range(50)])
means = {n: frames[:n].mean(axis=0) for n in (1, 2, 5, 10, 50)}
rmse = {n: float(np.sqrt(np.mean((mean - truth) ** 2))) for n, mean in means.items()}
zoom = (int(0.42 * SIZE), int(0.22 * SIZE), SIZE // 4)
show({f"mean of {n}": mean for n, mean in means.items()}, "Frames of one object", zoom=zoom)
plt.figure(figsize=(4.5, 2.8))
plt.loglog(list(rmse), list(rmse.values()), "o", label="measured")
plt.loglog(list(rmse), [rmse[1] / np.sqrt(n) for n in rmse], label="1/sqrt(n)")
plt.xlabel("frames")
plt.ylabel("RMSE, HU")
plt.legend()
plt.show()
assert abs(rmse[50] / rmse[1] * np.sqrt(50) - 1) < 0.1

# %% [markdown]
# ## 2. The network
#
# Residual blocks with BatchNorm, without biases; 96, 128, 160 and 192 filters. A *content enhancer* of dilated 7x7
# convolutions connects the input directly to the last block. Outputs at full, half and quarter scale, each in (0, 1) by a sigmoid.

# %%
from ct_keras.models import AdlDenoiser, AdlDiscriminator

network = AdlDenoiser(width=96, all_scales=True)
trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
print(f"denoiser, three scales: {trainable:,} trainable parameters")
assert trainable == 4_725_748
outputs = network(np.zeros((1, 32, 40, 1), "float32"))
print("outputs for 32 x 40:", [tuple(output.shape[1:3]) for output in outputs])
assert [tuple(output.shape[1:3]) for output in outputs] == [(32, 40), (16, 20), (8, 10)]
discriminator = AdlDiscriminator(48)
maps = discriminator(np.zeros((1, 32, 40, 1), "float32"))
print("discriminator outputs:", [tuple(output.shape[1:3]) for output in maps])
del network, discriminator

# %% [markdown]
# ## 3. The pyramidal textural loss
#
# The image is smoothed repeatedly, each time with a kernel twice as wide, without down-sampling (the *à trous* transform). What each
# smoothing removes, $\Delta_j = I_{j-1} - I_j$, is the texture of that scale. The loss is
# $\sum_{j=1}^{3}$ mean $|\Delta_j G(y) - \Delta_j x|$.

# %%
from ct_keras.losses import (
    atrous_pyramid,
    histogram_counts,
    histogram_loss,
    pyramidal_textural_loss,
)


def units(image):
    return hu.to_network(image)[None, ..., None]


low = frames[0]
figure, axes = plt.subplots(2, 4, figsize=(9.5, 5), layout="constrained")
for row, (name, image) in zip(axes, (("truth", truth), ("low dose", low)), strict=True):
    textures, rest = atrous_pyramid(units(image))
    for axis, (number, texture) in zip(row, enumerate(textures, 1)):
        axis.imshow(hu.SCALE_HU * np.array(texture)[0, ..., 0], "RdBu_r", vmin=-60, vmax=60)
        axis.set_title(f"{name}: texture {number}, -60 to 60 HU")
    row[3].imshow(hu.to_display(hu.to_hu(np.array(rest)[0, ..., 0])), "gray")
    row[3].set_title(f"residual, {hu.ABDOMEN}")
for axis in axes.flat:
    axis.set_axis_off()
plt.show()

# %%
textures, rest = atrous_pyramid(units(truth), pre_blur=False)
whole = sum(np.array(texture) for texture in textures) + np.array(rest)
assert np.allclose(whole, units(truth), atol=1e-5)  # nothing is lost
impulse = np.zeros((1, 33, 33, 1), "float32")
impulse[0, 16, 16, 0] = 1
first = np.array(atrous_pyramid(impulse, pre_blur=False)[0][0])
assert np.isclose(first[0, 16, 16, 0], 0.859375)  # 1 - (6/16)²
flat = np.full((1, 40, 40, 1), 0.3, "float32")
assert max(np.abs(np.array(texture)).max() for texture in atrous_pyramid(flat)[0]) < 1e-6
print(
    "textures and residual sum to the image; a flat image has no texture; the impulse gives 0.859375"
)

# %% [markdown]
# ## 4. The histogram loss
#
# It compares how often each value occurs. Counting has no gradient, so the integer histogram of the public code does not
# train the network. Here each pixel is distributed linearly over the two nearest bins, so counts vary smoothly with its value. 256 bins over the
# whole scale are 16 HU each; `hist_range` limits them to the relevant HU.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for axis, limits in zip(axes, (None, (-160.0, 240.0)), strict=True):
    low_hu, high_hu = limits or (-1024.0, 3072.0)
    centres = np.linspace(low_hu, high_hu, 256)
    for name, image in (("truth", truth), ("low dose", low)):
        counts = np.array(histogram_counts(units(image), hist_range=limits))[0]
        assert np.isclose(counts.sum(), truth.size, rtol=1e-4)
        axis.semilogy(centres[1:-1], counts[1:-1] + 0.1, label=name)
    axis.set(title=f"{low_hu:g} to {high_hu:g} HU", xlabel="HU", ylabel="pixels")
    axis.legend()
plt.show()

dark, bright = (np.full((1, 64, 64, 1), k / 255, "float32") for k in (64, 128))
value = float(histogram_loss(reference=dark, prediction=bright))
print(
    f"two flat images in different bins: {value:.8f} (the maximum is 2/256 = {2 / 256:.8f})"
)
assert np.isclose(value, 0.00781118, atol=1e-7)

# %%
image = tf.Variable(units(low))
for kernel in ("triangular", "hard"):
    with tf.GradientTape() as tape:
        loss = histogram_loss(reference=units(truth), prediction=image, kernel=kernel)
    gradient = tape.gradient(loss, image)
    size = 0.0 if gradient is None else float(tf.norm(gradient))
    print(f"{kernel:11} loss {float(loss):.5f}, norm of its gradient {size:.2e}")
    assert (size > 0) == (kernel == "triangular")

# %% [markdown]
# ## 5. Sensitivity of each loss
#
# Four degradations of the same image, scaled to the same mean absolute error of 5 HU. L1 does not distinguish them. The textural loss
# responds to noise and lost edges but not to a shift of HU; the histogram loss responds to a shift and to noise, but not to the positions of pixels.

# %%
from scipy import ndimage

random = np.random.default_rng(0)
changes = {
    "noise": random.normal(size=truth.shape),
    "blur": ndimage.gaussian_filter(truth, 1.5) - truth,
    "shift": np.ones_like(truth),
    "shading": np.broadcast_to(np.linspace(-1, 1, SIZE), truth.shape),
}
spoiled = {name: truth + 5 * change / np.abs(change).mean() for name, change in changes.items()}
print(f"{'':10}{'L1, HU':>8}{'texture, HU':>13}{'histogram x 1000':>18}")
for name, image in spoiled.items():
    pair = {"reference": units(truth), "prediction": units(image)}
    l1 = hu.SCALE_HU * np.abs(pair["prediction"] - pair["reference"]).mean()
    texture = hu.SCALE_HU * float(pyramidal_textural_loss(**pair))
    counts = 1000 * float(histogram_loss(**pair, hist_range=(-160.0, 240.0)))
    print(f"{name:10}{l1:8.2f}{texture:13.2f}{counts:18.3f}")
show(spoiled, "Four degradations with the same L1", zoom=zoom)

# %% [markdown]
# ## 6. Three phases
#
# First the denoiser is trained alone, then the discriminator alone, then both. In mode `paper` the denoiser is rewarded for
# deceiving the discriminator; in the published code it gets no adversarial loss, and "fake" is the *noisy input*. The weight of the adversarial
# term is not published; `lambda_adv = 1e-3` is a choice of this project.

# %%
from dataclasses import replace
from itertools import pairwise

from ct_keras.models import adl

LENGTH = (60, 100) if GPU else (10, 45)
recipe = adl.SPEC.recipe("quick").with_length(*LENGTH)
recipe = replace(recipe, options={"width": 48 if GPU else 8, "initializer": "identity"})
system = adl.make_system(recipe)
pairs = [
    (body(seed, region), seed)
    for seed in range(1, 9 if GPU else 4)
    for region in ("abdomen", "thorax")
]
train_full = np.concatenate([volume for volume, _ in pairs])
train_low = np.stack(
    [SIMULATOR.low_dose(image, DOSE, seed=1000 + n) for n, image in enumerate(train_full)]
)


def patches(low_image, full_image, number):
    """A random patch at the same position in both, network units."""
    both = tf.stack([low_image, full_image], axis=-1)
    size = (recipe.patch_size, recipe.patch_size, 2)
    both = tf.image.stateless_random_crop(both, size, seed=[7, number])
    return both[..., :1], both[..., 1:]


from ct_keras.training.callbacks import ProgressBar

numbers = tf.data.Dataset.range(10**9)
stacks = tf.data.Dataset.from_tensor_slices((hu.to_network(train_low), hu.to_network(train_full)))
stream = tf.data.Dataset.zip(stacks.shuffle(len(train_low), seed=3).repeat(), numbers)
stream = stream.map(lambda images, number: patches(*images, tf.cast(number, tf.int32)))
stream = stream.batch(recipe.batch_size, drop_remainder=True).prefetch(4)
history = system.fit(
    stream, epochs=LENGTH[0], steps_per_epoch=LENGTH[1], verbose=0, shuffle=False,
    callbacks=[ProgressBar()],
).history

ends = (0, *system.settings.phase_ends(recipe.epochs))
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
for axis, keys in zip(
    axes,
    (("l1_loss", "pyramid_loss"), ("histogram_loss",), ("discriminator_loss", "adversarial_loss")),
    strict=True,
):
    for key in keys:
        values = np.where(np.array(history[key]) == 0, np.nan, history[key])  # 0: not used yet
        axis.plot(np.arange(1, LENGTH[0] + 1), values, "o-", markersize=3, label=key)
    for phase, (start, end) in enumerate(pairwise(ends)):
        axis.axvspan(start + 0.5, end + 0.5, color=f"C{phase + 4}", alpha=0.15)
    axis.set_xlabel("epoch")
    axis.legend(fontsize=7)
figure.suptitle("Three phases: denoiser, discriminator, both", fontsize=10)
plt.show()

# %% [markdown]
# The jump in the second phase is expected: the denoiser is frozen there and normalises with its *moving* statistics, as in
# inference, whereas in training it normalises with those of the batch. The moving statistics lag behind (momentum 0.99), which is visible in a short
# training.
#
# ## 7. Image pairs
#
# As in the post: the noisy frame, the result, and the mean of fifty frames.

# %%
from ct_keras import Denoiser

denoiser = Denoiser(system.network)
test_truth = body(302, "thorax")[1]
test_frames = np.stack([SIMULATOR.low_dose(test_truth, DOSE, seed=n) for n in range(50)])
for name, one, many, window in (
    ("abdomen", frames[0], means[50], hu.ABDOMEN),
    ("thorax", test_frames[0], test_frames.mean(axis=0), hu.LUNG),
):
    panels = {"one frame": one, "ADL": denoiser(one), "mean of 50": many}
    show(panels, f"Unseen patient, {name}", window, zoom=zoom)
    show_errors({key: panels[key] for key in ("one frame", "ADL")}, many)

# %%
denoised = denoiser(low)
error = float(np.sqrt(np.mean((denoised - truth) ** 2)))
print(
    f"one frame {rmse[1]:.1f} HU, denoised {error:.1f} HU: the RMSE of a mean of {(rmse[1] / error) ** 2:.1f} frames"
)
assert error < rmse[1]
for name, image in (("one frame", low), ("ADL", denoised), ("mean of 50", means[50])):
    found = ct_keras.evaluate(image, truth)
    print(
        f"{name:12} PSNR {found['psnr']:.2f} dB, SSIM {found['ssim']:.4f}, RMSE {found['rmse_hu']:.2f} HU (protocol report)"
    )

# %% [markdown]
# The two are not equivalent: more frames recover what the noise had hidden, the network restores what it has learned from other
# images. Whether a lesion remains visible must be measured separately.
#
# ## Summary
#
# - Published numbers of ADL are for white noise on photographs, microscopy and MRI, not for CT.
# - A loss without a gradient can only monitor training. Test that every term changes a weight.
# - *Try:* `hist_range`, the weights in `recipe.training`, `mode="code"`.
