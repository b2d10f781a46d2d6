# %% [markdown]
# # CNN architectures and classical filters
#
# A convolutional network is a stack of small filters that are learned instead of designed.
# This notebook computes the filter exercises of the lecture by hand, runs the classical denoisers on
# a low-dose slice, shows the feature maps of early and deep layers of a trained network, and compares the sizes of
# architectures. It follows the lecture "Convolutional neural networks" (L11, Chulalongkorn).
#
# Takes about one minute on two CPU cores.

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
# ## 1. One kernel, nine numbers
#
# Place the kernel on the image, multiply and sum. (Networks do not flip the kernel; strictly speaking,
# this is correlation. For a symmetric kernel the two are the same.)

# %%
BLUR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
OUTLINE = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])

patch = np.array([[205, 247, 245], [161, 137, 244], [154, 75, 200]])
print("blur   ", (BLUR * patch).sum())
print("outline", (OUTLINE * patch).sum())
assert (BLUR * patch).sum() == 175.375  # the slide prints 175
assert (OUTLINE * patch).sum() == -435


# %%
def slide(image, kernel):
    """Correlates without padding: the result is smaller by the kernel size - 1."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return (windows * kernel).sum(axis=(-2, -1))


from ct_keras.simulation import DoseSimulator
from ct_keras.phantoms import make_phantom

SIZE = 512 if GPU else 256
SPACING_MM = (5.0, 380 / SIZE, 380 / SIZE)


def patient(seed, region="abdomen", slices=1, dose=0.1):
    """Returns low dose and truth of a phantom, HU (slices, rows, columns)."""
    truth = make_phantom(seed, region=region, shape=(slices, SIZE, SIZE), spacing_mm=SPACING_MM).hu
    simulator = DoseSimulator((SIZE, SIZE), SPACING_MM[1:], noise_free=True, photons=8e5)
    low = [simulator.low_dose(truth[n], dose, seed=seed, slice_index=n) for n in range(slices)]
    return np.stack(low), truth


(low_hu,), (truth_hu,) = patient(7)
KERNELS = {
    "blur": BLUR,
    "outline": OUTLINE,
    "horizontal edges": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}
zoom = (int(0.42 * SIZE), int(0.22 * SIZE), SIZE // 4)
show({"low dose": low_hu} | {name: slide(low_hu, kernel) for name, kernel in KERNELS.items()},
     "Effects of 3 x 3 kernels", zoom=zoom)  # fmt: skip

# %% [markdown]
# *Try:* write your own kernel. Its sum is the gain: a sum of 1 preserves HU, a sum of 0 maps uniform tissue to 0.

# %%
MINE = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1]]) / 9
print(
    "gain",
    MINE.sum(),
    " noise is multiplied by",
    np.sqrt((MINE**2).sum()).round(3),
    "(if white)",
)
show({"low dose": low_hu, "mine": slide(low_hu, MINE)}, "Your kernel", zoom=zoom)

# %% [markdown]
# ### A table that is wrong by 38 %
#
# The well-known 5 x 5 Gaussian is printed with the factor 1/115 and the label "sigma = 1". Its weights
# sum to 159, and its shape is that of sigma 1.4. In photographs a gain of 1.383 only makes the image brighter. In CT it
# changes 60 HU to 83 HU and air to values below -1000 HU. **Always normalise.**

# %%
GAUSSIAN = np.array(
    [[2, 4, 5, 4, 2], [4, 9, 12, 9, 4], [5, 12, 15, 12, 5], [4, 9, 12, 9, 4], [2, 4, 5, 4, 2]]
)
assert GAUSSIAN.sum() == 159
offsets = np.arange(-2, 3)


def shape_error(sigma):
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    return np.abs(GAUSSIAN / 159 - weights / weights.sum()).max()


sigmas = np.arange(0.8, 2, 0.01)
best = sigmas[np.argmin([shape_error(sigma) for sigma in sigmas])]
print(f"gain with 1/115: {159 / 115:.3f}; nearest sigma: {best:.2f}")
assert round(159 / 115, 3) == 1.383 and abs(best - 1.4) < 0.05
right, wrong = slide(truth_hu, GAUSSIAN / 159), slide(truth_hu, GAUSSIAN / 115)
show({"1/159": right, "1/115": wrong}, "The same kernel, normalised and as printed")
liver = (slice(zoom[0], zoom[0] + 10), slice(zoom[1] + 10, zoom[1] + 20))
print(f"liver tissue: {right[liver].mean():.1f} HU and {wrong[liver].mean():.1f} HU")

# %% [markdown]
# ## 2. The mean-filter table, compared with the median
#
# A square of value 90 with a hole of one pixel, and one isolated bright pixel. The mean blurs both; the 3 x 3
# median removes both and keeps the edges, but rounds the corners.

# %%
image = np.zeros((10, 10))
image[2:7, 3:8] = 90
image[5, 4] = 0
image[8, 2] = 90

windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
mean, median = windows.mean(axis=(-2, -1)), np.median(windows, axis=(-2, -1))
MEAN_TABLE = """
 0 10 20 30 30 30 20 10
 0 20 40 60 60 60 40 20
 0 30 60 90 90 90 60 30
 0 30 50 80 80 90 60 30
 0 30 50 80 80 90 60 30
 0 20 30 50 50 60 40 20
