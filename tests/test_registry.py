"""One registry for models, tasks and filters: the same refusal for all."""

from types import SimpleNamespace

import pytest

from ct_keras import filters, models, tasks
from ct_keras.errors import CtKerasError
from ct_keras.registry import Registry


def test_entries_are_found_by_name_in_their_order():
    entries = [SimpleNamespace(name=name) for name in ("b", "a")]
    registry = Registry("thing", entries, code="CTK-E084")
    assert list(registry) == ["b", "a"]
    assert registry.find("a") is entries[1]
    with pytest.raises(CtKerasError, match=r"CTK-E084 unknown thing.* expected: b, a"):
        registry.find("c")
    with pytest.raises(CtKerasError, match="no entries"):
        Registry("thing", []).find("c")


@pytest.mark.parametrize(
    ("find", "known"),
    [
        (models.get_spec, models.list_models()),
        (tasks.get_task, tasks.list_tasks()),
        (filters.get, filters.list_filters(hu_preserving=None)),
    ],
)
def test_an_unknown_name_is_refused_with_all_known_ones(find, known):
    with pytest.raises(CtKerasError) as refusal:
        find("no_such_name")
    assert refusal.value.code == "CTK-E092"
    assert refusal.value.expected == ", ".join(known)
    assert [find(name).name for name in known] == known


@pytest.mark.parametrize("spec", [models.get_spec("adl"), tasks.get_task("unet")])
def test_an_unknown_recipe_is_refused(spec):
    assert spec.recipe("quick").name == "quick"
    with pytest.raises(CtKerasError, match="CTK-E084") as refusal:
        spec.recipe("slow")
    assert "quick" in refusal.value.expected


def test_names_of_options_may_be_name():
    assert models.build("red_net10", width=2, name="mine").name == "mine"
    with pytest.raises(CtKerasError, match="CTK-E000"):
        filters.get("median", name=3)
