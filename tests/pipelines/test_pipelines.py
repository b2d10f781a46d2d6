"""Archives on Beam: the results of one machine, dead letters, no work done twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

import ct_keras
from ct_keras.cli.batch import command
from ct_keras.data import convert, iterate_pairs, read_manifest
from ct_keras.errors import CtKerasError
from ct_keras.phantoms import make_phantom, write_phantom
from ct_keras.pipelines.items import Item, find_items, is_local
from ct_keras.pipelines.runner import Runner, run_on_each
from ct_keras.pipelines.storage import note_of

try:
    import apache_beam
except ImportError:
    apache_beam = None
needs_beam = pytest.mark.skipif(
    apache_beam is None, reason="apache-beam is not installed (the extra beam)"
)
SERIES, BROKEN = 8, "site-b/p5"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Eight small series in two folders; the pixels of a slice of one are cut off."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(SERIES):
        phantom = make_phantom(
            number, region="abdomen", shape=(2, 64, 64), spacing_mm=(8.0, 6.0, 6.0)
        )
        write_phantom(phantom, folder / f"site-{'ab'[number % 2]}" / f"p{number}")
    file = sorted((folder / BROKEN).glob("*"))[-1]
    file.write_bytes(file.read_bytes()[:-1000])
    (folder / "README.txt").write_text("not an image")
    return folder


def _run(*arguments) -> tuple[int, dict]:
    done = CliRunner().invoke(
        command, [*map(str, arguments), "--json"], standalone_mode=False
    )
    if done.exception:
        raise done.exception
    return done.return_value, json.loads(done.stdout)


def _letters(out: Path) -> list[dict]:
    lines = (out / "dead-letters.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _pixels(folder: Path) -> list[np.ndarray]:
    files = sorted(path for path in folder.glob("*.dcm"))
    return [pydicom.dcmread(file).pixel_array for file in files]


@needs_beam
def test_denoising_is_that_of_one_machine_and_is_not_done_twice(archive, tmp_path):
    out, model = tmp_path / "out", "filter:gaussian"
    status, document = _run("denoise", archive, out, "--model", model)
    assert status == 8
    assert (document["items"], document["series"]) == (SERIES, SERIES - 1)
    assert document["slices"] == 2 * (SERIES - 1)
    (letter,) = _letters(out)
    assert letter["item"] == BROKEN
    assert letter["code"].startswith("CTK-E")
    assert not (out / BROKEN).exists()
    for item in find_items(archive):
        if item.name == BROKEN:
            continue
        (series,) = ct_keras.find_series(item.path)
        alone = tmp_path / "alone" / item.name
        method = ct_keras.filters.get("gaussian")
        expected = np.stack([method(series.read(i).hu) for i in range(len(series))])
        (written,) = ct_keras.find_series(out / item.name)
        np.testing.assert_allclose(written.hu, expected, atol=0.5)
        assert not alone.exists()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    # One series is lost, as if the run had been killed before it.
    shutil.rmtree(out / "site-a/p2")
    again, _ = _run("denoise", archive, out, "--model", model)
    assert again == 8
    later = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    assert later.keys() == times.keys()
    redone = {path.parent.name for path in times if later[path] != times[path]}
    assert redone == {"p2"}
    with pytest.raises(CtKerasError, match="CTK-E071"):
        _run("denoise", archive, out, "--model", "filter:median")


@needs_beam
def test_records_are_those_of_one_machine(archive, tmp_path):
    good = tmp_path / "good"
    shutil.copytree(archive, good, ignore=shutil.ignore_patterns("p5"))
    convert(good, tmp_path / "one", layout="single", doses=(0.1,), workers=1)
    one = read_manifest(tmp_path / "one")
    out = tmp_path / "many"
    status, document = _run("convert", archive, out, "--dose", "0.1")
    assert status == 8
    assert [each["item"] for each in _letters(out)] == [BROKEN]
    many = read_manifest(out)
    assert [shard.sha256 for shard in many.shards] == [s.sha256 for s in one.shards]
    assert many.shards == one.shards
    assert document["series"] == SERIES - 1
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord*")}
    first = out / many.shards[0].file
    first.write_bytes(first.read_bytes()[:-1])
    _run("convert", archive, out, "--dose", "0.1")
    assert read_manifest(out).shards == one.shards
    later = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord*")}
    assert {name for name in times if later[name] != times[name]} == {first.name}
    assert len(list(iterate_pairs(out, many.shards[0].split))) > 0


@needs_beam
def test_resampled_records_are_those_of_one_machine(archive, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{archive}/site-a/p0\n{archive}/site-a/p2\n")
    for name in ("p0", "p2"):
        shutil.copytree(archive / "site-a" / name, tmp_path / "some" / name)
    options = {"doses": (0.1,), "resample_mm": 8.0, "resample_slices_mm": 4.0}
    options |= {"layout": "single", "split": "1,0,0", "workers": 1}
    one = convert(tmp_path / "some", tmp_path / "one", **options)
    typed = ["--dose", "0.1", "--split", "1,0,0"]
    typed += ["--resample", "8", "--resample-slices", "4"]
    _run("convert", listed, tmp_path / "many", *typed)
    assert read_manifest(tmp_path / "many").shards == one.shards
    assert sum(shard.slices for shard in one.shards) == 8
    with pytest.raises(CtKerasError, match="CTK-E001"):  # no series is left
        _run("convert", listed, tmp_path / "far", *typed[:-1], "4000")


@needs_beam
def test_simulation_is_that_of_one_machine(archive, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{archive}/site-a/p0\n\n{archive}/site-a/p4/\n")
    out = tmp_path / "out"
    status, document = _run("simulate", listed, out, "--dose", "0.2", "--seed", "3")
    assert (status, document["series"]) == (0, 2)
    low = ct_keras.simulate_dose(
        ct_keras.read_series(archive / "site-a/p0"), dose=0.2, seed=3
    )
    (written,) = ct_keras.find_series(out / "p0")
    assert np.abs(written.hu - low.hu).max() <= 1
    assert _letters(out) == []


@needs_beam
def test_items_of_a_folder_a_glob_and_a_list(archive, tmp_path):
    everything = [f"site-{'ab'[i % 2]}/p{i}" for i in range(SERIES)]
    assert [each.name for each in find_items(archive)] == sorted(everything)
    globbed = find_items(f"{archive}/site-b/*")
    assert [each.name for each in globbed] == ["p1", "p3", "p5", "p7"]
    for wrong in (archive / "site-c", f"{archive}/*/q*"):
        with pytest.raises(CtKerasError, match="CTK-E00"):
            find_items(wrong)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(CtKerasError, match="CTK-E001"):
        find_items(tmp_path / "empty.txt")


@needs_beam
def test_results_inside_the_archive_are_refused(archive):
    before = sorted(archive.rglob("*"))
    with pytest.raises(CtKerasError, match="CTK-E071"):
        _run("denoise", f"{archive}/*/p1", archive / "site-b" / "p1" / "out")
    assert sorted(archive.rglob("*")) == before


def test_the_local_runner_works_in_processes():
    local = Runner(workers=2).settings
    assert local["direct_running_mode"] == "multi_processing"
    assert local["direct_num_workers"] == 2


@needs_beam
def test_options_of_a_runner_are_passed_on():
    flink = Runner("FlinkRunner", options=("--flink_master=h:8081",))
    assert flink.settings == {"runner": "FlinkRunner"}
    from apache_beam.options.pipeline_options import PipelineOptions

    passed = PipelineOptions(list(flink.options), **flink.settings)
    assert passed.get_all_options()["flink_master"] == "h:8081"
    assert passed.get_all_options()["runner"] == "FlinkRunner"


@needs_beam
@pytest.mark.parametrize("name", ["NoSuchRunner", "no.such.Runner", "os.NoSuchRunner"])
def test_a_runner_that_is_not_there_is_named(name):
    with pytest.raises(CtKerasError, match=f"CTK-E000 .*{name}"):
        run_on_each(print, [1], Runner(name))


def test_a_worker_ends_when_its_owner_was_killed():
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    work = (
        "import time; from ct_keras.pipelines.runner import _call; "
        f"_call(60, function=time.sleep, owner={owner.pid})"
    )
    worker = subprocess.Popen([sys.executable, "-c", work])
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(2)
    owner.kill()
    owner.wait()
    assert worker.wait(30) == 1


def test_paths_of_other_file_systems_and_their_notes():
    assert is_local("/a/b:c")
    assert not is_local("gs://bucket/a")
    one, two = (note_of("gs://b/out", Item(name, name)) for name in ("a/b", "a/c"))
    assert one.startswith("gs://b/out/_batch/items/")
    assert one != two


def test_without_beam_the_fix_is_named(archive, tmp_path):
    if apache_beam is not None:
        pytest.skip("apache-beam is installed")
    with pytest.raises(CtKerasError, match=r"CTK-E093 .*ct_keras\[beam\]"):
        _run("denoise", archive, tmp_path / "out", "--model", "filter:gaussian")
    assert not (tmp_path / "out").exists()
