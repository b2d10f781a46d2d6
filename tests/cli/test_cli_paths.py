"""No command harms what it reads, or what another of its outputs holds."""

import importlib
import itertools
import shutil

import click
import pytest

import ct_keras
from ct_keras.cli import main
from ct_keras.cli.paths import DeclaredPath, ModelText, OutputFolder, SafeCommand

#: Words that make a parameter a place on the disk, where nothing else does.
PATH_WORDS = {"in", "out", "path", "paths", "folder", "file", "dir", "source", "key"}
MODEL_WORDS = {"model", "models"}
#: MODEL of train is a network of the zoo, and never a path.
NO_PATHS = {("train", "model"), ("evaluate", "baseline")}


def commands(group=main.cli, name=()):
    """Every command with its name, those of groups too."""
    context = click.Context(group)
    for each in group.list_commands(context):
        found = group.get_command(context, each)
        if isinstance(found, click.Group):
            yield from commands(found, (*name, each))
        else:
            yield " ".join((*name, each)), found


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(capsys, tmp_path, *arguments):
    """The one line of a refusal with status 6 that changed nothing on the disk."""
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit) as end:
        main.main([str(argument) for argument in arguments])
    text = capsys.readouterr()
    lines = [line for line in text.err.splitlines() if line.startswith("CTK-")]
    assert end.value.code == 6, text.err
    assert len(lines) == 1 and lines[0].startswith("CTK-E071") and not text.out
    assert snapshot(tmp_path) == before
    return lines[0]


def test_every_command_checks_its_paths():
    for name, command in commands():
        assert isinstance(command, SafeCommand), name
        for param in command.params:
            kind = param.type
            assert not isinstance(kind, click.Path | click.File), (name, param.name)
            words = set(param.name.split("_"))
            if isinstance(param, click.Option):
                words |= set(param.opts[-1].strip("-").split("-"))
            if (name, param.name) in NO_PATHS or getattr(param, "is_flag", False):
                continue
            if words & MODEL_WORDS:
                assert isinstance(kind, ModelText), (name, param.name)
            if words & PATH_WORDS or kind.name == "path":
                assert isinstance(kind, DeclaredPath), (name, param.name)
            if "out" in words:
                assert isinstance(kind, OutputFolder), (name, param.name)


def test_what_replaces_a_folder_is_asked_to():
    for name, command in commands():
        kinds = [param.type for param in command.params]
        replaced = [
            kind
            for kind in kinds
            if isinstance(kind, OutputFolder) and not kind.resumable
        ]
        options = {option for param in command.params for option in param.opts}
        assert not replaced or "--overwrite" in options, name


def overlapping(command):
    """Pairs of an output and another place, by their parameters."""
    places = [param for param in command.params if isinstance(param.type, DeclaredPath)]
    outputs = [param for param in places if isinstance(param.type, OutputFolder)]
    return [
        (output, other)
        for output, other in itertools.product(outputs, places)
        if output is not other
    ]


CASES = [
    pytest.param(command, output, other, id=f"{name} {output.name} {other.name}")
    for name, command in commands()
    for output, other in overlapping(command)
]


@pytest.mark.parametrize("relation", ["inside", "around", "same"])
@pytest.mark.parametrize("command, output, other", CASES)
def test_an_output_overlaps_nothing(tmp_path, command, output, other, relation):
    known = tmp_path / "a" / "known"
    known.mkdir(parents=True)
    (known / "data").write_text("of a person")
    path = {"inside": known / "new", "around": known.parent, "same": known}[relation]
    given = {param.name: None for param in command.params} | {"overwrite": True}
    for param, value in ((output, path), (other, known)):
        several = param.nargs == -1 or param.multiple
        value = str(value) if isinstance(param.type, ModelText) else value
        given[param.name] = (value,) if several else value
    with pytest.raises(ct_keras.CtKerasError) as refusal:
        command.check_places(given)
    assert refusal.value.code == "CTK-E071" and refusal.value.exit_code == 6
    assert (known / "data").read_text() == "of a person"


@pytest.fixture
def study(tmp_path, phantom_patients):
    """A folder with a series in it, where outputs go beside it."""
    shutil.copytree(phantom_patients / "test" / "p4", tmp_path / "study" / "IN")
    return tmp_path / "study"


def test_quality_control_does_not_replace_the_study(capsys, study):
    denoise = ("denoise", study / "IN", study / "OUT", "--model", "filter:gaussian")
    for qc in (study, study / "IN", study / "IN" / "qc", study / "OUT"):
        line = refused(capsys, study, *denoise, "--qc", qc, "--overwrite")
        assert "--qc" in line


