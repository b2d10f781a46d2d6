"""Files that appear whole or not at all, and outputs that harm nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ct_keras import files
from ct_keras.errors import CtKerasError
from ct_keras.files import (
    MARKER,
    TEMPORARY_PREFIX,
    atomic_file,
    atomic_folder,
    check_apart,
    check_output_folder,
    folder_lock,
    write_texts,
)
from ct_keras.files import swap as swapping
from ct_keras.files.labels import label_of


@contextlib.contextmanager
def refused(code, *texts):
    with pytest.raises(CtKerasError) as refusal:
        yield
    assert refusal.value.code == code
    for text in texts:
        assert text in str(refusal.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make(folder, name="old", **options):
    with atomic_folder(folder, **options) as temporary:
        (temporary / name).write_text(name)
    return folder


def killed(script, *arguments):
    """Runs a script that kills itself."""
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)])
    assert done.returncode == -signal.SIGKILL


#: Dies where DIE is called.
_HEAD = """
import os, signal, sys
from pathlib import Path
from ct_keras.files import atomic_folder, folder_lock, swap
DIE = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
out = Path(sys.argv[1])
"""


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_as_a_whole(tmp_path, monkeypatch, exchanges):
    out = make(tmp_path / "out")
    if not exchanges:
        monkeypatch.setattr(swapping, "exchange", lambda *_: False)
    make(out, "new", overwrite=True)
    assert names(out) == [MARKER, "new"]
    assert names(tmp_path) == ["out"]


def test_only_what_ct_keras_wrote_is_replaced(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "notes").write_text("of a person")
    with refused("CTK-E071", MARKER, "remove"):
        make(own, overwrite=True)
    other = make(tmp_path / "other", kind="series")
    with refused("CTK-E071", "wrote it as series"):
        make(other, overwrite=True, kind="evaluation")
    (other / "notes").write_text("of a person")
    with refused("CTK-E071", "did not write (1)"):
        make(other, overwrite=True, kind="series")
    assert (own / "notes").is_file() and names(other) == [MARKER, "notes", "old"]
    (other / "notes").unlink()
    (other / ".DS_Store").write_text("of a system")
    make(other, "new", overwrite=True, kind="series")
    assert names(other) == [MARKER, "new"]


def test_a_marked_folder_may_hold_marked_folders(tmp_path):
    out = tmp_path / "out"
    with atomic_folder(out) as temporary:
        make(temporary / "part", kind="other")
    make(out, "new", overwrite=True)
    assert names(out) == [MARKER, "new"]
    make(out / "later", kind="other")
    make(out, "newer", overwrite=True)
    assert names(out) == [MARKER, "newer"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_somebody_adds_during_the_run_is_kept(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(swapping, "exchange", lambda *_: False)
    new, old = tmp_path / "new", make(tmp_path / "old")
    for out, overwrite in ((new, False), (old, True)):
        with refused("CTK-E071"), atomic_folder(out, overwrite=overwrite) as temporary:
            (temporary / "result").write_text("")
            out.mkdir(exist_ok=True)
            (out / "notes").write_text("of a person")
    assert names(new) == ["notes"]
    assert names(old) == [MARKER, "notes", "old"]
    assert names(tmp_path) == ["new", "old"]


def test_a_failed_second_rename_puts_the_old_folder_back(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    rename = os.rename

    def failing(source, goal):
        if Path(source).name == "new":
            raise OSError(5, "broken disk")
        rename(source, goal)

    monkeypatch.setattr(swapping, "exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", failing)
    with refused("CTK-E073", "broken disk"):
        make(out, "new", overwrite=True)
    assert names(out) == [MARKER, "old"] and names(tmp_path) == ["out"]


def test_a_kill_between_two_renames_is_mended_by_the_next_run(tmp_path):
    out = make(tmp_path / "out")
    script = """
swap.exchange = lambda *_: False
rename = os.rename
os.rename = lambda a, b: DIE() if Path(a).name == "new" else rename(a, b)
with atomic_folder(out, overwrite=True) as temporary:
    (temporary / "new").write_text("")
"""
    killed(_HEAD + script, out)
    assert not out.exists()
    make(tmp_path / "beside")
    assert names(out) == [MARKER, "old"]
    assert names(tmp_path) == ["beside", "out"]


def test_a_kill_in_mid_write_is_cleared_by_the_next_run(tmp_path):
    script = """
