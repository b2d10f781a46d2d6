"""Every code block of the README, the tutorial and the how-tos is run.

Blocks of `bash` and `python` run in order. `ct-keras` runs in this process, all else in
a shell. A block that needs what the tests do not have says so
in a comment above it: `<!-- not run: REASON -->`. `SMALLER` makes work quick that takes
minutes as it is written; what it replaces must be there.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ct_keras.cli import main
from ct_keras.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
HOW_TOS = sorted(path.name for path in (ROOT / "docs" / "howto").glob("*.md"))
PAGES = ["README.md", "docs/tutorial.md", *(f"docs/howto/{name}" for name in HOW_TOS)]
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?"
    r"^(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
_LANGUAGES = {"bash", "python", "text"}
#: Workers would import everything again, and views cost time.
_QUICK_CONVERSION = "--split 0.34,0.33,0.33 --workers 1 --views 90"
_TINY_TRAINING = "--recipe quick --epochs 1 --steps 1 --width 4"

#: Page -> what stands there -> what runs instead.
SMALLER = {
    "README.md": {
        "--split 0.5,0.25,0.25": _QUICK_CONVERSION,
        "--recipe quick": _TINY_TRAINING,
    },
    "docs/tutorial.md": {
        "shape=(8, 256, 256), spacing_mm=(5.0, 1.5, 1.5)": "shape=(2, 64, 64)",
        "range(1, 9)": "(1, 2, 8)",
        "--split 0.6,0.2,0.2": _QUICK_CONVERSION,
        "--recipe quick --epochs 4 --steps 60": _TINY_TRAINING,
    },
    "docs/howto/no_pairs.md": {
        "--split 0.5,0.25,0.25": _QUICK_CONVERSION,
        "--recipe quick": _TINY_TRAINING,
    },
}


def blocks(page: str) -> list[dict]:
    """The code blocks of a page: language, code, and why it is not run, or None."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [match.groupdict() for match in _BLOCK.finditer(text)]


@pytest.fixture(scope="module")
def working_folder(phantom_patients, tmp_path_factory) -> Path:
    """What the pages name and do not make: STUDY, SCANS and scan.nii.gz.

    All pages share the folder, because the how-tos go on with each other's results.
    """
    import nibabel
    import numpy as np

    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(phantom_patients / "test" / "p4", folder / "STUDY")
    for patient in ("train/p1", "val/p3", "test/p4"):
        shutil.copytree(phantom_patients / patient, folder / "SCANS" / patient[-2:])
    hu = np.random.default_rng(0).normal(40, 20, (96, 96, 2))
    hu[:8] = -1000
    hu[20:40] = -90
    image = nibabel.Nifti1Image(hu.round().astype(np.int16), np.diag([2, 2, 5, 1]))
    nibabel.save(image, folder / "scan.nii.gz")
    return folder


@pytest.fixture(scope="module")
def commands_done() -> set[str]:
    """Command lines that a page has run already; they are not run again."""
    return set()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_known(page):
    for block in blocks(page):
        assert block["language"] in _LANGUAGES, block["code"]


@pytest.mark.parametrize("page", PAGES)
def test_code_runs_as_it_is_written(page, working_folder, commands_done, monkeypatch):
    monkeypatch.chdir(working_folder)
    smaller, used, names = SMALLER.get(page, {}), set(), {}
    for block in blocks(page):
        if block["reason"] or block["language"] == "text":
            continue
        code = block["code"]
        for written, instead in smaller.items():
            used |= {written} if written in code else set()
            code = code.replace(written, instead)
        if block["language"] == "python":
            exec(compile(code, page, "exec"), names)
        else:
            _run_shell(code, commands_done)
    assert used == set(smaller), "SMALLER names what the page does not say"


def _run_shell(code: str, done: set[str]) -> None:
    """Runs those lines of a block of bash that have not run yet."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words or (command := shlex.join(words)) in done:
            continue
        done.add(command)
        if words[0] == "ct-keras":
            _run_command(command, words[1:])
        else:
            _run_line(command)


def _run_command(line: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    # After one step a network is not better than its input, as `train` says.
    accepted = {0, ExitCode.GUARD} if arguments[0] == "train" else {0}
    assert int(end.value.code or 0) in accepted, line


def _run_line(line: str) -> None:
    """Runs a line of shell, where `python` is the one that runs the tests."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-ec", line], check=True, env=environment)
