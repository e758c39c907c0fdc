"""The page: blind, whole, and about the right pictures."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffrig_emo.cli import main
from diffrig_emo.workflows.user_study.build import user_study_build
from diffrig_emo.workflows.user_study.faces import match_faces
from diffrig_emo.workflows.user_study.questions import draw_questions
from tests.workflows.user_study.conftest import NAMES, SYSTEMS, data_of, key_of, write_picture, write_pictures


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def build(folder, systems=None, **settings):
    output = folder / "study.html"
    user_study_build(systems or write_pictures(folder), output=output, **{"image_size": 32, **settings})
    return output


@pytest.mark.parametrize("lossless", [False, True])
def test_nothing_tells_who_made_a_picture(tmp_path, lossless):
    systems = write_pictures(tmp_path)
    page = build(tmp_path, systems, sources=tmp_path / "photos", lossless=lossless)
    text = page.read_text(encoding="utf-8")
    files = b"".join(base64.b64decode(uri.split(",")[1]) for uri in data_of(page)["pictures"].values())
    assert len(files) > 1000
    for word in (*SYSTEMS, *NAMES, "anna", "ben_", "photos", str(tmp_path)):
        assert word not in text
        assert word.encode() not in files
        for shift in range(3):  # where it would lie in base64
            encoded = base64.b64encode(b"\0" * shift + word.encode()).decode().rstrip("=")
            assert len(word) < 6 or encoded[-(-4 * shift // 3) + 1 : -2] not in text
    key = key_of(page)
    assert set(key["systems"]) == set(SYSTEMS)
    assert {question["face"] for question in key["questions"].values()} == set(NAMES)
    assert {uri.split(";")[0] for uri in data_of(page)["pictures"].values()} == {
        "data:image/png" if lossless else "data:image/jpeg"
    }


def test_neither_order_nor_place_tells(tmp_path):
    """Whose picture comes first in the file is a coin's toss."""
    names = [f"face{i}" for i in range(150)]
    faces = match_faces(write_pictures(tmp_path, names=names))
    questions = draw_questions(faces, ["realism"], 0, False, random.Random(3))
    first = Counter(question.systems[0] for question in questions)
    assert 50 < first[SYSTEMS[0]] < 100
    assert [q.face for q in questions] != sorted(q.face for q in questions)
    assert len({q.id for q in questions}) == 150


def test_every_question_shows_its_own_pictures(tmp_path):
    systems = write_pictures(tmp_path, systems=("one", "two", "three"))
    page = build(tmp_path, systems, sources=tmp_path / "photos", lossless=True, checks=0)
    data, key = data_of(page), key_of(page)["questions"]
    kinds = Counter(question["kind"] for question in data["questions"])
    assert kinds == {"realism": 9, "identity": 9, "emotion": 9}

    def shown(name):
        return pixels(data["pictures"][name])

    for question in data["questions"]:
        truth = key[question["id"]]
        for system, name in zip(truth["systems"], question["pictures"], strict=True):
            np.testing.assert_array_equal(shown(name), np.asarray(Image.open(systems[system] / f"{truth['face']}.png")))
        if question["kind"] == "identity":
            source = tmp_path / "photos" / f"{truth['face'].split('_')[0]}.png"
            np.testing.assert_array_equal(shown(question["source"]), np.asarray(Image.open(source)))
        else:
            assert question["source"] is None
        assert truth["answer"] == (truth["face"].split("_")[1] if question["kind"] == "emotion" else None)
    pairs = Counter((q["face"], frozenset(q["systems"])) for q in key.values() if q["kind"] == "realism")
    assert len(pairs) == 9


def test_checks_have_a_plain_answer(tmp_path):
    page = build(tmp_path, sources=write_pictures(tmp_path) and tmp_path / "photos", checks=3, lossless=True)
    data, key = data_of(page), key_of(page)["questions"]
    checks = [q for q in data["questions"] if key[q["id"]]["is_check"]]
    assert Counter(q["kind"] for q in checks) == {"realism": 3, "identity": 3, "emotion": 3}
    for question in checks:
        truth = key[question["id"]]
        assert truth["systems"] == []
        assert question["always"]
        if question["kind"] == "emotion":
            assert question["request"] == truth["answer"]
            continue
        good, noisy = (
            pixels(data["pictures"][n]) / 255.0 for n in question["pictures"][:: -1 if truth["answer"] == "b" else 1]
        )
        photos = [np.asarray(Image.open(path)) / 255 for path in (tmp_path / "photos").iterdir()]
        assert min(abs(good - photo).max() for photo in photos) < 1 / 255
        assert abs(noisy - good).mean() > 0.2
        if question["kind"] == "identity":
            np.testing.assert_array_equal(pixels(data["pictures"][question["source"]]) / 255, good)


