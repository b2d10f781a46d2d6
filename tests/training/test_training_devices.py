"""Training on several devices and workers: equal to one, and resumed after a loss."""

import contextlib
import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from patience import errors_of
from run_arrays import arrays_of

from ct_keras.data import training_patches
from ct_keras.errors import CtKerasError
from ct_keras.training import train
from ct_keras.training.callbacks import StopOnSignal
from ct_keras.training.devices import Devices, _place, find_devices

#: Of WGAN-VGG: two optimisers, several batches in a step, random penalty points.
GAN = {"critic_width": 1, "critic_steps": 2, "perceptual_weight": 0}
_TWO_DEVICES = f"""
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from ct_keras.training import train
records, out = sys.argv[1:]
networks = dict(red_cnn={{}}, wgan_vgg={GAN}, pix2pix=dict(
    discriminator_width=2, receptive_field=1))
options = dict(red_cnn={{}}, wgan_vgg={{}}, pix2pix=dict(
    depth=3, dropout=0.0, initializer="gaussian", bias_before_norm=False))
for name, training in networks.items():
    for strategy in (None, "mirrored"):
        train(name, records, out=f"{{out}}/{{name}}-{{strategy}}", recipe="quick",
              epochs=2 if name == "red_cnn" else 1, validation_slices=1,
              steps=1 if name == "red_cnn" else 2,
              options=dict(width=2) | options[name], training=training,
              strategy=strategy)
"""
_WORKER = f"""
import os, signal, sys
from ct_keras.training import distributed
records, out, fatal = sys.argv[1], sys.argv[2], int(sys.argv[3])
step, calls = distributed._Step.__call__, []
def counted(*arguments):
    calls.append(1)
    if len(calls) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)
distributed._Step.__call__ = counted
from ct_keras.cli.main import main
settings = [f"--set={{name}}={{value}}" for name, value in {GAN}.items()]
sys.argv = ["ct-keras", "train", "wgan_vgg", records, "--out", out, "--recipe=quick",
            "--epochs=2", "--steps=2", "--width=2", *settings, "--resume",
            "--strategy=multi-worker"]
main()
"""


def _environment(**values) -> dict:
    alone = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    return os.environ | alone | values


def _rows(run: Path) -> list[dict]:
    return list(csv.DictReader((run / "history.csv").open()))


@pytest.fixture(scope="module")
def runs(phantom_records, tmp_path_factory) -> Path:
    """NAME-None and NAME-mirrored, on one and on two devices."""
    folder = tmp_path_factory.mktemp("devices")
    command = [sys.executable, "-c", _TWO_DEVICES, str(phantom_records), str(folder)]
    subprocess.run(command, check=True, env=_environment(), stderr=subprocess.PIPE)
    return folder


@pytest.mark.slow
def test_two_devices_train_red_cnn_as_one(runs):
    for step in (1, 2):
        one, two = (
            arrays_of(runs / f"red_cnn-{strategy}", step)
            for strategy in (None, "mirrored")
        )
        assert one.keys() == two.keys()
        for name, array in one.items():
            np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-5)
    moved = arrays_of(runs / "red_cnn-mirrored", 1)
    assert any(np.abs(one[name] - moved[name]).max() > 1e-4 for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wgan_vgg", "pix2pix"])
def test_two_devices_train_a_gan_as_one(runs, name):
    histories = [_rows(runs / f"{name}-{strategy}") for strategy in (None, "mirrored")]
    for one, two in zip(*histories, strict=True):
        for key in one.keys() - {"seconds"}:
            assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-3, abs=1e-5)
    one, two = (arrays_of(runs / f"{name}-{each}", 1) for each in (None, "mirrored"))
    for key, array in one.items():
        # Adam turns rounding errors of gradients near zero into whole steps; what a
        # batch normalisation saw shows whether it saw the whole batch.
        if name == "wgan_vgg" or "moving" in key:
            np.testing.assert_allclose(two[key], array, rtol=1e-3, atol=1e-4)


