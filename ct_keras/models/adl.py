"""ADL: adversarial distortion learning, for images and for volumes.

Ghahremani M, Khateri M, Sierra A, Tohka J. Adversarial Distortion Learning for Medical
Image Denoising. 2022. https://arxiv.org/abs/2204.14100

A U-Net denoises at three scales at once; a content enhancer of large dilated kernels
shows the image to its last block again. Its loss compares pixels, textures of several
scales and histograms, and the opinion of a second U-Net that tells real from denoised
images. The denoiser is trained first, then the discriminator, then both. The networks
are in `ct_keras.models.adl_networks`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import keras
from keras import ops

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
from ct_keras.models.adl_networks import Adl3dDenoiser, AdlDenoiser, AdlDiscriminator
from ct_keras.models.recipes import Recipe, learning_rate_schedule, make_optimizer
from ct_keras.models.registry import ModelSpec
from ct_keras.models.systems import TrainingSystem
from ct_keras.settings import Settings

#: What is trained in the three phases.
PHASES = ("denoiser", "discriminator", "joint")
#: Pooling that leads from an image to the scales of the outputs.
POOLING = (1, 2, 4)


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
    adversarial: Literal["cross_entropy", "hinge"] = "cross_entropy"
    average_scales: bool = False
    histogram_kernel: Literal["triangular", "gaussian"] = "triangular"
    hist_range: tuple[float, float] | None = None
    discriminator_width: int = 48
    joint_learning_rate: float | None = None
    decay: float = 1.0
    decay_steps: int = 50_000

    def check(self) -> None:
        """Wants phases that train the denoiser, and a decay that falls."""
        for wrong, received, expected in (
            (
                min(self.phases) < 0 or self.phases[0] + self.phases[2] <= 0,
                f"phases {self.phases}",
                "three shares of the epochs that train the denoiser at all",
            ),
            (
                self.decay != 1.0 and self.joint_learning_rate is None,
                f"decay {self.decay}",
                "a joint_learning_rate beside a decay",
            ),
            (self.decay_steps < 1, f"decay_steps {self.decay_steps}", "1 or more"),
        ):
            if wrong:
                raise CtKerasError(
                    "CTK-E000",
                    "ADL cannot be trained so",
                    received=received,
                    expected=expected,
                )

    def phase_ends(self, epochs: int) -> tuple[int, ...]:
        """The epoch (from 0) before which each phase of a run ends."""
        total = sum(self.phases)
        shares = [sum(self.phases[: index + 1]) / total for index in range(3)]
        return tuple(round(epochs * share) for share in shares)

    def phase(self, epoch: int, epochs: int) -> str:
        """The phase of an epoch, counted from 0, in a run of so many."""
        ended = sum(epoch >= end for end in self.phase_ends(epochs))
        return PHASES[min(ended, len(PHASES) - 1)]


class Adl(TrainingSystem):
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
        >>> adam = [keras.optimizers.Adam(1e-4) for _ in range(2)]
        >>> system.compile(denoiser_optimizer=adam[0], discriminator_optimizer=adam[1])
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
        super().__init__(full_scale)
        self.denoiser = denoiser
        self.discriminator = discriminator
        self.epochs = epochs
        self.settings = settings or AdlSettings()
        self.phase = PHASES[0]
        terms = ("l1", "pyramid", "histogram", "adversarial", "discriminator")
        names = ("loss", *(f"{term}_loss" for term in terms))
        self._means = {name: keras.metrics.Mean(name) for name in names}

    def compile(
        self,
        *,
        denoiser_optimizer: keras.optimizers.Optimizer,
        discriminator_optimizer: keras.optimizers.Optimizer,
        jit_compile: bool = False,
    ) -> None:
        """Takes the two optimisers and builds both, so that a checkpoint holds both."""
        super().compile(optimizer=denoiser_optimizer, jit_compile=jit_compile)
        self.discriminator_optimizer = discriminator_optimizer
        denoiser_optimizer.build(self.denoiser.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    def begin_epoch(self, epoch: int) -> None:
        """Enters the phase of an epoch, counted from 0."""
        phase = self.settings.phase(epoch, self.epochs)
        if phase != self.phase:
            self.phase = phase
            self.make_train_function(force=True)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over an epoch: the denoiser's loss, its terms, and the other's."""
        return list(self._means.values())

    def train_step(self, data):
        """The updates of the phase, on one batch ``(low_dose, full_dose)``."""
        import tensorflow as tf

        low_dose, full_dose = data
        settings = self.settings
        trained = self.phase != "discriminator"
        adversarial = discriminator_loss = 0.0
        with tf.GradientTape() as tape:
            outputs = self.denoiser(low_dose, training=trained)
            if self.phase != "denoiser":
                fake = low_dose if settings.mode == "code" else outputs[0]
                with tape.stop_recording():
                    discriminator_loss = self._update_discriminator(full_dose, fake)
            terms = self.image_losses(reference=full_dose, outputs=outputs)
            loss = (
                settings.lambda_l1 * terms[0]
                + settings.lambda_pyramid * terms[1]
                + settings.lambda_histogram * terms[2]
            )
            if self.phase == "joint" and settings.mode == "paper":
                adversarial = self._deception(outputs[0])
                loss += settings.lambda_adv * adversarial
        if trained:
            weights = self.denoiser.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
        values = (loss, *terms, adversarial, discriminator_loss)
        for mean, value in zip(self.metrics, values, strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.metrics}

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
        maps = self.discriminator(denoised, training=True)
        return sum(loss(fake_logits=logits) for logits in maps) / len(maps)

    def _update_discriminator(self, full_dose, fake):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            maps = zip(
                self.discriminator(full_dose, training=True),
                self.discriminator(fake, training=True),
                strict=True,
            )
            losses = [self._discrimination(real, fake) for real, fake in maps]
            loss = sum(losses) / len(losses)
        weights = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply(tape.gradient(loss, weights), weights)
        return loss

    def _discrimination(self, real_logits, fake_logits):
        if self.settings.adversarial == "hinge":
            return discriminator_hinge(real_logits=real_logits, fake_logits=fake_logits)
        return cross_entropy_to_real(real_logits) + cross_entropy_to_fake(fake_logits)


