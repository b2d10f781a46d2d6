# %% [markdown]
# # Bottleneck ResNet: automatic differentiation and dilated back-propagation side by side
#
# One small network, trained in two ways. *Automatic differentiation* follows the gradient of the
# loss. *Dilated back-propagation* adds gradients of later layers to the gradients of earlier layers, so its updates are
# not the gradient of any loss. What is the effect on the weights and on the images?
#
# This notebook follows Seo JD, *Denoising Lung CT Scans using Neural Networks with Interactive Code, Part 4:
# Convolutional Residual Neural Networks* (2018), with phantom slices in place of its data.
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
# ## 1. The network
#
# Three residual blocks of two 3x3 convolutions, a 1x1 convolution on the shortcut (the article calls that one
# the bottleneck), no biases, a ReLU after *every* convolution, and the sum after the ReLU. With eight channels it has
# 2,528 weights. The blocks of He et al. differ: identity shortcuts, batch normalisation, the ReLU after the sum.

# %%
from ct_keras.models.seo_resnet import (
    DilatedBackprop,
    SeoAdam,
    SeoResNet,
    decay_rate,
    dilated_gradients,
)

network = SeoResNet(width=8)
assert network.count_params() == 2528
for layer in network.layers:
    if layer.weights:
        print(f"{layer.name}: {tuple(layer.kernel.shape)}, {layer.count_params()} weights")

# %% [markdown]
# ## 2. The data
#
# Each pixel is multiplied by a random number: $x\,U(0, 2.5)$, mean 1.25, standard deviation $2.5/\sqrt{12} = 0.722$, drawn
# anew for every batch. (The article says "added", its code multiplies.) This is far more noise than in any low-dose
# scan, and it is white, unlike CT noise. The mean changes as well, so a network also has to learn
# to divide by 1.25.

# %%
from ct_keras.phantoms import make_phantom

SIZE = 256 if GPU else 96
TRAIN_SEEDS, TEST_SEED = (range(1, 9) if GPU else range(1, 5)), 100


def clean_slices(seeds):
    """Returns thorax slices in network units, (n, SIZE, SIZE, 1)."""
    bodies = [
        make_phantom(
            seed, region="thorax", shape=(10, SIZE, SIZE), spacing_mm=(8.0, 360 / SIZE, 360 / SIZE)
        )
        for seed in seeds
    ]
    return hu.to_network(np.concatenate([body.hu for body in bodies]))[..., None]


train_clean, test_clean = clean_slices(TRAIN_SEEDS), clean_slices([TEST_SEED])
NOISE_HIGH = 2.5  # @param {type:"slider", min:0.5, max:4, step:0.5}
generator = np.random.default_rng(568)
draws = generator.uniform(0, NOISE_HIGH, 100_000)
print(f"factor: mean {draws.mean():.3f}, standard deviation {draws.std():.3f}")
test_noisy = (test_clean * generator.uniform(0, NOISE_HIGH, test_clean.shape)).astype("float32")
show({"clean": hu.to_hu(test_clean[4, ..., 0]), "times U(0, 2.5)": hu.to_hu(test_noisy[4, ..., 0])},
     "A phantom slice", hu.Window("wide", 0, 2000))  # fmt: skip

# %% [markdown]
# ## 3. Dilated back-propagation
#
# When a layer passes its gradient to an earlier layer, the gradients computed at later layers are added, multiplied by
# $\rho(\text{epoch}) = \dfrac{\text{proportion}}{1 + \text{decay} \cdot \text{epoch}}$. The article uses proportion 1000 and decay 0.08; an earlier
# article of the series uses 0.8 and 0.1.

# %%
assert decay_rate(0) == 1000
assert round(decay_rate(9), 4) == 581.3953 and round(decay_rate(99), 4) == 112.1076
assert round(decay_rate(99, proportion=0.8, decay=0.1), 4) == 0.0734
epochs = np.arange(100)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for axis, (proportion, decay) in zip(axes, ((1000, 0.08), (0.8, 0.1)), strict=True):
    axis.plot(epochs, decay_rate(epochs, proportion, decay))
    axis.set(
        title=f"proportion {proportion}, decay {decay}",
        xlabel="epoch",
        ylabel="rho",
        ylim=(0, None),
    )
plt.show()

# %% [markdown]
# With $\rho = 0$ it is exact back-propagation. A small deterministic example shows how quickly the two diverge: the
# norms of the gradients grow like $\rho^{\text{depth}}$. The code of this project is tested against these numbers.

# %%
from ct_keras.models.seo_resnet import LAYERS

image = (np.arange(144, dtype=np.float32) / 144).reshape(1, 12, 12, 1)
case = SeoResNet(width=8)
for number, name in enumerate(LAYERS):
    kernel = case.get_layer(name).kernel
    count = int(np.prod(kernel.shape))
    kernel.assign((0.2 * np.sin(0.7 * np.arange(count) + number)).reshape(kernel.shape))

