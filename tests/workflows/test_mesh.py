from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from diffrig_emo.cli import main
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.obj import read_obj
from diffrig_emo.io.video import read_frames
from diffrig_emo.morphable import DECA, FLAME, MorphableEncoder, SyntheticHead
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.workflows import mesh as mesh_module
from diffrig_emo.workflows.choose_encoder import choose_encoder
from diffrig_emo.workflows.mesh import mesh
from diffrig_emo.workflows.mesh_files import face_space, texture_of, write_turntable


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(mesh_module, "_SYNTHETIC", 64)
    monkeypatch.setattr(mesh_module, "write_turntable", functools.partial(write_turntable, num_frames=4, size=32))


@pytest.fixture
def lab(official_assets, monkeypatch):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    return official_assets


@pytest.fixture(scope="module")
def faces():
    return list(SyntheticFaces(2, 128, 1))


class Middle(FaceDetector):
    """Sees a face in the middle of everything."""

    def __call__(self, photo):
        height, width = photo.shape[1:]
        box = torch.tensor([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]])
        return DetectedFaces(box, torch.tensor([0.9]), "bbox")


class Knows(MorphableEncoder):
    """Recognises the photograph and tells its true codes, whose camera is that of the whole picture."""

    space = SyntheticHead.space
    image_size = 224

    def __init__(self, faces):
        super().__init__()
        self.faces = faces

    def forward(self, crop):
        (face,) = [face for face in self.faces if (face["image"] - crop.photo[0]).abs().max() < 1e-3]
        return face["codes"].replace(tform=torch.diag(torch.tensor([0.875, 0.875, 1.0]))[None])


def test_without_a_photograph_it_makes_a_synthetic_face(tmp_path):
    out = tmp_path / "face"
    main(["mesh", "--output", str(out), "--formats=[obj,ply,glb]", "--uv_size=64", "--face=1"])
    names = ["mesh.json", "source.glb", "source.mtl", "source.obj", "source.ply", "texture.png", "turntable.mp4"]
    assert sorted(p.name for p in out.iterdir()) == names
    vertices = SyntheticHead()(SyntheticFaces(2, 64)[1]["codes"]).vertices[0]
    assert torch.equal(read_obj(out / "source.obj").vertices, vertices)
    for suffix in ("ply", "glb"):
        loaded = trimesh.load_mesh(out / f"source.{suffix}", process=False)
        np.testing.assert_array_equal(loaded.vertices[: len(vertices)], vertices)
    frames = list(read_frames(out / "turntable.mp4"))
    assert [tuple(frame.shape) for frame in frames] == 4 * [(3, 32, 32)]
    settings = json.loads((out / "mesh.json").read_text())
    assert settings["source"] == "synthetic://0/1"
    assert set(settings["files"]) | {"mesh.json", "source.mtl"} == set(names)
    assert "has no wrinkle code" in settings["skipped"]["detail"]


def test_a_photograph_before_and_after_an_edit(faces, tmp_path):
    for name, face in zip(("anna", "ben"), faces, strict=True):
        write_image(tmp_path / f"{name}.png", face["image"])
    out = tmp_path / "out"
    mesh(
        tmp_path / "anna.png",
        tmp_path / "ben.png",
        out,
        formats=["obj"],
        clip="gif",
        source_encoder=Knows(faces),
        detector=Middle(),
        uv_size=128,
    )
    anna, ben = faces[0]["codes"], faces[1]["codes"]
    edited = transfer_expression(anna, ben)
    for name, codes in {"source": anna, "edited": edited}.items():
        torch.testing.assert_close(read_obj(out / f"{name}.obj").vertices, SyntheticHead()(codes).vertices[0])
        assert "map_Kd texture.png" in (out / f"{name}.mtl").read_text()
        assert "illum 0" in (out / f"{name}.mtl").read_text()
    assert not torch.allclose(edited.exp, anna.exp)
    with Image.open(out / "turntable.gif") as clip:
        assert (clip.n_frames, clip.size) == (4, (64, 32))
    # The texture shows the photograph: at the landmarks of the nose's bridge and the cheeks they have one colour.
    picture, head = read_image(out / "texture.png"), SyntheticHead()
    assert picture.shape == (3, 128, 128)
    ids = torch.isin(head.topology.faces, head.fixed_landmarks[[27, 28, 29, 33]])
    corner = head.topology.uvs[head.topology.uv_faces[ids]]
    pixel = faces[0]["landmarks"][[27, 28, 29, 33]].round().long()
    photographed = faces[0]["image"][:, pixel[:, 1], pixel[:, 0]].mean(1)
    texels = (torch.stack([1 - corner[:, 1], corner[:, 0]]) * 128).long()
    assert (picture[:, texels[0], texels[1]].mean(1) - photographed).abs().max() < 0.1


