"""`ct-keras`: finds the command, runs it, and turns errors into one line.

Commands are imported when they are called, so that help and refusals are quick.
"""

from __future__ import annotations

import importlib
import sys

import click

import ct_keras
from ct_keras.cli import process
from ct_keras.cli.output import note
from ct_keras.errors import CtKerasError, ExitCode
from ct_keras.files.failures import full_reason

#: Command -> one line of help, so that listing them imports none.
_COMMANDS = {
    "demo": "The whole workflow on phantom patients, in minutes.",
    "inspect": "List the CT series in a folder, and what is unusual about them.",
    "simulate": "Simulate a low-dose series or volume from a normal-dose one.",
    "convert": "Convert DICOM to TFRecords, split by patient.",
    "train": "Train a network of the zoo on TFRecords.",
    "evaluate": "Compare networks and filters by all metrics in one table.",
    "quality": "Measure noise, sharpness and detectability on phantoms.",
    "judge": "Have networks find organs and lesions before and after denoising.",
    "reader-study": "Make blinded pages for readers, and score their answers.",
    "denoise": "Denoise every CT series in a folder, or the volume of a file.",
    "batch": "Convert, simulate or denoise an archive on many machines (Beam).",
    "deidentify": "Copy CT series without names, IDs, dates and private elements.",
    "listen": "A DICOM node: receive, denoise and send on.",
    "export": "Export a denoiser for serving: SavedModel, ONNX, OpenVINO, LiteRT.",
    "models": "List the zoo: networks, costs and published weights.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx):
        return list(_COMMANDS)

    def get_command(self, ctx, name):
        if name not in _COMMANDS:
            return None
        module = name.replace("-", "_")
        return importlib.import_module(f"ct_keras.cli.{module}").command

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(ct_keras.__version__, prog_name="ct-keras")
@click.option(
    "--debug",
    is_flag=True,
    help="Show the traceback of an error; also after the command.",
)
@click.option(
    "--log-paths",
    is_flag=True,
    help="Name files and folders in messages by their paths, not by a hash.",
)
def cli(debug: bool, log_paths: bool) -> None:
    """Low-dose CT denoising with Keras. Hounsfield units at every boundary.

    Research use only. Not for diagnostic use.
    """


def main(arguments: list[str] | None = None) -> None:
    """The console script: runs a command and exits with its status."""
    own_process = arguments is None
    arguments, debug = _without("--debug", sys.argv[1:] if own_process else arguments)
    arguments, shown = _without("--log-paths", arguments)
    try:
        if own_process:
            process.open_standard_streams()
            process.import_from_packages_only()
            process.use_plain_characters()
            process.stop_on_signals()
            if not debug:
                process.silence_libraries()
            process.check_source_date()
            process.choose_backend()
        with process.private_and_logged(paths=shown):
            result = cli.main(
                list(arguments),
                prog_name="ct-keras",
                standalone_mode=False,
                obj=arguments,
            )
        sys.exit(result if isinstance(result, int) else ExitCode.DONE)
    except CtKerasError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except process.Stopped as stop:
        _fail(str(stop), stop.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("stopped", ExitCode.INTERRUPTED)
    except click.ClickException as error:
        # Click ends usage errors with 2, which here means "no CT images".
        _fail(f"CTK-E000 {error.format_message()}", ExitCode.USAGE)
    except Exception as error:
        if debug:
            raise
        if reason := full_reason(error):
            _fail(f"CTK-E073 cannot write: {reason}", ExitCode.CANNOT_WRITE)
        kind = type(error).__name__
        _fail(
            f"CTK-E999 unexpected {kind}; run again with --debug to see where",
            ExitCode.UNEXPECTED,
        )


def _without(option: str, arguments: list[str]) -> tuple[list[str], bool]:
    """Takes an option of every command out; it may stand before and after the name."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != option] + arguments[end:]
    return kept, len(kept) < len(arguments)


def _fail(line: str, code: int) -> None:
    note(line)
    sys.exit(int(code))
