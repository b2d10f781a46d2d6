# %% [markdown]
# # The denoising lecture: restoration network, skip connections, residual learning, losses
#
# From $y = Hx + n$ to a network that removes the noise: an encoder-decoder without pooling, why it needs
# skip connections, why it should predict the correction instead of the image, the effects of the mean squared
# error, and the two losses of the segmentation exercise.
#
# This notebook follows NPTEL, *Medical Image Analysis*, lecture 56. The network is RED-Net
# ([Mao et al. 2016](https://arxiv.org/abs/1603.09056)); its variant for CT is RED-CNN
# ([Chen et al. 2017](https://doi.org/10.1109/TMI.2017.2715284)).
#
# Takes about two minutes on two CPU cores.

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
# ## 1. Degradation
#
# $y = Hx + n$: $x$ is the image we want, $H$ a degradation, $n$ noise. In deblurring $H$ is a blur, in super-resolution
# down-sampling, in inpainting a mask. **In denoising $H$ is the identity**, so the input is already a good estimate of the
# output. Section 4 makes use of this.

# %%
from scipy import ndimage

from ct_keras.simulation import DoseSimulator
from ct_keras.phantoms import make_phantom

SIZE = 384 if GPU else 192
SPACING_MM = (6.0, 380 / SIZE, 380 / SIZE)
SIMULATOR = DoseSimulator((SIZE, SIZE), SPACING_MM[1:], noise_free=True, photons=8e5)
DOSE = 0.05  # @param {type:"slider", min:0.05, max:1, step:0.05}


def patient(seed, region="abdomen", slices=4):
    """Returns low dose and truth of a phantom, HU (slices, rows, columns)."""
    body = make_phantom(seed, region=region, shape=(slices, SIZE, SIZE), spacing_mm=SPACING_MM)
    low = [SIMULATOR.low_dose(body.hu[n], DOSE, seed=seed, slice_index=n) for n in range(slices)]
    return np.stack(low), body.hu