def test_a_run_of_ours_sees_the_whole_photograph(faces, tmp_path, monkeypatch):
    class Remembers(MorphableEncoder):
        space, image_size = SyntheticHead.space, 64

        def forward(self, crop):
            assert crop.image.shape == (1, 3, 64, 64)
            return faces[0]["codes"]

    chosen = dataclasses.replace(choose_encoder(Remembers()), takes_whole=True)
    monkeypatch.setattr(mesh_module, "choose_encoder", lambda *_, **__: chosen)
    write_image(tmp_path / "anna.png", torch.nn.functional.interpolate(faces[0]["image"][None], (300, 300))[0])
    mesh(tmp_path / "anna.png", output=tmp_path / "out", formats=["ply"], clip=None, uv_size=64)
    own = texture_of(faces[0]["image"][None], faces[0]["codes"], face_space(SyntheticHead.space), 64)
    written = read_image(tmp_path / "out" / "texture.png")
    assert ((written - own.lit[0].clamp(0, 1)).abs() * own.weight[0]).mean() < 0.01


@pytest.mark.parametrize("encoder", ["DECA", None])
def test_official_files_give_wrinkles_too(lab, photos, tmp_path, encoder):
    out = tmp_path / "out"
    words = ["--source", str(photos / "anna.png"), "--target", str(photos / "ben.png"), "--output", str(out)]
    words += ["--formats=[obj]", "--clip=null", "--uv_size=64", "--keep_light=false"]
    words += ["--source_encoder", encoder, "--source_encoder.detail=true"] if encoder else []
    main(["mesh", *words])
    settings = json.loads((out / "mesh.json").read_text())
    assert settings["encoder"] == (encoder or "EMOCA")
    assert settings["skipped"] == {}
    assert "illum 1" in (out / "edited_detail.mtl").read_text()
    for name in ("source", "edited"):
        coarse, fine = read_obj(out / f"{name}.obj"), read_obj(out / f"{name}_detail.obj")
        assert len(fine.faces) == 16 * len(coarse.faces)
        moved = (fine.vertices[: len(coarse.vertices)] - coarse.vertices).norm(dim=1)
        assert 1e-5 < moved.max() < 0.02
    assert torch.equal(coarse.faces, FLAME().topology.faces)


def test_what_is_missing_is_left_out_and_said(lab, photos, tmp_path, monkeypatch, capsys):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("generic_model.pkl", "landmark_embedding.npy", "head_template.obj", "deca_model.tar"):
        (bare / name).symlink_to(lab / "data" / name)
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(bare))
    monkeypatch.chdir(tmp_path)
    mesh(photos / "anna.png", output=tmp_path / "out", formats=["ply"], clip=None, uv_size=64)
    names = ["mesh.json", "source.ply", "texture.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    assert "uv_face_eye_mask.png was not found" in capsys.readouterr().out
    assert "uv_face_eye_mask.png" in json.loads((tmp_path / "out" / "mesh.json").read_text())["skipped"]["detail"]
    assert face_space("flame2020").texture is None  # skin is then coloured by the photograph alone
    assert read_image(tmp_path / "out" / "texture.png").std() > 0.01


def test_bad_requests_are_refused(faces, photos, tmp_path, lab):
    with pytest.raises(ValueError, match="formats: expected one or more different ones of obj, ply, glb"):
        mesh(formats=[], output=tmp_path / "out")
    with pytest.raises(ValueError, match="uv_size of at least 16"):
        mesh(uv_size=0, output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"nobody\.png: no face was found"):
        mesh(photos / "nobody.png", output=tmp_path / "out")
    with pytest.raises(ValueError, match="expected codes of 'synthetic1' or of a FLAME, got 'colours'"):
        face_space("colours")
    with pytest.raises(ValueError, match="space"):  # a synthetic face cannot take FLAME's expression
        mesh(target=photos / "anna.png", source_encoder=DECA(), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_photograph_needs_an_encoder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="neither EMOCA's nor DECA's files were found"):
        main(["mesh", "--source", str(photos / "anna.png"), "--output", str(tmp_path / "out")])
