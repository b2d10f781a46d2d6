"""Pages of the documentation that are made from the package: a hook of MkDocs.

`reference/commands.md` is the help of every command, `reference/errors.md` the codes
with the texts that the source gives them, and `reference/ROOM.md` the public names of a
room.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import click

import ct_keras
from ct_keras.cli.main import cli
from ct_keras.errors import CtKerasError, ExitCode

PACKAGE = Path(ct_keras.__file__).parent
#: Rooms whose names users call from Python, in the order of the flow.
ROOMS = (
    *("dicom", "simulation", "phantoms", "data", "models", "losses", "filters"),
    *("reconstruction", "denoising", "training", "tasks", "metrics", "image_quality"),
    *("evaluation", "report", "reader_study", "serving", "pipelines", "privacy"),
    *("containers", "hu"),
)
#: Texts of one code that are shown.
MOST_TEXTS = 12
#: Exit codes whose names are not words enough.
_MEANINGS = {
    ExitCode.UNEXPECTED: "unexpected error",
    ExitCode.NO_CT: "no CT images",
    ExitCode.BAD_INPUT: "corrupt or unsupported input",
    ExitCode.PARTIAL: "done in part",
    ExitCode.GUARD: "refused by a guard",
    ExitCode.INTERRUPTED: "stopped by a signal, can go on",
}
_CODE = re.compile(r"CTK-[EWI]\d{3}")
_KINDS = {"E": "Refusals", "W": "Warnings", "I": "Information"}


def on_config(config):
    """Adds the pages of the rooms to the navigation."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference += [{f"ct_keras.{room}": f"reference/{room}.md"} for room in ROOMS]
    return config


def on_files(files, config):
    """Adds the pages that are made here."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Returns path -> Markdown of every page that is made from the package."""
    made = {f"reference/{room}.md": _room_page(room) for room in ROOMS}
    made["reference/commands.md"] = commands_page()
    made["reference/errors.md"] = errors_page()
    return made


def _room_page(room: str) -> str:
    lines = [f"# ct_keras.{room}", "", f"::: ct_keras.{room}", ""]
    for name, module in sorted(_lazy_names(room).items()):
        lines += [
            f"::: {module}.{name}",
            "    options:",
            "      show_root_heading: true",
            "      show_root_full_path: false",
            "      show_root_toc_entry: true",
            "",
        ]
    return "\n".join(lines)


def _lazy_names(room: str) -> dict[str, str]:
    """Name -> module of a room whose names are loaded on first use."""
    path = PACKAGE / room / "__init__.py"
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_NAMES":
            return ast.literal_eval(node.value)
    return {}


def commands_page() -> str:
    """Returns the help of every command and subcommand."""
    lines = ["# Commands", "", "What `ct-keras COMMAND --help` prints.", ""]
    for name, command in _commands(cli, "ct-keras"):
        context = click.Context(
            command,
            info_name=name,
            max_content_width=88,
            help_option_names=["-h", "--help"],
        )
        depth = "#" * name.count(" ")
        lines += [f"{depth}# {name}", "", "```text", command.get_help(context)]
        lines += ["```", ""]
    return "\n".join(lines)


def _commands(group: click.Group, path: str):
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def errors_page() -> str:
    """Returns every code with its exit status and the texts of the source."""
    lines = [
        "# Errors and findings",
        "",
        "A refusal is one line: a code, what was received, what was expected, and the "
        "fix. Findings go to standard error and into the JSON of a command. The text "
        "after a code says more about the case at hand; `...` stands for a value.",
        "",
        "| exit status | meaning |",
        "|---|---|",
        *(f"| {code.value} | {_words(code)} |" for code in ExitCode),
        "| 128 + n | ended by signal n |",
        "",
    ]
    texts = _texts()
    for letter, title in _KINDS.items():
        codes = [code for code in sorted(texts) if code[4] == letter]
        lines += ["", f"## {title}", "", *_table(codes, texts)]
    return "\n".join([*lines, ""])


def _words(code: ExitCode) -> str:
    return _MEANINGS.get(code, code.name.replace("_", " ").lower())


def _table(codes: list[str], texts: dict[str, set[str]]) -> list[str]:
    head = ["| code | exit | texts |", "|---|---|---|"]
    rows = []
    for code in codes:
        status = CtKerasError(code, "").exit_code.value if code[4] == "E" else ""
        # E and W of one number are one subject; one of them may have the text.
        subject = texts[code] or texts.get(code.replace("-E", "-W"), set())
        said = sorted(subject or {"..."})
        if len(said) > MOST_TEXTS:
            said = [*said[:MOST_TEXTS], "and others"]
        shown = " ".join("; ".join(said).split()).replace("|", "\\|")
        rows.append(f"| `{code}` | {status} | {shown} |")
    return head + rows


def _texts() -> dict[str, set[str]]:
    """Code -> texts, from calls that have both and from literals `CTK-W000 text`."""
    texts: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) > 1:
                code, text = map(_literal, node.args[:2])
                if _CODE.fullmatch(code):
                    texts[code] |= {text} if text else set()
    return texts


def _literal(node: ast.expr) -> str:
    """The text of a string, with `...` for the values of an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (_literal(part) or "..." for part in node.values)
        return "".join(parts)
    return ""
