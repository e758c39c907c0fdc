import csv
import json

import pytest
import torch
from PIL import Image

from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.provenance import read_provenance
from diffrig_emo.morphable.synthetic_head import SyntheticHead, emotion_preset
from diffrig_emo.workflows.editing.rigs import Reach


def exact(calls, **codes):
    """What the rig was told in its only call, against what was wanted."""
    (call,) = calls
    for name, wanted in codes.items():
        torch.testing.assert_close(getattr(call["codes"], name)[0], wanted, atol=2e-5, rtol=0)
    return call


def test_nothing_but_an_emotion_edits_a_synthetic_face(shipped, people, painted, cli):
    out = cli("--emotion", "happy", "--face=1", "--strength", "0.5")
    exp, jaw, _, _ = emotion_preset("happy")
    own = people["codes"][1]
    exact(painted, exp=0.5 * exp, pose=torch.cat([own.pose[0, :3], 0.5 * jaw]), shape=own.shape[0], tex=own.tex[0])
    assert sorted(p.name for p in out.iterdir()) == ["edit.json", "grid.png", "synthetic_1_happy.png"]
    picture = read_image(out / "synthetic_1_happy.png")
    drawn = Reach.of(shipped).bridge.render(painted[0]["codes"]).rendered[0].clamp(0, 1)
    assert (picture - drawn).abs().max() < 0.51 / 255
    settings = json.loads((out / "edit.json").read_text())
    assert (settings["rig"], settings["emotion"], settings["strength"]) == ("shipped", "happy", 0.5)
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (3 * 66 + 2, 68), "source, rendering, edit"
    for name in ("synthetic_1_happy.png", "grid.png"):
        said = read_provenance(out / name)
        assert said.digital_source_type.endswith("compositeWithTrainedAlgorithmicMedia")
        assert (said.settings["emotion"], said.settings["strength"]) == ("happy", 0.5)


def test_valence_and_arousal_are_places_of_emotions(shipped, painted, cli):
    _, _, valence, arousal = emotion_preset("happy")
    out = cli("--valence", valence / 2, "--arousal", arousal / 2)
    assert (out / f"synthetic_0_v{valence / 2:g}_a{arousal / 2:g}.png").is_file()
    torch.testing.assert_close(painted[0]["codes"].exp[0], 0.5 * emotion_preset("happy")[0], atol=2e-3, rtol=0)


def test_numbers_are_set_and_added_by_place_and_by_name(shipped, people, painted, cli):
    out = cli(
        *("--emotion=neutral", "--set", "exp[3]=1.5", "--set=smile=-0.25", "--set", "light[2,1]=0.5"),
        *("--add", "jaw_open=0.2", "--add=exp[jaw_open]=0.125", "--add", "tex[0]=1"),
    )
    head, own = SyntheticHead(), people["codes"][0]
    exp = head.expression_codes(smile=-0.25, jaw_open=0.125)
    exp[3] = 1.5
    light, tex = own.light[0].clone(), own.tex[0].clone()
    light[2, 1] = 0.5
    tex[0] += 1
    pose = torch.cat([own.pose[0, :3], torch.tensor([0.2, 0, 0])])
    exact(painted, exp=exp, pose=pose, light=light, tex=tex)
    assert (out / "synthetic_0_neutral_set_add.png").is_file()
    assert json.loads((out / "edit.json").read_text())["set"] == ["exp[3]=1.5", "smile=-0.25", "light[2,1]=0.5"]
    painted.clear()
    cli("--set", '["exp[0]=1", "exp[1]=2"]')
    assert painted[0]["codes"].exp[0, :2].tolist() == [1, 2]


def test_regions_keep_the_rest_of_the_expression(shipped, people, painted, cli):
    out = cli("--emotion", "surprise", "--region", "mouth")
    own = people["codes"][0]
    (call,) = painted
    head = SyntheticHead()
    still = own.replace(pose=torch.zeros(1, 6), cam=own.cam, translation=None)
    before, after = (head(still.replace(exp=c.exp)).vertices[0] for c in (own, call["codes"]))
    goal = head(still.replace(exp=emotion_preset("surprise")[0][None])).vertices[0]
    brows = head.regions["brows"]
    assert (after - before)[brows].norm(dim=1).mean() < 0.2 * (goal - before)[brows].norm(dim=1).mean()
    torch.testing.assert_close(call["codes"].jaw_pose[0], emotion_preset("surprise")[1])
    assert (out / "synthetic_0_surprise_mouth.png").is_file()
    painted.clear()
    cli("--emotion", "surprise", "--region", "brows", "--region=eyes")
    torch.testing.assert_close(painted[0]["codes"].jaw_pose, own.jaw_pose)


