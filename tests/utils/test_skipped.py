from __future__ import annotations

import pytest

from diffrig_emo.utils import AssetNotFoundError, Skipped, require, unless_missing


def test_what_is_there_is_built():
    assert unless_missing("a list", list) == []


@pytest.mark.parametrize(
    "error", [FileNotFoundError("no file"), AssetNotFoundError("no asset"), ImportError("no package")]
)
def test_what_is_missing_is_skipped_with_the_reason(error):
    def build():
        raise error

    skipped = unless_missing("FID", build)
    assert skipped == Skipped("FID", str(error))
    assert str(skipped) == f"FID: skipped, because {error}"


def test_the_reason_tells_what_to_do():
    skipped = unless_missing("x", lambda: require("no_such_package", purpose="x", install="pip install it"))
    assert "pip install it" in str(skipped)


def test_what_is_damaged_is_an_error():
    def build():
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        unless_missing("FID", build)
