"""The layout of LCD-CT: its files, its discs, its observer over methods."""

import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.evaluation import measure_lcd
from ct_keras.image_quality import (
    LcdInsert,
    LcdStudy,
    lcd_rows,
    read_lcd_ct,
    read_metaimage,
)

SIZE = 64


def _header(path, shape, names, *, msb="False", kind="MET_SHORT"):
    rows, columns, *rest = shape
    sizes = " ".join(str(n) for n in (columns, rows, *rest))
    lines = ["ObjectType = Image", f"NDims = {len(shape)}", f"DimSize = {sizes}"]
    lines += [f"ElementType = {kind}", f"ElementByteOrderMSB = {msb}"]
    path.write_text("\n".join([*lines, f"ElementDataFile = {names}"]))


def _truth():
    places = np.arange(SIZE) - 31.5
    hu = np.where(np.hypot(places[:, None], places) < 30, 0.0, -1000.0)
    hu += 40.0 * (np.hypot(places[:, None] + 10, places - 12) < 5)
    return hu


def _write(folder, *, msb="False", stored="<i2", shift=0, repeats=6):
    """An LCD-CT folder of two doses with white noise; returns its noise-free truth."""
    truth = _truth()
    folder.mkdir()
    (truth + 1000).astype("<u2").tofile(folder / "ground_truth.raw")
    _header(
        folder / "ground_truth.mhd", truth.shape, "ground_truth.raw", kind="MET_USHORT"
    )
    generator = np.random.default_rng(0)
    for dose, sd in (("dose_025", 60.0), ("dose_100", 30.0)):
        for kind in ("signal_present", "signal_absent"):
            part = folder / dose / kind
            part.mkdir(parents=True)
            shown = truth if kind == "signal_present" else np.minimum(truth, 0)
            for index in range(1, repeats + 1):
                image = shown + generator.normal(0, sd, truth.shape) + 1000
                # The published images with a shift end at air, 0.
                values = np.maximum(image.round() + shift, shift or -32768)
                values = values.astype(stored)
                values.tofile(part / f"{kind}_{index:03d}.raw")
            names = f"{kind}_%03d.raw 1 {repeats} 1"
            shape = (*truth.shape, repeats)
            _header(part / f"{kind}.mhd", shape, names, msb=msb)
    return truth


@pytest.mark.parametrize(
    ("msb", "stored", "shift"),
    [("False", "<i2", 0), ("True", "<i2", 0), ("True", ">u2", 32768)],
)
def test_the_layout_is_read_whatever_its_header_claims(tmp_path, msb, stored, shift):
    _write(tmp_path / "fbp", msb=msb, stored=stored, shift=shift)
    study = read_lcd_ct(tmp_path / "fbp")
    assert sorted(study.present) == [0.25, 1.0]
    assert study.present[1.0].shape == (6, SIZE, SIZE)
    water = study.absent[1.0][:, 40:50, 26:38]
    assert water.mean() == pytest.approx(0, abs=4)
    assert water.std() == pytest.approx(30, rel=0.08)
    (disc,) = study.inserts
    assert disc.contrast_hu == 40
    assert disc.center == pytest.approx((21.5, 43.5), abs=0.01)
    assert disc.diameter == pytest.approx(10, rel=0.05)
    regions = study.regions(disc, study.present[1.0], study.absent[1.0])
    assert regions[0].shape == (6, 22, 22)
    middle = [region[:, 8:14, 8:14].mean() for region in regions]
    assert middle == pytest.approx([40, 0], abs=8)


def test_every_method_is_compared_with_the_first(tmp_path):
    _write(tmp_path / "fbp")
    study = read_lcd_ct(tmp_path / "fbp")
    methods = {"input": np.copy, "blind": lambda hu: hu - 0.99 * _truth()}
    records = measure_lcd(methods, study)
    assert [(r["method"], r["dose"]) for r in records] == [
        ("input", 0.25),
        ("blind", 0.25),
        ("input", 1.0),
        ("blind", 1.0),
    ]
    assert records[0]["auc_difference"] == 0
    assert records[2]["auc"] > 0.95
    assert records[2]["images"] == [6, 6]
    assert records[3]["auc"] - records[2]["auc"] == pytest.approx(
        records[3]["auc_difference"]
    )


