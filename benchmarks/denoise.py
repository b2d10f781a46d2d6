"""`denoise` of a DICOM series relative to the model call alone, and its peak memory.

    python benchmarks/denoise.py [--slices 20,80] [--width 32]

Writes phantom series of the given lengths, denoises each in a separate process, and
compares the time per slice with calling the Keras model on the same arrays. Prints one
JSON line for each length.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(series_folder: str, width: int) -> dict:
    """Times one series in this process."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    import ct_keras
    from ct_keras.serving.series import denoise_series

    series = ct_keras.read_series(series_folder)
    denoiser = ct_keras.Denoiser(ct_keras.models.RedCNN(width=width))
    keras.config.disable_traceback_filtering()
    bare = tf.function(lambda image: denoiser.network(image, training=False))
    image = tf.constant(ct_keras.hu.to_network(series.read(0).hu)[None, :, :, None])
    denoiser(series.read(0).hu), bare(image)
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        denoise_series(series, Path(out) / "OUT", denoiser)
        whole = (time.perf_counter() - begin) / len(series)
    begin = time.perf_counter()
    for _ in range(len(series)):
        bare(image).numpy()
    alone = (time.perf_counter() - begin) / len(series)
    return {
        "slices": len(series),
        "denoise_ms": round(1000 * whole, 1),
        "bare_ms": round(1000 * alone, 1),
        "ratio": round(whole / alone, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Writes the series and measures each in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", default="20,80")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--series")
    arguments = parser.parse_args()
    if arguments.series:
        print(json.dumps(measure(arguments.series, arguments.width)))
        return
    from ct_keras.phantoms import make_phantom, write_phantom

    with tempfile.TemporaryDirectory() as folder:
        for count in map(int, arguments.slices.split(",")):
            shape, spacing_mm = (count, 512, 512), (100 / count, 0.78, 0.78)
            phantom = make_phantom(
                1, region="abdomen", shape=shape, spacing_mm=spacing_mm
            )
            write_phantom(phantom, Path(folder) / str(count), noise=False)
            command = [sys.executable, __file__, "--width", str(arguments.width)]
            command += ["--series", str(Path(folder) / str(count))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(done.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
