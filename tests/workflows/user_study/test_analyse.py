"""Answers whose statistics are known by hand."""

from __future__ import annotations

import csv
import json
import math

import pytest
from scipy.stats import binomtest

from diffrig_emo.cli import main
from diffrig_emo.workflows.user_study.analyse import user_study_analyse
from diffrig_emo.workflows.user_study.build import user_study_build
from tests.workflows.user_study.conftest import SYSTEMS, data_of, key_of, write_pictures

FIRST, SECOND = SYSTEMS


def answers_to(page, participant, decide, finished="2025-03-01T10:00:00.000Z", ms=1500):
    """What the page would save: `decide` gets the key's entry and names a system, an emotion, or "a" or "b"."""
    answers = []
    for number, (question, truth) in enumerate(key_of(page)["questions"].items()):
        choice = decide(truth)
        if choice in truth["systems"] and truth["kind"] != "emotion":
            choice = "ab"[truth["systems"].index(choice)]
        left = None if truth["kind"] == "emotion" else "ab"[number % 2]
        answers.append({"question": question, "choice": choice, "left": left, "ms": ms})
    page_id = data_of(page)["page"]
    return {"version": 1, "page": page_id, "participant": participant, "started": finished, "finished": finished,
            "answers": answers}  # fmt: skip


def prefers(system, emotion=None):
    return lambda truth: truth["answer"] or system if emotion is None or truth["is_check"] else emotion


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def analyse(page, folder, tmp_path, **settings):
    output = tmp_path / "results.json"
    user_study_analyse(folder, page.with_name("study_key.json"), output, **settings)
    return json.loads(output.read_text(encoding="utf-8"))


def test_rates_strengths_and_confusion_are_right(page, tmp_path, capsys):
    files = {f"p{i}": answers_to(page, f"p{i}", prefers(FIRST if i < 3 else SECOND)) for i in range(4)}
    results = analyse(page, write(tmp_path / "answers", **files), tmp_path)
    (pair,) = results["realism"]["pairs"]
    interval = binomtest(9, 12).proportion_ci(method="wilson")
    assert (pair["system"], pair["over"], pair["successes"], pair["trials"]) == (*sorted(SYSTEMS), 9, 12)
    assert (pair["low"], pair["high"]) == pytest.approx((interval.low, interval.high))
    strengths = results["identity"]["bradley_terry"]
    assert strengths[FIRST]["strength"] - strengths[SECOND]["strength"] == pytest.approx(math.log(9 / 3))
    assert results["checks"] == {"asked": 12, "passed": 12}
    for system in SYSTEMS:
        found = results["emotion"][system]
        assert found["accuracy"]["rate"] == 1
        assert {name: share["trials"] for name, share in found["emotions"].items()} == {
            "happy": 4,
            "sad": 4,
            "anger": 4,
        }
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(key_of(page)["questions"])
    won = [row for row in rows if row["kind"] == "realism" and row["choice"] == FIRST]
    assert len(won) == 9
    assert {row["chose_left"] for row in won} <= {"True", "False"}
    printed = capsys.readouterr().out
    for words in ("75.0%", "46.8% to 91.1%", "95 % interval", "3 of 3", "1.5 s", "left picture"):
        assert words in printed


def test_what_is_seen_instead_is_in_the_confusion(page, tmp_path):
    def seen(truth):
        return "fear" if truth["systems"] == [FIRST] and truth["answer"] == "sad" else truth["answer"] or FIRST

    results = analyse(page, write(tmp_path / "a", p=answers_to(page, "p", seen)), tmp_path)
    confusion = results["emotion"][FIRST]["confusion"]
    row = confusion["answers"][confusion["rows"].index("sad")]
    assert [name for name, count in zip(confusion["columns"], row, strict=True) if count] == ["fear"]
    assert results["emotion"][FIRST]["accuracy"]["successes"] == 2
    assert results["emotion"][FIRST]["emotions"]["sad"]["rate"] == 0


def test_left_and_right_are_told_apart(page, tmp_path):
    content = answers_to(page, "p", prefers(FIRST))
    for answer in content["answers"]:
        if answer["left"]:
            answer["left"] = answer["choice"]
    results = analyse(page, write(tmp_path / "a", p=content), tmp_path)
    assert results["realism"]["left"]["rate"] == results["identity"]["left"]["rate"] == 1


