"""Phantoms: reproducible, labelled exactly, with lesions of the stated contrast."""

import cv2
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.phantoms.phantom import LABELS, make_phantom, write_phantom
from ct_keras.phantoms.tissues import TISSUES

#: Tissues whose mean is not the drawn one: contents, foam, gravity, fat streaks.
_UNEVEN = {"stomach", "bowel", "table", "lung", "muscle", "trabecular_bone"}
_SEEDS = (0, 7)


def build(seed, region, **options):
    options = {"shape": (8, 320, 320), "spacing_mm": (5.0, 1.25, 1.25)} | options
    return make_phantom(seed, region=region, **options)


@pytest.fixture(scope="module")
def phantoms():
    regions = ("thorax", "abdomen")
    return [build(s, r, lesions=False) for s in _SEEDS for r in regions]


@pytest.fixture(scope="module")
def abdomen(phantoms):
    return phantoms[1]


def core(phantom, name):
    """Voxels whose neighbours all have the same label."""
    mask = phantom.labels == LABELS[name]
    kernel = np.ones((5, 5), np.uint8)
    inner = np.stack([cv2.erode(plane.astype(np.uint8), kernel) for plane in mask])
    return phantom.hu[1:-1][(inner[1:-1] > 0) & mask[2:] & mask[:-2]]


def millilitres(phantom, *names):
    voxels = np.isin(phantom.labels, [LABELS[name] for name in names]).sum()
    return voxels * np.prod(phantom.spacing_mm) / 1000


def centroid(phantom, name):
    """Row and column of a tissue's middle."""
    return np.argwhere(phantom.labels == LABELS[name]).mean(axis=0)[1:]


@pytest.mark.parametrize("region", ["thorax", "abdomen"])
def test_seed_decides_everything(region):
    small = {"shape": (3, 96, 96), "spacing_mm": (5.0, 4.0, 4.0)}
    one, again = build(3, region, **small), build(3, region, **small)
    other = build(4, region, **small)
    np.testing.assert_array_equal(one.hu, again.hu)
    np.testing.assert_array_equal(one.labels, again.labels)
    assert one.lesions == again.lesions
    assert (one.labels != other.labels).mean() > 0.05


def test_both_regions_show_the_same_patient():
    small = {"shape": (1, 32, 32), "spacing_mm": (5.0, 12.0, 12.0)}
    assert build(5, "thorax", **small).mean_hu == build(5, "abdomen", **small).mean_hu


def test_shape_spacing_and_types():
    phantom = make_phantom(1, region="abdomen", shape=(2, 80, 100))
    assert phantom.hu.shape == phantom.labels.shape == (2, 80, 100)
    assert phantom.hu.dtype == np.float32
    assert phantom.labels.dtype == np.uint8
    assert phantom.spacing_mm == (5.0, 4.0, 4.0)
    given = make_phantom(1, shape=(1, 64, 64), spacing_mm=(2.0, 6.5, 6.5))
    assert given.spacing_mm == (2.0, 6.5, 6.5)


def test_spacing_is_a_length(abdomen):
    """The same patient sampled twice as coarsely has the same volume of liver."""
    options = {"shape": (8, 160, 160), "spacing_mm": (5.0, 2.5, 2.5)}
    coarse = build(_SEEDS[0], "abdomen", lesions=False, **options)
    fine_ml, coarse_ml = millilitres(abdomen, "liver"), millilitres(coarse, "liver")
    assert coarse_ml == pytest.approx(fine_ml, rel=0.03)


def test_labels_name_what_the_hu_show(phantoms):
    seen = set()
    for phantom in phantoms:
        for name, tissue in TISSUES.items():
            values = core(phantom, name)
            if tissue.range_hu is None or len(values) < 100:
                continue
            seen.add(name)
            low, high = tissue.range_hu
            assert low <= values.mean() <= high, (phantom.seed, phantom.region, name)
            if name not in _UNEVEN:
                assert abs(values.mean() - phantom.mean_hu[name]) < 5, name
    assert {"liver", "spleen", "kidney_cortex", "blood", "aorta", "lung"} <= seen


def test_thin_tissues_have_their_hu(phantoms):
    for phantom in phantoms:
        mean = {
            name: float(phantom.hu[phantom.labels == LABELS[name]].mean())
            for name in ("skin", "cortical_bone", "trabecular_bone", "fat", "air")
        }
        assert mean["air"] < mean["skin"]
        assert mean["cortical_bone"] > mean["trabecular_bone"] + 80 > 200
        assert -120 < mean["fat"] < -70


def test_hu_stay_plausible(phantoms):
    for phantom in phantoms:
        assert np.isfinite(phantom.hu).all()
        assert phantom.hu.min() >= -1001
        assert 700 < phantom.hu.max() < 1700


def test_volumes_and_places_are_plausible(phantoms):
    for phantom in phantoms:
        middle = phantom.hu.shape[2] / 2
        bone = ("trabecular_bone", "cortical_bone")
        assert 30 < millilitres(phantom, *bone) < 400
        assert centroid(phantom, "spinal_canal")[0] > centroid(phantom, "aorta")[0]
        assert centroid(phantom, "table")[0] > centroid(phantom, "muscle")[0] + 60
        if phantom.region == "thorax":
            assert 300 < millilitres(phantom, "lung") < 2500
            assert 100 < millilitres(phantom, "heart", "blood") < 500
        else:
            assert 250 < millilitres(phantom, "liver", "liver_vessel") < 1200
            kidneys = millilitres(phantom, "kidney_cortex", "kidney_medulla")
            assert 60 < kidneys < 350
            assert centroid(phantom, "liver")[1] < middle
            assert centroid(phantom, "spleen")[1] > middle


