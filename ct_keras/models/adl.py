"""ADL: adversarial distortion learning, for images and for volumes.

Ghahremani M, Khateri M, Sierra A, Tohka J. Adversarial Distortion Learning for Medical
Image Denoising. 2022. https://arxiv.org/abs/2204.14100

A U-Net denoises at three scales at once; a content enhancer of large dilated kernels
shows the image to its last block again. Its loss compares pixels, textures of several
scales and histograms, and the opinion of a second U-Net that tells real from denoised
images. The denoiser is trained first, then the discriminator, then both.

The networks are built from the figures and tables of the official repository (both
versions of its code and the layer list of its released model). No layer but batch
normalisation has a shift of its own, so zero kernels give 0.5 on every output.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import keras
from keras import layers, ops

from ct_keras.data.noises import DrawnNoise
from ct_keras.errors import CtKerasError
from ct_keras.losses import (
    cross_entropy_to_fake,
    cross_entropy_to_real,
    discriminator_hinge,
    generator_cross_entropy,
    generator_hinge,
    histogram_loss,
    pyramidal_textural_loss,
)
from ct_keras.models.identity_start import carry_through_sigmoid
from ct_keras.models.recipes import (
    Recipe,
    learning_rate_schedule,
    make_optimizer,
    quick_recipe,
)
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TwoPlayerSystem
from ct_keras.settings import Settings

#: What is trained in the three phases.
PHASES = ("denoiser", "discriminator", "joint")
#: Share of the pixels of its maps that the discriminator judges rightly.
_ACCURACY = "discriminator_accuracy"
#: Pooling that leads from an image to the scales of the outputs.
POOLING = (1, 2, 4)
#: Filters of the second and third level and of the bridge, relative to the first.
FILTER_RATIOS = (1, 4 / 3, 5 / 3, 2)
LEAKY_SLOPE = 0.1
#: Standard deviation of the initial transposed convolutions.
TRANSPOSED_STD = 0.02
#: Names of the three outputs, from the full scale to a quarter of it.
OUTPUT_NAMES = ("denoised", "denoised_half", "denoised_quarter")
#: Scales at which the discriminator judges.
SCALES = ("full", "half", "quarter", "eighth")

_CONVOLUTIONS = {2: layers.Conv2D, 3: layers.Conv3D}
_TRANSPOSED = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
_POOLINGS = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}


def AdlDenoiser(
    width: int = 96,
    *,
    filters: Sequence[int] | None = None,
    dimensions: int = 2,
    enhancer: str = "code",
    all_scales: bool = False,
    initializer: str = "glorot_uniform",
    name: str = "adl",
) -> keras.Model:
    """Builds the denoising U-Net with its content enhancer.

    Args:
        width: Feature maps of the first level; 96 in the paper. The next two levels and
            the bridge have 4/3, 5/3 and 2 times as many.
        filters: All four of them instead.
        dimensions: 2 for images, 3 for volumes, where every kernel is a cube.
        enhancer: The content enhancer, "code" (three dilated 7x7 convolutions side by
            side, then 7x7) or "figure" (the sum of two, then 3x3).
        all_scales: For training: also the outputs at a half and a quarter of the scale,
            which the full scale alone does not need. With them the network has
            4,725,748 trainable parameters, the published number; 4,332,672 without.
        initializer: "glorot_uniform" (and N(0, 0.02) for transposed convolutions), or
            "identity": the untrained network returns nearly its input, see
            `ct_keras.models.identity_start.carry_through_sigmoid`.
        name: Name of the model.

    Returns:
        A functional model from `low_dose`, (batch, rows, columns, 1) or
        (batch, slices, rows, columns, 1), to `denoised` and, if asked for,
        `denoised_half` and `denoised_quarter`: float32, network units, in (0, 1). Sides
        are multiples of 8.

    Raises:
        CtKerasError: CTK-E000 for filters that are not four, an unknown content
            enhancer or initializer, or dimensions other than 2 and 3.

    Example:
        >>> AdlDenoiser(width=96, all_scales=True).count_params()
        4731204
    """
    _check_choice("content enhancer", enhancer, ("code", "figure"))
    _check_choice("initializer", initializer, ("glorot_uniform", "identity"))
    filters = _four_filters(width, filters)
    low_dose = _input("low_dose", dimensions)
    decoded, _ = _unet(
        low_dose, filters, _content_enhancer(low_dose, filters[0], enhancer)
    )
    outputs = [
        # Half precision has steps of 2 HU: the outputs are always float32.
        layers.Activation("sigmoid", name=output, dtype="float32")(
            _transformer(x, level, dtype="float32")
        )
        for level, (x, output) in enumerate(zip(decoded, OUTPUT_NAMES, strict=True), 1)
    ]
    network = keras.Model(low_dose, outputs if all_scales else outputs[0], name=name)
    if initializer == "identity":
        carry_through_sigmoid(network)
    return network


def Adl3dDenoiser(
    width: int = 96, *, enhancer: str = "figure", name: str = "adl3d", **options
) -> keras.Model:
    """Builds the denoiser of volumes: `AdlDenoiser` with cubes for squares.

    Args:
        width: As for `AdlDenoiser`.
        enhancer: The content enhancer of the figure, unless "code" is asked for.
        name: Name of the model.
        **options: The others of `AdlDenoiser`.

    Returns:
        A functional model from `low_dose` to `denoised`, float32
        (batch, slices, rows, columns, 1), all sides multiples of 8.

    Example:
        >>> Adl3dDenoiser(all_scales=True).count_params()
        12018900
    """
    return AdlDenoiser(width, enhancer=enhancer, dimensions=3, name=name, **options)


def AdlDiscriminator(
    width: int = 48,
    *,
    filters: Sequence[int] | None = None,
    dimensions: int = 2,
    name: str = "adl_discriminator",
) -> keras.Model:
    """Builds the discriminator: the same U-Net, judging at four scales.

    It has no content enhancer. A mapper (1x1 convolution to one map of logits) stands
    behind each of the three transformers and behind the bridge.

    Args:
        width: Feature maps of the first level; 48 in the figures (988,753 trainable
            parameters for images). The others follow as in `AdlDenoiser`.
        filters: All four of them instead.
        dimensions: 2 for images, 3 for volumes.
        name: Name of the model.

    Returns:
        A functional model from `image` to four maps of logits, `logits_full`,
        `logits_half`, `logits_quarter` and `logits_eighth`, positive for "real".

    Raises:
        CtKerasError: CTK-E000 for filters that are not four, or dimensions other than 2
            and 3.

    Example:
        >>> AdlDiscriminator().count_params()
        991241
    """
    image = _input("image", dimensions)
    decoded, bridge = _unet(image, _four_filters(width, filters))
    maps = [_transformer(x, level) for level, x in enumerate(decoded, 1)]
    logits = [
        _conv(x, 1, 1, f"logits_{scale}", dtype="float32")
        for x, scale in zip([*maps, bridge], SCALES, strict=True)
    ]
    return keras.Model(image, logits, name=name)


def _four_filters(width: int, filters: Sequence[int] | None) -> tuple[int, ...]:
    """Feature maps of the three levels and of the bridge."""
    if filters is None:
        return tuple(max(1, round(width * ratio)) for ratio in FILTER_RATIOS)
    if len(filters) != len(FILTER_RATIOS):
        raise CtKerasError(
            "CTK-E000",
            "ADL has three levels and a bridge",
            received=f"{len(filters)} numbers of filters",
            expected="four",
        )
    return tuple(filters)


def _input(name: str, dimensions: int):
    if dimensions not in _CONVOLUTIONS:
        raise CtKerasError(
            "CTK-E000",
            "ADL denoises images or volumes",
            received=f"{dimensions} dimensions",
            expected="2 or 3",
        )
    return keras.Input((*(None,) * dimensions, 1), name=name)


def _unet(image, filters: Sequence[int], enhanced=None):
    """Returns the decoder's outputs, from fine to coarse, and the bridge's."""
    x, encoded = image, []
    for level, count in enumerate(filters[:3], 1):
        x = _residual_block(x, count, f"encoder{level}", stride=1 if level == 1 else 2)
        encoded.append(x)
    x = bridge = _residual_block(x, filters[3], "bridge", stride=2)
    decoded = []
    for index, count in enumerate(reversed(filters[:3]), 1):
        skip = [encoded[3 - index]]
        if index == 3 and enhanced is not None:
            skip.append(enhanced)
        x = _up(x, count, f"decoder{index}_up")
        x = layers.Concatenate(name=f"decoder{index}_concat")([x, *skip])
        x = _residual_block(x, count, f"decoder{index}")
        decoded.insert(0, x)
    return decoded, bridge


def _residual_block(x, filters: int, name: str, *, stride: int = 1):
    """Two 3x3 convolutions and a 1x1 shortcut; the stride is the first one's."""
    shortcut = x
    if stride > 1:
        # A strided 1x1 convolution, written so that TensorFlow's oneDNN build on CPUs
        # does not meet its gradient, which corrupts memory for 7 to 12 channels.
        pooling = _POOLINGS[len(x.shape) - 2]
        shortcut = pooling(1, strides=stride, name=f"{name}_sample")(x)
    shortcut = _conv(shortcut, filters, 1, f"{name}_shortcut")
    x = _conv(x, filters, 3, f"{name}_conv1", strides=stride)
    x = layers.BatchNormalization(name=f"{name}_bn1")(x)
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _conv(x, filters, 3, f"{name}_conv2")
    x = layers.BatchNormalization(name=f"{name}_bn2")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=name)(x)