table = {}
for rho in (0.0, 1.0, 1000.0):
    gradients, error = dilated_gradients(case, image, image / 2, rho)
    table[rho] = {name: np.array(gradient).ravel() for name, gradient in gradients.items()}
norms = {name: [np.linalg.norm(table[rho][name].astype(float)) for rho in table] for name in LAYERS}
print(f"{'layer':8}{'rho = 0':>12}{'rho = 1':>12}{'rho = 1000':>14}")
for name in LAYERS:
    print(f"{name:8}{norms[name][0]:12.2f}{norms[name][1]:12.2f}{norms[name][2]:14.4g}")
GOLDEN = {
    "l1_1": (3006.64, 6871.95, 3.19011e10),
    "l2_2": (499.831, 879.713, 484805),
    "l3_s": (109.314,) * 3,
}
for name, expected in GOLDEN.items():
    assert np.allclose(norms[name], expected, rtol=1e-3), (name, norms[name])
assert np.isclose(0.5 * np.sum(np.array(error) ** 2), 360.28895, rtol=1e-4)

# %%
# The same numbers by automatic differentiation of 0.5 sum (output - target)^2.
with tf.GradientTape() as tape:
    loss = 0.5 * tf.reduce_sum((case(image) - image / 2) ** 2)
for name, gradient in zip(
    LAYERS, tape.gradient(loss, [case.get_layer(name).kernel for name in LAYERS]), strict=True
):
    assert np.allclose(gradient.numpy().ravel(), table[0][name], rtol=1e-3, atol=1e-2)
print("rho = 0 equals automatic differentiation in all nine layers")

# %% [markdown]
# Do the two gradients point in the same direction? For an untrained network and noisy slices the cosine between the dilated and the true gradient is 1 in
# the last block (nothing is added there) and takes any value between -1 and 1 in the earlier blocks.

# %%
fresh = SeoResNet(width=8)
noisy, clean = test_noisy[:4], test_clean[:4]
print(f"{'layer':8}{'rho = 1':>10}{'rho = 1000':>12}   cosine to the true gradient")
cosines = {}
true, _ = dilated_gradients(fresh, noisy, clean, 0.0)
for rho in (1.0, 1000.0):
    dilated, _ = dilated_gradients(fresh, noisy, clean, rho)
    pairs = {name: (dilated[name].numpy().ravel(), true[name].numpy().ravel()) for name in LAYERS}
    cosines[rho] = {
        name: a @ b / np.linalg.norm(a) / np.linalg.norm(b) for name, (a, b) in pairs.items()
    }
for name in LAYERS:
    print(f"{name:8}{cosines[1.0][name]:10.2f}{cosines[1000.0][name]:12.2f}")
assert all(cosines[1000.0][name] > 0.999 for name in ("l3_1", "l3_2", "l3_s"))

# %% [markdown]
# ## 4. Adam without the correct bias correction
#
# Adam divides its moments by $1 - \beta^t$. The article divides by $1 - \beta$ in every step. With a constant
# gradient the step is then not constant: it first doubles and later falls to 0.316 of the learning rate.
# Adam is invariant to the scale of gradients, so norms of $10^{10}$ do not make the training diverge.


# %%
def steps_of(optimizer, count=2000):
    """Step over learning rate for the constant gradient 1."""
    variable = keras.Variable([0.0])
    optimizer.build([variable])

    @tf.function
    def step():
        optimizer.apply([tf.ones(1)], [variable])
        return variable.value[0]

    values = [0.0] + [-float(step()) for _ in range(count)]
    return np.diff(values) / 1e-2


RATE = {"learning_rate": 1e-2, "epsilon": 1e-8}
article, standard = steps_of(SeoAdam(**RATE)), steps_of(keras.optimizers.Adam(**RATE))
for t, expected in ((1, 1.0), (10, 2.0643), (100, 1.0248), (1000, 0.39768), (2000, 0.34005)):
    assert abs(article[t - 1] - expected) < 2e-3, (t, article[t - 1])
plt.figure(figsize=(5, 2.8))
plt.semilogx(np.arange(1, 2001), article, label="article")
plt.semilogx(np.arange(1, 2001), standard, label="Adam")
plt.xlabel("step")
plt.ylabel("step / learning rate")
plt.legend()
plt.show()

# %% [markdown]
# ## 5. Side by side
#
# Both start from the same weights and use the same data and noise. The article trains for 100 epochs with a learning rate of 1e-4 on slices
# of 512 x 512; here slices are smaller, training is shorter and the learning rate is higher.

# %%
EPOCHS, STEPS, BATCH = (100, 40, 10) if GPU else (20, 12, 6)
LEARNING_RATE = 1e-3  # @param {type:"number"}


