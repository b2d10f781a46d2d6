"""The deployable model in the formats of other runtimes: ONNX, OpenVINO and LiteRT.

Each file takes `low_dose_hu` and returns `denoised_hu`: float32 Hounsfield units of
(batch, rows, columns, 1) or (batch, slices, rows, columns, 1), any size. Nothing here
checks what a runtime makes of its file; `ct_keras.serving.export` does.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

import keras

from ct_keras.denoising.deployable import INPUT_NAME, OUTPUT_NAME, dimensions_of
from ct_keras.errors import CtKerasError

#: Names of the axes that have any size, by dimensions of the model.
AXES = {2: ("batch", "rows", "columns"), 3: ("batch", "slices", "rows", "columns")}
#: The newest operator set that all runtimes of the last three years know.
ONNX_OPSET = 18


def require_tensorflow(format: str) -> None:
    """Refuses another backend of Keras.

    Raises:
        CtKerasError: CTK-E093.
    """
    if keras.backend.backend() != "tensorflow":
        raise CtKerasError(
            "CTK-E093",
            f"{format} export needs the TensorFlow backend",
            received=keras.backend.backend(),
            fix="set KERAS_BACKEND=tensorflow",
        )


def require_packages(extra: str, *modules: str) -> None:
    """Refuses a format whose packages are not installed.

    Args:
        extra: The extra of ct_keras that installs them.
        *modules: Names of modules.

    Raises:
        CtKerasError: CTK-E093, with the command that installs them.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            raise CtKerasError(
                "CTK-E093",
                f"the format {extra} needs packages that are not installed",
                received=f"no module {module}",
                fix=f'pip install "ct_keras[{extra}]"',
            ) from None


def to_onnx(model: keras.Model):
    """Converts a deployable model to an `onnx.ModelProto`.

    Args:
        model: Made by `ct_keras.denoising.deployable.wrap`.

    Raises:
        CtKerasError: CTK-E093 if tf2onnx is not installed or the backend is not
            TensorFlow.
    """
    require_tensorflow("ONNX")
    require_packages("onnx", "tf2onnx")
    import tensorflow as tf
    import tf2onnx

    signature = _signature(model)
    serve = tf.function(lambda image: _served(model, image), input_signature=signature)
    converted, _ = tf2onnx.convert.from_function(serve, signature, opset=ONNX_OPSET)
    for tensor in (*converted.graph.input, *converted.graph.output):
        sizes = tensor.type.tensor_type.shape.dim
        for size, axis in zip(sizes, AXES[dimensions_of(model)], strict=False):
            size.dim_param = axis
    return converted


def write_onnx(model: keras.Model, path: str | Path) -> None:
    """Writes a deployable model as an ONNX file; see `to_onnx`."""
    Path(path).write_bytes(to_onnx(model).SerializeToString())


def write_openvino(model: keras.Model, path: str | Path) -> None:
    """Writes a deployable model as OpenVINO's .xml, with the .bin next to it.

    Weights stay float32. Where the processor has bfloat16, OpenVINO computes in it by
    default, with errors of 10 to 40 HU; compile the model with the option
    ``INFERENCE_PRECISION_HINT: f32``.

    Args:
        model: Made by `ct_keras.denoising.deployable.wrap`.
        path: The .xml file to write.

    Raises:
        CtKerasError: CTK-E093 if a package is not installed or the backend is not
            TensorFlow.
    """
    require_packages("openvino", "openvino")
    import openvino

    converted = openvino.Core().read_model(to_onnx(model).SerializeToString())
    openvino.save_model(converted, path, compress_to_fp16=False)


def write_litert(model: keras.Model, path: str | Path) -> None:
    """Writes a deployable model as a LiteRT (TensorFlow Lite) file.

    Args:
        model: Made by `ct_keras.denoising.deployable.wrap`.
        path: The .tflite file to write.

    Raises:
        CtKerasError: CTK-E093 if the backend is not TensorFlow, CTK-E094 for a network
            with layers that LiteRT does not have (pooling in three dimensions).
    """
    require_tensorflow("LiteRT")
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _write_plain_savedmodel(model, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        try:
            converted = converter.convert()
        except Exception as error:  # the converter's class is not public
            raise CtKerasError(
                "CTK-E094",
                "the network has layers that LiteRT does not have",
                received=model.name,
                fix="choose savedmodel, onnx or openvino",
            ) from error
    Path(path).write_bytes(converted)


def _signature(model: keras.Model) -> list:
    import tensorflow as tf

    any_size = (None,) * len(AXES[dimensions_of(model)])
    return [tf.TensorSpec((*any_size, 1), tf.float32, name=INPUT_NAME)]


def _write_plain_savedmodel(model: keras.Model, folder: str | os.PathLike) -> None:
    """Writes a SavedModel with one endpoint, of operations that all converters know."""
    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        "serving_default",
        lambda image: _served(model, image),
        input_signature=_signature(model),
    )
    archive.write_out(str(folder), verbose=False)


def _served(model: keras.Model, image) -> dict:
    """Runs the model in the graph of an export."""
    # The one way in Keras to replace an operation of a model.
    outputs = model._run_through_graph(image, operation_fn=_portable)
    return {OUTPUT_NAME: outputs[OUTPUT_NAME]}


def _portable(operation):
    """Replaces what Keras writes in operations that LiteRT does not have."""
    if isinstance(operation, keras.Model):
        return lambda images, **_: operation._run_through_graph(
            images, operation_fn=_portable
        )
    return _nonzero if type(operation).__name__ == "Nonzero" else operation


def _nonzero(vector) -> list:
    """`keras.ops.nonzero` of a vector, without unstacking 64-bit integers."""
    import tensorflow as tf

    return [tf.squeeze(tf.where(tf.cast(vector, tf.bool)), axis=1)]
