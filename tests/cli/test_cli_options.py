"""A fix that a message gives can be followed: the command has the option."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import click
import pytest
from test_cli_paths import commands

import ct_keras
from ct_keras.cli import options
from ct_keras.cli.paths import ModelText, SeriesPath
from ct_keras.inputs.options import (
    LIMIT_OPTIONS,
    ReadOptions,
    commands_with,
    flag,
)

PACKAGE = Path(ct_keras.__file__).parent
COMMANDS = dict(commands())
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_COMMAND = r"[a-z-]+(?: make| score)?"
_OF = re.compile(rf" of ({_COMMAND}(?:(?:, | and ){_COMMAND})*)")
_CALL = re.compile(r"ct-keras ([a-z-]+)[^;()]*")
#: Options of other programs that a fix names.
_OTHERS = {"gdcmconv --raw"}


def options_of(name):
    return {option for param in COMMANDS[name].params for option in param.opts}


def documentation(tree):
    """The string constants that are docstrings."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            yield node.body[0].value


def texts(path):
    """Every text of a module but its documentation; {} stands for what is put in."""
    tree = ast.parse(path.read_text())
    skipped = {id(node) for node in documentation(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}"
                for part in node.values
            )
        elif isinstance(getattr(node, "value", None), str) and id(node) not in skipped:
            yield node.value


def promises(text, own):
    """Yields (command, option) for what a text promises; command None for every one."""
    for other in _OTHERS:
        text = text.replace(other, "")
    for call in _CALL.finditer(text):
        for option in _OPTION.findall(call.group()):
            yield call.group(1), option
    text = _CALL.sub("", text)
    named = list(_OPTION.finditer(text))
    for index, option in enumerate(named):
        # "--low and --full of convert": the commands stand behind the last of them.
        last = index
        while last + 1 < len(named) and re.fullmatch(
            r",? ?(?:and |or )?", text[named[last].end() : named[last + 1].start()]
        ):
            last += 1
        of = _OF.match(text, named[last].end())
        if of is None:
            yield own, option.group()
            continue
        for name in re.split(r", | and ", of.group(1).strip()):
            yield name, option.group()


FOUND = [
    (path, text)
    for path in sorted(PACKAGE.rglob("*.py"))
    for text in texts(path)
    if _OPTION.search(text)
]


@pytest.mark.parametrize(
    "path, text",
    [
        pytest.param(path, text, id=f"{path.relative_to(PACKAGE)}: {text[:40]}")
        for path, text in FOUND
        if not (path.parent.name == "cli" and re.match(r"--[a-z-/]+$", text))
    ],
)
def test_a_named_option_is_there(path, text):
    own = [path.stem.replace("_", "-")] if path.parent.name == "cli" else []
    for name, option in promises(text, None):
        if option in ("--debug", "--help", "--log-paths"):
            continue  # of every command
        if option == "--overwrite" and name is None:
            continue  # of all that replace a folder: see test_cli_paths
        assert name is not None or own, f"{option}: of which command?"
        wanted = [name] if name else own
        for each in wanted:
            held = [key for key in COMMANDS if f"{key} ".startswith(f"{each} ")]
            assert held, f"no command {each!r}"
            assert any(option in options_of(key) for key in held), (each, option)


def test_the_test_finds_what_it_is_for():
    assert len(FOUND) > 30
    text = "give low and full (--low and --full of convert)"
    assert list(promises(text, None)) == [("convert", "--low"), ("convert", "--full")]
    text = "(--force-hu of inspect, denoise and simulate)"
    assert [name for name, _ in promises(text, None)] == [
        *("inspect", "denoise", "simulate")
    ]
    text = "train it: ct-keras train {} RECORDS --out RUN"
    assert list(promises(text, None)) == [("train", "--out")]
    assert list(promises("pass --allow-lossy", None)) == [(None, "--allow-lossy")]


#: Options of the reader -> commands that cannot use them.
UNUSED = {
    "allow_gaps": 6,
    "allow_tilt": 6,
    "force_hu": 1,
    "allow_float": 1,
    "allow_no_preamble": 1,
}


@pytest.mark.parametrize(
    "name",
    [
        *(field.name for field in fields(ReadOptions) if field.name != "limits"),
        *LIMIT_OPTIONS,
    ],
)
def test_what_a_reader_accepts_is_an_option_of_the_commands_it_names(name):
    own = flag(LIMIT_OPTIONS.get(name, name))
    wanted = list(promises(f"({own} of {commands_with(name)})", None))
    named = {command for command, _ in wanted}
    assert len(named) == 8 - UNUSED.get(name, 0)
    with_it = {command for command in COMMANDS if own in options_of(command)}
    assert {each for each in with_it if not each.startswith("batch ")} == named


def test_every_command_that_reads_series_has_the_options_of_the_reader():
    reading = {
        name
        for name in COMMANDS
        if any(isinstance(param.type, SeriesPath) for param in COMMANDS[name].params)
    }
    assert {"denoise", "evaluate", "reader-study make", "deidentify"} <= reading
    without = {name for name in reading if "--skip-bad-slices" not in options_of(name)}
    assert without == {"demo"}  # it shows what happens to a good series


def test_every_command_that_loads_a_model_can_trust_its_weights():
    loading = {
        name
        for name in COMMANDS
        if any(isinstance(param.type, ModelText) for param in COMMANDS[name].params)
    }
    assert {"denoise", "evaluate", "judge", "quality", "listen"} <= loading
    assert [name for name in loading if "--trust" not in options_of(name)] == []


@pytest.mark.parametrize("text", ["", ",", "0.5,", "0.5;0.25", "half"])
def test_lists_of_numbers_have_no_gaps(text):
    """An empty list meant the default, and nobody was told."""
    with pytest.raises(click.BadParameter, match="numbers separated by commas"):
        options.numbers(None, None, text)
    assert options.numbers(None, None, "0.5,0.25") == (0.5, 0.25)
    assert options.numbers(None, None, None) == ()