test_low, test_full = patient(101)
x = test_full[1]
mask = np.ones_like(x)
mask[SIZE // 3 : SIZE // 3 + 8] = 0
show(
    {
        "x": x,
        "H = blur": ndimage.gaussian_filter(x, 2),
        "H = down-sampling": x[::4, ::4],
        "H = mask": np.where(mask, x, hu.AIR_HU),
        f"H = 1, n = {DOSE:.0%} dose": test_low[1],
    },
    "y = Hx + n",
)

# %% [markdown]
# ## 2. Patches of CT
#
# Networks of this kind are trained on small random patches. Here two patients (both regions) are used for training and one for testing.

# %%
from ct_keras.metrics.tissues import body_mask

TRAIN = [
    patient(seed, region)
    for seed in ((1, 2, 3, 4, 5, 6, 7, 8) if GPU else (1, 2))
    for region in ("abdomen", "thorax")
]
train_low, train_full = (np.concatenate(part) for part in zip(*TRAIN, strict=True))
train_body = np.stack([body_mask(image) for image in train_full])
PATCH, BATCH = 48, 8
STEPS = 4000 if GPU else 120


def batches(count, seed=0):
    """Random patch pairs (batch, PATCH, PATCH, 1), network units."""
    source = np.random.default_rng(seed)
    for _ in range(count):
        pairs = []
        while len(pairs) < BATCH:
            n = source.integers(len(train_low))
            row, column = source.integers(0, SIZE - PATCH, 2)
            place = (n, slice(row, row + PATCH), slice(column, column + PATCH))
            if train_body[place].mean() > 0.5:  # lung is accepted, air is not
                pairs.append((train_low[place], train_full[place]))
        low, full = (hu.to_network(np.stack(part))[..., None] for part in zip(*pairs, strict=True))
        yield low, full


example_low, example_full = next(batches(1))
panels = {f"low {n}": hu.to_hu(example_low[n, ..., 0]) for n in range(3)}
show(panels | {f"full {n}": hu.to_hu(example_full[n, ..., 0]) for n in range(3)}, "Training pairs")

# %% [markdown]
# ## 3. Encoder, decoder, skip connections
#
# Convolutions remove the noise step by step, transposed convolutions recover the detail. There is no pooling: the
# lecture says that the layers "successively down-sample", but in the paper the stride is 1 (only a
# fast variant has one layer of stride 2). After every second transposed convolution the feature map of the matching
# convolution is *added*, followed by a second ReLU: `ReLU(deconv + skip)`.

# %%
from ct_keras.models.red_net import RedNet10, RedNet20, RedNet30, restoration_loss

for builder, count in ((RedNet10, 296_641), (RedNet20, 665_921), (RedNet30, 1_035_201)):
    net = builder()
    skips = [layer.name for layer in net.layers if isinstance(layer, keras.layers.Add)]
    print(f"{net.name}: {net.count_params():,} parameters, sums: {skips}")
    assert net.count_params() == count

# %% [markdown]
# Skip connections serve two purposes. **Gradients**: the plot below shows the norm of the gradient at each convolution of a
# 20-layer network in the first step. **Detail**: a skip connection carries it past the layers that would smooth it.

# %%
from keras import layers


def plain_network(pairs, width, skips):
    """The encoder-decoder of RED-Net with or without skips, without the last sum."""
    image = keras.Input((None, None, 1))
    kept = [image]
    for k in range(1, pairs + 1):
        kept.append(
            layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{k}")(kept[-1])
        )
    h = kept[-1]
    for k in range(1, pairs):
        h = layers.Conv2DTranspose(width, 3, padding="same", activation="relu", name=f"deconv{k}")(
            h
        )
        if skips and k % 2 == pairs % 2:
            h = layers.ReLU()(h + kept[pairs - k])
    return keras.Model(
        image, layers.Conv2DTranspose(1, 3, padding="same", name=f"deconv{pairs}")(h)
    )


WIDTH = 32 if GPU else 8
plt.figure(figsize=(6, 3))
for skips in (True, False):
    keras.utils.set_random_seed(3)
    net = plain_network(10, WIDTH, skips)
    with tf.GradientTape() as tape:
        loss = restoration_loss(reference=example_full, prediction=net(example_low))
    names = [f"conv{k}" for k in range(1, 11)] + [f"deconv{k}" for k in range(1, 11)]
    gradients = tape.gradient(loss, [net.get_layer(name).kernel for name in names])
    plt.semilogy(
        [float(tf.norm(gradient)) for gradient in gradients], "o-", label=f"skips: {skips}"
    )
plt.xticks(range(20), names, rotation=90)
plt.ylabel("norm of the gradient")
plt.legend()
plt.show()

# %% [markdown]
# ## 4. Residual learning
#
# If the input is nearly correct, learn the difference: the network predicts the correction $R(y) = x - y$ and the output is $y + R(y)$. A network
# whose last layer is initialised with zeros then *starts* at the quality of its input, instead of with a black image.
#
# Three networks of twenty layers, with the same patches and the same number of steps (a few hundred; real training takes a hundred thousand):


# %%
from ct_keras.progress import track


def train(net, steps=STEPS, rate=1e-3):
    """Trains with the mean squared error; returns the loss of each step in HU."""
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 50, steps, 0.05, warmup_target=rate, warmup_steps=steps // 10
    )
    optimizer = keras.optimizers.Adam(schedule, epsilon=1e-9)
    optimizer.build(net.trainable_variables)

    @tf.function
    def step(low, full):
        with tf.GradientTape() as tape:
            loss = restoration_loss(reference=full, prediction=net(low, training=True))
        optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
        return loss

    shown = track(batches(steps), "Training", total=steps)
    losses = [float(step(tf.constant(low), tf.constant(full))) for low, full in shown]
    return hu.SCALE_HU * np.sqrt(losses)


variants = {
    "20 layers, plain": lambda: plain_network(10, WIDTH, skips=False),
    "20 layers, skips": lambda: plain_network(10, WIDTH, skips=True),
    "20 layers, skips, residual": lambda: RedNet20(WIDTH, initializer="identity"),
}
networks, curves = {}, {}
for name, build in variants.items():
    keras.utils.set_random_seed(1)
    networks[name] = build()
    curves[name] = train(networks[name])

plt.figure(figsize=(6, 3.2))
for name, curve in curves.items():
    smooth = np.convolve(curve, np.ones(10) / 10, "valid")
    plt.semilogy(np.arange(len(smooth)) + 10, smooth, label=name)
inside = [hu.SCALE_HU * np.sqrt(np.mean((low - full) ** 2)) for low, full in batches(20)]
plt.axhline(np.mean(inside), color="gray", linestyle="--", label="input")
plt.xlabel("step")
plt.ylabel("training RMSE, HU")
plt.legend(fontsize=8)
plt.show()
assert curves["20 layers, skips, residual"][-10:].mean() < curves["20 layers, plain"][-10:].mean()

# %%
outputs = {"low dose": test_low}
for name, net in networks.items():
    outputs[name] = hu.to_hu(net(hu.to_network(test_low)[..., None], training=False)[..., 0])
print(
    f"{'unseen patient':28}{'PSNR dB':>9}{'SSIM':>8}{'RMSE HU':>9}   protocol report, [-160, 240] HU"
)
for name, output in outputs.items():
    found = ct_keras.evaluate(output, test_full)
    print(f"{name:28}{found['psnr']:9.2f}{found['ssim']:8.4f}{found['rmse_hu']:9.2f}")