def test_one_who_always_wins_has_no_strength_and_says_so(page, tmp_path, capsys):
    results = analyse(page, write(tmp_path / "a", p=answers_to(page, "p", prefers(FIRST))), tmp_path)
    assert results["realism"]["bradley_terry"] == {
        "none": f"no finite strengths, for one side of | never lost to the other: {FIRST} | {SECOND}"
    }
    assert f"never lost to the other: {FIRST} | {SECOND}" in capsys.readouterr().out
    json.dumps(results, allow_nan=False)


def test_of_several_files_of_a_participant_the_latest_counts(page, tmp_path, capsys):
    old = answers_to(page, "p", prefers(SECOND), finished="2025-03-01T10:00:00.000Z")
    new = answers_to(page, "p", prefers(FIRST), finished="2025-03-01T11:30:00.000+01:00")
    results = analyse(page, write(tmp_path / "a", a_new=new, b_old=old), tmp_path)
    assert results["realism"]["pairs"][0]["trials"] == 3
    assert results["realism"]["systems"][FIRST]["rate"] == 1
    assert results["left_out"] == ["b_old.json: left out, participant p finished a_new.json later"]
    assert results["left_out"][0] in capsys.readouterr().out


def test_who_fails_checks_is_reported_and_may_be_left_out(page, tmp_path, capsys):
    def careless(truth):
        return SECOND if truth["systems"] else {"a": "b", "b": "a"}.get(truth["answer"], "none")

    def honest(truth):
        return truth["answer"] or FIRST

    files = {"good": answers_to(page, "good", honest)}
    files["bad"] = answers_to(
        page, "bad", lambda t: t["answer"] if t["kind"] == "emotion" and t["systems"] else careless(t)
    )
    folder = write(tmp_path / "a", **files)
    everyone = analyse(page, folder, tmp_path)
    assert everyone["checks"] == {"asked": 6, "passed": 3}
    assert everyone["realism"]["systems"][FIRST]["rate"] == 0.5
    results = analyse(page, folder, tmp_path, max_failed_checks=1)
    assert results["realism"]["systems"][FIRST]["rate"] == 1
    told = {p["participant"]: (p["checks_passed"], p["checks"], p["is_kept"]) for p in results["participants"]}
    assert told == {"bad": (0, 3, False), "good": (3, 3, True)}
    assert "left out" in capsys.readouterr().out
    (folder / "good.json").unlink()
    with pytest.raises(ValueError, match="all 1 participants failed more than 1"):
        analyse(page, folder, tmp_path, max_failed_checks=1)


def test_three_systems_are_compared_pair_by_pair(tmp_path):
    systems = write_pictures(tmp_path, systems=("one", "two", "three"), names=("a", "b", "c", "d"))
    user_study_build(systems, output=tmp_path / "study.html", image_size=32, checks=0)
    page = tmp_path / "study.html"
    ranks = ["one", "two", "three"]

    def mostly(truth):
        best, worst = sorted(truth["systems"], key=ranks.index)
        return worst if truth["face"] == "d" else best

    results = analyse(page, write(tmp_path / "a", p=answers_to(page, "p", mostly)), tmp_path)
    pairs = {(pair["system"], pair["over"]): pair["rate"] for pair in results["realism"]["pairs"]}
    assert pairs == {("one", "three"): 0.75, ("one", "two"): 0.75, ("three", "two"): 0.25}
    assert {s: share["successes"] for s, share in results["realism"]["systems"].items()} == {
        "one": 6,
        "two": 4,
        "three": 2,
    }
    strengths = [results["realism"]["bradley_terry"][system]["strength"] for system in ranks]
    assert strengths == sorted(strengths, reverse=True)
    assert sum(strengths) == pytest.approx(0, abs=1e-9)


