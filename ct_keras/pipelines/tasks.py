"""The work on one item: every series in it, by the functions of one machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ct_keras.containers import GreyValues, find_scans
from ct_keras.dicom.finder import left_out
from ct_keras.errors import LEFT_OUT, CtKerasError
from ct_keras.inputs.options import DEFAULT_OPTIONS, ReadOptions


@dataclass(frozen=True)
class Report:
    """What became of an item.

    Attributes:
        slices: Slices written, by this or an earlier run.
        series: Series written.
        letters: For each series that was refused its number (None for what could not
            be attributed), the code and the text of the error.
    """

    slices: int
    series: int
    letters: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Denoising:
    """Denoises every series of an item.

    Attributes:
        model: As --model of denoise; None for the default model.
        strength: See `ct_keras.serving.series.denoise_series`, as all others.
        like_dose: The same.
        precision: The same.
        engine: The same.
        allow_repeat: The same.
        override_guards: The same.
        trust: Load weights whose checksum is not that of their manifest.
        reading: What the reader accepts.
        values: What files other than DICOM do not say.
    """

    model: str | None = None
    strength: float | None = None
    like_dose: float | None = None
    precision: str = "float32"
    engine: str = "auto"
    allow_repeat: bool = False
    override_guards: bool = False
    trust: bool = False
    reading: ReadOptions = DEFAULT_OPTIONS
    values: GreyValues = field(default_factory=GreyValues)

    def check(self) -> None:
        """Refuses a model that cannot be loaded, or a strength that it lacks."""
        _method(self.model, self.trust).chosen_strength(self.strength, self.like_dose)

    def __call__(self, source: Path, out: Path) -> Report:
        """Writes the denoised series of `source` to `out`."""
        return _each_series(self, source, out, self._denoise)

    def _denoise(self, series, out: Path) -> None:
        from ct_keras.serving.series import denoise_series

        denoise_series(
            series,
            out,
            _method(self.model, self.trust),
            strength=self.strength,
            like_dose=self.like_dose,
            precision=self.precision,
            engine=self.engine,
            allow_repeat=self.allow_repeat,
            override_guards=self.override_guards,
        )


@dataclass(frozen=True)
class Simulation:
    """Simulates a lower dose of every series of an item.

    Attributes:
        dose: Fraction, such as 0.25.
        seed: Seed of the noise.
        options: Of `ct_keras.simulation.calibrate`.
        reading: As of `Denoising`.
        values: The same.
    """

    dose: float
    seed: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    reading: ReadOptions = DEFAULT_OPTIONS
    values: GreyValues = field(default_factory=GreyValues)

    def check(self) -> None:
        """Refuses a dose out of range (CTK-E000)."""
        from ct_keras.simulation import check_dose

        check_dose(self.dose)

    def __call__(self, source: Path, out: Path) -> Report:
        """Writes the low-dose series of `source` to `out`."""
        return _each_series(self, source, out, self._simulate)

    def _simulate(self, series, out: Path) -> None:
        from ct_keras.simulation import SeriesSimulator, calibrate
        from ct_keras.simulation.series import low_dose_change, write_changed

        simulator = SeriesSimulator(series, calibrate(series, **self.options))
        change = low_dose_change(simulator, self.dose, self.seed)
        write_changed(series, out, *change)


@functools.lru_cache(maxsize=1)
def _method(model: str | None, trust: bool):
    """The denoiser, loaded once in each process."""
    from ct_keras.denoising.methods import get_method

    return get_method(model, trust=trust)


def _each_series(task, source: Path, out: Path, work) -> Report:
    """Works on the series that are not there yet; a refused one stops no other.

    A series that is there is complete, since it appears when all of it is written.
    """
    found = find_scans(source, options=task.reading, values=task.values)
    slices = written = 0
    letters = [unread_letter(text) for text in left_out(found)]
    for number, place, series in _places(found, out):
        try:
            if not place.exists():
                work(series, place)
        except Exception as error:
            letters.append(letter(known(error), number))
        else:
            slices, written = slices + len(series), written + 1
    return Report(slices, written, tuple(letters))


def _places(found, out: Path) -> Iterator[tuple[int, Path, object]]:
    for number, series in enumerate(found, 1):
        yield number, out / f"series-{number}" if len(found) > 1 else out, series


def unread_letter(text: str) -> dict:
    """The dead letter of what belongs to a folder, and to no known series."""
    return {"series": None, "code": LEFT_OUT, "error": text}


def known(error: Exception) -> CtKerasError:
    """An error of the package; CTK-E120 for any other, which stops no other series."""
    if isinstance(error, CtKerasError):
        return error
    kind = type(error).__name__
    return CtKerasError("CTK-E120", "unexpected error in a series", received=kind)


def letter(error: CtKerasError, number: int | None = None) -> dict:
    """What a dead letter says of an error."""
    return {"series": number, "code": error.code, "error": str(error)}