with atomic_folder(out) as temporary:
    (temporary / "pixels").write_text("")
    DIE()
"""
    killed(_HEAD + script, tmp_path / "a")
    (left,) = names(tmp_path)
    assert left.startswith(TEMPORARY_PREFIX)
    assert (tmp_path / left / "new" / "pixels").is_file()
    foreign = tmp_path / f"{TEMPORARY_PREFIX}of-a-person"
    foreign.mkdir()
    (foreign / "notes").write_text("")
    make(tmp_path / "c")
    assert names(tmp_path) == [foreign.name, "c"]


def test_a_living_run_keeps_its_temporaries_and_its_target(tmp_path):
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("")
        make(tmp_path / "beside")
        with refused("CTK-E071", "another run"):
            make(tmp_path / "out", overwrite=True)
    assert names(tmp_path / "out") == [MARKER, "a"]


def test_of_many_runs_into_one_folder_exactly_one_wins(tmp_path):
    out, ended = tmp_path / "out", []
    ready = threading.Barrier(8)

    def run(name):
        ready.wait()
        try:
            make(out, name)
            ended.append(name)
        except CtKerasError as error:
            assert error.code == "CTK-E071"

    threads = [threading.Thread(target=run, args=(str(k),)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == 1 and names(out) == [MARKER, *ended]
    assert names(tmp_path) == ["out"]


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path):
    target, link = tmp_path / "there" / "empty", tmp_path / "link"
    target.mkdir(parents=True)
    link.symlink_to(target)
    make(link)
    assert link.is_symlink() and names(target) == [MARKER, "old"]
    make(link, "new", overwrite=True)
    assert link.is_symlink() and names(target) == [MARKER, "new"]
    assert names(target.parent) == ["empty"]


def test_the_current_folder_is_filled_in_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(".")
    assert names(Path(".")) == [MARKER, "old"] == names(tmp_path)
    make(".", "new", overwrite=True)
    assert names(Path(".")) == [MARKER, "new"]
    with refused("CTK-E071"), atomic_folder(".", overwrite=True) as temporary:
        (temporary / "newer").write_text("")
        Path("notes").write_text("of a person")
    assert names(tmp_path) == [MARKER, "new", "notes"]


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_kill_while_a_folder_is_filled_in_its_place(tmp_path, step):
    make(tmp_path)
    script = """
os.chdir(out)
rename, step = os.rename, sys.argv[2]
def dying(a, b):
    rename(a, b)
    if Path(b).parent.name == "old" if step == "before" else Path(b).name == "a":
        DIE()
os.rename = dying
with atomic_folder(".", overwrite=True) as temporary:
    for name in "abc":
        (temporary / name).write_text("")
"""
    killed(_HEAD + script, tmp_path, step)
    files.remove_stale(tmp_path)
    whole = [MARKER, "old"] if step == "before" else [MARKER, "a", "b", "c"]
    assert names(tmp_path) == whole


def _in_small_disk(tmp_path, script):
    """Runs a script with a disk of 64 kB at tmp_path / "disk"."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k none {disk}"
    possible = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False
    )
    if possible.returncode:
        pytest.skip("no right to mount a file system")
    python = [sys.executable, _HEAD + script]
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$0" -c "$1" {disk}', *python],
        capture_output=True,
        text=True,
    )


def test_a_mount_point_is_filled_in_its_place(tmp_path):
    script = """
for name, overwrite in (("a", False), ("b", True)):
    with atomic_folder(out, overwrite=overwrite) as temporary:
        (temporary / name).write_text("")
print(sorted(os.listdir(out)))
"""
    done = _in_small_disk(tmp_path, script)
    assert done.stdout.strip() == "['.ct_keras', 'b']", done.stderr


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    script = """
from ct_keras.errors import CtKerasError
from ct_keras.files import write_texts
def wrapped():
    try:
        (temporary / "a").write_bytes(bytes(10 ** 6))
    except OSError as error:
        raise ValueError("a library") from error
for work in (wrapped, lambda: write_texts(temporary, {"a": "b", "c": "d" * 10 ** 6})):
    try:
        with atomic_folder(out / "x") as temporary:
            work()
    except CtKerasError as error:
        print(error, os.listdir(out))
try:
    write_texts(out / "y", {"a": "b", "c": "d" * 10 ** 6})
except CtKerasError as error:
    print(error, os.listdir(out))
"""
    done = _in_small_disk(tmp_path, script)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line in lines:
        assert line.startswith("CTK-E073 cannot write: disk full") and "[]" in line


