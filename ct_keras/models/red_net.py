"""RED-Net: convolutions and transposed convolutions with symmetric skips.

Mao XJ, Shen C, Yang YB. Image Restoration Using Very Deep Convolutional Encoder-Decoder
Networks with Symmetric Skip Connections. NIPS 2016. https://arxiv.org/abs/1603.09056

Ten, twenty or thirty layers of 3x3 kernels, none of which changes the size of the
image: the convolutions take the noise away step by step, the transposed convolutions
bring the detail back, and the skips carry it around. The deeper two predict the
correction of the image and not the image.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError
from ct_keras.models.identity_start import answer_to_differences
from ct_keras.models.recipes import Recipe, quick_recipe
from ct_keras.models.registry import ModelSpec

KERNEL_SIZE = 3


def RedNet10(
    width: int = 64,
    *,
    residual: bool = False,
    fast: bool = False,
    initializer: str = "glorot_uniform",
    name: str = "red_net10",
) -> keras.Model:
    """Builds RED-Net of ten layers, which has no skips; see `RedNet30`.

    Args:
        width: Feature maps; 64 in the paper (296,641 parameters).
        residual: Adds the input to the output. The paper's network has no such sum.
        fast: See `RedNet30`.
        initializer: See `RedNet30`.
        name: Name of the model.
    """
    return _red_net(5, width, residual, fast, initializer, name)


def RedNet20(
    width: int = 64,
    *,
    residual: bool = True,
    fast: bool = False,
    initializer: str = "glorot_uniform",
    name: str = "red_net20",
) -> keras.Model:
    """Builds RED-Net of twenty layers with four skips; see `RedNet30`.

    Args:
        width: Feature maps; 64 in the paper (665,921 parameters).
        residual: See `RedNet30`.
        fast: See `RedNet30`.
        initializer: See `RedNet30`.
        name: Name of the model.
    """
    return _red_net(10, width, residual, fast, initializer, name)


def RedNet30(
    width: int = 64,
    *,
    residual: bool = True,
    fast: bool = False,
    initializer: str = "glorot_uniform",
    name: str = "red_net30",
) -> keras.Model:
    """Builds RED-Net of thirty layers with seven skips.

    Args:
        width: Feature maps of every hidden layer; 64 in the paper (1,035,201
            parameters), 128 in the model that its authors released.
        residual: Adds the input to the output, so that the layers predict the
            correction (residual learning). False learns the image itself.
        fast: Stride 2 in the first and in the last layer: a quarter of the operations.
            Rows and columns must then be even; a `Denoiser` pads them.
        initializer: "glorot_uniform" or another Keras initialiser, or, with `residual`,
            "identity": Glorot, but the last layer starts at zero, so that an untrained
            network returns its input, and the kernels of the first have no mean and
            eight times the amplitude, so that they answer to differences of a few HU.
        name: Name of the model.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, rows, columns, 1), network units, any size.

    Raises:
        CtKerasError: CTK-E000, to start as the identity without `residual`.

    Example:
        >>> RedNet30(width=64).count_params()
        1035201
    """
    return _red_net(15, width, residual, fast, initializer, name)


def _red_net(
    pairs: int, width: int, residual: bool, fast: bool, initializer: str, name: str
) -> keras.Model:
    """A RED-Net of as many convolutions as transposed convolutions."""
    identity = initializer == "identity"
    if identity and not residual:
        raise CtKerasError(
            "CTK-E000",
            "only a network that adds its input can start as the identity",
            received="initializer=identity with residual=False",
            expected="residual=True, or another initialiser",
        )
    hidden = {
        "padding": "same",
        "activation": "relu",
        "kernel_initializer": "glorot_uniform" if identity else initializer,
    }
    last = {
        "padding": "same",
        "kernel_initializer": "zeros" if identity else initializer,
        # Half precision has steps of 2 HU: the output is always float32.
        "dtype": "float32",
    }

    def strides(k, at):
        return 2 if fast and k == at else 1

    low_dose = keras.Input((None, None, 1), name="low_dose")
    encoded = [low_dose]
    for k in range(1, pairs + 1):
        conv = layers.Conv2D(
            width, KERNEL_SIZE, strides(k, 1), name=f"conv{k}", **hidden
        )
        encoded.append(conv(encoded[-1]))

    x = encoded[-1]
    for k in range(1, pairs):
        deconv = layers.Conv2DTranspose(width, KERNEL_SIZE, name=f"deconv{k}", **hidden)
        x = deconv(x)
        if _has_skip(k, pairs):
            x = layers.Add(name=f"skip{k}")([x, encoded[pairs - k]])
            x = layers.ReLU(name=f"skip{k}_relu")(x)
    x = layers.Conv2DTranspose(
        1, KERNEL_SIZE, strides(pairs, pairs), name=f"deconv{pairs}", **last
    )(x)
    if residual:
        denoised = layers.Add(name="denoised", dtype="float32")([x, low_dose])
    else:
        denoised = layers.Identity(name="denoised", dtype="float32")(x)
    network = keras.Model(low_dose, denoised, name=name)
    if identity:
        answer_to_differences(network.get_layer("conv1").kernel)
    return network


def _has_skip(k: int, pairs: int) -> bool:
    """Whether the output of convolution ``pairs - k`` joins after deconvolution k.

    Every second layer does; in the network of ten layers none.
    """
    return pairs > 5 and k % 2 == pairs % 2


def restoration_loss(*, reference, prediction, reduction: str = "mean"):
    """The loss of the lecture: the squared error, over pixels and pairs.

    Args:
        reference: (batch, rows, columns, 1), network units.
        prediction: The same shape.
        reduction: "mean" over pixels and pairs, or "sum_pixels": the sum over pixels
            (the squared Frobenius norm), mean over pairs, as the formula has it.

    Returns:
        A float32 scalar.

    Raises:
        CtKerasError: CTK-E000, for another reduction.
    """
    reduce = {"mean": ops.mean, "sum_pixels": ops.sum}.get(reduction)
    if reduce is None:
        raise CtKerasError(
            "CTK-E000",
            "unknown reduction of the loss",
            received=reduction,
            expected="mean or sum_pixels",
        )
    difference = ops.cast(prediction, "float32") - ops.cast(reference, "float32")
    return ops.mean(reduce(ops.square(difference), axis=(1, 2, 3)))


def _recipes(quick: Recipe, **report_options) -> tuple[Recipe, ...]:
    return (
        Recipe(
            name="report",
            description="The lecture: paired patches of CT, 50x50, residual learning, "
            "MSE, Adam 1e-4. It gives no batch and no length: 16 patches and 100,000 "
            "steps here.",
            options=report_options,
            patch_size=50,
            batch_size=16,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-4,
        ),
        Recipe(
            name="paper",
            description="Mao et al. 2016: 50x50 patches, white Gaussian noise, Adam "
            "1e-4, one blind model for the levels 10, 30, 50 and 70 of the grey values "
            "0..255. Here a level is that share of the network's scale (10 is 161 HU) "
            "and falls on full-dose CT instead of natural images. Batch and length are "
            "not stated: 16 patches and 100,000 steps. Tested with test-time "
            "augmentation: Denoiser(network, self_ensemble=True).",
            patch_size=50,
            batch_size=16,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-4,
            noise=DrawnNoise(
                "gaussian", sigma_choice=tuple(s / 255 for s in (10, 30, 50, 70))
            ),
        ),
        quick,
    )


def _quick(width: int, **options) -> Recipe:
    return quick_recipe(
        f"Minutes on two CPU cores: {width} maps, 64x64 patches, batch 16, "
        "residual learning that starts as the identity, Adam with a warm-up to 1e-3 "
        "and a cosine to 5e-5.",
        options={"width": width, "initializer": "identity", **options},
    )


def _spec(name: str, builder, pairs: int, recipes: tuple[Recipe, ...]) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder=builder,
        title=f"Encoder-decoder of {2 * pairs} layers with symmetric skips",
        paper="Mao et al. 2016, https://arxiv.org/abs/1603.09056",
        file="ct_keras/models/red_net.py",
        receptive_field=4 * pairs + 1,
        recipes=recipes,
    )


SPEC10 = _spec(
    "red_net10", RedNet10, 5, _recipes(_quick(24, residual=True), residual=True)
)
SPEC20 = _spec("red_net20", RedNet20, 10, _recipes(_quick(16)))
SPEC30 = _spec("red_net30", RedNet30, 15, _recipes(_quick(12)))
SPECS = (SPEC10, SPEC20, SPEC30)
