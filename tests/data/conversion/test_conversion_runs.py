"""Conversions that are broken off, repeated, damaged or given bad arguments."""

import json
import os
import signal
import subprocess
import sys

import pytest
from patience import wait_for

from ct_keras.cli.convert import command
from ct_keras.data import read_manifest, training_patches, verify
from ct_keras.data.manifest import MANIFEST, PARTIAL_MANIFEST
from ct_keras.errors import CtKerasError


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(code, call, *arguments, **options) -> CtKerasError:
    with pytest.raises(CtKerasError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code
    assert "SECRETX" not in str(caught.value)
    return caught.value


def test_output_folder_is_guarded(convert_pairs, pairs_source, tmp_path):
    refused("CTK-E071", convert_pairs, "src/records")
    refused("CTK-E071", convert_pairs, "src/low/records")
    manifest = convert_pairs()
    before = content(manifest.folder)
    error = refused("CTK-E071", convert_pairs, split="train=B")
    assert "--overwrite" in error.fix
    assert content(manifest.folder) == before
    replaced = convert_pairs(split="train=B", overwrite=True)
    assert list(replaced.splits) == ["train"]
    assert sorted(content(replaced.folder)) == [
        *("dataset_info.json", "features.json", "manifest.json"),
        "pairs-train.tfrecord-00000-of-00001",
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    refused("CTK-E071", convert_pairs, "mine")
    refused("CTK-E000", convert_pairs, "fresh", no_such_option=1)


def test_damaged_shard_is_rebuilt(convert_pairs):
    manifest = convert_pairs()
    before = content(manifest.folder)
    shard = manifest.folder / manifest.shards[1].file
    shard.write_bytes(shard.read_bytes()[:-9])
    whole = manifest.folder / manifest.shards[0].file
    moment = whole.stat().st_mtime_ns
    refused("CTK-E080", verify, manifest.folder)
    convert_pairs()
    assert content(manifest.folder) == before
    assert whole.stat().st_mtime_ns == moment


@pytest.mark.parametrize("layout", ["pairs", "images"])
def test_changed_source_of_equal_size_is_noticed(convert_pairs, pairs_source, layout):
    """Same size, same names, same header, same time of change: other pixels."""
    options = {"layout": layout, "split": "train=* test=SECRETXC"}
    before = convert_pairs(**options)
    path = sorted((pairs_source / "full" / "A").iterdir())[2]
    data = bytearray(path.read_bytes())
    status = path.stat()
    data[-96 * 96 : -96 * 96 + 2] = b"\x34\x02"
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    refused("CTK-E071", convert_pairs, **options)
    after = convert_pairs(overwrite=True, **options)
    kept = [a == b for a, b in zip(before.shards, after.shards, strict=True)]
    assert kept.count(False) == 1
    assert convert_pairs(**options) == after


def test_broken_off_conversion_goes_on(convert_pairs, monkeypatch, tmp_path):
    wanted = content(convert_pairs("whole").folder)
    from ct_keras.data.conversion import writing

    write_shard = writing.write_planned

    def fail_at_second(out, planned, results):
        if planned.entry.split == "val":
            raise KeyboardInterrupt
        return write_shard(out, planned, results)

    monkeypatch.setattr(writing, "write_planned", fail_at_second)
    with pytest.raises(KeyboardInterrupt):
        convert_pairs()
    out = tmp_path / "records"
    assert sorted(content(out)) == [
        PARTIAL_MANIFEST,
        "pairs-train.tfrecord-00000-of-00001",
    ]
    refused("CTK-E085", read_manifest, out)
    monkeypatch.undo()
    moment = next(out.glob("*train*")).stat().st_mtime_ns
    convert_pairs()
    assert content(out) == wanted
    assert next(out.glob("*train*")).stat().st_mtime_ns == moment


KILLED = """
import sys
from ct_keras.data import convert
if __name__ == "__main__":
    src, out, key = sys.argv[1:]
    physics = {"views": 720, "photons": 1e5, "kernel": "b30"}
    convert(src, out, layout="single", split="1,0,0", doses=(0.1,), workers=2,
            simulation=physics, hash_key_file=key)
"""


def test_killed_conversion_leaves_nothing_that_looks_complete(
    write_ct, key_file, tmp_path
):
    for seed in range(3):
        write_ct(tmp_path / "src" / str(seed), patient=str(seed), slices=8, seed=seed)
    out, script = tmp_path / "out", tmp_path / "killed.py"
    script.write_text(KILLED)
    arguments = [sys.executable, script, tmp_path / "src", out, key_file]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(out.glob("*.tfrecord-*")), [process])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / MANIFEST).exists()
    for call in (read_manifest, training_patches):
        refused("CTK-E085", call, out)
    subprocess.run(arguments, stderr=subprocess.DEVNULL, check=True)
    assert verify(out).splits["train"]["slices"] == 24
    assert not [name for name in content(out) if name.startswith(".ctk-tmp-")]


def run_command(*arguments):
    from click.testing import CliRunner

    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_command(pairs_source, key_file, tmp_path):
    folders = ["--low", pairs_source / "low", "--full", pairs_source / "full"]
    common = ["--layout", "pairs", "--hash-key-file", key_file, "--workers", 1]
    lists = ["--split", "train=A", "val=B", "test=C"]
    result = run_command(tmp_path / "records", *folders, *common, *lists)
    assert result.exception is None
    assert "patients" in result.stdout
    assert "0.25" in result.stdout
    arguments = [pairs_source, tmp_path / "records2", *folders, *common, *lists]
    result = run_command(*arguments, "--json")
    document = json.loads(result.stdout)
    assert document["splits"]["test"]["records"] == 5
    assert document["doses"] == [0.25]
    assert "SECRETX" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--layout", "single"], "CTK-E000"),
        (["a", "b", "c", "--layout", "single"], "CTK-E000"),
        (["a", "b", "--layout", "pairs", "--dose", "0.1,0.2"], "CTK-E000"),
        (["a", "b", "--layout", "single", "--dose", "1.5"], "CTK-E000"),
        (["a", "b", "--layout", "single", "--split", "a=b"], "CTK-E084"),
        (["a", "b", "--layout", "single"], "CTK-E005"),
    ],
)
def test_command_refuses(arguments, code, tmp_path, monkeypatch, key_file):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CT_KERAS_HASH_KEY_FILE", str(key_file))
    result = run_command(*arguments)
    assert isinstance(result.exception, CtKerasError)
    assert result.exception.code == code
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "b").exists()