def test_patient_fits_into_the_field_of_view(phantoms):
    for phantom in phantoms:
        body = ~np.isin(phantom.labels, [LABELS["air"], LABELS["table"]])
        assert not body[:, [0, -1]].any()
        assert not body[:, :, [0, -1]].any()


def test_neighbouring_slices_belong_together(abdomen):
    """Organs are solid: nearly all labels agree with a slice 5 mm away, not all."""
    same = (abdomen.labels[1:] == abdomen.labels[:-1]).mean()
    assert 0.85 < same < 0.995


def test_edges_are_soft(abdomen):
    """Fat and liver meet over pixels between them, and no jump is made within one."""
    liver = abdomen.labels[4] == LABELS["liver"]
    near = cv2.dilate(liver.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ring = near & (abdomen.labels[4] == LABELS["fat"])
    low, high = abdomen.mean_hu["fat"] + 20, abdomen.mean_hu["liver"] - 20
    values = abdomen.hu[4][ring]
    assert ((values > low) & (values < high)).mean() > 0.4


def test_texture_is_low_and_correlated(abdomen):
    plane = abdomen.hu[4] - abdomen.mean_hu["liver"]
    inner = cv2.erode(
        (abdomen.labels[4] == LABELS["liver"]).astype(np.uint8), np.ones((7, 7))
    )
    here, right = inner[:, :-1] > 0, inner[:, 1:] > 0
    pairs = here & right
    a, b = plane[:, :-1][pairs], plane[:, 1:][pairs]
    assert 1 < a.std() < 6
    assert np.corrcoef(a, b)[0, 1] > 0.5


@pytest.mark.parametrize("seed,region", [(0, "abdomen"), (7, "thorax")])
def test_without_lesions_it_is_the_same_patient(phantoms, seed, region):
    index = 2 * _SEEDS.index(seed) + ("thorax", "abdomen").index(region)
    without, having = phantoms[index], build(seed, region)
    assert without.lesions == ()
    assert having.lesions
    near = np.zeros(having.hu.shape, bool)
    for lesion in having.lesions:
        near |= distance_mm(having, lesion) < lesion.radius_mm + 6
    np.testing.assert_array_equal(having.hu[~near], without.hu[~near])
    np.testing.assert_array_equal(having.labels[~near], without.labels[~near])
    assert (having.hu[near] != without.hu[near]).any()


def distance_mm(phantom, lesion):
    axes = [
        (np.arange(n) - c) * s
        for n, c, s in zip(
            phantom.hu.shape, lesion.center, phantom.spacing_mm, strict=True
        )
    ]
    return np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)


@pytest.mark.parametrize("region", ["thorax", "abdomen"])
def test_lesions_have_their_place_size_and_contrast(region):
    measured = 0
    for seed in (1, 2, 6):
        phantom = build(
            seed, region, shape=(24, 320, 320), spacing_mm=(2.0, 1.25, 1.25)
        )
        for lesion in phantom.lesions:
            distance = distance_mm(phantom, lesion)
            inside = distance < lesion.radius_mm
            assert (phantom.labels[inside] == LABELS[lesion.label]).all()
            if lesion.radius_mm < 6:
                continue
            measured += 1
            inner = phantom.hu[distance < lesion.radius_mm - 2.5].mean()
            plane = int(lesion.center[0])
            ring = distance[plane] < lesion.radius_mm + 8
            ring &= phantom.labels[plane] == LABELS[lesion.organ]
            ring &= distance[plane] > lesion.radius_mm + 2.5
            contrast = inner - np.median(phantom.hu[plane][ring])
            allowed = 3 if lesion.organ == "liver" else 30
            assert abs(contrast - lesion.contrast_hu) < allowed
    assert measured >= 2


@pytest.mark.parametrize(
    "options",
    [
        {"region": "head"},
        {"shape": (4, 8, 8)},
        {"shape": (64, 64)},
        {"spacing_mm": (5.0, 0.0, 1.0)},
        {"seed": -1},
        {"seed": 1.5},
    ],
)
def test_bad_requests_are_refused(options):
    seed = options.pop("seed", 0)
    with pytest.raises(CtKerasError) as caught:
        make_phantom(seed, **options)
    assert caught.value.code == "CTK-E000"


def test_written_phantom_is_read_back(tmp_path):
    from ct_keras.dicom import read_series

    phantom = build(2, "abdomen", shape=(3, 200, 200), spacing_mm=(5.0, 2.0, 2.0))
    write_phantom(phantom, tmp_path / "clean", noise=False)
    write_phantom(phantom, tmp_path / "scan")
    clean, scan = read_series(tmp_path / "clean"), read_series(tmp_path / "scan")
    assert np.abs(clean.hu - phantom.hu).max() <= 0.5
    assert clean.spacing_mm == pytest.approx(phantom.spacing_mm)
    noise = (scan.hu - phantom.hu)[phantom.labels == LABELS["liver"]]
    assert 5 < noise.std() < 15
    assert abs(noise.mean()) < 0.5
    assert clean.series_key != scan.series_key
    assert scan.exposure_mas == 200
