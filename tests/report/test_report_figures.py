"""Result figures: two rows, the close-up where the detail is."""

import cv2
import numpy as np

from ct_keras.evaluation.pictures import Picture
from ct_keras.report.figures import draw_result, find_detail


def reference(edge=96):
    rows, columns = np.indices((edge, edge + 16)) - edge / 2
    hu = np.where(np.hypot(rows, columns) < edge * 0.4, 40.0, -1000.0)
    hu[60:72:3, 30:42] = 120  # fine stripes
    return hu.astype(np.int16)


def test_the_close_up_holds_the_detail():
    top, left, side = find_detail(reference())
    assert side == 24
    assert top <= 62 and top + side >= 68 and left <= 32 and left + side >= 40
    assert find_detail(np.zeros((40, 50), np.int16))[2] == 10


def test_a_figure_has_a_column_for_each_image(tmp_path):
    hu = reference()
    noise = np.random.default_rng(0).normal(0, 40, hu.shape).astype(np.int16)
    images = {"input": hu + noise, "filter:gaussian": hu + noise // 3}
    picture = Picture("1", "1", 4, 0.25, (0.8, 0.8), images, hu)
    draw_result(picture, tmp_path / "figure.png")
    drawn = cv2.imread(str(tmp_path / "figure.png"), cv2.IMREAD_GRAYSCALE)
    rows, columns = drawn.shape
    assert abs(columns - 3 * 330) <= 3 and abs(rows - 742) <= 3
    third = columns // 3
    # Soft tissue is grey, air black: the last column is the reference without noise.
    middle = drawn[rows // 5 : rows // 4]
    spread = [np.std(middle[:, i * third + 110 : i * third + 220]) for i in range(3)]
    assert spread[0] > spread[1] > spread[2]
