"""The scale, the errors, the order of the rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ct_keras import hu
from ct_keras.errors import CtKerasError, ExitCode

PACKAGE = Path(hu.__file__).parent
FLOW = [
    *("hu", "errors", "lazy", "arrays", "settings"),
    *("registry", "files", "progress", "notice"),
    *("metrics", "inputs", "codecs", "dicom", "privacy", "containers", "simulation"),
    *("phantoms", "image_quality", "data", "losses"),
    *("models", "filters", "reconstruction", "denoising", "training", "tasks"),
    *("evaluation", "report", "reader_study", "serving", "node", "pipelines", "cli"),
]


def test_scale_is_that_of_the_specification():
    units = hu.to_network(np.array([-3024, -1024, -1000, 0, 3072]))
    assert units == pytest.approx([0, 0, 24 / 4096, 0.25, 1])


def test_scale_is_bit_exact_for_whole_hounsfield_units():
    whole = np.arange(-1024, 3073)
    assert np.array_equal(hu.to_hu(hu.to_network(whole)), whole)


def test_stored_values_round_half_to_even():
    assert hu.to_stored([0.5, 1.5, -0.5, -1.5], 1, 0).tolist() == [0, 2, 0, -2]


@pytest.mark.parametrize("slope", [1, 0.5, 2, 1.0001, 0.488281])
def test_stored_values_survive_float32(slope):
    stored = np.arange(-2000, 4096)
    values = (stored * slope - 1024).astype(np.float32)
    assert np.array_equal(hu.to_stored(values, slope, -1024), stored)


def test_windows():
    assert (hu.ABDOMEN.low, hu.ABDOMEN.high) == (-160, 240)
    assert hu.to_display([-161, -160, 40, 240, 900]).tolist() == [0, 0, 128, 255, 255]
    assert str(hu.LUNG) == "lung W1500 L-600"


def test_error_is_one_line_with_all_parts():
    error = CtKerasError("CTK-E001", "no CT", received="a\nb", expected="c", fix="d")
    assert str(error) == "CTK-E001 no CT; received: a b; expected: c; fix: d"
    assert error.exit_code == ExitCode.NO_CT
    assert CtKerasError("CTK-E003", "cut").exit_code == ExitCode.BAD_INPUT


def test_error_survives_a_process_border():
    import pickle

    error = CtKerasError("CTK-E070", "not finite", received=3)
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.received) == ("CTK-E070", 3)


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ct_keras" and len(parts) > 1 and parts[1] in FLOW:
                rooms.add(parts[1])
    return rooms


def test_a_room_imports_only_from_those_before_it():
    against_the_flow = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        against_the_flow += [
            f"{path.name}: {room} imports {other}"
            for other in _imported_rooms(path)
            if FLOW.index(other) > FLOW.index(room)
        ]
    assert against_the_flow == []


@pytest.mark.parametrize(
    "statement",
    [
        "import ct_keras",
        "import ct_keras.dicom, ct_keras.simulation, ct_keras.filters.registry",
        "import ct_keras.metrics, ct_keras.phantoms, ct_keras.image_quality",
        "import ct_keras.reconstruction, ct_keras.evaluation, ct_keras.report",
        "import ct_keras.codecs, ct_keras.inputs, ct_keras.reader_study",
        "import ct_keras.pipelines.conversion",
        "from ct_keras.cli import main, inspect, convert, denoise, evaluate, train",
        "from ct_keras.cli import batch, simulate",
    ],
)
def test_light_rooms_import_neither_tensorflow_nor_keras(statement):
    check = (
        f"import sys; {statement}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_public_names_are_all_there():
    import ct_keras

    missing = [name for name in ct_keras.__all__ if not hasattr(ct_keras, name)]
    assert missing == []
    assert not hasattr(ct_keras, "no_such_name")