def dataset():
    """An endless stream of (noisy, clean), the same for every training."""

    def disturb(number, clean):
        factor = tf.random.stateless_uniform(tf.shape(clean), [789, number], 0, NOISE_HIGH)
        return clean * factor, clean

    slices = tf.data.Dataset.from_tensor_slices(train_clean)
    slices = slices.shuffle(len(train_clean), seed=568).repeat().batch(BATCH, drop_remainder=True)
    return slices.enumerate().map(disturb).prefetch(2)


def half_squared_error(reference, prediction):
    return keras.ops.mean(0.5 * keras.ops.square(prediction - reference))


from ct_keras.training.callbacks import ProgressBar

start = SeoResNet(width=8)
networks, histories = {}, {}
for name in ("automatic", "dilated"):
    copy = SeoResNet(width=8)
    copy.set_weights(start.get_weights())
    if name == "automatic":
        trainer = copy
        trainer.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8), half_squared_error)
    else:
        trainer = DilatedBackprop(copy, proportion=1000, decay=0.08)
        trainer.compile(SeoAdam(LEARNING_RATE, epsilon=1e-8))
    histories[name] = trainer.fit(
        dataset(), epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, shuffle=False,
        callbacks=[ProgressBar()],
    ).history["loss"]
    networks[name] = copy

plt.figure(figsize=(5, 3))
for name, losses in histories.items():
    plt.semilogy(range(1, EPOCHS + 1), losses, label=name)
input_error = 0.5 * np.mean((test_noisy - test_clean) ** 2)
plt.axhline(input_error, color="gray", linestyle="--", label="input")
plt.xlabel("epoch")
plt.ylabel("0.5 (output - clean)², network units")
plt.legend()
plt.show()
assert histories["automatic"][-1] < input_error

# %%
outputs = {name: net.predict(test_noisy, verbose=0) for name, net in networks.items()}
wide = hu.Window("wide", 0, 2000)
for index in (1, 4, 8):
    panels = {"noisy": test_noisy, **outputs, "clean": test_clean}
    show(
        {name: hu.to_hu(images[index, ..., 0]) for name, images in panels.items()},
        f"Unseen patient, slice {index}",
        wide,
    )
for name, images in ({"noisy": test_noisy} | outputs).items():
    print(f"{name:10} RMSE {hu.SCALE_HU * np.sqrt(np.mean((images - test_clean) ** 2)):7.1f} HU")

# %% [markdown]
# Close-ups of the original, of automatic and of dilated back-propagation, as in the article's panels:

# %%
closeups = {"original": test_clean} | outputs
show(
    {name: hu.to_hu(images[4, ..., 0]) for name, images in closeups.items()},
    "Unseen patient, close-ups below",
    wide,
    zoom=(SIZE // 3, SIZE // 6, SIZE // 3),
)

# %% [markdown]
# The article shows its results rescaled from minimum to maximum. This hides a wrong scale: an image of half the
# contrast looks the same. Rescale only for display, and measure before rescaling:

# %%
figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.9), layout="constrained")
for axis, (name, images) in zip(axes, (outputs | {"clean": test_clean}).items(), strict=True):
    values = hu.to_hu(images[4, ..., 0])
    axis.imshow(values, "gray")
    axis.set_title(f"{name}\n{values.min():.0f} to {values.max():.0f} HU")
    axis.set_axis_off()
figure.suptitle("Each panel from its own minimum to its own maximum", fontsize=10)
plt.show()

# %% [markdown]
# ## 6. How the weights change
#
# The gradients of the early layers are larger by many orders of magnitude, but these layers do not change more: Adam
# divides by the magnitude of the gradient. Only the direction differs.

# %%
print(f"{'layer':8}{'automatic':>12}{'dilated':>12}   distance from the start, relative")
moved = {name: [] for name in networks}
for layer in LAYERS:
    before = start.get_layer(layer).kernel.numpy()
    for name, net in networks.items():
        after = net.get_layer(layer).kernel.numpy()
        moved[name].append(np.linalg.norm(after - before) / np.linalg.norm(before))
    print(f"{layer:8}{moved['automatic'][-1]:12.2f}{moved['dilated'][-1]:12.2f}")
dead = {name: np.mean(images == 0) for name, images in outputs.items()}
print(
    "output pixels that are exactly 0:", {name: f"{share:.1%}" for name, share in dead.items()}
)

# %% [markdown]
# ## Summary
#
# - The article's conclusion: automatic differentiation denoises but leaves sharp, synthetic-looking parts; dilated back-propagation
#   loses sharp edges and "did not have spaces filled up". Compare with the images above.
# - *Try:* `proportion=0` makes the second training exact, so that only the optimisers differ; `proportion=0.8, decay=0.1` is the
#   milder schedule.
# - A method without a loss cannot be verified by its loss. It can be verified with $\rho = 0$ and with numbers like those of section 3.
