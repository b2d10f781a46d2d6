"""Sub-volumes: consecutive slices of one series at one dose, the same every time."""

import numpy as np
import pytest

from ct_keras.data import iterate_pairs, read_manifest, training_volumes
from ct_keras.data.manifest import Manifest, summary, write_manifest
from ct_keras.data.records import encode, write_shard
from ct_keras.data.runs import consecutive_runs, read_places
from ct_keras.data.shards import Shard
from ct_keras.data.slice_facts import Place, Record, place_of
from ct_keras.errors import CtKerasError
from ct_keras.files import sha256_of

DOSES = (0.1, 0.25)


def coded(case: int, series: int, slice_index: int, shape=(40, 40)) -> np.ndarray:
    """Stored values (HU + 1024) that tell where they come from, and are not air."""
    rows, columns = np.indices(shape)
    return (
        2000 + 4000 * case + 1000 * series + 20 * slice_index + (rows + columns) % 7
    ).astype("i2")


def decoded(volume: np.ndarray) -> list[tuple[int, int, int]]:
    """Case, series and slice of each slice of (depth, rows, columns, 1)."""
    values = np.rint(volume * 4096).min(axis=(1, 2, 3)).astype(int) - 2000
    return [(v // 4000, v % 4000 // 1000, v % 1000 // 20) for v in values]


def records_of(case: int, series: int, slices) -> list[Record]:
    """Every slice at both doses, one after the other, as `convert` writes them."""
    return [
        Record(
            low=coded(case, series, index) + np.int16(10 * number),
            full=coded(case, series, index),
            rescale_slope=1.0,
            rescale_intercept=-1024.0,
            case=f"case{case}",
            series=f"series{case}{series}",
            sop_uid_hash="u",
            slice_index=index,
            dose_fraction=dose,
        )
        for index in slices
        for number, dose in enumerate(DOSES)
    ]


def write(folder, shards: list[list[Record]], *, places: bool = True):
    """Writes a train split of these shards, with or without their places."""
    folder.mkdir()
    entries = []
    for index, records in enumerate(shards):
        path = folder / f"x-train.tfrecord-{index:05d}-of-{len(shards):05d}"
        count, size = write_shard(path, [encode(record) for record in records])
        rows, columns = zip(*(record.full.shape for record in records), strict=True)
        entries.append(
            Shard(
                file=path.name,
                split="train",
                index=index,
                case=records[0].case,
                records=count,
                slices=count // len(DOSES),
                bytes=size,
                sha256=sha256_of(path),
                source_sha256="",
                rows=(min(rows), max(rows)),
                columns=(min(columns), max(columns)),
                places=tuple(place_of(r, r.full.shape) for r in records if places),
            )
        )
    write_manifest(
        Manifest(
            folder=folder,
            layout="single",
            configuration="",
            key_id="",
            doses=DOSES,
            seed=0,
            hu_range=(0.0, 0.0),
            splits=summary(entries),
            shards=tuple(entries),
        )
    )
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Case 0: two series, one in two shards. Case 1: a gap. Case 2: too short."""
    first = records_of(0, 0, range(6)) + records_of(0, 1, range(20))
    return write(
        tmp_path_factory.mktemp("volumes") / "records",
        [
            first[:21],
            first[21:],
            records_of(1, 0, [*range(3), *range(5, 10)]),
            records_of(2, 0, range(3)),
        ],
    )


def arrays(dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(low.numpy(), full.numpy()) for low, full in dataset]


def assert_same(first, second) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_places_are_those_of_the_records(records):
    found = [p for shard in read_places(read_manifest(records), "train") for p in shard]
    pairs = list(iterate_pairs(records, "train"))
    assert len(found) == len(pairs) == 2 * (6 + 20 + 8 + 3)
    for place, pair in zip(found, pairs, strict=True):
        assert place[:2] == (pair.case, pair.series)
        assert place.dose_fraction == pytest.approx(pair.dose_fraction)
        assert place[3:] == (40, 40, pair.slice_index)


@pytest.mark.parametrize("places", [True, False])
def test_places_hold_every_size(tmp_path, places):
    """Manifests of schema 1.1 hold no places: the records tell them."""
    small, large = np.full((9, 8), 1100, "i2"), np.full((64, 65), 1100, "i2")
    facts = {"case": "a", "series": "s", "dose_fraction": 0.1}
    content = [
        Record(image, image, 1.0, 0.0, "u", slice_index=index, **facts)
        for index, image in enumerate((large, small, large))
    ]
    folder = write(tmp_path / "r", [content], places=places)
    (found,) = read_places(read_manifest(folder), "train")
    sizes = [(64, 65), (9, 8), (64, 65)]
    assert found == [
        Place("a", "s", 0.1, *size, index) for index, size in enumerate(sizes)
    ]


def test_runs_never_mix_or_skip():
    def place(series="s", dose=0.1, rows=8, index=0):
        return Place("c", series, dose, rows, 8, index)

    places = [
        *(place(index=0), place(dose=0.25, index=0)),
        *(place(index=1), place(dose=0.25, index=1)),
        place(index=3),
        place(index=4, rows=9),
        *(place("t", index=4), place("t", index=5)),
        *(place("t", index=4), place("t", index=5)),
    ]
    runs = [[0, 2], [1, 3], [4], [5], [6, 7], [8, 9]]
    assert consecutive_runs(places) == runs


def test_a_volume_is_consecutive_slices_of_one_series_and_dose(records):
    dataset = training_volumes(
        records, depth=5, patch_size=16, batch_size=3, steps=40, augment=False
    )
    shape = (3, 5, 16, 16, 1)
    assert [spec.shape for spec in dataset.element_spec] == [shape, shape]
    seen = set()
    for lows, fulls in arrays(dataset):
        assert lows.shape == fulls.shape == shape
        assert lows.dtype == fulls.dtype == np.float32
        for low, full in zip(lows, fulls, strict=True):
            first, *others = decoded(full)
            case, series, index = first
            assert others == [(case, series, index + step) for step in range(1, 5)]
            added = (low - full) * 4096
            dose = round(float(added[0, 0, 0, 0]) / 10)
            np.testing.assert_allclose(added, 10 * dose, atol=1e-3)
            seen.add((*first, dose))
    expected = {
        (*place, dose)
        for dose in (0, 1)
        for place in [
            *((0, 0, index) for index in range(2)),
            *((0, 1, index) for index in range(16)),
            (1, 0, 5),
        ]
    }
    assert seen == expected


def test_patients_and_their_volumes_are_drawn_evenly(records):
    volumes = [
        decoded(volume)[0]
        for _, full in arrays(
            training_volumes(records, depth=5, patch_size=8, steps=144, augment=False)
        )
        for volume in full
    ]
    cases = [case for case, _, _ in volumes]
    assert sorted(set(cases)) == [0, 1]
    assert cases.count(0) == 72
    # 72 draws of 36 sub-volumes (18 places, two doses): each place four times.
    counts = {place: volumes.count(place) for place in set(volumes) if place[0] == 0}
    assert len(counts) == 18
    assert set(counts.values()) == {4}


def test_the_same_place_of_every_slice(tmp_path):
    """Without turns a sub-volume is found in its volume, in low and full alike."""
    generator = np.random.default_rng(0)
    full = generator.integers(1500, 2500, (6, 30, 34)).astype("i2")
    content = [
        Record(
            image + np.int16(7),
            image,
            1.0,
            -1024.0,
            "u",
            case="a",
            series="s",
            slice_index=index,
        )
        for index, image in enumerate(full)
    ]
    folder = write(tmp_path / "r", [content])
    windows = np.lib.stride_tricks.sliding_window_view(full, (4, 9, 9))
    known = {w.tobytes(): i for i, w in enumerate(windows.reshape(-1, 4, 9, 9))}
    found = set()
    options = {"depth": 4, "patch_size": 9, "steps": 60, "augment": False}
    for low, high in arrays(training_volumes(folder, **options)):
        stored = np.rint(high[0, ..., 0] * 4096).astype("i2")
        found.add(known[stored.tobytes()])
        np.testing.assert_allclose((low - high) * 4096, 7, atol=1e-3)
    starts, rows, columns = np.unravel_index(sorted(found), windows.shape[:3])
    assert set(starts) == {0, 1, 2}
    assert len(found) > 50
    assert (rows.max(), columns.max()) > (17, 20)


def test_all_sixteen_turns_come_equally_often(tmp_path):
    index, rows, columns = np.indices((3, 12, 12))
    ramp = (2000 + 600 * index + rows + 20 * columns).astype("i2")
    content = [
        Record(
            image, image, 1.0, -1024.0, "u", case="a", series="s", slice_index=number
        )
        for number, image in enumerate(ramp)
    ]
    folder = write(tmp_path / "r", [content])
    seen: dict[tuple, int] = {}
    options = {"depth": 3, "patch_size": 6, "batch_size": 16, "steps": 25}
    for low, full in arrays(training_volumes(folder, **options)):
        np.testing.assert_array_equal(low, full)
        for volume in low[..., 0] * 4096:
            corner = volume[0, 0, 0]
            steps = volume[1, 0, 0], volume[0, 1, 0], volume[0, 0, 1]
            key = tuple(round(float(step - corner)) for step in steps)
            seen[key] = seen.get(key, 0) + 1
    wanted = {
        (600 * along, a * s, b * t)
        for a, b in ((1, 20), (20, 1))
        for along in (1, -1)
        for s in (1, -1)
        for t in (1, -1)
    }
    assert set(seen) == wanted
    assert min(seen.values()) > 10  # of 400, 25 each are expected


@pytest.mark.parametrize("which", ["low", "full"])
def test_air_is_rejected(tmp_path, which):
    """Sub-volumes whose mean over all slices is air in either image are avoided."""
    air, tissue = np.full((48, 48), 24, "i2"), np.full((48, 48), 1064, "i2")
    air[:, :24] = 1064
    low, full = (air, tissue) if which == "low" else (tissue, air)
    content = [
        Record(low, full, 1.0, -1024.0, "u", slice_index=index) for index in range(4)
    ]
    folder = write(tmp_path / "r", [content])
    options = {"depth": 4, "patch_size": 16, "batch_size": 40, "steps": 3}
    kept = arrays(training_volumes(folder, **options))
    free = arrays(training_volumes(folder, reject=False, **options))

    def share_of_air(batches):
        lowest = [np.minimum(*b).mean(axis=(1, 2, 3, 4)) for b in batches]
        return np.mean(np.concatenate(lowest) < 0.1)

    # A third of the places is too much air; all four tries fail for 1 in 81 volumes.
    assert share_of_air(kept) < 0.06
    assert 0.2 < share_of_air(free) < 0.5


def test_seed_and_epoch_decide(records):
    options = {"depth": 4, "patch_size": 8, "batch_size": 2, "steps": 3, "seed": 4}
    endless = arrays(training_volumes(records, first_epoch=0, **options).take(12))
    resumed = arrays(training_volumes(records, first_epoch=2, **options).take(6))
    assert_same(endless[6:], resumed)
    again = training_volumes(records, **options)
    assert int(again.cardinality()) == 3
    epochs = [arrays(again) for _ in range(4)]
    assert_same(endless, [batch for epoch in epochs for batch in epoch])
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])
    other = arrays(training_volumes(records, **options | {"seed": 5}))
    assert not np.array_equal(other[0][0], epochs[0][0][0])


def test_noise_is_drawn_in_place_of_the_low_dose(records):
    noise = {"kind": "gaussian", "sigma": 0.01}
    options = {"depth": 5, "patch_size": 20, "batch_size": 4, "steps": 5}
    noisy = arrays(training_volumes(records, noise=noise, **options))
    paired = arrays(training_volumes(records, **options))
    for (low, full), (_, expected) in zip(noisy, paired, strict=True):
        np.testing.assert_array_equal(full, expected)
        assert np.std(low - full) == pytest.approx(0.01, rel=0.05)
    assert_same(noisy, arrays(training_volumes(records, noise=noise, **options)))


def test_default_steps_show_every_slice_about_once(records):
    dataset = training_volumes(records, depth=5, patch_size=8, batch_size=2)
    # Of 6, 20 and 5 consecutive slices: 1 + 4 + 1 disjoint sub-volumes at two doses.
    assert int(dataset.cardinality()) == len(arrays(dataset)) == 6


def test_what_does_not_fit_is_refused(records):
    with pytest.raises(CtKerasError, match=r"CTK-E086.*at most 20 .*at least 21"):
        training_volumes(records, depth=21, patch_size=8)
    with pytest.raises(CtKerasError, match=r"CTK-E086.*40 pixels.*41 pixels"):
        training_volumes(records, depth=4, patch_size=41)
    with pytest.raises(CtKerasError, match="CTK-E084"):
        training_volumes(records, split="test", depth=4)


def test_a_damaged_record_is_refused(tmp_path):
    folder = write(tmp_path / "r", [records_of(0, 0, range(6))], places=False)
    path = sorted(folder.glob("*.tfrecord-*"))[0]
    data = bytearray(path.read_bytes())
    place = data.index(b"slice_index")
    data[place + 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(CtKerasError) as refusal:
        training_volumes(folder, depth=4, patch_size=8)
    assert refusal.value.code == "CTK-E080"