def test_files_that_cannot_be_used_are_all_named(page, tmp_path):
    good = answers_to(page, "p", prefers(FIRST))

    def changed(**fields):
        return {**good, **fields}

    def with_answer(**fields):
        return {**good, "answers": [{**good["answers"][0], **fields}]}

    folder = write(
        tmp_path / "a",
        fine=good,
        other=changed(page="0123456789ab"),
        version=changed(version=2),
        nameless=changed(participant=""),
        endless=changed(finished=None),
        zoneless=changed(finished="2025-03-01T10:00:00"),
        unlisted=changed(answers={}),
        twice=changed(answers=good["answers"][:1] * 2),
        unknown=with_answer(question="x"),
        tie=with_answer(choice="tie"),
        side=with_answer(left="c"),
        slow=with_answer(ms=-1),
        bare=changed(answers=[{}]),
        listed=[],
    )
    (folder / "torn.json").write_text('{"page": "')
    with pytest.raises(ValueError, match="answers: 14 of 15 files cannot be used; put them elsewhere") as caught:
        analyse(page, folder, tmp_path)
    message = str(caught.value)
    for words in (
        f"other.json: expected answers to page {good['page']}, got '0123456789ab'",
        "version.json: expected version 1, got 2",
        "nameless.json, participant: expected a code, got ''",
        "endless.json, finished: expected a time such as",
        "zoneless.json, finished: expected a time such as",
        "unlisted.json, answers: expected a list, got {}",
        "twice.json, answers: expected each question once, got",
        "unknown.json, answer 0, question: expected one of the page's, got 'x'",
        "tie.json, answer 0, choice: expected one of",
        "side.json, answer 0, left: expected",
        "slow.json, answer 0, ms: expected a whole number of milliseconds, got -1",
        "bare.json, answer 0: expected question, choice, left and ms, got {}",
        "listed.json: expected a JSON object, got list",
        "torn.json: expected JSON, got something else or a part of it",
    ):
        assert words in message
    assert "fine.json" not in message
    assert not (tmp_path / "results.json").exists()


def test_bad_keys_and_settings_are_named(page, tmp_path):
    folder = write(tmp_path / "a", p=answers_to(page, "p", prefers(FIRST)))
    key = page.with_name("study_key.json")
    with pytest.raises(ValueError, match="expected the key that was written beside the page, got other JSON"):
        user_study_analyse(folder, folder / "p.json", tmp_path / "r.json")
    old = write(tmp_path / "keys", old={**key_of(page), "version": 0}, torn={**key_of(page), "questions": {"q": {}}})
    with pytest.raises(ValueError, match="expected a key of version 1, got 0"):
        user_study_analyse(folder, old / "old.json", tmp_path / "r.json")
    with pytest.raises(ValueError, match=r"question q: expected answer, face, is_check, kind, systems, got \{\}"):
        user_study_analyse(folder, old / "torn.json", tmp_path / "r.json")
    with pytest.raises(FileNotFoundError, match="expected the JSON files that participants sent, got none"):
        user_study_analyse(tmp_path / "empty", key, tmp_path / "r.json")
    with pytest.raises(ValueError, match="confidence: expected a probability"):
        user_study_analyse(folder, key, tmp_path / "r.json", confidence=95)
    with pytest.raises(ValueError, match="max_failed_checks: expected 0 or more, got -1"):
        user_study_analyse(folder, key, tmp_path / "r.json", max_failed_checks=-1)
    with pytest.raises(ValueError, match="would lie among the answers or replace the key"):
        user_study_analyse(folder, key, folder / "r.json")
    with pytest.raises(ValueError, match=r"expected the name of a JSON file, got r\.csv"):
        user_study_analyse(folder, key, tmp_path.joinpath("r.csv").relative_to(tmp_path))


def test_names_are_printed_as_they_are(page, tmp_path, capsys):
    content = answers_to(page, "[red]p[/blue]", prefers(FIRST))
    analyse(page, write(tmp_path / "a", p=content), tmp_path)
    assert "[red]p[/blue]" in capsys.readouterr().out


def test_the_command_line(page, tmp_path, capsys):
    folder = write(tmp_path / "a", p=answers_to(page, "p", prefers(FIRST)))
    key, output = str(page.with_name("study_key.json")), str(tmp_path / "out" / "results.json")
    main(["user-study-analyse", "--answers", str(folder), "--key", key, "--output", output])
    assert "every answer in" in capsys.readouterr().out
    write(folder, p=answers_to(page, "", prefers(FIRST)))
    with pytest.raises(SystemExit, match="diffrig-emo user-study-analyse: answers: 1 of 1 files"):
        main(["user-study-analyse", "--answers", str(folder), "--key", key, "--output", output])
