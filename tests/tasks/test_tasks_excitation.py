"""The patches that excite a layer, for a network whose answers are known."""

import keras
import numpy as np
import pytest

from ct_keras.errors import CtKerasError
from ct_keras.tasks import strongest_patches


@pytest.fixture(scope="module")
def network():
    """Channel 0 answers to bright bars along the rows, channel 1 to dark dots."""
    image = keras.Input((24, 32, 1), name="image")
    bars = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="bars")
    x = bars(image)
    kernel = np.zeros((3, 3, 1, 2), np.float32)
    kernel[:, 1, 0, 0] = 1  # a column of three pixels
    kernel[1, 1, 0, 1] = -1
    bars.set_weights([kernel, np.array([0, 1], np.float32)])
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, x)


def images():
    found = np.full((4, 24, 32), 0.5, np.float32)
    for number, brightness in enumerate((0.7, 1.0, 0.6)):
        found[number, 5:12, 10 + number] = brightness
    found[3, 20, 30] = 0.1
    return found


def test_the_strongest_patches_hold_what_the_channel_answers_to(network):
    found = strongest_patches(network, "bars", images(), channels=(0, 1), count=3)
    bars, dots = found[:3], found[3:]
    assert [each.image for each in bars] == [1, 0, 2]
    assert [each.response for each in bars] == pytest.approx([3.0, 2.1, 1.8])
    for each in bars:
        rows, columns = each.rows, each.columns
        assert rows[1] - rows[0] == 3 and columns == (10 + each.image, 11 + each.image)
        assert rows[0] >= 5 and rows[1] <= 12
        assert np.all(each.patch == images()[each.image, 6, columns[0]])
        assert np.all(each.gradient == 1)
    assert dots[0].image == 3 and (dots[0].rows, dots[0].columns) == (
        (20, 21),
        (30, 31),
    )
    assert dots[0].gradient.item() == -1


def test_deeper_layers_see_through_those_before(network):
    (best,) = strongest_patches(network, "pool", images(), count=1)
    assert best.image == 1 and best.response == pytest.approx(3)
    assert best.patch.shape == (3, 1)


@pytest.mark.parametrize(
    "layer, channels", [("mean", (0,)), ("no", (0,)), ("bars", (2,))]
)
def test_what_is_no_channel_of_images_is_refused(network, layer, channels):
    with pytest.raises(CtKerasError, match=r"CTK-E000.*bars, pool"):
        strongest_patches(network, layer, images(), channels=channels)
