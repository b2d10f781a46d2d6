"""Times one network in this process, in Keras or in PyTorch; used by `networks.py`.

    python benchmarks/sides.py keras|torch FOLDER

FOLDER holds the network (`network_files.py`), task.json and, for PyTorch, the image and
the result of Keras, which its own result must equal. Prints one JSON line.
"""

import json
import os
import re
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def keras_side(folder: Path, task: dict) -> dict:
    """Inference in both precisions, and training steps."""
    import keras
    import tensorflow as tf

    from ct_keras.denoising.half_network import in_bfloat16

    tf.config.threading.set_intra_op_parallelism_threads(task["threads"])
    network = keras.saving.load_model(folder / "network.keras", compile=False)
    image = tf.constant(np.load(folder / "image.npy"))
    result = {}

    def timed(name, network):
        infer = tf.function(lambda image: network(image, training=False))
        result[name] = _timed(lambda: infer(image).numpy(), task["slices"])

    timed("slice", network)
    result["peak_mb"] = peak_mb()
    if task["half"]:
        timed("half_slice", in_bfloat16(network))
    np.save(folder / "expected.npy", network(image, training=False))
    network.compile(keras.optimizers.Adam(), "mse", jit_compile=False)
    patches = np.random.default_rng(0).random(task["patches"], np.float32)
    batches = iter(tf.data.Dataset.from_tensors((patches, patches)).repeat())
    network.make_train_function()
    step = network.train_function
    return result | {"step": _timed(lambda: step(batches), task["steps"])}


def torch_side(folder: Path, task: dict) -> dict:
    """The same for PyTorch, in its faster memory format."""
    import torch
    from network_files import torch_network

    torch.set_num_threads(task["threads"])
    volume = len(task["patches"]) == 5
    last = torch.channels_last_3d if volume else torch.channels_last
    formats = (torch.contiguous_format, last)
    results = []
    for memory_format in formats:
        network = torch_network(folder).to(memory_format=memory_format)
        results.append(_torch_format(torch, network, memory_format, folder, task))
    return {key: _least([result[key] for result in results]) for key in results[0]}


def _least(values: list):
    """The smallest number; of pairs, the smallest first and the smallest second."""
    if isinstance(values[0], tuple):
        return tuple(map(min, zip(*values, strict=True)))
    return min(values)


def _torch_format(torch, network, memory_format, folder, task) -> dict:
    def tensor(pixels):
        channels_first = np.ascontiguousarray(np.moveaxis(pixels, -1, 1))
        return torch.from_numpy(channels_first).contiguous(memory_format=memory_format)

    image = tensor(np.load(folder / "image.npy"))
    patches = np.random.default_rng(0).random(task["patches"], np.float32)
    patches = tensor(patches)
    network.eval()

    @torch.no_grad()
    def infer():
        return network(image).numpy()

    expected = np.moveaxis(np.load(folder / "expected.npy"), -1, 1)
    difference_hu = 4096 * float(np.abs(infer() - expected).max())
    if difference_hu > 0.05:
        raise ValueError(f"PyTorch computes another network: {difference_hu} HU")
    slice_times = _timed(infer, task["slices"])
    peak = peak_mb()
    network.train()
    optimizer = torch.optim.Adam(network.parameters())

    def step():
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(network(patches), patches).backward()
        optimizer.step()

    times = _timed(step, task["steps"])
    return {"slice": slice_times, "peak_mb": peak, "step": times}


def _timed(call, count: int) -> tuple[float, float]:
    """Milliseconds of a call, median, after two calls to warm up: elapsed and CPU."""
    call(), call()
    elapsed, busy = [], []
    for _ in range(count):
        begin, used = time.perf_counter(), time.process_time()
        call()
        elapsed.append(time.perf_counter() - begin)
        busy.append(time.process_time() - used)
    return statistics.median(elapsed) * 1000, statistics.median(busy) * 1000


def peak_mb() -> int:
    """The largest memory of this process so far.

    That of `getrusage` begins, on Linux, at the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measures one side."""
    side, folder = sys.argv[1], Path(sys.argv[2])
    task = json.loads((folder / "task.json").read_text())
    print(json.dumps({"keras": keras_side, "torch": torch_side}[side](folder, task)))


if __name__ == "__main__":
    main()