def test_inserts_alike_are_told_apart():
    places = np.arange(64)
    generator = np.random.default_rng(0)
    inserts = (LcdInsert(20.0, 8.0, (16, 16)), LcdInsert(20.0, 8.0, (48, 48)))
    discs = sum(
        20.0 * (np.hypot(places[:, None] - row, places - column) < 4)
        for row, column in (insert.center for insert in inserts)
    )
    noise = generator.normal(0, 30, (2, 12, 64, 64))
    study = LcdStudy(inserts, {1.0: noise[0] + discs}, {1.0: noise[1]})
    records = measure_lcd({"input": np.copy, "same": np.copy}, study)
    assert len({record["insert"] for record in records}) == 2
    assert records[1]["insert"] == "20 HU 8.0 pixels at row 48, column 48"
    for record in records:
        assert record["auc_difference"] == 0
        assert record["auc_difference_interval"] == [0, 0]
        assert (record["contrast_hu"], record["diameter_pixels"]) == (20, 8)
    assert records[0]["auc"] != records[1]["auc"]
    columns, rows = lcd_rows({"lcd_ct": records})
    assert {len(row) for row in rows} == {len(columns)}
    assert [row[0] for row in rows] == ["input", "input", "same", "same"]
    assert [row[2] for row in rows[:2]] == [record["insert"] for record in records[:2]]
    assert rows[1][columns.index("AUC")] == f"{records[1]['auc']:.3f}"
    assert rows[0][-2:] == ["-", "-"]
    assert rows[2][-2:] == ["+0.000", "+0.000 to +0.000"]


def test_the_published_images_are_what_their_readme_says(shared_ct):
    study = read_lcd_ct(shared_ct / "lcd_ct")
    assert [insert.contrast_hu for insert in study.inserts] == [14, 7, 5, 3]
    diameters = [insert.diameter for insert in study.inserts]
    assert diameters == pytest.approx([4.69, 7.76, 10.87, 15.46], abs=0.01)
    expected = [(94.5, 160.5), (94.5, 94.5), (160.5, 94.5), (160.5, 160.5)]
    for insert, place in zip(study.inserts, expected, strict=True):
        assert insert.center == pytest.approx(place, abs=0.15)
    places = np.arange(256) - 127.5
    inside = np.hypot(places[:, None], places) < 105
    sd = {d: s[:, inside].std(axis=0, ddof=1) for d, s in study.absent.items()}
    found = [np.sqrt(np.mean(sd[dose] ** 2)) for dose in (0.1, 1.0)]
    assert found == pytest.approx([68.6, 21.7], rel=0.02)
    assert found[0] / found[1] == pytest.approx(np.sqrt(10), rel=0.02)


def test_one_file_may_hold_all_slices(tmp_path):
    stack = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    for msb, order in (("False", "<f4"), ("True", ">f4")):
        stack.astype(order).tofile(tmp_path / "all.raw")
        header = tmp_path / "all.mhd"
        _header(header, (3, 4, 2), "all.raw", msb=msb, kind="MET_FLOAT")
        assert np.array_equal(read_metaimage(header), stack)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("missing.raw", "MET_SHORT"),
        ("short.raw", "MET_SHORT"),
        ("short.raw", "MET_DOUBLE"),
        ("short.raw 1 2 1", "MET_SHORT"),
        ("a_%d.raw 1 2000000000 1", "MET_SHORT"),
        ("a_%d.raw 1 5 0", "MET_SHORT"),
    ],
)
def test_a_bad_metaimage_is_refused(tmp_path, name, kind):
    (tmp_path / "short.raw").write_bytes(bytes(30))
    _header(tmp_path / "a.mhd", (4, 4), name, kind=kind)
    with pytest.raises(CtKerasError) as refusal:
        read_metaimage(tmp_path / "a.mhd")
    assert refusal.value.code == "CTK-E005"


def test_files_outside_the_folder_are_not_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(32))
    _header(tmp_path / "deep" / "a.mhd", (4, 4), "../secret.raw")
    with pytest.raises(CtKerasError) as refusal:
        read_metaimage(tmp_path / "deep" / "a.mhd")
    assert refusal.value.code == "CTK-E005"


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(CtKerasError) as refusal:
        read_lcd_ct(tmp_path)
    assert refusal.value.code == "CTK-E001"
