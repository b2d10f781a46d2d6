"""Builds sdist and wheel, installs the wheel elsewhere, and uses it there.

`make package` runs it. The wheel is built from the sdist, so a file that the sdist
lacks is missed here. The fresh environment borrows the dependencies of the one that
runs this script, which are already on the disk; ct_keras itself comes from the wheel.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Parts of names that must be in the wheel.
NEEDED = (
    "ct_keras/py.typed",
    "ct_keras/report/templates/",
    "ct_keras/saved_models/quiet_net/quiet_net.keras",
    "ct_keras/saved_models/quiet_net/metadata.json",
)
#: What is done with the installed package, in an empty folder.
SCRIPT = """
import sys
from pathlib import Path
import ct_keras
from ct_keras.phantoms import make_phantom, write_phantom
assert Path(sys.prefix) in Path(ct_keras.__file__).parents, ct_keras.__file__
write_phantom(make_phantom(1, region="abdomen", shape=(2, 64, 64)), "STUDY")
"""


def main() -> None:
    """Builds, installs and uses; raises if anything fails."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wheel = build(work / "dist")
        check_contents(wheel)
        python = install(wheel, work / "env")
        use(python, work / "elsewhere")
    print(f"{wheel.name}: built, installed and used")


def build(out: Path) -> Path:
    """Returns the wheel, built from the sdist."""
    # Not from the repository, where the folder `build` would be imported instead.
    _run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Checks that the wheel has its data and nothing of the repository around it."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [need for need in NEEDED if not any(n.startswith(need) for n in names)]
    strangers = {name.split("/")[0] for name in names if ".dist-info" not in name}
    if missing or strangers != {"ct_keras"}:
        raise SystemExit(f"the wheel lacks {missing} and holds {sorted(strangers)}")


def install(wheel: Path, folder: Path) -> Path:
    """Returns the Python of a fresh environment with the wheel."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    purelib = _run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    borrowed = "\n".join(site.getsitepackages())
    (Path(purelib.strip()) / "borrowed.pth").write_text(borrowed)
    return python


def use(python: Path, folder: Path) -> None:
    """Denoises a phantom by the console script, far from the repository."""
    folder.mkdir()
    command = python.with_name("ct-keras")
    _run(python, "-c", SCRIPT, cwd=folder)
    _run(command, "--version", cwd=folder)
    _run(command, "inspect", "STUDY", cwd=folder)
    _run(command, "denoise", "STUDY", "OUT", cwd=folder)
    if len(list((folder / "OUT").glob("*.dcm"))) != 2:
        raise SystemExit("the installed package did not write two slices")


def _run(*command, cwd: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
