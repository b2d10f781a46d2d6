"""RED-CNN in Keras and the same network in PyTorch, timed alternately in one run.

    python benchmarks/red_cnn.py [--width 32] [--patch 64] [--batch 16] [--rounds 3]

Needs PyTorch (`pip install torch`), which ct_keras does not depend on. Each framework
runs in a separate process with the same number of threads; PyTorch is timed in its
default and in its channels-last memory format, and the faster one counts. Prints one
JSON line for each width.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

TRAINING_STEPS, SLICES = 20, 6


def keras_side(width: int, patch: int, batch: int) -> dict:
    """Milliseconds per training step and per 512x512 slice."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    import tensorflow as tf

    from ct_keras.models import RedCNN

    network = RedCNN(width=width)
    network.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    x = np.random.default_rng(0).random((batch, patch, patch, 1), np.float32)
    batches = iter(tf.data.Dataset.from_tensors((x, x)).repeat())
    network.make_train_function()
    step = network.train_function
    infer = tf.function(lambda image: network(image, training=False))
    image = tf.random.uniform((1, 512, 512, 1))
    return {
        "step_ms": _milliseconds(lambda: step(batches), TRAINING_STEPS),
        "slice_ms": _milliseconds(lambda: infer(image).numpy(), SLICES),
    }


def torch_side(width: int, patch: int, batch: int) -> dict:
    """The same for PyTorch, in its faster memory format."""
    import torch

    torch.set_num_threads(os.cpu_count())
    results = [
        _torch_format(torch, width, patch, batch, memory_format)
        for memory_format in (torch.contiguous_format, torch.channels_last)
    ]
    return {key: min(result[key] for result in results) for key in results[0]}


def _torch_format(torch, width, patch, batch, memory_format) -> dict:
    network = _torch_red_cnn(torch, width).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(network.parameters())
    x = torch.rand(batch, 1, patch, patch).contiguous(memory_format=memory_format)
    image = torch.rand(1, 1, 512, 512).contiguous(memory_format=memory_format)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(x), x).backward()
        optimizer.step()

    def infer():
        with torch.no_grad():
            network(image)

    return {
        "step_ms": _milliseconds(step, TRAINING_STEPS),
        "slice_ms": _milliseconds(infer, SLICES),
    }


def _torch_red_cnn(torch, width: int):
    nn = torch.nn

    class RedCNN(nn.Module):
        """The table of the paper with transposed convolutions."""

        def __init__(self):
            super().__init__()
            ends = [(1 if i == 0 else width, width) for i in range(5)]
            self.conv = nn.ModuleList([nn.Conv2d(a, b, 5) for a, b in ends])
            ends = [(width, 1 if i == 4 else width) for i in range(5)]
            self.deconv = nn.ModuleList([nn.ConvTranspose2d(a, b, 5) for a, b in ends])

        def forward(self, x0):
            relu, conv, deconv = torch.relu, self.conv, self.deconv
            x2 = relu(conv[1](relu(conv[0](x0))))
            x4 = relu(conv[3](relu(conv[2](x2))))
            x = relu(deconv[0](relu(conv[4](x4))) + x4)
            x = relu(deconv[2](relu(deconv[1](x))) + x2)
            return relu(deconv[4](relu(deconv[3](x))) + x0)

    return RedCNN()


def _milliseconds(call, count: int) -> float:
    """Median of `count` calls after two warm-up calls."""
    call(), call()
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


def _in_process(side: str, arguments) -> dict:
    command = [sys.executable, __file__, "--side", side]
    for name in ("width", "patch", "batch"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Times both frameworks alternately and prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["keras", "torch"])
    arguments = parser.parse_args()
    sizes = (arguments.width, arguments.patch, arguments.batch)
    if arguments.side:
        side = {"keras": keras_side, "torch": torch_side}[arguments.side]
        print(json.dumps(side(*sizes)))
        return
    rounds = [
        {side: _in_process(side, arguments) for side in ("keras", "torch")}
        for _ in range(arguments.rounds)
    ]
    report = dict(zip(("width", "patch", "batch"), sizes, strict=True))
    for key in ("step_ms", "slice_ms"):
        for side in ("keras", "torch"):
            report[f"{side}_{key}"] = statistics.median(r[side][key] for r in rounds)
        ratios = [r["keras"][key] / r["torch"][key] for r in rounds]
        report[f"ratio_{key}"] = statistics.median(ratios)
    print(json.dumps({k: round(v, 3) for k, v in report.items()}))


if __name__ == "__main__":
    main()