def test_an_export_does_not_replace_the_run_of_its_model(capsys, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.keras").write_text("weights")
    line = refused(capsys, tmp_path, "export", run / "mine.keras", run, "--overwrite")
    assert "OUT holds the input MODEL" in line


def test_an_evaluation_does_not_lie_in_its_scans(capsys, study):
    where = ("--scans", study / "IN", "--out", study / "IN" / "ev")
    assert "--scans" in refused(capsys, study, "evaluate", "input", *where)


def test_records_do_not_lie_in_their_source(capsys, study):
    layout = ("--layout", "single", "--split", "1,0,0")
    source = study / "IN"
    refused(capsys, study, "convert", source, source / "records", *layout)
    refused(capsys, study, "convert", source, study, *layout)


def test_a_name_of_published_weights_is_no_path(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red_cnn").mkdir()
    assert ModelText().inputs(("red_cnn", "filter:mean", "none"), {}) == []
    (tmp_path / "run").mkdir()
    assert len(ModelText().inputs(("run", "red_cnn"), {})) == 1


def test_overwrite_leaves_what_a_person_wrote(capsys, study):
    notes = study / "OUT" / "notes"
    notes.parent.mkdir()
    notes.write_text("of a person")
    denoise = ("denoise", study / "IN", notes.parent, "--model", "filter:gaussian")
    assert "cannot be replaced" in refused(capsys, study, *denoise, "--overwrite")


def test_several_series_replace_one_and_one_several(capsys, phantom_patients, tmp_path):
    def names():
        return sorted(path.name for path in (tmp_path / "OUT").iterdir())

    options = ("--model", "filter:mean", "--overwrite")
    both, one = phantom_patients / "train", phantom_patients / "test"
    whole = []
    for source in (both, one, both, both):
        with pytest.raises(SystemExit) as end:
            main.main(["denoise", str(source), str(tmp_path / "OUT"), *options])
        assert end.value.code == 0, capsys.readouterr().err
        whole.append(names())
    several = [".ct_keras", "series-1", "series-2"]
    single = [".ct_keras", "IM00001.dcm", "IM00002.dcm", "IM00003.dcm"]
    assert whole == [several, single, several, several]


@pytest.mark.parametrize("place", [1, 2, 4])
def test_a_variable_without_a_value_is_not_the_current_folder(
    capsys, study, tmp_path, monkeypatch, place
):
    monkeypatch.chdir(study)
    arguments = ["denoise", str(study), str(tmp_path / "OUT"), "--model", "input"]
    arguments[place] = ""
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 3
    assert "an empty text is not a path" in capsys.readouterr().err


def test_an_empty_choice_of_a_series_chooses_none(capsys, study, tmp_path):
    arguments = ["denoise", study, tmp_path / "OUT", "--model", "input", "--series", ""]
    with pytest.raises(SystemExit) as end:
        main.main(list(map(str, arguments)))
    assert end.value.code == 3 and "CTK-E030" in capsys.readouterr().err
    assert not (tmp_path / "OUT").exists()


def test_a_split_list_is_told_from_a_folder():
    kind = importlib.import_module("ct_keras.cli.convert")._PLACES
    given = {"split": ("train=A",)}
    words = ("dose=full", "val=B C", "test=D", "records")
    places, lists = kind.sort(words, given)
    assert [str(place) for place in places] == ["dose=full", "records"]
    assert lists == ["val=B C", "test=D"]
    assert kind.sort(("train=1", "r"), {"split": ()})[1] == []


def test_a_folder_of_parts_is_marked_before_its_first_part(tmp_path):
    """A kill after any part leaves a folder that --overwrite may replace."""
    from ct_keras.cli.parts import parts_of
    from ct_keras.files import MARKER, atomic_folder, check_output_folder

    out = tmp_path / "OUT"
    with pytest.raises(KeyboardInterrupt), parts_of(out, "series", True, False) as into:
        with atomic_folder(into / "series-1", kind="series") as part:
            (part / "IM00001.dcm").touch()
        assert sorted(path.name for path in into.glob("[!.]*")) == ["series-1"]
        assert (into / MARKER).is_file()
        raise KeyboardInterrupt
    check_output_folder(out, overwrite=True, kind="series")
    with parts_of(tmp_path / "nothing", "series", True, False):
        pass
    assert not (tmp_path / "nothing").exists()
