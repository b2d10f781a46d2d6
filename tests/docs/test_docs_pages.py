"""The pages that are made from the package: complete, and in the navigation."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

import ct_keras
from ct_keras.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hook():
    return runpy.run_path(str(ROOT / "tools" / "docs_pages.py"))


@pytest.fixture(scope="module")
def pages(hook):
    return hook["pages"]()


def test_every_command_and_subcommand_has_its_help(pages):
    titles = re.findall(r"^#+ (ct-keras .+)$", pages["reference/commands.md"], re.M)
    commands = [title.split()[1] for title in titles if title.count(" ") == 1]
    assert commands == cli.list_commands(None)
    assert "ct-keras reader-study score" in titles
    assert "\n  --like-dose K " in pages["reference/commands.md"]


def test_every_code_of_a_refusal_is_listed_with_its_exit_status(pages):
    rows = dict(
        re.findall(
            r"^\| `(CTK-E\d{3})` \| (\d+) \|", pages["reference/errors.md"], re.M
        )
    )
    source = "".join(
        path.read_text() for path in Path(ct_keras.__file__).parent.rglob("*.py")
    )
    # Codes that are raised with a text of their own.
    raised = set(re.findall(r'CtKerasError\(\s*"(CTK-E\d{3})"', source))
    assert raised <= set(rows)
    assert (rows["CTK-E001"], rows["CTK-E044"], rows["CTK-E073"]) == ("2", "9", "7")


def test_every_public_room_has_a_page(hook, pages):
    public = set(ct_keras._ROOMS) - {"errors"}  # errors have a page of their own
    assert public <= set(hook["ROOMS"])
    denoising = pages["reference/denoising.md"]
    assert "::: ct_keras.denoising.api.denoise\n" in denoising


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    linked = set(re.findall(r"\S+\.md", nav))
    written = {
        path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
    }
    made = {"reference/commands.md", "reference/errors.md"}
    assert linked - {"tools/docs_pages.py"} == written | made
    assert yaml.safe_load(nav)["strict"] is True


def test_the_readme_links_every_how_to_and_explanation():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [*ROOT.glob("docs/howto/*.md"), *ROOT.glob("docs/explained/*.md")]
    assert len(pages) > 10
    missing = [
        page.name for page in pages if f"({page.relative_to(ROOT)})" not in readme
    ]
    assert missing == []