def test_sources_compete_as_a_system(tmp_path):
    systems = write_pictures(tmp_path)
    only = {SYSTEMS[0]: systems[SYSTEMS[0]]}
    page = build(tmp_path, only, sources=tmp_path / "photos", sources_compete=True, kinds=["realism"], checks=0)
    assert [sorted(q["systems"]) for q in key_of(page)["questions"].values()] == [sorted([SYSTEMS[0], "source"])] * 3


def test_pictures_are_made_alike(tmp_path):
    """A large JPEG with a rotation tag and a small wide PNG: longest side as asked, upright."""
    for system, size in (("one", (20, 10)), ("two", (96, 48))):
        path = tmp_path / system / "face.jpg"
        path.parent.mkdir()
        image = Image.new("RGB", size, (200, 0, 0))
        exif = Image.Exif()
        exif[274] = 6  # turned by a quarter
        image.save(path, exif=exif)
    page = build(tmp_path, {"one": tmp_path / "one", "two": tmp_path / "two"}, checks=0)
    assert {pixels(uri).shape for uri in data_of(page)["pictures"].values()} == {(32, 16, 3)}


def test_the_same_command_gives_the_same_page_and_another_never_replaces_its_key(tmp_path):
    systems = write_pictures(tmp_path)
    page = build(tmp_path, systems)
    before = page.read_bytes()
    build(tmp_path, systems)
    assert page.read_bytes() == before
    for other in ({"seed": 1}, {"title": "Other"}, {"per_participant": 2}):
        with pytest.raises(
            ValueError, match=r"study_key.json is there already, the key of page \w{12}.*choose another"
        ):
            build(tmp_path, systems, **other)
    assert page.read_bytes() == before
    (tmp_path / "study_key.json").write_text("{")
    with pytest.raises(ValueError, match="key of page something else"):
        build(tmp_path, systems)


def test_texts_cannot_break_the_page(tmp_path):
    title = "</script><b>${page} $data"
    text = build(tmp_path, title=title, introduction=title).read_text(encoding="utf-8")
    assert data_of(tmp_path / "study.html")["introduction"] == title
    assert "</script><b>" not in text
    assert text.count("</script>") == 2
    assert not re.search(r"https?://|\b(?:src|href)=\"(?!data:)", text)


def test_faces_that_lack_are_left_out_and_said(tmp_path, capsys):
    systems = write_pictures(tmp_path, names=("anna_happy", "ben_sad", "cleo_happy", "dora_fear", "eve"))
    (systems[SYSTEMS[0]] / "ben_sad.png").unlink()
    (systems[SYSTEMS[1]] / "cleo_happy.png").write_bytes(b"\x89PNG\r\n and then nothing")
    (tmp_path / "photos" / "dora.png").unlink()
    write_picture(systems[SYSTEMS[0]] / "grid.png", 0)
    page = build(tmp_path, systems, sources=tmp_path / "photos", checks=0)
    key = key_of(page)
    faces = {
        kind: {q["face"] for q in key["questions"].values() if q["kind"] == kind}
        for kind in ("realism", "identity", "emotion")
    }
    assert faces == {
        "realism": {"anna_happy", "dora_fear", "eve"},
        "identity": {"anna_happy", "eve"},
        "emotion": {"anna_happy", "dora_fear"},
    }
    assert set(key["left_out"]) == {"ben_sad", "cleo_happy"}
    printed = capsys.readouterr().out
    for words in (
        f"left out ben_sad: not in {systems[SYSTEMS[0]]} ({SYSTEMS[0]})",
        "left out cleo_happy: ",
        "expected a complete picture",
        "identity: not asked of 1 faces without source, such as dora_fear",
        "emotion: not asked of 1 faces without known emotion, such as eve",
        "3 faces, 9 questions for each participant, about 1 minutes",
    ):
        assert words in printed


def test_folders_without_common_pictures_are_an_error_that_names_both(tmp_path):
    for system, name in (("one", "anna"), ("two", "ben")):
        write_picture(tmp_path / system / f"{name}.png", 0)
    systems = {"one": tmp_path / "one", "two": tmp_path / "two"}
    with pytest.raises(ValueError, match=r"same names.*one \(one\) has anna; .*two \(two\) has ben"):
        build(tmp_path, systems)


