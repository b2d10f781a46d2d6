"""`ct-keras batch`: whole archives, on the workers of Apache Beam."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ct_keras.cli.options import (
    SIMULATION,
    given,
    grey_values,
    numbers,
    simulation,
    taken_values,
)
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import emit_json, note, say
from ct_keras.cli.paths import (
    DeclaredPath,
    InputPath,
    ModelText,
    OutputFolder,
    SafeCommand,
)
from ct_keras.errors import ExitCode
from ct_keras.notice import NOTICE


class _Archive(DeclaredPath):
    """A folder, a glob or a list; what it names is checked when it is listed."""

    def inputs(self, values, given) -> list[Path]:
        """Those that are a folder or file as they stand."""
        return [Path(text) for text in values if Path(text).exists()]


class _Results(OutputFolder):
    """A folder on any file system, which its own notes guard."""

    def __init__(self):
        super().__init__("archive", resumable=True)

    def convert(self, value, param, ctx) -> str:
        """The text itself, which may be a URL."""
        super().convert(value, param, ctx)
        return value

    def outputs(self, values, given) -> list[Path]:
        """Those on the local file system."""
        return [Path(each) for each in values if "://" not in str(each)]

    def check(self, path: Path, given: dict) -> None:
        """Nothing yet: `begun` looks at what is there."""


def _batch_command(command: Callable) -> Callable:
    """Adds what all three commands take: places, runner and its options."""
    for decorate in reversed(
        (
            click.argument("source", metavar="ARCHIVE", type=_Archive()),
            click.argument("out", type=_Results()),
            click.argument(
                "beam_options", metavar="[-- BEAM_OPTIONS]", nargs=-1, type=str
            ),
            click.option(
                "--runner",
                default="DirectRunner",
                show_default=True,
                help="DirectRunner (this machine), FlinkRunner, SparkRunner, "
                "DataflowRunner or another of Beam.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                help="Processes of the DirectRunner.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print one document."),
        )
    ):
        command = decorate(command)
    return command


@click.group()
def command() -> None:
    """Works on an archive by Apache Beam (pip install "ct_keras[beam]").

    ARCHIVE is a folder, a glob, or a .txt file with a path in every line; globs and OUT
    may be on any file system of Beam. Every folder that holds files is an item.

    What is refused is listed in OUT/dead-letters.jsonl, one JSON object a line, while
    the rest goes on; the exit status is then 8. The same command again skips what is
    finished and tries the rest.

    Options of a runner follow after --, for example: ct-keras batch denoise ARCHIVE OUT
    --runner FlinkRunner -- --flink_master=HOST:8081 --parallelism=64
    """


@command.command(cls=SafeCommand)
@_batch_command
@click.option("--model", type=ModelText(), help="As of ct-keras denoise.")
@click.option("--strength", type=float, help="The same.")
@click.option("--like-dose", type=float, help="The same.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="The same; auto may differ between machines.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "tensorflow", "openvino", "onnx"]),
    default="auto",
    show_default=True,
    help="The same.",
)
@click.option("--allow-repeat", is_flag=True, help="The same.")
@click.option("--override-guards", is_flag=True, help="The same.")
@trust_option
@grey_values
@reading_options("denoise")
def denoise(source, out, beam_options, runner, workers, as_json, **options) -> int:
    """Denoises every series of ARCHIVE into OUT, under the names that it has there."""
    from ct_keras.pipelines import Denoising, process_archive

    task = Denoising(values=taken_values(options), **options)
    engine = _runner(runner, workers, beam_options)
    return _report(process_archive(task, source, out, runner=engine), as_json)


@command.command(cls=SafeCommand)
@_batch_command
@click.option("--dose", type=float, required=True, help="Fraction, such as 0.25.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@simulation
@grey_values
@reading_options("simulate")
def simulate(
    source, out, beam_options, runner, workers, as_json, dose, seed, reading, **options
) -> int:
    """Simulates a lower dose of every series of ARCHIVE into OUT."""
    from ct_keras.pipelines import Simulation, process_archive

    values = taken_values(options)
    task = Simulation(dose, seed, given(options), reading, values)
    engine = _runner(runner, workers, beam_options)
    return _report(process_archive(task, source, out, runner=engine), as_json)


@command.command(cls=SafeCommand)
@_batch_command
@click.option("--dose", "doses", callback=numbers, default="0.25", show_default=True)
@click.option(
    "--split",
    multiple=True,
    default=["0.7,0.15,0.15"],
    show_default=True,
    help="train=A,B (repeated for val and test), or three ratios.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of noise and split.")
@click.option("--resample", "resample_mm", type=float, help="Common pixel size in mm.")
@click.option(
    "--resample-slices",
    "resample_slices_mm",
    type=float,
    help="Common slice spacing in mm, by means or interpolation of slices.",
)
@click.option("--hash-key-file", type=InputPath(), help="Key of the patient hashes.")
@click.option("--allow-lossy", is_flag=True, help="Accept lossy-compressed images.")
@simulation
@reading_options("convert")
def convert(
    source, out, beam_options, runner, workers, as_json, split, **options
) -> int:
    """Converts the normal-dose series of ARCHIVE to TFRecords in OUT.

    The records are those of ct-keras convert --layout single.
    """
    from ct_keras.pipelines import convert_archive

    physics = given({name: options.pop(name) for name in SIMULATION})
    engine = _runner(runner, workers, beam_options)
    result = convert_archive(
        source, out, split=list(split), simulation=physics, runner=engine, **options
    )
    return _report(result, as_json)


def _runner(name: str, workers: int, beam_options):
    from ct_keras.pipelines.runner import Runner

    return Runner(name, workers, tuple(beam_options))


def _report(result, as_json: bool) -> int:
    if as_json:
        emit_json(
            {
                "items": result.items,
                "series": result.series,
                "slices": result.slices,
                "dead_letters": list(result.letters),
            }
        )
    else:
        say(f"{result.series} series with {result.slices} slices are there\n{NOTICE}")
    if result.letters:
        note(f"{len(result.letters)} refusals are listed in dead-letters.jsonl")
        return ExitCode.PARTIAL
    return ExitCode.DONE