def test_a_failed_read_is_not_told_as_a_failed_write(tmp_path):
    gone = label_of(tmp_path / "in" / "gone.dcm")
    with refused("CTK-E005", gone), atomic_folder(tmp_path / "out"):
        (tmp_path / "in" / "gone.dcm").read_bytes()
    with refused("CTK-E005", gone), atomic_file(tmp_path / "file"):
        (tmp_path / "in" / "gone.dcm").read_bytes()
    with pytest.raises(BrokenPipeError), atomic_folder(tmp_path / "out"):
        raise BrokenPipeError(32, "Broken pipe")
    with refused("CTK-E073"), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "no" / "such").write_text("")


def test_a_lock_ends_with_its_process(tmp_path):
    out = tmp_path / "run"
    with folder_lock(out):
        with refused("CTK-E071", "another run"), folder_lock(out):
            pass
        check_output_folder(out)
    assert not out.exists()
    killed(_HEAD + "with folder_lock(out): DIE()", out)
    with folder_lock(out):
        assert len(names(out)) == 1


def test_the_lock_of_a_killed_run_is_nobodys_file(tmp_path):
    out = make(tmp_path / "out", kind="series")
    killed(_HEAD + "with folder_lock(out): DIE()", out)
    make(out, "new", overwrite=True, kind="series")
    assert names(out) == [MARKER, "new"]


def test_several_texts_come_together(tmp_path):
    (tmp_path / "other").write_text("")
    write_texts(tmp_path, {"a": "1", "b": "2"})
    assert names(tmp_path) == ["a", "b", "other"]
    assert (tmp_path / "b").read_text() == "2"


def test_output_folders_that_could_harm_are_refused(tmp_path):
    filled = tmp_path / "in"
    (filled / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(filled)
    cases = [
        (filled / "deep" / "out", (filled,), "lies inside"),
        (tmp_path / "link" / "out", (filled,), "lies inside"),
        (filled / "out", (tmp_path / "link",), "lies inside"),
        (tmp_path, (filled,), "holds"),
        (tmp_path / "link", (filled,), "the same"),
        (filled, (), "not empty"),
        (Path(__file__), (), "a file"),
    ]
    for out, inputs, text in cases:
        with refused("CTK-E071", text):
            check_output_folder(out, inputs=inputs)


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with refused("CTK-E071", "is a file"):
        check_output_folder(tmp_path / "file" / "out")
    (tmp_path / "in").mkdir()
    denied = {tmp_path}
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) not in denied)
    with refused("CTK-E073", "permission denied"):
        check_output_folder(tmp_path / "a" / "b")
    assert check_output_folder(tmp_path / "in" / "a") == tmp_path / "in" / "a"
    make(tmp_path / "in")
    assert names(tmp_path / "in") == [MARKER, "old"]
    denied.add(tmp_path / "in")
    with refused("CTK-E073", "permission denied"):
        check_output_folder(tmp_path / "in", overwrite=True)


def test_outputs_are_kept_apart_from_each_other(tmp_path):
    (tmp_path / "in").mkdir()
    check_apart([("OUT", tmp_path / "a"), ("--qc", tmp_path / "ab")])
    for first, second in (("a", "a/b"), ("a/b", "a"), ("a", "a")):
        with refused("CTK-E071", "--qc", "OUT"):
            check_apart([("OUT", tmp_path / first), ("--qc", tmp_path / second)])
    with refused("CTK-E071", "the input IN"):
        check_apart([("--qc", tmp_path / "in/qc")], [("IN", tmp_path / "in")])
    check_apart([("OUT", tmp_path / "a/b")], [("MODEL", tmp_path / "a")])


def test_full_disk_is_told_as_such(tmp_path):
    with refused("CTK-E073", "disk full"), atomic_file(tmp_path / "a"):
        raise OSError(28, os.strerror(28))
    assert list(tmp_path.iterdir()) == []
