import shlex

import pytest

from diffrig_emo.cli import HELP, VERBS, _spelt_out, main


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


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_an_example_that_parses(verb, capsys):
    assert f"\n  {verb}" in HELP
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    example = capsys.readouterr().out.split("\nexample:\n")[1].strip()
    program, *words = shlex.split(example.splitlines()[-1])
    assert program == "diffrig-emo"
    assert words[0] == verb
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--print_config"])  # parses, and does nothing
    assert not stopped.value.code
