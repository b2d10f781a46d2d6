"""RED-CNN: the residual encoder-decoder network for low-dose CT.

Chen H, Zhang Y, Kalra MK, et al. Low-Dose CT With a Residual Encoder-Decoder
Convolutional Neural Network. IEEE Trans Med Imaging 36(12), 2017.
https://doi.org/10.1109/TMI.2017.2715284

Five convolutions and five transposed convolutions, all 5x5 with stride 1 and without
padding, joined by three shortcuts that are added before the ReLU. It is trained with
the mean squared error; nothing adversarial, and still the network to beat.
"""

from __future__ import annotations

import keras
from keras import layers

from ct_keras.models.identity_start import answer_to_differences
from ct_keras.models.recipes import Recipe, quick_recipe
from ct_keras.models.registry import ModelSpec

KERNEL_SIZE = 5
#: Standard deviation of the initial weights in the original publication's recipe.
PAPER_INITIAL_STD = 0.01


def RedCNN(
    width: int = 96,
    *,
    final_relu: bool = True,
    initializer: str = "glorot_uniform",
    name: str = "red_cnn",
) -> keras.Model:
    """Builds RED-CNN.

    Args:
        width: Feature maps of every hidden layer; 96 in the paper (1,848,865
            parameters).
        final_relu: Ends in a ReLU, as the paper does (network units are never
            negative). Pass False for data with zero mean.
        initializer: "glorot_uniform", "gaussian" (standard deviation 0.01, as the
            paper), or "identity": Glorot, but the last layer starts at zero, so that
            an untrained network returns its input, and the kernels of the first have
            no mean and eight times the amplitude, so that they answer to differences
            of a few HU from the start and not to the mean of the image. On phantoms
            300 steps from there were worth 1,000 from Glorot.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units, rows and columns >= 21.

    Example:
        >>> RedCNN(width=96).count_params()
        1848865
    """
    low_dose = keras.Input((None, None, 1), name="low_dose")

    def conv(x, index):
        x = layers.Conv2D(
            width,
            KERNEL_SIZE,
            kernel_initializer=_kernel_initializer(initializer),
            name=f"conv{index}",
        )(x)
        return layers.ReLU(name=f"conv{index}_relu")(x)

    def deconv(x, index, shortcut=None):
        last = index == 5
        x = layers.Conv2DTranspose(
            1 if last else width,
            KERNEL_SIZE,
            kernel_initializer=_kernel_initializer(initializer, last=last),
            # Half precision has steps of 2 HU: the output is always float32.
            dtype="float32" if last else None,
            name=f"deconv{index}",
        )(x)
        if shortcut is not None:
            tensor, origin = shortcut
            x = layers.Add(name=f"add_{origin}", dtype=x.dtype)([x, tensor])
        if last:
            return x
        return layers.ReLU(name=f"deconv{index}_relu")(x)

    conv2 = conv(conv(low_dose, 1), 2)
    conv4 = conv(conv(conv2, 3), 4)
    x = deconv(conv(conv4, 5), 1, (conv4, "conv4"))
    x = deconv(deconv(x, 2), 3, (conv2, "conv2"))
    x = deconv(deconv(x, 4), 5, (low_dose, "input"))
    end = layers.ReLU if final_relu else layers.Identity
    denoised = end(name="denoised", dtype="float32")(x)
    network = keras.Model(low_dose, denoised, name=name)
    if initializer == "identity":
        answer_to_differences(network.get_layer("conv1").kernel)
    return network


def _kernel_initializer(name: str, *, last: bool = False):
    """One object per layer: used twice, it would draw the same numbers twice."""
    if name == "gaussian":
        return keras.initializers.RandomNormal(stddev=PAPER_INITIAL_STD)
    if name == "identity":
        return "zeros" if last else "glorot_uniform"
    return name


SPEC = ModelSpec(
    name="red_cnn",
    builder=RedCNN,
    title="Residual encoder-decoder network",
    paper="Chen et al. 2017, https://doi.org/10.1109/TMI.2017.2715284",
    file="ct_keras/models/red_cnn.py",
    receptive_field=41,
    recipes=(
        Recipe(
            name="report",
            description="The comparison report: 80x80 patches, batch 32, Adam 1e-5 "
            "(0.5, 0.9), MSE. Its length is not stated; 100,000 steps here.",
            patch_size=80,
            batch_size=32,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-5,
            betas=(0.5, 0.9),
            augment=False,
        ),
        Recipe(
            name="paper",
            description="Chen et al. 2017: 55x55 patches, batch 128, Adam 1e-4 falling "
            "geometrically to 1e-5, 100 epochs of 1,000 steps, weights from N(0, "
            "0.01^2). Flips and quarter turns replace its rotations by 45 degrees and "
            "its scaling.",
            options={"initializer": "gaussian"},
            patch_size=55,
            batch_size=128,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-4,
            final_learning_rate=1e-5,
        ),
        quick_recipe(
            "Minutes on two CPU cores: 32 maps, 64x64 patches, batch 16, "
            "starts as the identity, Adam with a warm-up to 1e-3 and a cosine to 5e-5.",
            options={"width": 32, "initializer": "identity"},
            epochs=12,
            steps_per_epoch=250,
        ),
    ),
)