def _start(worker: int, records: Path, run: Path, ports, fatal: int = 0):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    task = {"type": "worker", "index": worker}
    environment = _environment(
        TF_CONFIG=json.dumps({"cluster": cluster, "task": task}),
        TF_NUM_INTRAOP_THREADS="1",
    )
    command = [sys.executable, "-c", _WORKER, str(records), str(run), str(fatal)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_a_gan_goes_on_after_one_of_two_workers_was_killed(phantom_records, tmp_path):
    run, ports = tmp_path / "run", _free_ports()
    # The second worker dies in the first step of the second epoch.
    both = [_start(i, phantom_records, run, ports, fatal=3 * i) for i in range(2)]
    messages = errors_of(both)
    assert both[1].returncode == -9, messages[1]
    assert both[0].returncode == 75, messages[0]
    assert "CTK-E110" in messages[0]
    (first,) = _rows(run)
    before = arrays_of(run, 1)
    ports = _free_ports()
    both = [_start(i, phantom_records, run, ports) for i in range(2)]
    messages = errors_of(both)
    # 9: two epochs need not be better than the input.
    assert {worker.returncode for worker in both} <= {0, 9}, messages
    rows = _rows(run)
    assert rows[0] == first
    assert [row["epoch"] for row in rows] == ["1", "2"]
    after = arrays_of(run, 2)
    counters = [name for name in after if name.endswith("iteration")]
    steps = {name: int(after[name] - before[name]) for name in counters}
    assert sorted(steps.values()) == [2, 4]  # of the generator and of the critic
    assert json.loads((run / "config.json").read_text())["workers"] == 2


def test_workers_read_different_slices_and_share_each_batch(phantom_records):
    def batches(share):
        data = training_patches(
            phantom_records,
            patch_size=32,
            batch_size=8,
            steps=3,
            patches_per_slice=2,
            share=share,
        )
        return [full.numpy() for _, full in data]

    shares = [batches((worker, 2)) for worker in range(2)]
    assert [full.shape for full in shares[0]] == [(4, 32, 32, 1)] * 3
    patches = [{each.tobytes() for full in own for each in full} for own in shares]
    assert not patches[0] & patches[1]
    assert all(map(np.array_equal, shares[1], batches((1, 2))))
    assert [full.shape for full in batches((0, 1))] == [(8, 32, 32, 1)] * 3


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"cluster": {"worker": ["a:1", "b:1"]}, "task": ("worker", 1)}, (1, 2)),
        ({"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": ("worker", 0)}, 1),
    ],
)
def test_the_place_of_a_worker(config, place):
    kind, index = config["task"]
    config["task"] = {"type": kind, "index": index}
    found = _place(json.dumps(config))
    assert found == (place if isinstance(place, tuple) else (place, 2))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, '
        '"task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_cluster_that_is_not_described_is_refused(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(CtKerasError, match="CTK-E000 TF_CONFIG"):
        find_devices("multi-worker")


def test_an_unknown_strategy_and_an_uneven_batch_are_refused(phantom_records, tmp_path):
    with pytest.raises(CtKerasError, match="mirrored, multi-worker"):
        train("red_cnn", phantom_records, out=tmp_path / "r", strategy="central")
    assert not (tmp_path / "r").exists()

    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(CtKerasError, match="batch size 16, 3 devices"):
        Devices(Three()).check(16, "float32")
    Devices(Three()).check(18, "float32")
    with pytest.raises(CtKerasError, match="float16"):
        Devices(Three()).check(18, "mixed_float16")


def test_one_device_is_worth_a_notice(caplog):
    alone = tf.distribute.MirroredStrategy(["CPU:0"])
    assert find_devices(alone).replicas == 1
    assert "one device only" in caplog.text


def test_a_worker_that_is_lost_while_a_model_is_built_is_named():
    class Cluster:
        scope = contextlib.nullcontext

    with pytest.raises(CtKerasError) as refusal, Devices(Cluster()).scope():
        raise tf.errors.UnavailableError(None, None, "connection reset by peer")
    assert refusal.value.code == "CTK-E110"
    assert refusal.value.exit_code == 75


def test_a_signal_to_one_worker_waits_for_the_others():
    alone, shared = StopOnSignal(), StopOnSignal(alone=False)
    for stop in (alone, shared):
        stop._receive(15, None)
    assert (alone.received, alone.signalled) == (True, True)
    assert (shared.received, shared.signalled) == (False, True)