def _transformer(x, level: int, dtype=None):
    """`level` residual blocks that halve the channels, then one map."""
    for block in range(1, level + 1):
        filters = max(1, x.shape[-1] // 2)
        x = _residual_block(x, filters, f"t{level}_block{block}")
    return _conv(x, 1, 1, f"t{level}_conv", dtype=dtype)


def _content_enhancer(image, filters: int, version: str):
    """Large dilated kernels on the input, for the last residual block."""
    if version == "code":
        branches = [
            _conv(image, max(1, filters // 2), 7, f"ce_conv_d{d}", dilation_rate=d)
            for d in (1, 2, 4)
        ]
        x = layers.Concatenate(name="ce_concat")(branches)
    else:
        branches = [
            _conv(image, filters, 7, f"ce_conv_d{d}", dilation_rate=d) for d in (1, 4)
        ]
        x = layers.Add(name="ce_sum")(branches)
    x = layers.BatchNormalization(name="ce_bn1")(x)
    x = layers.ReLU(name="ce_relu1")(x)
    x = _conv(x, filters, 7 if version == "code" else 3, "ce_conv2")
    x = layers.BatchNormalization(name="ce_bn2")(x)
    x = layers.Add(name="ce_add")([x, _conv(image, filters, 1, "ce_shortcut")])
    return layers.LeakyReLU(LEAKY_SLOPE, name="ce")(x)


def _conv(x, filters: int, kernel_size: int, name: str, **options):
    convolution = _CONVOLUTIONS[len(x.shape) - 2]
    return convolution(
        filters, kernel_size, padding="same", use_bias=False, name=name, **options
    )(x)


def _up(x, filters: int, name: str):
    """A transposed convolution that doubles every side."""
    return _TRANSPOSED[len(x.shape) - 2](
        filters,
        3,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=TRANSPOSED_STD),
        name=name,
    )(x)


def _check_choice(what: str, received: str, known: Sequence[str]) -> None:
    if received not in known:
        raise CtKerasError(
            "CTK-E000",
            f"no {what} of that name",
            received=received,
            expected=" or ".join(known),
        )


@dataclass(frozen=True)
class AdlSettings(Settings):
    """How ADL is trained: `Recipe.training` holds these by name.

    Attributes:
        mode: "paper": the discriminator tells denoised from real images, and the
            denoiser is rewarded for deceiving it. "code": as in the public code it
            tells the noisy input from real images, and the denoiser never hears of it.
        phases: Shares of the run's epochs: denoiser, discriminator, both.
        lambda_l1: Weight of the mean absolute error.
        lambda_pyramid: Weight of the pyramidal textural loss.
        lambda_histogram: Weight of the histogram loss.
        lambda_adv: Weight of the adversarial term in the third phase of mode "paper".
            No published value is known.
        stop_accuracy: Training ends after an epoch in which the discriminator judges
            at most this share of the pixels of its maps rightly (0.5 is guessing), if
            it did better before; None for the whole length.
        adversarial: "cross_entropy" or "hinge".
        average_scales: Average the losses of the three scales instead of adding them.
        histogram_kernel: "triangular" or "gaussian", of
            `ct_keras.losses.histogram_counts`.
        hist_range: Of the histograms, in HU; None for the whole scale.
        discriminator_width: Feature maps of the discriminator's first level.
        joint_learning_rate: Learning rate of both networks in the third phase, after
            the recipe's in the phase that a network has for itself; None for the
            recipe's over all phases in which a network is trained.
        decay: Factor on these learning rates every `decay_steps` updates, nine times at
            most; a recipe's schedule is left as it is.
        decay_steps: See `decay`.

    Raises:
        CtKerasError: CTK-E000 for a name that is unknown, phases that train nothing, or
            a decay without `joint_learning_rate`.
    """

    mode: Literal["paper", "code"] = "paper"
    phases: tuple[float, float, float] = (1, 1, 1)
    lambda_l1: float = 1.0
    lambda_pyramid: float = 1.0
    lambda_histogram: float = 1.0
    lambda_adv: float = 1e-3
    stop_accuracy: float | None = None
    adversarial: Literal["cross_entropy", "hinge"] = "cross_entropy"
    average_scales: bool = False
    histogram_kernel: Literal["triangular", "gaussian"] = "triangular"
    hist_range: tuple[float, float] | None = None
    discriminator_width: int = 48
    joint_learning_rate: float | None = None
    decay: float = 1.0
    decay_steps: int = 50_000

    def check(self) -> None:
        """Refuses phases that never train the denoiser, and a decay without a rate."""
        for wrong, received, expected in (
            (
                min(self.phases) < 0 or self.phases[0] + self.phases[2] <= 0,
                f"phases {self.phases}",
                "three shares >= 0, with the first or the third above 0",
            ),
            (
                self.decay != 1.0 and self.joint_learning_rate is None,
                f"decay {self.decay}",
                "a joint_learning_rate to go with the decay",
            ),
            (self.decay_steps < 1, f"decay_steps {self.decay_steps}", "1 or more"),
        ):
            if wrong:
                raise CtKerasError(
                    "CTK-E000",
                    "ADL cannot be trained with these settings",
                    received=received,
                    expected=expected,
                )

    def phase_ends(self, epochs: int) -> tuple[int, ...]:
        """The epoch (from 0) before which each phase of a run ends."""
        total = sum(self.phases)
        shares = [sum(self.phases[: index + 1]) / total for index in range(3)]
        return tuple(round(epochs * share) for share in shares)

    def phase(self, epoch: int, epochs: int) -> str:
        """The phase of an epoch, counted from 0, in a run of that length."""
        ended = sum(epoch >= end for end in self.phase_ends(epochs))
        return PHASES[min(ended, len(PHASES) - 1)]


class Adl(TwoPlayerSystem):
    """The denoiser with the discriminator and its three phases.

    The phase of an epoch follows from its number and the length of the run, so that a
    resumed run is in the right one. In the second phase the denoiser stays as it is and
    normalises by its moving statistics. In the third each step updates the
    discriminator, then the denoiser by the updated discriminator.

    Args:
        denoiser: With three outputs: ``AdlDenoiser(all_scales=True)``.
        discriminator: From an image to maps of logits: `AdlDiscriminator`.
        epochs: Length of the run.
        settings: Losses, phases and the mode.

    Attributes:
        network: The part of the denoiser that leads to the full scale, sharing its
            layers.
        phase: One of "denoiser", "discriminator", "joint".

    Example:
        >>> system = Adl(AdlDenoiser(all_scales=True), AdlDiscriminator(), epochs=150)
        >>> system.compile(*(keras.optimizers.Adam(1e-4) for _ in range(2)))
    """

    def __init__(
        self,
        denoiser: keras.Model,
        discriminator: keras.Model,
        *,
        epochs: int,
        settings: AdlSettings | None = None,
    ):
        full_scale = keras.Model(
            denoiser.input, denoiser.outputs[0], name=denoiser.name
        )
        terms = ("l1", "pyramid", "histogram", "adversarial", "discriminator")
        names = ("loss", *(f"{term}_loss" for term in terms), _ACCURACY)
        super().__init__(full_scale, discriminator, meters=names)
        self.denoiser = denoiser
        self.epochs = epochs
        self.settings = settings or AdlSettings()
        self.phase = PHASES[0]

    @property
    def trained(self) -> keras.Model:
        """The denoiser with all its scales."""
        return self.denoiser

    def begin_epoch(self, epoch: int) -> None:
        """Enters the phase of an epoch, counted from 0."""
        phase = self.settings.phase(epoch, self.epochs)
        if phase != self.phase:
            self.phase = phase
            self.make_train_function(force=True)

    def converged(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Whether the discriminator cannot tell any more; see `stop_accuracy`."""
        limit = self.settings.stop_accuracy
        accuracies = [row[_ACCURACY] for row in history if _ACCURACY in row]
        if limit is None or not accuracies:
            return False
        return accuracies[-1] <= limit < max(accuracies)

    def train_step(self, data):
        """The updates of the phase, on one batch ``(low_dose, full_dose)``."""
        learns = self.phase != "discriminator"

        def losses(tape):
            return self._weighted_losses(tape, *data, training=learns)

        values = self.update(self.denoiser, self.optimizer, losses, learns=learns)
        return self.measure(**dict(zip(self._means, values, strict=True)))

    def _weighted_losses(self, tape, low_dose, full_dose, *, training: bool) -> tuple:
        """The denoiser's loss, its terms and the discriminator's, which is updated."""
        settings = self.settings
        adversarial = discriminator_loss = accuracy = 0.0
        outputs = self.denoiser(low_dose, training=training)
        if self.phase != "denoiser":
            fake = low_dose if settings.mode == "code" else outputs[0]
            with tape.stop_recording():
                discriminator_loss, accuracy = self.update(
                    self.opponent,
                    self.opponent_optimizer,
                    lambda _: self._discrimination(full_dose, fake),
                )
        terms = self.image_losses(reference=full_dose, outputs=outputs)
        loss = (
            settings.lambda_l1 * terms[0]
            + settings.lambda_pyramid * terms[1]
            + settings.lambda_histogram * terms[2]
        )
        if self.phase == "joint" and settings.mode == "paper":
            adversarial = self._deception(outputs[0])
            loss += settings.lambda_adv * adversarial
        return loss, *terms, adversarial, discriminator_loss, accuracy

    def image_losses(self, *, reference, outputs: Sequence) -> list:
        """L1, pyramidal textural and histogram loss over the three scales, unweighted.

        Args:
            reference: The full-dose image at full scale; 2x2 and 4x4 averages of it are
                the references of the other scales.
            outputs: Of the denoiser, full scale first.

        Returns:
            Three float32 scalars.
        """
        sums = [0.0, 0.0, 0.0]
        for size, output in zip(POOLING, outputs, strict=True):
            pair = {
                "reference": ops.average_pool(reference, size, strides=size),
                "prediction": output,
            }
            sums[0] += ops.mean(ops.abs(pair["prediction"] - pair["reference"]))
            sums[1] += pyramidal_textural_loss(**pair)
            sums[2] += histogram_loss(
                **pair,
                kernel=self.settings.histogram_kernel,
                hist_range=self.settings.hist_range,
            )
        factor = 1 / len(POOLING) if self.settings.average_scales else 1.0
        return [factor * term for term in sums]

    def _deception(self, denoised):
        """The adversarial term of the denoiser, averaged over the maps."""
        loss = generator_cross_entropy
        if self.settings.adversarial == "hinge":
            loss = generator_hinge
        maps = self.opponent(denoised, training=True)
        return sum(loss(fake_logits=logits) for logits in maps) / len(maps)

    def _discrimination(self, full_dose, fake) -> tuple:
        """The discriminator's loss and accuracy before its update, means of the maps.

        A logit of 0, which says nothing, counts as half right.
        """

        def loss(real_logits, fake_logits):
            if self.settings.adversarial == "hinge":
                return discriminator_hinge(
                    real_logits=real_logits, fake_logits=fake_logits
                )
            return cross_entropy_to_real(real_logits) + cross_entropy_to_fake(
                fake_logits
            )

        real_maps, fake_maps = (
            self.opponent(image, training=True) for image in (full_dose, fake)
        )
        losses = list(map(loss, real_maps, fake_maps))
        right = [
            (2 + ops.mean(ops.sign(real)) - ops.mean(ops.sign(fake))) / 4
            for real, fake in zip(real_maps, fake_maps, strict=True)
        ]
        return sum(losses) / len(losses), sum(right) / len(right)


def make_system(recipe: Recipe, *, dimensions: int = 2) -> Adl:
    """Builds and compiles the system that a recipe trains.

    Args:
        recipe: `options` of `AdlDenoiser`; `training` of `AdlSettings`.
        dimensions: 2 for images, 3 for volumes.
    """
    settings = AdlSettings.from_plain(recipe.training)
    builder = {2: AdlDenoiser, 3: Adl3dDenoiser}[dimensions]
    system = Adl(
        builder(**recipe.options, all_scales=True),
        AdlDiscriminator(settings.discriminator_width, dimensions=dimensions),
        epochs=recipe.epochs,
        settings=settings,
    )
    system.compile(
        _optimizer(recipe, settings, PHASES.index("denoiser")),
        _optimizer(recipe, settings, PHASES.index("discriminator")),
        jit_compile=recipe.jit_compile,
    )
    return system


def _optimizer(
    recipe: Recipe, settings: AdlSettings, warm_up: int
) -> keras.optimizers.Adam:
    """Adam over the updates of the phases that train one network."""
    ends = (0, *settings.phase_ends(recipe.epochs))
    warm_up_epochs = ends[warm_up + 1] - ends[warm_up]
    epochs = warm_up_epochs + ends[3] - ends[2]
    own = replace(recipe, epochs=max(1, epochs))
    if settings.joint_learning_rate is None:
        return make_optimizer(own)
    joint = warm_up_epochs * recipe.steps_per_epoch
    updates = own.epochs * own.steps_per_epoch
    decays = range(settings.decay_steps, updates, settings.decay_steps)
    starts = sorted({joint, *decays[:9]} - {0})
    rates = [
        (recipe.learning_rate if start < joint else settings.joint_learning_rate)
        * settings.decay ** min(9, start // settings.decay_steps)
        for start in (0, *starts)
    ]
    rate = rates[0]
    if starts:
        # Keras counts the step on a boundary to the piece before it.
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            [start - 1 for start in starts], rates
        )
    if joint and recipe.final_learning_rate is not None:
        alone = learning_rate_schedule(replace(recipe, epochs=warm_up_epochs))
        rate = PhasedRate(alone, rate, joint)
    return make_optimizer(replace(own, final_learning_rate=None), learning_rate=rate)


@keras.saving.register_keras_serializable(package="ct_keras")
class PhasedRate(keras.optimizers.schedules.LearningRateSchedule):
    """One learning rate, and another from an update on.

    Args:
        first: A number or a schedule.
        then: A number or a schedule, which counts all updates.
        start: The update, from 0, from which `then` holds.
    """

    def __init__(self, first, then, start: int):
        self.first, self.then, self.start = first, then, start

    def __call__(self, step):
        """The learning rate of an update, counted from 0."""
        first, then = (
            rate(step) if callable(rate) else rate for rate in (self.first, self.then)
        )
        return ops.where(ops.cast(step, "int64") < self.start, first, then)

    def get_config(self) -> dict:
        """The arguments of `from_config`."""
        rates = {"first": self.first, "then": self.then}
        serialized = keras.saving.serialize_keras_object
        return {name: serialized(rate) for name, rate in rates.items()} | {
            "start": self.start
        }

    @classmethod
    def from_config(cls, config: dict) -> PhasedRate:
        """Rebuilds it from `get_config`."""
        rebuilt = keras.saving.deserialize_keras_object
        return cls(rebuilt(config["first"]), rebuilt(config["then"]), config["start"])


SPEC = ModelSpec(
    name="adl",
    builder=AdlDenoiser,
    title="Three-scale U-Net with content enhancer and adversarial phases",
    paper="Ghahremani et al. 2022, https://arxiv.org/abs/2204.14100",
    file="ct_keras/models/adl.py",
    receptive_field=93,
    make_system=make_system,
    settings=AdlSettings,
    recipes=(
        Recipe(
            name="report",
            description="The blog post: whole 512x512 slices, batch 1, Adam 1e-3, 100 "
            "passes over all slices, in each of which the discriminator and then the "
            "denoiser is updated, by L_G = -E log D(G(y)) beside its losses of images, "
            "until the discriminator cannot tell (55 % right at most). The weight 1e-3 "
            "of that term is a choice made here.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=100,
            steps_per_epoch=1000,
            whole_passes=True,
            learning_rate=1e-3,
            augment=False,
            training={"mode": "paper", "phases": (0, 0, 1), "stop_accuracy": 0.55},
        ),
        Recipe(
            name="paper",
            description="The public configuration: 512x512, batch 4, clean images with "
            "Gaussian noise of 0 to 55/255 of the scale (blind), 50 epochs for each "
            "phase (of 1,000 steps here), Adam 1e-4, then 5e-5, times 0.8 every 50,000 "
            "steps. Flips and quarter turns replace its flips.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=4,
            epochs=150,
            steps_per_epoch=1000,
            learning_rate=1e-4,
            noise=DrawnNoise("gaussian", sigma_range=(0.0, 55 / 255)),
            training={
                "mode": "paper",
                "phases": (50, 50, 50),
                "joint_learning_rate": 5e-5,
                "decay": 0.8,
                "decay_steps": 50_000,
            },
        ),
        quick_recipe(
            "Minutes on two CPU cores: 16 maps, 48x48 patches, batch 16, "
            "starts as the identity, Adam with a warm-up to 1e-3 and a cosine to 5e-5.",
            options={"width": 16, "initializer": "identity"},
            patch_size=48,
            training={"phases": (7, 1, 2), "discriminator_width": 8},
        ),
        Recipe(
            name="report_code",
            description="As report, but by the public code: passes over all slices, "
            "whose phases as equal thirds are a choice made here. Its discriminator "
            "tells the noisy input from real images, and the denoiser never hears of "
            "it.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=100,
            steps_per_epoch=1000,
            whole_passes=True,
            learning_rate=1e-3,
            augment=False,
            training={"mode": "code", "phases": (1, 1, 1)},
        ),
    ),
)

SPEC_3D = ModelSpec(
    name="adl3d",
    builder=Adl3dDenoiser,
    title="ADL for volumes",
    paper=SPEC.paper,
    file=SPEC.file,
    receptive_field=SPEC.receptive_field,
    make_system=functools.partial(make_system, dimensions=3),
    settings=AdlSettings,
    dimensions=3,
    recipes=(
        replace(
            SPEC.recipe("report"),
            description="The blog post trains on images; here with its values on "
            "sub-volumes of 40x64x64 and 1,000 steps an epoch, choices made here.",
            patch_size=64,
            depth=40,
            whole_passes=False,
        ),
        replace(
            SPEC.recipe("paper"),
            description="The public configuration of images on sub-volumes of "
            "40x64x64, batch 1, 1,000 steps an epoch; the published run in three "
            "dimensions is not known.",
            patch_size=64,
            depth=40,
            batch_size=1,
        ),
        replace(
            SPEC.recipe("quick"),
            description="Minutes on two CPU cores: 8 maps, sub-volumes of 16x48x48, "
            "batch 2, the rest as for images.",
            options={"width": 8, "initializer": "identity"},
            depth=16,
            batch_size=2,
            steps_per_epoch=60,
            training={"phases": (7, 1, 2), "discriminator_width": 4},
        ),
    ),
)
