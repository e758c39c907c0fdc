import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffrig_emo.workflows.plot import Curve, Panel, draw_panels

BLUE = torch.tensor([0x00, 0x72, 0xB2]) / 255


def panel(x, y, **settings):
    return Panel("title", "x", "y", [Curve("only", x, y, [""] * len(x))], **settings)


def centres(picture):
    """Centres of the first curve's markers: of the patches of its colour that are wider than its line, by x."""
    blue = ((picture - BLUE.view(3, 1, 1)).abs().amax(0) < 0.1)[:430].numpy()
    patches, count = ndimage.label(ndimage.binary_erosion(blue, np.ones((4, 4))))
    return sorted((x, y) for y, x in ndimage.center_of_mass(patches > 0, patches, range(1, count + 1)))


@pytest.mark.parametrize("log_x", [False, True])
def test_points_lie_where_the_axes_say(log_x):
    """Three points: pixels must be linear in the values, or in their logarithms."""
    xs, ys = [1.0, 20.0, 100.0], [3.0, -1.0, 7.0]
    (x_0, y_0), (x_1, y_1), (x_2, y_2) = centres(draw_panels([panel(xs, ys, log_x=log_x)]))
    across = [math.log(x) if log_x else x for x in xs]
    share = (across[1] - across[0]) / (across[2] - across[0])
    assert (x_1 - x_0) / (x_2 - x_0) == pytest.approx(share, abs=0.01)
    assert y_1 > y_0 > y_2  # up is more
    assert (y_1 - y_0) / (y_1 - y_2) == pytest.approx(0.5, abs=0.01)


def test_panels_stand_side_by_side_over_one_legend():
    one = draw_panels([panel([1, 2], [1, 2])])
    two = draw_panels([panel([1, 2], [1, 2]), panel([1, 2], [2, 1], levels={"level": 1.5}, marks={"mark": (1.5, 1.5)})])
    assert two.shape == (3, one.shape[1], 2 * one.shape[2])
    assert torch.equal(two[:, :440, :600], one[:, :440, :600])
    assert (two[:, 445:] < 0.5).any()
    assert one.min() >= 0
    assert one.max() <= 1


def test_what_is_not_finite_is_left_out_and_nothing_to_draw_is_refused():
    with_nan = draw_panels([panel([1, 2, 3], [1, math.nan, 2])])
    without = draw_panels([panel([1, 3], [1, 2])])
    assert torch.equal(with_nan, without)
    with pytest.raises(ValueError, match="panel 'title': expected at least one finite point"):
        draw_panels([panel([1.0], [math.inf])])
    with pytest.raises(ValueError, match="at least one panel"):
        draw_panels([])


def test_one_point_and_many_curves_are_drawn():
    curves = [Curve(f"curve {i}", [0.1 * i + 1], [float(i)], [str(i)]) for i in range(13)]
    picture = draw_panels([Panel("t", "x", "y", curves, log_x=True), Panel("t", "x", "y", curves[:1])])
    assert picture.shape[1] == 440 + 26 * 4 + 8
