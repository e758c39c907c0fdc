import pytest

from diffrig_emo.cli import _spelt_out


@pytest.mark.parametrize(
    ("words", "spelt"),
    [
        (["edit", "--set", "a=1", "--set=b=2"], ["edit", "--set+", "a=1", "--set+=b=2"]),
        (["edit", "--set", '["a=1"]', "--add=[b=2]"], ["edit", "--set", '["a=1"]', "--add=[b=2]"]),
        (["edit", "--paste", "--seed", "1", "--blend"], ["edit", "--paste=true", "--seed", "1", "--blend=true"]),
        (["edit", "--paste", "false", "--residual=true"], ["edit", "--paste", "false", "--residual=true"]),
    ],
)
def test_options_may_be_repeated_and_switches_need_no_value(words, spelt):
    assert _spelt_out("edit", words) == spelt


def test_other_verbs_stay_as_they_are():
    words = ["mesh", "--set", "a=1", "--paste"]
    assert _spelt_out("mesh", words) == words