@pytest.fixture
def album(people, tmp_path):
    folder = tmp_path / "album"
    for number, image in enumerate(people["images"]):
        write_image(folder / f"p{number}.png", image)
    return folder


def test_each_target_gives_its_part_in_one_edit(shipped, people, painted, cli, album, tmp_path):
    codes = people["codes"]
    out = cli(
        *("--source", album / "p0.png", "--targets.exp", album / "p1.png", "--targets.pose", album / "p2.png"),
        *("--targets.light", album / "p3.png", "--targets.latent", album / "p1.png"),
    )
    pose = torch.cat([codes.pose[2, :3], codes.pose[1, 3:]])
    call = exact(painted, exp=codes.exp[1], pose=pose, light=codes.light[3], shape=codes.shape[0])
    assert call["start"] == "noise", "another look does not start from the source's latent"
    torch.testing.assert_close(call["donor"][0], people["images"][1], atol=0.003, rtol=0)
    assert (out / "p0_p1_exp_p2_pose_p3_light_p1_latent.png").is_file()
    painted.clear()
    out = cli("--source", album / "p0.png", "--target", album / "p1.png", "--modes=[exp,light]", "--add=smile=1")
    assert [call["start"] for call in painted] == 2 * ["inverted"]
    smile = SyntheticHead().expression_codes("smile")
    torch.testing.assert_close(painted[0]["codes"].exp[0], codes.exp[1] + smile)
    torch.testing.assert_close(painted[1]["codes"].exp[0], codes.exp[0] + smile)
    assert {"p0_p1_exp_add.png", "p0_p1_light_add.png"} <= {p.name for p in out.iterdir()}


def test_how_it_is_painted_reaches_the_rig(shipped, painted, cli):
    cli(
        *("--emotion=sad", "--sampler=dpm", "--steps=10", "--t0=0.6", "--residual", "--blend", "true"),
        *("--guidance_scale=2", "--release=0.25", "--seed=5"),
    )
    told = {"start": "inverted", "sampler": "dpm", "strength": 0.6, "residual": True, "blend": True}
    told |= {"guidance_scale": 2, "release": 0.25, "eta": 0.0, "temperature": 1.0}
    assert {name: painted[0][name] for name in told} == told
    torch.testing.assert_close(painted[0]["latent"], 0.6 * painted[0]["batch"]["image"])
    assert len(shipped.timesteps) == 10
    assert shipped.seed == 5
    painted.clear()
    cli("--emotion=sad", "--start=noise", "--temperature=0.5", "--eta=1")
    told = {"start": "noise", "temperature": 0.5, "eta": 1.0, "latent": None}
    assert {name: painted[0][name] for name in told} == told


def test_a_face_is_pasted_into_the_whole_photograph(shipped, people, painted, cli, tmp_path):
    pair = torch.nn.functional.interpolate(torch.cat([*people["images"][:2]], dim=2)[None], scale_factor=2)[0]
    photo = torch.cat([pair, torch.full((3, 128, 61), 0.25)], dim=2)
    write_image(tmp_path / "pair.png", photo)
    photo = read_image(tmp_path / "pair.png")
    words = ["--source", tmp_path / "pair.png", "--emotion=happy", "--detector=tests.fakes.SquareDetector"]
    out = cli(*words, "--paste", "--face_policy=1")
    pasted = read_image(out / "pair_happy.png")
    assert pasted.shape == photo.shape
    assert torch.equal(pasted[:, :, :128], photo[:, :, :128])
    assert torch.equal(pasted[:, :, 257:], photo[:, :, 257:])
    assert (pasted - photo)[:, 40:90, 170:220].abs().mean() > 0.02
    assert painted[0]["batch"]["image"].shape == (1, 3, 64, 64)
    torch.testing.assert_close(painted[0]["codes"].shape[0], people["codes"].shape[1])
    painted.clear()
    both = read_image(cli(*words, "--paste", "--all_faces", "--image_format=jpg") / "pair_happy.jpg")
    assert sum(len(call["batch"]["image"]) for call in painted) == 2
    for left in (0, 128):
        assert (both - photo)[:, 40:90, left + 40 : left + 90].abs().mean() > 0.02
    out = cli(*words, "--all_faces=true")
    assert {"pair_0_happy.png", "pair_1_happy.png"} <= {p.name for p in out.iterdir()}
    assert read_image(out / "pair_1_happy.png").shape == (3, 64, 64)


