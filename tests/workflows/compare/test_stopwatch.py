import itertools

import pytest
from torch import nn

from diffrig_emo.workflows.compare.stopwatch import Stopwatch, typical_seconds


def test_a_modules_calls_are_a_stage_of_their_own():
    ticks = itertools.count()
    watch = Stopwatch(lambda: float(next(ticks)))
    module = nn.Identity()
    with watch.watching(module, "render"), watch("sample"):
        module(1)
        module(2)
    module(3)  # no longer watched
    # Ticks 0 and 5 around the sample, 1 to 2 and 3 to 4 around the calls.
    assert watch.seconds == {"render": 2.0, "sample": 3.0}


def test_a_stage_that_fails_is_left():
    ticks = itertools.count()
    watch = Stopwatch(lambda: float(next(ticks)))
    with pytest.raises(ValueError, match="no"), watch("crop"):
        raise ValueError("no")
    with watch("encode"):
        pass
    assert watch.seconds == {"crop": 1.0, "encode": 1.0}


def test_the_first_face_pays_for_warming_up():
    faces = [{"encode": 50.0, "sample": 90.0}, {"encode": 1.0, "sample": 4.0}, {"encode": 3.0, "sample": 6.0}]
    assert typical_seconds(faces) == {"encode": 2.0, "sample": 5.0, "total": 7.0}
    assert typical_seconds(faces[:1])["total"] == 140.0
