"""The way of weights that an accelerator trains: packed, trained, adopted."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import ct_keras
from ct_keras import models
from ct_keras.losses import robust_noise_free_loss
from ct_keras.simulation import DoseSimulator
from ct_keras.simulation.photons import MU_WATER_MM, bowtie

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SIDE = 64


@pytest.fixture
def tools(monkeypatch):
    """Makes the tools' modules importable, as the scripts see them."""
    monkeypatch.syspath_prepend(str(TOOLS))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(TOOLS) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def rows(tools):
    import pack_slices

    rows = [*pack_slices.phantom_rows("train", 3, SIDE)]
    rows[0]["noise_free"] = False
    return rows + list(pack_slices.phantom_rows("val", 1, SIDE))


@pytest.fixture
def pack(rows, tmp_path):
    from packed_slices import BIN_MM, BINS, write_pack

    position_mm = (np.arange(BINS) - BINS // 2) * BIN_MM
    write_pack(rows, tmp_path / "pack.npz", bowtie=bowtie(position_mm), modulation=0.35)
    return tmp_path / "pack.npz"


def test_packed_slices_come_back_with_their_physics(rows, pack):
    from packed_slices import BIN_MM, BINS, read_pack

    read = read_pack(pack)
    assert read["hu"].shape == (4, SIDE, SIDE)
    for index, row in enumerate(rows):
        expected = np.clip(row["hu"], -1024, 3071)
        assert np.abs(read["hu"][index] - expected).max() <= 0.5 * row["step_hu"]
        frequency = np.fft.rfftfreq(BINS, BIN_MM)
        response = frequency * row["kernel"].window(frequency)
        np.testing.assert_allclose(read["response"][index], response, rtol=1e-6)
        assert read["photons"][index] == pytest.approx(row["photons"])
    assert read["validation"].tolist() == [False, False, False, True]
    assert read["noise_free"].tolist() == [False, True, True, True]
    assert len(read_pack(pack, most=2)["hu"]) == 2


def test_drawn_noise_is_that_of_the_simulator(rows, pack):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from accelerated_noise import MU_WATER_MM as MU
    from accelerated_noise import draw_noise
    from packed_slices import PHYSICS, read_pack

    assert MU == MU_WATER_MM
    read = read_pack(pack)
    physics = {name: torch.as_tensor(read[name][1]) for name in PHYSICS}
    torch.manual_seed(0)
    hu = torch.as_tensor(read["hu"][1])
    quantum, electronic = draw_noise(hu, physics, quantum=8, electronic=2)
    simulator = DoseSimulator(
        (SIDE, SIDE),
        (rows[1]["spacing_mm"],) * 2,
        kernel=rows[1]["kernel"],
        photons=rows[1]["photons"],
        noise_free=True,
        tube_current_modulation=0.35,
        electronic_noise=rows[1]["electronic"],
    )
    hu = read["hu"][1]
    body = hu > -900
    quantum, electronic = (part.float().numpy() for part in (quantum, electronic))
    power = np.mean(quantum**2, axis=0) + np.mean(electronic**2, axis=0)
    expected = simulator.noise_sd(hu) ** 2
    assert np.mean((power / expected)[body]) == pytest.approx(1, abs=0.15)
    expected = simulator.tuned(electronic_noise=0.0).noise_sd(hu) ** 2
    power = np.mean(quantum**2, axis=0)
    assert np.mean((power / expected)[body]) == pytest.approx(1, abs=0.15)


def test_batches_hold_the_noise_that_they_say(pack, tools):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from accelerated_data import Bank, draw_batch
    from packed_slices import read_pack

    read = read_pack(pack)
    torch.manual_seed(1)
    bank = Bank(read, patches={16}, quantum=3, electronic=2, device="cpu")
    batch = draw_batch(bank.arrays, 16, 32)
    inserted = (batch["low"] - batch["reference"]).numpy()
    inside = batch["reference"].numpy().min(axis=(1, 2)) > -900
    np.testing.assert_allclose(
        np.sqrt(np.mean(inserted**2, axis=(1, 2)))[inside],
        batch["inserted"].numpy()[inside],
        rtol=0.05,
    )
    share = batch["share"].numpy()
    assert share.min() == 0 and 0 < share.max() < 0.86
    before = bank.arrays["quantum"][0].clone()
    bank.renew()
    assert bank.renewed == 1
    assert not torch.equal(bank.arrays["quantum"][0], before)


@pytest.mark.parametrize("softness", [0.1, 1.0])
def test_network_and_loss_are_those_of_keras(tools, tmp_path, softness):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import accelerated_network as accelerated
    from adopt_weights import read_network
    from unpack_weights import arrays_of

    torch.manual_seed(2)
    network = accelerated.QuietNet(4, (2, 2, 4), "cpu")
    with torch.no_grad():
        network.weights["correction"][0].normal_(std=0.2)
    tensors = network.tensors()
    network.save(tensors, tmp_path / "weights.npz")
    twin = read_network(tmp_path / "weights.npz", "quiet_net", 4)
    assert twin.count_params() == sum(tensor.numel() for tensor in tensors)
    with np.load(tmp_path / "weights.npz") as stored:
        again = arrays_of(twin)
        assert set(again) == set(stored)
        assert all(np.array_equal(again[name], stored[name]) for name in stored)
    generator = np.random.default_rng(0)
    hu = generator.normal(0, 200, (2, 24, 32)).astype(np.float32)
    output = network(torch.from_numpy(hu), torch.float32).detach()
    expected = np.asarray(twin(((hu + 1024) / 4096)[..., None]))[..., 0] * 4096 - 1024
    assert np.abs(expected - hu).max() > 10
    np.testing.assert_allclose(output.numpy(), expected, atol=0.01)

    reference = generator.normal(0, 200, hu.shape).astype(np.float32)
    batch = {"low": hu, "reference": reference, "share": np.array([0.0, 0.3])}
    batch["inserted"] = np.array([20.0, 50.0])
    plain = {name: torch.as_tensor(values) for name, values in batch.items()}
    loss = float(accelerated.robust_noise_free_loss(output, plain, softness))
    assert loss == pytest.approx(
        float(
            robust_noise_free_loss(
                denoised=output.numpy(),
                low_dose=hu,
                reference=reference,
                dose_fraction=batch["share"],
                scale=batch["inserted"] + 5,
                softness=softness,
            )
        ),
        rel=1e-4,
    )


def test_regions_of_air_and_lung_count_by_their_means(tools):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from accelerated_network import regional_bias_loss

    reference = torch.full((2, 32, 32), -1000.0)
    reference[1] = -800.0
    reference[1, :, 16:] = 40.0  # no tissue of the loss
    noise = torch.where(torch.arange(32) % 2 == 0, 30.0, -30.0)
    batch = {"low": reference + 8.0, "reference": reference}
    batch["inserted"] = torch.tensor([15.0, 35.0])
    batch["share"] = torch.tensor([0.2, 0.1])
    strengths = {1.0: 1.0, 0.75: 1.4}
    assert float(regional_bias_loss(reference + noise, batch, strengths)) == (
        pytest.approx(1.4 * ((0.25 * 8 / 20) ** 2 + (0.25 * 8 / 40) ** 2), rel=0.02)
    )
    batch["low"] = reference
    assert float(regional_bias_loss(reference + 4, batch, strengths)) == pytest.approx(
        (1 + 1.4 * 0.75**2) * ((4 / 20) ** 2 + (4 / 40) ** 2)
    )
    batch["share"] = torch.tensor([0.2, 0.0])  # the second is a phantom
    assert float(regional_bias_loss(reference + 4, batch, {1.0: 1.0})) == pytest.approx(
        (4 / 20) ** 2
    )


def test_weights_are_averaged(tools, tmp_path):
    import average_weights

    paths = [tmp_path / name for name in ("mean.npz", "a.npz", "b.npz", "other.npz")]
    np.savez(paths[1], **{"x/kernel": np.float32([1, 2]), "x/bias": np.float32([0])})
    np.savez(paths[2], **{"x/kernel": np.float32([3, 6]), "x/bias": np.float32([1])})
    np.savez(paths[3], **{"y/kernel": np.float32([3, 6])})
    average_weights.main([str(path) for path in paths[:3]])
    with np.load(paths[0]) as mean:
        assert mean["x/kernel"].tolist() == [2, 4] and mean["x/bias"].tolist() == [0.5]
        assert mean["x/kernel"].dtype == np.float32
    with pytest.raises(SystemExit):
        average_weights.main([str(path) for path in paths])


def test_published_weights_are_unpacked(tools, tmp_path):
    import adopt_weights
    import unpack_weights

    unpack_weights.main(["quiet_net", str(tmp_path / "weights.npz")])
    again = adopt_weights.read_network(tmp_path / "weights.npz", "quiet_net", 32)
    published = ct_keras.load("quiet_net").network
    for ours, theirs in zip(again.get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_log_becomes_a_history(tools):
    from adopt_weights import history_of

    log = [
        {"step": 5, "seconds": 10.0, "phase": "a", "loss": 0.5, "rate": 1e-3},
        {"step": 9, "seconds": 13.0, "phase": "b", "loss": 0.25, "rate": 1e-4},
    ]
    assert history_of(log) == [
        {"step": 5, "loss": 0.5, "learning_rate": 1e-3, "seconds": 10.0},
        {"step": 9, "loss": 0.25, "learning_rate": 1e-4, "seconds": 3.0},
    ]


def test_a_short_training_ends_in_a_run(pack, tmp_path, phantom_patients, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import adopt_weights
    import train_accelerated

    out, run = tmp_path / "out", tmp_path / "run"
    phases = ["--phases", "bfloat16:16:4:0.5,float32:32:2:0.5"]
    sizes = ["--width", "4", "--quantum", "3", "--electronic", "2"]
    sizes += ["--regional", "0.1"]
    command = ["train", str(pack), str(out), "--steps", "80", "--rate", "3e-3"]
    monkeypatch.setattr(sys, "argv", [*command, *phases, *sizes])
    train_accelerated.main()
    said = (out / "log.txt").read_text().splitlines()
    found = [json.loads(line[line.index("{") :]) for line in said if "phantom" in line]
    before, after = found[0], found[-1]
    assert after["phantom 0.05 output"] > before["phantom 0.05 output"]
    row = {"step": 80, "seconds": 1.0, "loss": 0.5, "rate": 1e-3}
    (out / "log.jsonl").write_text(json.dumps(row) + "\n")
    files = [out / "quiet_net.npz", out / "log.jsonl", phantom_patients, run]
    adopt_weights.main([*map(str, files), "--width", "4"])
    denoiser = models.build("quiet_net", width=4)
    assert json.loads((run / "config.json").read_text())["recipe"]["epochs"] == 1
    assert denoiser.name == "quiet_net"