def test_one_bad_file_does_not_stop_the_rest(shipped, album, cli, painted):
    (album / "torn.png").write_bytes((album / "p0.png").read_bytes()[:500])
    (album / "notes.txt").write_text("rubbish")
    (album / "empty.jpg").touch()
    write_image(album / "wide.png", torch.full((3, 64, 128), 0.5))  # not square, so a face is looked for
    with pytest.raises(SystemExit) as stopped:
        cli("--source", album, "--emotion", "happy", "--batch_size", "3")
    out = album.parent / "out"
    assert {p.name for p in out.glob("*_happy.png")} == {f"p{i}_happy.png" for i in range(4)}
    with (out / "skipped.csv").open() as file:
        reasons = {row["path"].rpartition("/")[2]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == {"torn.png", "empty.jpg", "wide.png"}
    assert "no face was found" in reasons["wide.png"]
    assert "3 of 7 photographs could not be used" in str(stopped.value)
    assert [len(call["batch"]["image"]) for call in painted] == [3, 1]


def test_the_batch_size_changes_no_picture(shipped, album, cli):
    words = ["--source", album, "--emotion", "happy", "--steps=2", "--start=noise"]
    one = {p.name: read_image(p) for p in cli(*words, "--batch_size=1").glob("p*.png")}
    for path in cli(*words, "--batch_size=3").glob("p*.png"):
        assert (one[path.name] - read_image(path)).abs().max() <= 1.01 / 255
    assert len(one) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to change"),
        (["--emotion=hapy"], "'hapy' is unknown; did you mean happy?"),
        (["--emotion=happy", "--strength=1.6"], r"strength: expected a number from 0 (neutral) to 1.5"),
        (["--set=smile=1", "--strength=0.5"], "strength: it belongs to an emotion"),
        (["--emotion=happy", "--valence=0.5"], "both name an expression"),
        (["--arousal=-1.5"], "arousal: expected a number from -1 to 1"),
        (["--emotion=happy", "--region=moth"], "region: 'moth' is unknown; did you mean mouth"),
        (["--set=exp[23]=1"], "expected exp[0..22], got exp[23]"),
        (["--set=exp[smle]=1"], "exp has no coefficient 'smle'; did you mean smile"),
        (["--set=expp[1]=1"], "'expp' is no group of coefficients; did you mean exp"),
        (["--add=jaw_opn=1"], "'jaw_opn' is no coefficient; did you mean jaw_open"),
        (["--set=exp=1"], "say which of its numbers: exp[0]=1"),
        (["--set=exp[0]=much"], "expected a finite number"),
        (["--set=smile"], "expected GROUP[INDEX]=NUMBER or NAME=NUMBER"),
        (["--set=detail[0]=1"], "these codes have no detail"),
        (["--emotion=happy", "--t0=0"], "t0: expected a number above 0"),
        (["--emotion=happy", "--residual=true", "--start=noise"], "residual: noise holds no source"),
        (["--emotion=happy", "--eta=1", "--sampler=dpm"], "eta: DPM-Solver draws no noise"),
        (["--emotion=happy", "--clip=gif"], "one picture is no clip"),
        (["--emotion=happy", "--interpolate=1"], "expected 2 pictures or more"),
        (["--emotion=happy", "--face=-1"], "face: expected a number of at least 0"),
        (["--emotion=happy", "--batch_size=0"], "batch_size: expected 1 or more"),
        (["--emotion=happy", "--prototypes=none.npz"], "no such file"),
        (["--emotion=happy", "--adapter=a.safetensors"], "name that with --rig"),
    ],
)
def test_bad_requests_say_what_was_wanted(shipped, painted, cli, tmp_path, words, message):
    with pytest.raises(SystemExit) as stopped:
        cli(*words)
    assert message in str(stopped.value)
    assert not painted
    assert not list(tmp_path.glob("out/*.png"))


def test_a_target_without_a_face_is_named(shipped, album, cli, painted):
    write_image(album / "nobody.png", torch.full((3, 64, 128), 0.5))
    with pytest.raises(SystemExit, match=r"nobody\.png: no face was found"):
        cli("--source", album / "p0.png", "--target", album / "nobody.png")
    with pytest.raises(SystemExit, match=r"nobody\.png: no face was found"):
        cli("--source", album / "nobody.png", "--emotion=happy")
    assert not painted


def test_help_has_an_example(capsys):
    from diffrig_emo.cli import main

    with pytest.raises(SystemExit):
        main(["edit", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "diffrig-emo edit --emotion happy" in said
    assert "jaw_open" in said
