"""Option values that several commands parse alike."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import click

from ct_keras.inputs.options import (
    LIMIT_OPTIONS,
    Limits,
    ReadOptions,
    flag,
    has_option,
)

if TYPE_CHECKING:
    from ct_keras.containers import GreyValues

#: Loads weights that are not those of their manifest.
trust = click.option(
    "--trust",
    is_flag=True,
    help="Load weights whose checksum is not that of their manifest (Keras >= 3.15.1).",
)
#: The arguments of `ct_keras.simulation.calibrate`, as options.
SIMULATION = {
    "kernel": click.option("--kernel", help="auto, b30, d45 or ramp.  [default: auto]"),
    "photons": click.option(
        "--photons",
        type=float,
        help="Incident photons per ray at full dose.  [default: measured]",
    ),
    "bowtie": click.option(
        "--bowtie/--no-bowtie", default=None, help="[default: bowtie]"
    ),
    "tube_current_modulation": click.option(
        "--tube-current-modulation",
        type=float,
        help="Angular modulation: 0 for none, 0.5 for the least noise.  "
        "[default: 0.35]",
    ),
    "electronic_noise": click.option(
        "--electronic-noise",
        type=float,
        help="SD per ray in photons.  [default: 4.5 at 1 mm, by thickness]",
    ),
    "views": click.option(
        "--views", type=int, help="Over 180 degrees.  [default: 720]"
    ),
    "longitudinal": click.option(
        "--longitudinal/--no-longitudinal",
        default=None,
        help="Whether the tube current of each slice is used.  [default: longitudinal]",
    ),
    "noise_free": click.option(
        "--noise-free/--noisy",
        default=None,
        help="Whether the series has no noise of its own.  [default: measured]",
    ),
}


#: The attributes of `ct_keras.containers.GreyValues`, as options.
GREY_VALUES = {
    "slope": click.option(
        "--slope", type=float, help="HU per stored unit of a file without that."
    ),
    "intercept": click.option(
        "--intercept", type=float, help="HU of the stored value 0 of such a file."
    ),
    "pixel_spacing": click.option(
        "--pixel-spacing", type=float, help="Pixel size in mm of such a file."
    ),
    "pictures": click.option(
        "--pictures",
        is_flag=True,
        help="The files hold grey values of pictures, such as X-ray images, and not "
        "HU; PNG and TIFF of 8 bits always do.",
    ),
}


def grey_values(command: Callable) -> Callable:
    """Adds the options for files that do not say what their values mean."""
    for option in reversed(GREY_VALUES.values()):
        command = option(command)
    return command


def taken_values(options: dict) -> GreyValues:
    """Removes these options from the parameters of a command and returns them."""
    from ct_keras.containers import GreyValues

    found = {name: options.pop(name) for name in GREY_VALUES}
    pixel = found.pop("pixel_spacing")
    return GreyValues(**found, spacing_mm=None if pixel is None else (pixel, pixel))


def simulation(command: Callable) -> Callable:
    """Adds the options of `ct_keras.simulation.calibrate` to a command."""
    for option in reversed(SIMULATION.values()):
        command = option(command)
    return command


#: The attributes of `ReadOptions`, as options.
_ACCEPTED = {
    "force_hu": "Accept values that may not be HU.",
    "assume_hu": "Take stored values as HU where the rescale tags are missing.",
    "allow_no_preamble": "Accept files without DICOM preamble or file meta.",
    "skip_bad_slices": "Leave damaged slices out; the exit status is 8.",
    "allow_float": "Accept floating-point pixels; they are rounded to 0.25 HU.",
    "allow_gaps": "3-D models: denoise evenly spaced runs of slices separately.",
    "allow_tilt": "3-D models: accept a stack that the gantry tilt has sheared.",
}
#: Attribute of `Limits` -> unit and help.
_LIMITS = {
    "max_matrix": (1, "Most rows or columns of an image.  [default: 4096]"),
    "max_file_bytes": (2**20, "Most pixels of a file, in MiB.  [default: 512]"),
    "max_series_bytes": (2**30, "Most pixels of a series, in GiB.  [default: 8]"),
}


def reading(command: str) -> Callable:
    """Adds the options of a reader to a command, which gets them as `reading`.

    Args:
        command: Its name, which tells what it has no option for.
    """
    accepted = [name for name in _ACCEPTED if has_option(command, name)]

    def add(callback: Callable) -> Callable:
        @functools.wraps(callback)
        def call(*arguments, **values):
            limits = {
                name: values[LIMIT_OPTIONS[name]] * unit
                for name, (unit, _) in _LIMITS.items()
                if values[LIMIT_OPTIONS[name]] is not None
            }
            options = ReadOptions(
                **{name: values[name] for name in accepted}, limits=Limits(**limits)
            )
            own = (*accepted, *LIMIT_OPTIONS.values())
            others = {name: each for name, each in values.items() if name not in own}
            return callback(*arguments, reading=options, **others)

        for name, (_, told) in reversed(_LIMITS.items()):
            typed = flag(LIMIT_OPTIONS[name])
            call = click.option(typed, type=click.IntRange(1), help=told)(call)
        for name in reversed(accepted):
            call = click.option(flag(name), is_flag=True, help=_ACCEPTED[name])(call)
        return call

    return add


def strength_options(callback: Callable) -> Callable:
    """Adds --strength and --like-dose to a command."""
    like_dose = click.option(
        "--like-dose",
        metavar="K",
        type=float,
        help="Instead of a strength: leave the noise of K times the dose, 1 to inf.",
    )
    strength = click.option(
        "--strength",
        type=float,
        help="From 0 (input) to 1 (output of the model).  [default: that of the model]",
    )
    return strength(like_dose(callback))


def given(options: Mapping[str, object]) -> dict[str, object]:
    """Returns the options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


class Amount(click.FloatRange):
    """A number within bounds, which "nan" is not."""

    def convert(self, value, param, ctx) -> float:
        """The number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("not a number", param, ctx)
        return number


def numbers(_context, _option, text: str | None) -> tuple[float, ...]:
    """Callback of an option that takes numbers separated by commas; none if omitted."""
    try:
        return () if text is None else tuple(map(float, text.split(",")))
    except ValueError as error:
        raise click.BadParameter("expected numbers separated by commas") from error
