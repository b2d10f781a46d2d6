"""How ADL is trained: its phases, its losses and its learning rates.

Ghahremani M, Khateri M, Sierra A, Tohka J. Adversarial Distortion Learning for Medical
Image Denoising. 2022. https://arxiv.org/abs/2204.14100

The loss compares pixels, textures of several scales and histograms, and the opinion of
a second U-Net that tells real from denoised images. The denoiser is trained first, then
the discriminator, then both. The networks are in `ct_keras.models.adl`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import keras
from keras import ops

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
from ct_keras.models.recipes import Recipe, learning_rate_schedule, make_optimizer
from ct_keras.models.systems import TwoPlayerSystem
from ct_keras.settings import Settings

#: What is trained in the three phases.
PHASES = ("denoiser", "discriminator", "joint")
#: Share of the pixels of its maps that the discriminator judges rightly.
_ACCURACY = "discriminator_accuracy"
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


def adl_optimizer(
    recipe: Recipe, settings: AdlSettings, alone: int
) -> keras.optimizers.Adam:
    """Adam over the updates of the phases that train one network.

    Args:
        recipe: The length of the run, and the learning rate.
        settings: Its phases, and the learning rate of the third.
        alone: The phase that trains this network alone, an index of `PHASES`.
    """
    ends = (0, *settings.phase_ends(recipe.epochs))
    epochs_alone = ends[alone + 1] - ends[alone]
    epochs = epochs_alone + ends[3] - ends[2]
    own = replace(recipe, epochs=max(1, epochs))
    if settings.joint_learning_rate is None:
        return make_optimizer(own)
    joint = epochs_alone * recipe.steps_per_epoch
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
        first = learning_rate_schedule(replace(recipe, epochs=epochs_alone))
        rate = PhasedRate(first, rate, joint)
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