10 20 30 30 30 30 20 10
10 10 10  0  0  0  0  0
"""
expected = np.array(MEAN_TABLE.split(), float).reshape(8, 8)
assert np.allclose(mean, expected)
assert median[3].tolist() == [0, 0, 90, 90, 90, 90, 90, 0] and median[7].sum() == 0


def show_numbers(panels):
    size = (3.6 * len(panels), 3.8)
    axes = plt.subplots(1, len(panels), figsize=size, layout="constrained")[1]
    for axis, (title, table) in zip(axes, panels.items(), strict=True):
        axis.imshow(table, "gray", vmin=0, vmax=90)
        axis.set_title(title)
        axis.set_axis_off()
        for (row, column), value in np.ndenumerate(table):
            color = "black" if value > 45 else "white"
            axis.text(
                column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=8
            )
    plt.show()


show_numbers({"image, 10 x 10": image, "mean 3 x 3, 8 x 8": mean, "median 3 x 3, 8 x 8": median})

# %% [markdown]
# ## 3. Classical denoisers on a low-dose slice
#
# All have the same call as a network: HU in, HU out. Each is tuned on *another* patient; otherwise the
# comparison would depend on the choice of parameters.

# %%
import time
from types import SimpleNamespace

(val_low,), (val_truth,) = patient(8)
rows = slice(SIZE // 4, SIZE * 3 // 4)
pair = SimpleNamespace(low_hu=val_low[rows, rows], full_hu=val_truth[rows, rows])
outputs = {"low dose": low_hu}
print(f"{'':12}{'PSNR dB':>9}{'SSIM':>8}{'RMSE HU':>9}{'seconds':>9}   tuned parameters")
for name in ["input", *ct_keras.filters.list_filters()]:
    if name == "input":
        output, seconds, text = low_hu, 0.0, ""
    else:
        tuned = ct_keras.filters.tune(ct_keras.filters.get(name), [pair])
        started = time.perf_counter()
        output = tuned(low_hu)
        seconds, text = time.perf_counter() - started, dict(tuned.parameters)
        outputs[name] = output
    found = ct_keras.evaluate(output, truth_hu)
    print(
        f"{name:12}{found['psnr']:9.2f}{found['ssim']:8.4f}{found['rmse_hu']:9.2f}{seconds:9.2f}   {text}"
    )

# %%
CHOSEN = ["low dose", "gaussian", "bilateral", "nlm", "bm3d", "ksvd"]
show(
    {name: outputs[name] for name in CHOSEN} | {"truth": truth_hu},
    "Classical filters, tuned",
    zoom=zoom,
)
show_errors({name: outputs[name] for name in CHOSEN}, truth_hu)

# %% [markdown]
# Look at the errors rather than the images: anatomy that is visible in them was removed by the filter.
#
# ### The optimal linear filter
#
# A network of one linear layer, trained with the mean squared error, converges to the least-squares
# solution. Here it is computed directly for 7 x 7. It is a blur with a narrow
# core, a compromise, since edges and uniform tissue share the same weights. Networks add
# a nonlinearity, which makes the weights depend on the image.

# %%
SIDE = 7
windows = np.lib.stride_tricks.sliding_window_view(val_low, (SIDE, SIDE))
inputs = windows.reshape(-1, SIDE * SIDE)
targets = val_truth[3:-3, 3:-3].ravel()
learned = np.linalg.lstsq(inputs, targets, rcond=None)[0].reshape(SIDE, SIDE)
linear = slide(np.pad(low_hu, 3, mode="reflect"), learned)
figure, axis = plt.subplots(figsize=(3.6, 3), layout="constrained")
limit = np.abs(learned).max()
figure.colorbar(axis.imshow(learned, "RdBu_r", vmin=-limit, vmax=limit), label="weight")
axis.set_title(f"learned 7 x 7, sum {learned.sum():.3f}")
plt.show()
errors = {
    "low dose": low_hu,
    "gaussian": outputs["gaussian"],
    "best linear 7 x 7": linear,
    "nlm": outputs["nlm"],
}
show_errors(errors, truth_hu)
assert np.square(linear - truth_hu).mean() < np.square(low_hu - truth_hu).mean()

# %% [markdown]
# ## 4. Sizes, strides and parameters
#
# Output size without padding: $\lfloor (n - k)/s \rfloor + 1$. Parameters: (kernel area x input maps + 1) x filters.
# The lecture's exercises, solved by Keras:

# %%
from keras import layers

exercises = [
    ("4 filters 9x9, stride (1, 2) on 128x128", (128, 128, 1), [(4, 9)], (120, 60, 4), 328),
    ("32 filters 3x3, stride (1, 2) on 64x64", (64, 64, 1), [(32, 3)], (62, 31, 32), 320),
    ("then 8 filters 3x3, stride (1, 2)", (64, 64, 1), [(32, 3), (8, 3)], (60, 15, 8), 2632),
]
for text, shape, stack, size, parameters in exercises:
    net = keras.Sequential([keras.Input(shape)])
    for filters, kernel in stack:
        net.add(layers.Conv2D(filters, kernel, strides=(1, 2)))
    print(f"{text:42} -> {net.output_shape[1:]}, {net.count_params()} parameters")
    assert net.output_shape[1:] == size and net.count_params() == parameters

# %% [markdown]
# ### Padding, pooling, and merging maps by 1 x 1
#
# - *Padding* keeps the size, but zeros are no tissue: next to an edge of the image a mean of nine pixels sees only six, in a corner four.
# - *Max pooling* keeps the largest of four values, *average pooling* their mean. With noise of SD $\sigma$ the largest of four is too high
#   by $1.03\,\sigma$, the mean is unbiased with half the noise: one reason why denoisers do not use max pooling.
# - A *1 x 1 convolution* merges maps: at every pixel a weighted sum over the maps, and nothing of the neighbours.

# %%
box = layers.Conv2D(1, 3, padding="same", kernel_initializer="ones", use_bias=False)
ones = np.ones((1, 8, 8, 1), "float32")
means = np.asarray(box(ones))[0, ..., 0] / 9
print(f"mean of nine ones with padding: {means[3, 3]:.2f} inside, {means[0, 3]:.2f} at an edge, "
      f"{means[0, 0]:.2f} in a corner; without padding {layers.Conv2D(1, 3)(ones).shape[1:3]} pixels")  # fmt: skip
assert np.allclose([means[3, 3], means[0, 3], means[0, 0]], [1, 6 / 9, 4 / 9])

even = [side // 2 * 2 for side in low_hu.shape]
image = low_hu[None, : even[0], : even[1], None]
pooled = {
    "low dose": image,
    "max pooling": layers.MaxPooling2D(2)(image),
    "average pooling": layers.AveragePooling2D(2)(image),
}
show({name: np.asarray(values)[0, ..., 0] for name, values in pooled.items()}, "2 x 2 pooling")
noise = np.random.default_rng(0).normal(0, 1, (1, 600, 600, 1)).astype("float32")
largest, mean = (np.asarray(pool(2)(noise)) for pool in (layers.MaxPooling2D, layers.AveragePooling2D))
print(f"white noise: max pooling shifts it by {largest.mean():.2f} SD; average pooling leaves {mean.std():.2f} SD")
assert np.isclose(largest.mean(), 1.029, atol=0.01) and np.isclose(mean.std(), 0.5, atol=0.01)

maps = np.random.default_rng(1).normal(size=(1, 5, 5, 3)).astype("float32")
merge = layers.Conv2D(1, 1, use_bias=False)
merged = np.asarray(merge(maps))
assert np.allclose(merged[..., 0], maps @ np.asarray(merge.kernel).ravel(), atol=1e-5)

# %% [markdown]
# ### Back-propagation through a convolution, by hand
#
# $y_i = x_i w_1 + x_{i+1} w_2$, then a sigmoid, output weights $u_i$, a squared error. Each weight is used at every position, so its gradient is
# a sum over positions: $\partial L/\partial w_1 = \sum_i g_i x_i$ and $\partial L/\partial w_2 = \sum_i g_i x_{i+1}$. Automatic
# differentiation gives the same result.

# %%
x = np.array([0.5, -1.0, 2.0, 0.3], np.float32)
u = np.array([0.2, -0.4, 0.7], np.float32)
w = tf.Variable([0.6, -0.3])
target = 0.5
with tf.GradientTape() as tape:
    y = x[:-1] * w[0] + x[1:] * w[1]
    hidden = tf.sigmoid(y)
    loss = 0.5 * (tf.reduce_sum(u * hidden) - target) ** 2
automatic = tape.gradient(loss, w).numpy()
hidden = hidden.numpy()
g = ((u * hidden).sum() - target) * u * hidden * (1 - hidden)
by_hand = np.array([(g * x[:-1]).sum(), (g * x[1:]).sum()])
print("by hand  ", by_hand)
print("automatic", automatic)
assert np.allclose(by_hand, automatic, atol=1e-6)

# %% [markdown]
# ## 5. Feature maps of early and deep layers
#
# A small VGG-like network learns to distinguish thorax from abdomen. The task is easy;
# the point is to inspect its layers afterwards.

# %%
CLASSES = ("thorax", "abdomen")
PIXELS = 64


def slices_of(seeds):
    images, classes = [], []
    for seed in seeds:
        for number, region in enumerate(CLASSES):
            spacing_mm = (8.0, 380 / PIXELS, 380 / PIXELS)
            shape = (8, PIXELS, PIXELS)
            body = make_phantom(
                seed, region=region, shape=shape, spacing_mm=spacing_mm, lesions=False
            )
            noisy = body.hu + np.random.default_rng(seed).normal(0, 30, body.hu.shape)
            images.append(hu.to_network(noisy)[..., None])
            classes += [number] * len(noisy)
    return np.concatenate(images), np.array(classes)


train_images, train_classes = slices_of(range(10, 34 if GPU else 20))
test_images, test_classes = slices_of(range(50, 54))

classifier = keras.Sequential([keras.Input((PIXELS, PIXELS, 1)), layers.Rescaling(8, -2)])
for number, filters in enumerate((8, 16, 32, 32), start=1):
    classifier.add(
        layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")
    )
    classifier.add(layers.MaxPooling2D(name=f"pool{number}"))
classifier.add(layers.GlobalAveragePooling2D())
classifier.add(layers.Dense(len(CLASSES), activation="softmax"))
classifier.compile(
    keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
)
from ct_keras.training.callbacks import ProgressBar

history = classifier.fit(
    train_images, train_classes, batch_size=16, epochs=10, verbose=0, callbacks=[ProgressBar()]
)
accuracy = classifier.evaluate(test_images, test_classes, verbose=0)[1]
print(f"{len(train_images)} training slices; accuracy on unseen patients {accuracy:.1%}")
assert accuracy > 0.8

# %%
LOOK_AT = 3  # @param {type:"slider", min:0, max:63, step:1}
DEPTHS = ("conv1", "conv2", "conv3", "conv4")
viewer = keras.Model(classifier.inputs, [classifier.get_layer(name).output for name in DEPTHS])
maps = viewer.predict(test_images[LOOK_AT : LOOK_AT + 1], verbose=0)
figure, axes = plt.subplots(len(DEPTHS), 7, figsize=(9, 5.6), layout="constrained")
for row, (name, values) in enumerate(zip(DEPTHS, maps, strict=True)):
    axes[row, 0].imshow(hu.to_display(hu.to_hu(test_images[LOOK_AT, ..., 0])), "gray")
    axes[row, 0].set_title(f"{name}: {values.shape[1]} x {values.shape[2]}", fontsize=8)
    strongest = np.argsort(values[0].mean(axis=(0, 1)))[::-1][:6]
    for axis, index in zip(axes[row, 1:], strongest, strict=True):
        axis.imshow(values[0, ..., index], "viridis")
        axis.set_title(f"map {index}", fontsize=8)
for axis in axes.flat:
    axis.set_axis_off()
figure.suptitle(
    f"Left: the input, {hu.ABDOMEN}. Right: the six strongest maps, each in its own range",
    fontsize=10,
)
plt.show()

# %% [markdown]
# The maps of `conv1` resemble the filters of section 1: blurred copies, edges in one direction. Deeper maps
# are smaller and respond to larger anatomical structures (lung, spine, contour), not to single
# pixels. A *denoiser* must restore every pixel, so RED-CNN and RED-Net have no pooling.

# %% [markdown]
# What does a deep layer answer to? Of all test slices, the patches that excite four maps of `conv3` most, each as large as the receptive
# field, with the pixels that raise the response in red and those that lower it in blue
# ([Zeiler and Fergus 2014](https://doi.org/10.1007/978-3-319-10590-1_53)):

# %%
from ct_keras.tasks import strongest_patches

responses = viewer.predict(test_images, verbose=0)[2].max(axis=(1, 2))
channels = tuple(int(each) for each in np.argsort(-responses.mean(axis=0))[:4])
found = strongest_patches(classifier, "conv3", test_images[..., 0], channels=channels, count=5)
figure, axes = plt.subplots(4, 10, figsize=(10, 4.2), layout="constrained")
for number, each in enumerate(found):
    row, column = divmod(number, 5)
    limit = np.abs(each.gradient).max()
    axes[row, 2 * column].imshow(hu.to_display(hu.to_hu(each.patch)), "gray", vmin=0, vmax=255)
    axes[row, 2 * column].set_title(f"map {each.channel}: {each.response:.1f}", fontsize=7)
    axes[row, 2 * column + 1].imshow(each.gradient, "RdBu_r", vmin=-limit, vmax=limit)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
assert all(max(each.patch.shape) <= 18 for each in found)  # the receptive field of conv3

# %%
size, jump = 1, 1
for name in DEPTHS:
    size += 2 * jump
    print(
        f"{name}: receptive field {size} x {size} pixels, {size * 380 / PIXELS:.0f} mm"
    )
    size += jump
    jump *= 2

# %% [markdown]
# ## 6. Parameters of the architectures
#
# One input channel, 1000 classes; AlexNet from this project, without the split over two GPUs, the others from `keras.applications` (whose variants differ from the originals:
# its ResNet50 has biases in its convolutions, its Inception is version 3).
# Over the years the dense layers have become smaller and the networks deeper.

# %%
from ct_keras.tasks.alexnet import AlexNet


def alexnet(weights, input_shape):
    return AlexNet(image_size=input_shape[:2])


ARCHITECTURES = {
    "AlexNet (2012)": (alexnet, 227, 62_355_112),
    "VGG-16 (2014)": (keras.applications.VGG16, 224, 138_356_392),
    "ResNet-50 (2015)": (keras.applications.ResNet50, 224, 25_577_320),
    "Inception v3 (2015)": (keras.applications.InceptionV3, 299, 23_816_776),
    "DenseNet-121 (2017)": (keras.applications.DenseNet121, 224, 7_972_584),
}
rows = {}
for name, (builder, size, expected) in ARCHITECTURES.items():
    net = builder(weights=None, input_shape=(size, size, 1))
    weights = sum(int(np.prod(weight.shape)) for weight in net.trainable_weights)
    dense = sum(layer.count_params() for layer in net.layers if isinstance(layer, layers.Dense))
    convolutions = sum(isinstance(layer, layers.Conv2D) for layer in net.layers)
    assert weights == expected
    rows[name] = (weights, dense, convolutions)
    print(
        f"{name:20} {weights:12,} parameters, {dense / weights:4.0%} of them dense; {convolutions} convolutions"
    )
    del net
red_cnn = ct_keras.models.RedCNN()
assert red_cnn.count_params() == 1_848_865
rows["RED-CNN (2017)"] = (red_cnn.count_params(), 0, 10)

figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
total = np.array([row[0] for row in rows.values()]) / 1e6
dense = np.array([row[1] for row in rows.values()]) / 1e6
axis.barh(list(rows), total - dense, label="convolutions")
axis.barh(list(rows), dense, left=total - dense, label="dense layers")
axis.set_xlabel("million parameters")
axis.invert_yaxis()
axis.legend()
plt.show()

# %% [markdown]
# ## Sources
#
# - Simonyan and Zisserman 2014 (VGG), He et al. 2015 (ResNet), Szegedy et al. 2015 (Inception v3), Huang et al. 2017 (DenseNet).
# - Non-local means: [Buades et al. 2005](https://doi.org/10.1109/CVPR.2005.38). RED-CNN: [Chen et al. 2017](https://doi.org/10.1109/TMI.2017.2715284).