def make_system(recipe: Recipe, *, dimensions: int = 2) -> Adl:
    """Builds and compiles what a recipe trains.

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
        denoiser_optimizer=_optimizer(recipe, settings, PHASES.index("denoiser")),
        discriminator_optimizer=_optimizer(
            recipe, settings, PHASES.index("discriminator")
        ),
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
        """What `from_config` takes."""
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
            "epochs of pairs, by the public code; its phases as equal thirds and 1,000 "
            "steps an epoch are choices made here.",
            patch_size=512,
            patches_per_slice=1,
            batch_size=1,
            epochs=100,
            steps_per_epoch=1000,
            learning_rate=1e-3,
            augment=False,
            training={"mode": "code", "phases": (1, 1, 1)},
        ),
        Recipe(
            name="paper",
            description="The public configuration: 512x512, batch 4, clean images with "
            "Gaussian noise of 0 to 55/255 of the scale (blind), 50 epochs for each "
            "phase (of 1,000 steps here), Adam 1e-4, then 5e-5, times 0.8 every 50,000 "
            "steps. Flips and quarter turns stand in for its flips.",
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
        Recipe(
            name="quick",
            description="Minutes on two CPU cores: 16 maps, 48x48 patches, batch 16, "
            "an identity start, Adam with a warm-up to 1e-3 and a cosine to 5e-5.",
            options={"width": 16, "initializer": "identity"},
            patch_size=48,
            batch_size=16,
            epochs=10,
            steps_per_epoch=120,
            learning_rate=1e-3,
            final_learning_rate=5e-5,
            schedule="cosine",
            warmup_steps=50,
            epsilon=1e-9,
            training={"phases": (7, 1, 2), "discriminator_width": 8},
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
            "sub-volumes of 40x64x64, a choice made here.",
            patch_size=64,
            depth=40,
        ),
        replace(
            SPEC.recipe("paper"),
            description="The public configuration of images on sub-volumes of "
            "40x64x64, batch 1; the published run in three dimensions is not known.",
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