def test_sources_are_found_by_the_longest_name(tmp_path):
    names = ("anna_b_happy", "anna_c", "ann_happy", "old/anna")
    for name in names:
        write_picture(tmp_path / "one" / f"{name}.png", 0)
    for name in ("anna", "anna_b", "anna_c_d"):
        write_picture(tmp_path / "photos" / f"{name}.jpg", 0)
    found = match_faces({"one": tmp_path / "one"}, tmp_path / "photos").sources
    photos = tmp_path / "photos"
    assert found == {
        "anna_b_happy": photos / "anna_b.jpg",
        "anna_c": photos / "anna.jpg",
        "old/anna": photos / "anna.jpg",
    }


def test_emotions_by_name_and_by_table(tmp_path):
    names = ("anna_happy", "angry/ben", "happy_to_sad", "happening", "none_1", "cleo_surprised_exp", "dora.b_7")
    for name in names:
        write_picture(tmp_path / "one" / f"{name}.png", 0)
    systems = {"one": tmp_path / "one"}
    by_name = {"anna_happy": "happy", "angry/ben": "anger", "cleo_surprised_exp": "surprise"}
    assert match_faces(systems).emotions == by_name
    table = tmp_path / "emotions.csv"
    table.write_text("name,emotion\nanna_happy.png,Sad\ndora.b_7,contempt\nhappy_to_sad.png, fear\n")
    by_table = {"anna_happy": "sad", "dora.b_7": "contempt", "happy_to_sad": "fear"}
    assert match_faces(systems, emotions=table).emotions == by_table
    table.write_text("name,emotion\nanna_happy,suprise\n")
    with pytest.raises(ValueError, match=r"line 2: expected one of neutral, .*got 'suprise'; did you mean surprise\?"):
        match_faces(systems, emotions=table)
    table.write_text("file,label\nanna,sad\n")
    with pytest.raises(ValueError, match=r"columns name and emotion, got \['file', 'label'\]"):
        match_faces(systems, emotions=table)


def test_a_pattern_chooses_pictures(tmp_path):
    systems = write_pictures(tmp_path, names=("anna_1_exp", "anna_1_light"))
    assert set(match_faces(systems, pattern="*_exp.png").pictures) == {"anna_1_exp"}
    with pytest.raises(FileNotFoundError, match=r"expected pictures that fit '\*_pose.png' in this folder, got none"):
        match_faces(systems, pattern="*_pose.png")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["identity"]}, "identity needs two systems and source photographs of their faces"),
        ({"kinds": ["emotion"], "pattern": "*_x.png"}, "emotion needs faces whose emotion is known"),
        ({"kinds": ["realism", "realism"]}, "kinds: expected one or more different ones of realism, identity, emotion"),
        ({"kinds": []}, "kinds: expected one or more"),
        ({"sources_compete": True}, "expected a folder of sources to compete, got none; give --sources"),
        ({"per_participant": 0}, "per_participant: expected 1 or more, got 0"),
        ({"checks": -1}, "checks: expected 0 or more, got -1"),
        ({"image_size": 4}, "image_size: expected 16 or more, got 4"),
        ({"output": Path("study.json")}, "expected the name of an HTML page such as study.html, got study.json"),
        ({"systems": {}}, "systems: expected at least one folder"),
        ({"systems": {"one": Path("nowhere")}}, "nowhere: expected a folder of pictures, but there is none"),
    ],
)
def test_bad_settings_are_named(tmp_path, settings, message):
    systems = write_pictures(tmp_path, names=("anna_x",))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        user_study_build(**{"systems": systems, "output": tmp_path / "study.html", **settings})
    assert not (tmp_path / "study.html").exists()


def test_two_pictures_of_one_name_and_nothing_to_ask(tmp_path):
    write_picture(tmp_path / "one" / "anna.png", 0)
    with pytest.raises(
        ValueError, match=r"nothing can be asked; realism needs two systems.*identity needs.*emotion needs"
    ):
        build(tmp_path, {"one": tmp_path / "one"})
    write_picture(tmp_path / "one" / "anna.jpg", 0)
    with pytest.raises(ValueError, match=r"expected one picture of each name, got anna.jpg and anna.png"):
        build(tmp_path, {"one": tmp_path / "one"})


def test_the_command_line(tmp_path, capsys):
    systems = write_pictures(tmp_path)
    given = json.dumps({name: str(folder) for name, folder in systems.items()})
    photos, page = str(tmp_path / "photos"), tmp_path / "out" / "study.html"
    main(["user-study-build", "--systems", given, "--sources", photos, "--output", str(page), "--kinds", "[identity]"])
    assert {q["kind"] for q in data_of(page)["questions"]} == {"identity"}
    assert "study_key.json: the key, to keep" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"diffrig-emo user-study-build: .* is there already"):
        main(["user-study-build", "--systems", given, "--output", str(page)])
