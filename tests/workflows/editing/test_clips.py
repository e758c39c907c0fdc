import json

import av
import pytest
import torch
from PIL import Image

from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.provenance import read_provenance
from diffrig_emo.io.video import read_frames, write_frames
from diffrig_emo.transforms.edits import interpolate
from diffrig_emo.workflows.editing.rigs import Reach

DETECTOR = "--detector=tests.fakes.SquareDetector"


def frames_of(path):
    """Read with PyAV, which counts and shows what any player would."""
    with av.open(str(path)) as container:
        return [
            torch.from_numpy(f.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255 for f in container.decode(video=0)
        ]


@pytest.fixture
def clip(people, tmp_path):
    """One person with four expressions, twelve frames, 25 a second."""
    path = tmp_path / "anna.mp4"
    large = torch.nn.functional.interpolate(people["frames"], scale_factor=2)
    write_frames(path, large.repeat_interleave(3, dim=0), rate=25)
    return path


@pytest.fixture
def broken(people, tmp_path):
    """Six frames of one person, of which the fourth shows nothing, then two of somebody else in another scene."""
    path = tmp_path / "broken.mp4"
    large = torch.nn.functional.interpolate(people["images"], scale_factor=2)
    grey = torch.full_like(large[0], float(large[0].mean()))
    write_frames(path, [*[large[0]] * 3, grey, *[large[0]] * 3, *[1 - large[1]] * 2], rate=10)
    return path


def test_a_strip_and_an_animation_go_from_the_source_to_the_edit(shipped, people, painted, cli):
    out = cli("--emotion=happy", "--interpolate=3")
    assert (out / "synthetic_0_strip_happy.png").is_file()
    strip = read_image(out / "synthetic_0_strip_happy.png")
    assert strip.shape == (3, 68, 3 * 66 + 2)
    shares = [call["codes"].replace(translation=None) for call in painted]
    own, wanted = people["codes"][0], shares[-1]
    for share, codes in zip((0.0, 0.5, 1.0), shares, strict=True):
        torch.testing.assert_close(codes.exp, interpolate(own, wanted, share).exp)
    first = Reach.of(shipped).bridge.render(painted[0]["codes"]).rendered[0].clamp(0, 1)
    assert (strip[:, 2:66, 2:66] - first).abs().max() < 0.51 / 255
    assert len({call["latent"].data_ptr() for call in painted}) == 1, "one latent for all"
    assert read_provenance(out / "synthetic_0_strip_happy.png").settings["interpolate"] == 3
    for suffix in ("gif", "mp4"):
        cli("--emotion=happy", "--interpolate=4", f"--clip={suffix}")
        assert len(frames_of(out / f"synthetic_0_happy.{suffix}")) == 4
        assert read_provenance(out / f"synthetic_0_happy.{suffix}").settings["emotion"] == "happy"
    with Image.open(out / "synthetic_0_happy.gif") as gif:
        assert gif.n_frames == 4


def test_a_clip_drives_a_photograph(shipped, people, painted, cli, clip, tmp_path):
    write_image(tmp_path / "ben.png", people["images"][1])
    out = cli("--source", tmp_path / "ben.png", "--driving", clip, "--smoothing=1", "--batch_size=5", "--add=exp[4]=1")
    assert [len(call["batch"]["image"]) for call in painted] == [5, 5, 2]
    exp = torch.cat([call["codes"].exp for call in painted])
    wanted = people["moving"].exp.repeat_interleave(3, dim=0).clone()
    wanted[:, 4] += 1
    torch.testing.assert_close(exp, wanted)
    for call in painted:
        assert (call["codes"].shape == people["codes"].shape[1]).all()
        assert call["batch"]["index"].unique().tolist() == [0]
        assert (call["latent"] == call["latent"][:1]).all()
    frames = frames_of(out / "ben_add_anna.mp4")
    assert len(frames) == 12
    told = json.loads((out / "edit.json").read_text())
    assert told["driving"] == str(clip)
    painted.clear()
    cli("--source", tmp_path / "ben.png", "--driving", clip, "--smoothing=9", "--clip=gif")
    calm = torch.cat([call["codes"].exp for call in painted])
    assert calm.diff(dim=0).abs().amax() < wanted.diff(dim=0).abs().amax(), "calmed"


def test_a_clip_is_edited_frame_by_frame_as_one_person(shipped, people, painted, cli, clip):
    out = cli("--source", clip, "--add=jaw_open=0.1", "--smoothing=3", "--batch_size=8")
    assert [len(call["batch"]["image"]) for call in painted] == [8, 4]
    shapes = torch.cat([call["codes"].shape for call in painted])
    torch.testing.assert_close(shapes, people["codes"].shape[:1].expand(12, -1))
    jaw = torch.cat([call["codes"].jaw_pose for call in painted])
    middle = people["moving"].jaw_pose + torch.tensor([0.1, 0, 0])
    torch.testing.assert_close(jaw[1::3], middle, atol=1e-5, rtol=0)
    assert torch.cat([call["batch"]["index"] for call in painted]).unique().tolist() == [0]
    assert len(frames_of(out / "anna_add.mp4")) == 12
    assert frames_of(out / "anna_add.mp4")[0].shape == (3, 64, 64)
    assert read_provenance(out / "anna_add.mp4").settings["add"] == ["jaw_open=0.1"]
    out = cli("--source", clip, "--emotion=happy", "--paste")
    assert frames_of(out / "anna_happy.mp4")[0].shape == (3, 128, 128)


def test_cuts_and_lost_faces_are_named_and_left_alone(shipped, people, painted, cli, broken, tmp_path):
    for words in (["--paste"], []):
        painted.clear()
        with pytest.raises(SystemExit) as stopped:
            cli("--source", broken, "--emotion=happy", DETECTOR, *words)
        said = str(stopped.value)
        assert "cut at frame 7 (0.70 s)" in said
        assert "frames 7 to 8 (0.70 to 0.80 s) belong to another scene" in said
        assert "lost in frames 3 to 3 (0.30 to 0.30 s)" in said
        assert sum(len(call["batch"]["image"]) for call in painted) == 6
        edited = frames_of(tmp_path / "out" / "broken_happy.mp4")
        assert len(edited) == 9
        before = list(read_frames(broken))
        if words:
            changed = [(a - b).abs().mean() > 0.02 for a, b in zip(edited, before, strict=True)]
            assert changed == [True, True, True, False, True, True, True, False, False]
        assert len(json.loads((tmp_path / "out" / "edit.json").read_text())["problems"]) == 3


def test_a_driving_clip_with_a_lost_face_shows_the_photograph_there(shipped, people, painted, cli, broken, tmp_path):
    with pytest.raises(SystemExit, match="lost in frames 3 to 3"):
        cli("--driving", broken, DETECTOR)
    frames = frames_of(tmp_path / "out" / "synthetic_0_broken.mp4")
    assert len(frames) == 9
    still = [bool((frame - people["images"][0]).abs().mean() < 0.02) for frame in frames]
    assert still == [False, False, False, True, False, False, False, True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--driving=none.mp4"], "no such file"),
        (["--driving=rubbish.mp4"], "expected a video clip"),
        (["--source=rubbish.mp4", "--emotion=happy"], "expected a video clip"),
        (["--source=grey.mp4", "--emotion=happy", DETECTOR], "grey.mp4: no face was found in 3 frames"),
        (["--driving=grey.mp4", "--emotion=happy"], "leave emotion, valence and arousal out"),
        (["--driving=grey.mp4", "--interpolate=4"], "give one of them"),
        (["--source=grey.mp4", "--emotion=happy", "--interpolate=4"], "want a photograph, got a clip"),
        (["--source=grey.mp4", "--emotion=happy", "--all_faces"], "of a clip one face is followed"),
        (["--driving=grey.mp4", "--smoothing=4"], "smoothing: expected an odd number"),
        (["--target=a.png", "--modes=[latent]", "--interpolate=3"], "it goes along a line between codes"),
    ],
)
def test_bad_clips_say_what_was_wanted(shipped, people, painted, cli, tmp_path, words, message):
    (tmp_path / "rubbish.mp4").write_bytes(b"rubbish")
    write_frames(tmp_path / "grey.mp4", [torch.full((3, 64, 64), 0.5)] * 3)
    write_image(tmp_path / "a.png", people["images"][1])
    with pytest.raises(SystemExit) as stopped:
        cli(*words)
    assert message in str(stopped.value)
    assert not painted
