"""The client against a stand-in for a model server, and the limits of the set-ups."""

import json
import re
import runpy
import threading
import urllib.error
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import keras
import numpy as np
import pytest
import yaml

import ct_keras
from ct_keras.models import RedCNN

SERVING = Path(__file__).resolve().parents[2] / "serving"
CLIENT = runpy.run_path(str(SERVING / "client.py"))


class Silent(WSGIRequestHandler):
    def log_message(self, *_):
        pass


class StandIn:
    """A stand-in for a model server, not one: the predict protocol on one SavedModel.

    Like TensorFlow Serving it answers {"predictions": ...}, without the name of the
    output if there is one output only, and {"error": ...} with the status 400.
    """

    def __init__(self, folder):
        import tensorflow as tf

        self._serve = tf.saved_model.load(folder).signatures["serving_default"]

    def __call__(self, environ, start_response):
        import tensorflow as tf

        self.authorization = environ.get("HTTP_AUTHORIZATION")
        length = int(environ["CONTENT_LENGTH"])
        request = json.loads(environ["wsgi.input"].read(length))
        try:
            if environ["PATH_INFO"] != "/v1/models/quiet:predict":
                raise ValueError("no such model")
            image = tf.constant(request["instances"], tf.float32)
            outputs = self._serve(low_dose_hu=image)
            answer, status = {"predictions": outputs["denoised_hu"].numpy()}, "200 OK"
            answer["predictions"] = answer["predictions"].tolist()
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            answer, status = {"error": str(error)}, "400 Bad Request"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


@pytest.fixture(scope="module")
def denoiser():
    keras.utils.set_random_seed(2)
    return ct_keras.Denoiser(RedCNN(width=3))


@pytest.fixture(scope="module")
def served(denoiser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "1"
    ct_keras.export(denoiser, folder)
    application = StandIn(folder)
    server = make_server("127.0.0.1", 0, application, handler_class=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/models", application
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_client_gets_what_keras_gives(denoiser, served):
    address, application = served
    for size in ((2, 30, 41), (1, 3, 5)):
        low_hu = np.random.default_rng(1).normal(0, 200, size).astype(np.float32)
        secret = {"Authorization": "Basic abc"}
        found = CLIENT["denoise"](f"{address}/quiet:predict", low_hu, secret)
        assert application.authorization == "Basic abc"
        assert (found.dtype, found.shape) == (np.float32, size)
        assert np.abs(found - low_hu).max() > 1
        np.testing.assert_allclose(found, denoiser(low_hu), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "value"), [("unknown", 0.0), ("quiet", np.nan)], ids=["model", "NaN"]
)
def test_a_refusal_reaches_the_caller(served, name, value):
    address, _ = served
    slices = np.full((1, 8, 8), value, np.float32)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        CLIENT["denoise"](f"{address}/{name}:predict", slices)
    assert refusal.value.code == 400
    refusal.value.close()


def test_the_client_has_ten_lines():
    text = (SERVING / "client.py").read_text()
    lines = text[text.index("def denoise") :].splitlines()
    assert len([line for line in lines if line.strip() and '"""' not in line]) <= 10


def test_every_container_of_the_compose_file_is_limited():
    setup = yaml.safe_load((SERVING / "tensorflow_serving/compose.yaml").read_text())
    for service in setup["services"].values():
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    model, proxy = setup["services"]["model"], setup["services"]["proxy"]
    assert "ports" not in model and model["networks"] == ["inside"]
    assert setup["networks"]["inside"] == {"internal": True}
    assert all(port.startswith("127.0.0.1:") for port in proxy["ports"])
    # Two images of different sizes cannot be joined.
    assert "--enable_batching" not in model["command"]
    models = SERVING / "tensorflow_serving" / model["volumes"][0].split(":")[0]
    named = models / model["environment"]["MODEL_NAME"]
    assert (named / "metadata.json").is_file()


def test_the_proxy_limits_size_time_rate_and_paths():
    text = (SERVING / "tensorflow_serving/nginx.conf").read_text()
    for limit in ("client_max_body_size 64m", "proxy_read_timeout 60s", "limit_req "):
        assert limit in text
    patterns = [re.compile(found) for found in re.findall(r"location ~ (\S+) {", text)]

    def reaches(path):
        return any(pattern.search(path) for pattern in patterns)

    assert reaches("/v1/models/quiet_net:predict")
    assert reaches("/v1/models/quiet_net/versions/2:predict")
    assert reaches("/v1/models/quiet_net")
    assert not reaches("/v1/models/quiet_net:classify")
    assert not reaches("/monitoring/prometheus/metrics")
    assert not reaches("/v1/models/../quiet_net:predict/x")


def test_the_kserve_service_is_limited():
    service = yaml.safe_load((SERVING / "kserve/inference_service.yaml").read_text())
    predictor = service["spec"]["predictor"]
    assert predictor["containerConcurrency"] == 2 and predictor["timeout"] == 60
    assert predictor["maxReplicas"] == 3
    model = predictor["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["protocolVersion"] == "v1"
    assert model["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}


def test_the_dicom_node_is_limited_and_its_commands_are_valid():
    from ct_keras.cli.listen import command

    folder = SERVING / "dicom_node"
    setup = yaml.safe_load((folder / "compose.yaml").read_text())
    for service in setup["services"].values():
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
    node, orthanc = setup["services"]["node"], setup["services"]["orthanc"]
    assert "ports" not in node and node["networks"] == ["inside"]
    assert setup["networks"]["inside"]["internal"] is True
    assert all(port.startswith("127.0.0.1:") for port in orthanc["ports"])
    network = setup["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert f"--allow-address={network}" in node["command"]
    unit = (folder / "ct-keras-listen.service").read_text()
    called = re.search(r"^ExecStart=/\S+/ct-keras (.+)$", unit, re.M)[1].split()
    for name, *words in (node["command"], called, node["healthcheck"]["test"][2:]):
        assert name == "listen"
        command.make_context("listen", words, resilient_parsing=False)
    assert "IPAddressDeny=any" in unit and "UMask=0077" in unit
