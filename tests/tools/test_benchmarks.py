"""The benchmarks run, and both frameworks compute the same network."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from ct_keras.models import AdlDenoiser, Pix2PixGenerator, QuietNet, RedCNN

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield


def test_a_network_is_written_with_all_its_layers_and_weights(tmp_path):
    import network_files

    network = RedCNN(width=3)
    network_files.write(network, tmp_path)
    layers = json.loads((tmp_path / "network.json").read_text())["layers"]
    assert [layer["name"] for layer in layers] == [x.name for x in network.layers]
    inputs = {layer["name"]: layer["inputs"] for layer in layers}
    assert inputs["conv2"] == ["conv1_relu"]
    assert inputs["add_conv2"] == ["deconv3", "conv2_relu"]
    with np.load(tmp_path / "weights.npz") as weights:
        count = sum(weights[name].size for name in weights.files)
    assert count == network.count_params()


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (RedCNN(width=3), (1, 30, 31, 1)),
        (QuietNet(width=4), (1, 24, 32, 1)),
        (AdlDenoiser(filters=(2, 3, 4, 5)), (1, 24, 32, 1)),
        (AdlDenoiser(filters=(2, 3, 4, 5), dimensions=3), (1, 8, 8, 16, 1)),
        (Pix2PixGenerator(width=2), (1, 256, 256, 1)),
    ],
)
def test_pytorch_computes_the_same(network, size, tmp_path):
    torch = pytest.importorskip("torch")
    import network_files

    network_files.write(network, tmp_path)
    image = np.random.default_rng(0).random(size, np.float32)
    twin = network_files.torch_network(tmp_path).eval()
    with torch.no_grad():
        result = twin(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    expected = keras.ops.convert_to_numpy(network(image, training=False))
    np.testing.assert_allclose(np.moveaxis(result, 1, -1), expected, atol=1e-5)


def test_one_network_is_timed_in_a_process_of_its_own(tmp_path):
    import network_files

    network = QuietNet(width=2)
    network_files.write(network, tmp_path)
    network.save(tmp_path / "network.keras")
    np.save(tmp_path / "image.npy", np.full((1, 16, 16, 1), 0.25, np.float32))
    task = {"slices": 2, "steps": 2, "patches": (2, 8, 8, 1), "half": True}
    (tmp_path / "task.json").write_text(json.dumps(task | {"threads": 1}))
    command = [sys.executable, FOLDER / "sides.py", "keras", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = json.loads(done.stdout.splitlines()[-1])
    assert all(times[key][0] > 0 for key in ("slice", "half_slice", "step"))
    assert times["peak_mb"] > 100
    expected = np.asarray(network(np.full((1, 16, 16, 1), 0.25, np.float32)))
    np.testing.assert_allclose(np.load(tmp_path / "expected.npy"), expected, atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_peak_memory_does_not_begin_at_that_of_the_parent():
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    assert own_mb > 200  # TensorFlow is imported here
    command = [sys.executable, "-c", "import sides; print(sides.peak_mb())"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=FOLDER
    )
    assert 5 < int(done.stdout) < 100


def test_the_table_tells_ratios_failures_and_what_was_skipped():
    import run

    row = {"network": "a", "gmac": 2.5, "slice_ms": 400.0, "step_ms": 80.0}
    ratios = {"slice_ratio": 0.5, "slice_cpu_ratio": 0.25}
    ratios |= {"step_ratio": 0.75, "step_cpu_ratio": 1.0}
    rows = [
        row | {"peak_mb": 700, "half_slice_ms": 200.0} | ratios,
        row | {"peak_mb": 700},
        {"script": "networks", "failed": "out of memory"},
    ]
    lines = list(run.network_table(rows, fixed_seconds=10.0))
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2] == (
        "| a | 2.5 | 400 | 200 | 61 | 700 | 80 | 0.50 (0.25) | 0.75 (1.00) |"
    )
    assert lines[3] == "| a | 2.5 | 400 |  | 112 | 700 | 80 | skipped | skipped |"
    assert lines[4] == "| failed: out of memory |"


def test_what_a_script_printed_before_it_failed_is_kept(tmp_path, monkeypatch, capfd):
    import run

    monkeypatch.setattr(run, "__file__", str(tmp_path / "run.py"))
    script = "print('{\"network\": \"a\"}')\nraise SystemExit('out of memory')\n"
    (tmp_path / "half.py").write_text(script)
    measured, failed = run.lines_of("half")
    assert measured == {"script": "half", "network": "a"}
    assert failed == {"script": "half", "failed": "out of memory"}
    assert capfd.readouterr().err == 'half\n{"network": "a"}\n'


def test_losses_are_those_of_cells_with_enough_slices():
    import operating_range

    def row(noise: float, frequency: float, loss_db: float, reference=0.0) -> dict:
        return {
            "noise_index_hu": noise,
            "noise_frequency_per_cm": frequency,
            "reference_noise_hu": reference,
            "default": 1.0,
            "errors": [100 * 10 ** (loss_db / 10)] * len(operating_range.STRENGTHS),
            "nlm": 100.0,
        }

    rows = [row(30.0, 2.2, loss) for loss in (1.0, 2.0, 3.0)]
    rows += [row(100.0, 4.5, 5.0)] * 3
    rows += [row(7.0, 1.2, -1.0)] * 4
    rows += [row(7.0, 1.7, 9.0)] * 2  # too few
    rows += [row(7.0, 1.7, 9.0, reference=6.0)] * 3  # noise that the reference has too
    entry = operating_range.losses(rows)
    table = np.array(entry["loss_db"], float)
    assert table[3, 3] == 2.0
    assert table[5, 7] == 5.0
    assert table[1, 1] == -1.0
    assert np.isfinite(table).sum() == 3
    assert (entry["usual_db"], entry["margin_db"]) == (2.0, 2.5)
    best = operating_range.losses([row(7.0, 1.2, -1.0)] * 3)
    assert (best["usual_db"], best["margin_db"]) == (0.0, 0.5)


def test_a_card_gets_each_method_at_its_best_strength(tmp_path):
    import doses

    def rows(method: str, *, best: int) -> list[dict]:
        errors = [16.0] * len(doses.STRENGTHS)
        errors[-1] = 8.0
        errors[best] = 4.0
        row = {"dose": 0.1, "method": method, "settings": {}, "bias_hu": {}}
        row |= {"default": 1.0, "patient": "p", "slice": 0, "errors": errors}
        return [row | {"group": group} for group in ("fit real", "one folder")]

    results = doses.Results(tmp_path / "none.jsonl")
    for number, method in enumerate(doses.CLASSICAL):
        results.rows += rows(method, best=number + 1)
    results.rows += rows("quiet_net", best=9)
    (card,) = doses.by_set(results, "quiet_net")
    psnr = [20 * np.log10(400 / rmse) for rmse in (4, 2)]
    assert (card["set"], card["slices"], card["dose_fraction"]) == (
        "one folder",
        1,
        0.1,
    )
    assert card["psnr"] == {
        "input": pytest.approx(psnr[0], abs=0.01),
        **dict.fromkeys(
            (*doses.CLASSICAL, "quiet_net"), pytest.approx(psnr[1], abs=0.01)
        ),
    }
    at_full = 20 * np.log10(400 / np.sqrt(8))
    assert card["psnr_as_it_comes"] == pytest.approx(at_full, abs=0.01)
