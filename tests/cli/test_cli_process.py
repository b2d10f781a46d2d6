"""What the command line makes of its process: signals, streams, the user's settings."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from ct_keras.cli import main, output, process
from ct_keras.errors import CtKerasError
from ct_keras.privacy import keys

_SCRIPT = """
import sys, time
from pathlib import Path
from ct_keras.cli import denoise, main
from ct_keras.files import atomic_folder
import ct_keras.dicom
def work(*_, **__):
    with atomic_folder(sys.argv[-1]) as folder:
        (folder / "pixels").write_text("")
        print("at work", flush=True)
        time.sleep(60)
ct_keras.dicom.find_series = work
main.main()
"""


def started(tmp_path, before=""):
    """A denoise that has begun to write tmp_path / "OUT", and then sleeps."""
    line = [sys.executable, "-c", before + _SCRIPT, "denoise", tmp_path / "in"]
    run = subprocess.Popen(
        [*line, tmp_path / "OUT"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Under nohup the tests themselves ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert run.stdout.readline() == b"at work\n"
    return run


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_removes_what_is_unfinished(tmp_path, name):
    number = getattr(signal, name)
    run = started(tmp_path)
    run.send_signal(number)
    _, error = run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert error.decode() == f"stopped by {name}; no partial output was left\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    run = started(tmp_path, ignore)
    run.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
    assert run.returncode == 128 + signal.SIGTERM


def test_a_terminal_without_a_character_shows_another():
    code = (
        "from ct_keras.cli import output, process\n"
        "process.use_plain_characters()\n"
        "output.say('16.5° ± 2 × \\udcff'); output.note('µ…')\n"
        "output.echo_table('T', ['a'], [['1°']])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"16.5 deg +- 2 x ?\n") and b"1 deg" in done.stdout
    assert done.stderr == b"u...\n"


def test_a_user_without_a_home_gets_a_key_for_once(monkeypatch):
    for name in (keys.KEY_FILE_VARIABLE, "XDG_CONFIG_HOME", "APPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(_):
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    first, second = keys.load_key(), keys.load_key()
    assert len(first) >= 32 and first != second


@pytest.mark.parametrize(
    "given, chosen", [(None, "tensorflow"), ("jax", "jax"), ("tensorflow",) * 2]
)
def test_keras_works_with_tensorflow_unless_told_otherwise(monkeypatch, given, chosen):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if given:
        monkeypatch.setenv("KERAS_BACKEND", given)
    process.choose_backend()
    assert os.environ["KERAS_BACKEND"] == chosen


@pytest.mark.parametrize("backend", ["theano", "torch"])
def test_a_backend_that_is_not_there_is_named(monkeypatch, backend):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(
        process.CtKerasError, match="CTK-E093.*KERAS_BACKEND=" + backend
    ):
        process.choose_backend()


def test_models_are_the_same_whatever_keras_json_says(tmp_path):
    settings = {"image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = (
        "import keras; from ct_keras import models\n"
        "net = models.build('red_cnn', width=4)\n"
        "print(net.output_shape, net.compute_dtype, net.variable_dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    shown = "(None, None, None, 1) float32 float32"
    assert done.stdout.strip() == shown, done.stderr
    assert done.stderr.count("CTK-W093") == 2


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_may_stand_anywhere(capsys, tmp_path, place):
    arguments = ["denoise", str(tmp_path / "in"), str(tmp_path / "OUT")]
    arguments.insert(place, "--debug")
    with pytest.raises(main.CtKerasError, match="CTK-E005"):
        main.main(arguments)


def state() -> list:
    """What a command could leave behind in the process that called it."""
    mask = os.umask(0o077)
    os.umask(mask)
    loggers = [logging.getLogger(name) for name in ("", "ct_keras", "pydicom")]
    logs = [(each.level, each.disabled, [*each.handlers]) for each in loggers]
    numbers = ("SIGINT", "SIGTERM", "SIGHUP")
    signals = [signal.getsignal(getattr(signal, name)) for name in numbers]
    filters = [*warnings.filters]
    streams = sys.stdout, sys.stderr, [*sys.path], os.getcwd()
    return [mask, logs, signals, filters, streams, dict(os.environ)]


@pytest.mark.parametrize("shown", [[], ["--log-paths"]])
def test_a_program_that_calls_main_stays_as_it_was(phantom_patients, tmp_path, shown):
    source = str(phantom_patients / "test")
    options = ["--model", "filter:gaussian", *shown]
    umask = os.umask(0o022)
    try:
        before = state()
        for status in (0, 6):  # the second time OUT is there
            with pytest.raises(SystemExit) as end:
                main.main(["denoise", source, str(tmp_path / "out"), *options])
            assert end.value.code == status
            assert state() == before
    finally:
        os.umask(umask)
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_after_two_dashes_debug_is_a_name():
    assert main._without("--debug", ["inspect", "--", "--debug"]) == (
        ["inspect", "--", "--debug"],
        False,
    )


@pytest.mark.parametrize(
    "words, text",
    [
        (["--records=/data/REC"], "--records=REC"),
        (["--records", "/data/REC/"], "--records REC"),
        (["/data/a=b/REC"], "REC"),
        (["lambda=0.5", "vgg=/home/me/vgg.h5"], "lambda=0.5 vgg=vgg.h5"),
        (["--title", "two words"], "--title 'two words'"),
        (["filter:nlm", "REC"], "filter:nlm REC"),
    ],
)
def test_the_recorded_command_has_names_and_no_folders(monkeypatch, words, text):
    monkeypatch.setattr(sys, "argv", ["/bin/ct-keras", "evaluate", *words])
    assert output.public_command() == f"ct-keras evaluate {text}"


def test_the_recorded_command_is_that_which_runs(capsys, monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(
        "ct_keras.cli.evaluate._source",
        lambda **_: told.append(output.public_command()),
    )
    monkeypatch.setattr(
        "ct_keras.denoising.methods.methods_by_label", lambda models, trust: {}
    )
    with pytest.raises(SystemExit):
        main.main(["evaluate", "input", f"--out={tmp_path}/EV", "--baseline", "none"])
    assert told == ["ct-keras evaluate input --out=OUT --baseline none"]


def console(*arguments, **streams) -> subprocess.CompletedProcess:
    """Runs the console script; standard streams that are not given are closed."""
    names = "stdin", "stdout", "stderr"
    closed = [number for number, name in enumerate(names) if name not in streams]

    def close():
        for number in closed:
            os.close(number)

    script = [sys.executable, "-c", "from ct_keras.cli import main; main.main()"]
    return subprocess.run(
        [*script, *map(str, arguments)], preexec_fn=close, check=False, **streams
    )


def test_closed_streams_do_not_end_a_command(phantom_patients, tmp_path):
    """Nothing was done, and nobody was told."""
    source = phantom_patients / "test" / "p4"
    assert console("deidentify", source, tmp_path / "OUT").returncode == 0
    assert list((tmp_path / "OUT").glob("IM*.dcm"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
def test_a_text_that_cannot_be_printed_is_told(phantom_patients, tmp_path):
    with open("/dev/full", "w") as full:
        run = console(
            *("inspect", phantom_patients / "test" / "p4"),
            stdout=full,
            stderr=subprocess.PIPE,
        )
        assert run.returncode == 7
        assert run.stderr.startswith(b"CTK-E073 cannot print the result: No space")
        # The status is that of the error, although its line is lost.
        assert console("inspect", tmp_path / "no", stderr=full).returncode == 5


@pytest.mark.parametrize("value", ["99999999999999999", "2026-01-01", "-5"])
def test_a_source_date_that_is_no_time_is_refused(monkeypatch, value):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(CtKerasError, match="CTK-E000 SOURCE_DATE_EPOCH") as caught:
        process.check_source_date()
    assert caught.value.exit_code == 3


def test_an_empty_source_date_is_none(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    process.check_source_date()
    assert "SOURCE_DATE_EPOCH" not in os.environ