zoom = (int(0.4 * SIZE), int(0.2 * SIZE), SIZE // 4)
show({name.replace("20 layers, ", ""): image[1] for name, image in outputs.items()} | {"truth": test_full[1]},
     "Unseen patient", zoom=zoom)  # fmt: skip
show_errors(
    {name.replace("20 layers, ", ""): image[1] for name, image in outputs.items()}, test_full[1]
)

# %% [markdown]
# Without skip connections the network learns only the mean of the image in this time: every pixel has the same value. With skip connections it
# reconstructs an image, but a worse one than its input; only the residual network improves on the input.
#
# With all kernels at zero the residual network returns its input exactly, which is the starting point of its training:

# %%
net = RedNet20(WIDTH)
net.set_weights([np.zeros_like(weight) for weight in net.get_weights()])
assert np.array_equal(net(example_low), example_low)
print("zero weights: the output equals the input exactly")

# %% [markdown]
# ## 5. The mean squared error
#
# $L(\Theta) = \frac{1}{N}\sum_i \lVert F(X_i;\Theta) - Y_i \rVert_F^2$ sums over the pixels and averages over the pairs. The mean over pixels differs by a
# constant factor, to which Adam is almost insensitive (plain gradient descent is not):

# %%
summed = float(
    restoration_loss(reference=example_full, prediction=example_low, reduction="sum_pixels")
)
mean = float(restoration_loss(reference=example_full, prediction=example_low))
print(f"sum over pixels {summed:.4f} = {PATCH}² x mean {mean:.3e}")
assert np.isclose(summed, PATCH**2 * mean, rtol=1e-4)

# %% [markdown]
# Its minimum is the **conditional mean**. If the position of an edge is uncertain by a pixel, the mean is a blurred edge, although no
# patient has blurred edges; this is why networks trained with it give smooth images. The minimum of the mean absolute error is the median.

# %%
edges = np.stack(
    [(np.arange(40) > shift).astype(float) for shift in np.random.default_rng(0).normal(20, 3, 400)]
)
plt.figure(figsize=(5, 2.6))
for edge in edges[:15]:
    plt.plot(edge, color="lightgray", linewidth=1)
plt.plot(edges.mean(axis=0), label="best for the squared error: the mean")
plt.plot(np.median(edges, axis=0), "--", label="best for the absolute error: the median")
plt.legend(fontsize=8, loc="upper left")
plt.xlabel("position, pixels")
plt.ylim(-0.05, 1.6)
plt.show()

# %% [markdown]
# ## 6. The losses of the segmentation exercise
#
# **Pixelwise cross-entropy**, $-\sum_{x,y}\sum_i p_i \log q_i$, weights all pixels equally, so a small organ has little influence. The **Dice
# loss**, $1 - 2\sum tp / (\sum t^2 + \sum p^2)$, weights all classes equally. The lecture's 4 x 4 example:

# %%
from ct_keras.losses.segmentation import (
    SegmentationLoss,
    dice_coefficient,
    dice_loss,
    pixelwise_cross_entropy,
)

prediction = np.array(
    [
        [0.01, 0.03, 0.02, 0.02],
        [0.05, 0.12, 0.09, 0.07],
        [0.89, 0.85, 0.88, 0.91],
        [0.99, 0.97, 0.95, 0.97],
    ],
    "float32",
)
target = np.array([[0] * 4, [0] * 4, [1] * 4, [1] * 4], "float32")
pair = {"reference": target[None, ..., None], "prediction": prediction[None, ..., None]}
print(
    "intersection",
    (target * prediction).sum().round(4),
    "of",
    prediction.sum().round(4),
    "and",
    target.sum(),
)
print("Dice coefficient       ", float(dice_coefficient(**pair)[0]))
print("Dice loss, squared     ", float(dice_loss(**pair)))
print("Dice loss, linear      ", float(dice_loss(**pair, denominators="linear")))
assert np.isclose(float(dice_coefficient(**pair)[0]), 0.936789, atol=1e-6)
assert np.isclose(float(dice_loss(**pair)), 0.0062495, atol=1e-6)
assert np.isclose(float(dice_loss(**pair, denominators="linear")), 0.063211, atol=1e-6)

# %% [markdown]
# On the slides, the coefficient has $|A| + |B|$ in the denominator and the loss has squares. For soft predictions
# the two "Dice losses" differ by a factor of ten: always state which one is used.
#
# How much does a small organ contribute? A network that predicts "background" everywhere:

# %%
shares = np.logspace(-3, -0.3, 12)
curves = {"cross-entropy": [], "Dice": []}
for share in shares:
    organ = (np.arange(10_000) < share * 10_000).reshape(1, 100, 100)
    truth = np.stack([~organ, organ], -1).astype("float32")
    blind = np.broadcast_to(np.array([0.99, 0.01], "float32"), truth.shape)
    curves["cross-entropy"].append(
        float(pixelwise_cross_entropy(reference=truth, prediction=blind, reduction="mean"))
    )
    curves["Dice"].append(float(dice_loss(reference=truth, prediction=blind)))
plt.figure(figsize=(5, 2.8))
for name, values in curves.items():
    plt.semilogx(shares, values, "o-", label=name)
plt.xlabel("share of pixels in the organ")
plt.ylabel("loss of predicting background")
plt.legend()
plt.show()

# %% [markdown]
# ### FCN-8s on phantom organs
#
# The convolutions of VGG-16 with three predictions at 1/32, 1/16 and 1/8 of the resolution, summed and upsampled
# ([Shelhamer et al. 2017](https://doi.org/10.1109/TPAMI.2016.2572683)). Here a network with few feature maps is trained
# with each of two losses, with body, lung and bone from the exact labels of the phantoms. The printed values are Dice
# coefficients of the probabilities, without a threshold.

# %%
from ct_keras.phantoms import LABELS
from ct_keras.tasks.fcn8s import FCN8s
from ct_keras.training.callbacks import ProgressBar

PIXELS = 64
LUNG = [number for name, number in LABELS.items() if name.startswith(("lung", "airway"))]
BONE = [number for name, number in LABELS.items() if "bone" in name]
CLASSES = ("air", "body", "lung", "bone")


def labelled(seeds):
    """Thorax slices with 30 HU of noise in network units, and their classes."""
    images, classes = [], []
    for seed in seeds:
        shape, spacing_mm = (6, PIXELS, PIXELS), (10.0, 380 / PIXELS, 380 / PIXELS)
        body = make_phantom(
            seed, region="thorax", shape=shape, spacing_mm=spacing_mm, lesions=False
        )
        noise = np.random.default_rng(seed).normal(0, 30, body.hu.shape)
        images.append(hu.to_network(body.hu + noise))
        found = np.where(body.hu > -300, 1, 0)
        found[np.isin(body.labels, LUNG)] = 2
        found[np.isin(body.labels, BONE)] = 3
        classes.append(found)
    return np.concatenate(images)[..., None], np.concatenate(classes)


organ_images, organ_truth = labelled(range(20, 44 if GPU else 28))
held_images, held_truth = labelled(range(60, 62))
one_hot = keras.utils.to_categorical(organ_truth, len(CLASSES))
results = {}
for name, loss in (
    ("cross-entropy", SegmentationLoss(1.0, 0.0)),
    ("cross-entropy + Dice", SegmentationLoss(1.0, 1.0, over="batch")),
):
    keras.utils.set_random_seed(1)
    fcn = FCN8s(8, classes=len(CLASSES), image_size=(PIXELS, PIXELS), padding="same",
                dropout=0.0, zero_scores=False, window_hu=(-1000, 400))  # fmt: skip
    fcn.compile(keras.optimizers.Adam(2e-3), loss)
    epochs = 60 if GPU else 30
    fcn.fit(organ_images, one_hot, batch_size=8, epochs=epochs, verbose=0, callbacks=[ProgressBar()])
    results[name] = fcn(held_images, training=False).numpy()
    dice = dice_coefficient(reference=held_truth, prediction=results[name])
    print(f"{name:22}", {c: round(float(d), 3) for c, d in zip(CLASSES, dice, strict=True)})

# %%
figure, axes = plt.subplots(1, 4, figsize=(9.5, 2.8), layout="constrained")
axes[0].imshow(hu.to_display(hu.to_hu(held_images[2, ..., 0]), hu.LUNG), "gray")
axes[0].set_title(f"input, {hu.LUNG}")
for axis, (name, classes) in zip(
    axes[1:],
    {"truth": held_truth, **{n: r.argmax(-1) for n, r in results.items()}}.items(),
    strict=True,
):
    axis.imshow(classes[2], "viridis", vmin=0, vmax=3, interpolation="nearest")
    axis.set_title(name)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# ## Summary
#
# - Stride 1 keeps every pixel; skip connections carry detail and gradients; residual learning starts at the input.
# - MSE gives the conditional mean. Sharper images are hallucinated or come from a different loss (notebooks 2 and 4).
# - Published PSNR of RED-Net is for natural images with white noise and cannot be compared with results for CT.
# - *Try:* change `DOSE`, `WIDTH`, the number of steps; remove the skip connections of RED30.
