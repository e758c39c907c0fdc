import json

import pytest
import torch
from PIL import Image

from diffrig_emo.cli import main
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.diffusion import ConditionedUNet, SemanticEncoder, VectorModulation, write_diffae
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.morphable import MorphableEncoder, SyntheticHead
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows import autoencoder as autoencoder_module
from diffrig_emo.workflows.autoencoder import (
    Autoencoder,
    bundled_picture,
    load_autoencoder,
    load_directions,
    load_prior,
)
from diffrig_emo.workflows.diffae import diffae
from diffrig_emo.workflows.diffae_interpolate import diffae_interpolate
from diffrig_emo.workflows.diffae_sample import diffae_sample
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.reconstruction import reconstruction_scores
from diffrig_emo.workflows.shipped import write_small_run

SIZE, DIM = 32, 16
QUIET = ["--trainer.logger=false", "--trainer.callbacks=null"]


def networks():
    torch.manual_seed(4)
    unet = ConditionedUNet(
        vectors=[VectorModulation("semantic", DIM, shift=False)],
        image_size=SIZE,
        base_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(16,),
        time_embed_dim=32,
    )
    encoder = SemanticEncoder(SIZE, 32, (1, 2, 2), num_res_blocks=1, dim=DIM)
    for part in (unet, encoder):
        for parameter in part.parameters():
            if not parameter.abs().max():  # zero at first: nothing would depend on the code
                torch.nn.init.normal_(parameter, std=0.02)
    return unet, encoder


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """An autoencoder with its prior in one file, and a classifier, as the original writes them."""
    folder = tmp_path_factory.mktemp("diffae")
    write_diffae(folder / "autoencoder.ckpt", *networks())
    content = torch.load(folder / "autoencoder.ckpt", weights_only=True)
    statistics = {"conds_mean": torch.randn(1, DIM), "conds_std": torch.rand(1, DIM) + 0.5}
    state, wide = content["state_dict"], 24
    for name, shape in {
        "time_embed.0.weight": (DIM, 64), "time_embed.0.bias": (DIM,), "time_embed.2.weight": (DIM, DIM),
        "time_embed.2.bias": (DIM,), "layers.0.linear.weight": (wide, DIM), "layers.0.linear.bias": (wide,),
        "layers.0.linear_emb.weight": (wide, DIM), "layers.0.linear_emb.bias": (wide,),
        "layers.0.cond_layers.1.weight": (wide, DIM), "layers.0.cond_layers.1.bias": (wide,),
        "layers.0.norm.weight": (wide,), "layers.0.norm.bias": (wide,),
        "layers.1.linear.weight": (DIM, wide + DIM), "layers.1.linear.bias": (DIM,),
    }.items():  # fmt: skip
        state[f"ema_model.latent_net.{name}"] = 0.1 * torch.randn(shape)
    torch.save({"state_dict": state | statistics}, folder / "latent.ckpt")
    linear = {"classifier.weight": torch.randn(40, DIM), "classifier.bias": torch.zeros(40)}
    torch.save({"state_dict": linear | statistics}, folder / "cls.ckpt")
    return folder


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Runs of ours as the package has them: untrained ones of its configs."""
    folder = tmp_path_factory.mktemp("weights")
    configs = {
        "diffae": "fit_diffae_synthetic_64.yaml",
        "diffae_prior": "fit_diffae_prior_synthetic_64.yaml",
        "diffae_classifier": "fit_diffae_classifier_synthetic_64.yaml",
    }
    for name, config in configs.items():
        write_small_run(load_experiment(config, QUIET).model, folder / name, config, QUIET)
    return folder


class Middle(FaceDetector):
    """Sees a face in the middle of everything."""

    def __call__(self, photo):
        height, width = photo.shape[1:]
        box = torch.tensor([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]])
        return DetectedFaces(box, torch.tensor([0.9]), "bbox")


class Knows(MorphableEncoder):
    """Tells the codes of one synthetic face, whose camera is that of the whole picture."""

    space, image_size = SyntheticHead.space, 224

    def __init__(self):
        super().__init__()
        self.codes = SyntheticFaces(1, SIZE, 3)[0]["codes"]

    def forward(self, crop):
        return self.codes.replace(tform=torch.diag(torch.tensor([0.875, 0.875, 1.0]))[None])


@pytest.fixture
def photo(tmp_path):
    write_image(tmp_path / "anna.png", bundled_picture(0, 48)[0])
    return tmp_path / "anna.png"


def test_an_attribute_is_changed_along_its_direction(official, photo, tmp_path):
    out = tmp_path / "out"
    words = ["--source", str(photo), "--whole=true", "--autoencoder", str(official / "autoencoder.ckpt")]
    words += ["--classifier", str(official / "cls.ckpt"), "--attribute=smiling", "--output", str(out), "--steps=4"]
    main(["diffae", *words, "--strength=0.5", "--encode_steps=5"])
    names = ["diffae.json", "edited.png", "reconstruction.png", "source.png", "strip.png"]
    assert sorted(p.name for p in out.iterdir()) == names
    assert read_image(out / "strip.png").shape == (3, SIZE, 3 * SIZE)
    model = load_autoencoder(official / "autoencoder.ckpt")
    image = autoencoder_module.read_picture(photo, SIZE, Middle(), whole=True)
    torch.testing.assert_close(read_image(out / "source.png"), image[0], atol=0.003, rtol=0)
    directions = load_directions(official / "cls.ckpt", model)
    z = model.code(image)
    x_t = model.latent(image, z, 5)
    w, std = directions.linear.weight[31], directions.normalization.std
    moved = (z + 0.5 * 4 * std * w / w.norm()).detach()  # the spec's other form of the same step
    torch.testing.assert_close(read_image(out / "edited.png"), model.paint(moved, x_t, 4)[0], atol=0.004, rtol=0)
    settings = json.loads((out / "diffae.json").read_text())
    assert (settings["attribute"], settings["strength"], settings["encode_steps"]) == ("smiling", 0.5, 5)


def test_photo_to_edited_photo_to_textured_face_in_one_command(official, photo, tmp_path):
    out = tmp_path / "out"
    diffae(
        photo,
        attribute="Smiling",
        output=out,
        autoencoder=official / "autoencoder.ckpt",
        classifier=official / "cls.ckpt",
        start="noise",
        steps=2,
        mesh=True,
        encoder=Knows(),
        formats=["obj"],
        clip=None,
        detector=Middle(),
    )
    settings = json.loads((out / "mesh" / "mesh.json").read_text())
    assert settings["source"] == str(out / "edited.png")
    assert {"texture.png", "source.obj"} <= {p.name for p in (out / "mesh").iterdir()}
    # The texture is that of the edited picture: about as colourful, on the face.
    texture, edited = (read_image(out / name) for name in ("mesh/texture.png", "edited.png"))
    assert texture.shape == (3, 512, 512)
    assert (texture.mean() - edited.mean()).abs() < 0.25


def test_interpolation_begins_and_ends_with_the_reconstructions(official, photo, tmp_path):
    write_image(tmp_path / "ben.png", bundled_picture(1, SIZE)[0])
    out, path = tmp_path / "way", official / "autoencoder.ckpt"
    diffae_interpolate(photo, tmp_path / "ben.png", out, path, num_frames=3, steps=2, whole=True)
    assert sorted(p.name for p in out.iterdir()) == ["00.png", "01.png", "02.png", "interpolation.gif", "strip.png"]
    with Image.open(out / "interpolation.gif") as clip:
        assert clip.n_frames == 4  # there and back
    model = load_autoencoder(path)
    for name, frame in {"anna": "00", "ben": "02"}.items():
        image = autoencoder_module.read_picture(tmp_path / f"{name}.png", SIZE, Middle(), whole=True)
        z = model.code(image)
        painted = model.paint(z, model.latent(image, z, 2), 2)[0]
        torch.testing.assert_close(read_image(out / f"{frame}.png"), painted, atol=0.004, rtol=0)


def test_samples_come_from_one_official_file_and_do_not_depend_on_their_number(official, tmp_path):
    for count in (1, 3):
        diffae_sample(count, tmp_path / str(count), official / "latent.ckpt", steps=2, prior_steps=4)
    one, same, other = (read_image(tmp_path / name) for name in ("1/000.png", "3/000.png", "3/001.png"))
    torch.testing.assert_close(one, same, atol=0.01, rtol=0)
    assert (one - other).abs().mean() > 0.01
    assert (tmp_path / "3" / "grid.png").is_file()


def test_runs_of_ours_are_what_the_verbs_take_by_default(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder_module, "shipped_run", lambda name: shipped / name)
    main(["diffae", "--attribute=happy", "--output", str(tmp_path / "a"), "--steps=2", "--face=1"])
    assert json.loads((tmp_path / "a" / "diffae.json").read_text())["source"] == "synthetic://3/1"
    main(["diffae-interpolate", "--output", str(tmp_path / "b"), "--num_frames=2", "--steps=2", "--clip=null"])
    main(["diffae-sample", "--count=1", "--output", str(tmp_path / "c"), "--steps=2", "--prior_steps=2"])
    assert read_image(tmp_path / "c" / "000.png").shape == (3, 64, 64)
    assert isinstance(load_autoencoder(shipped / "diffae"), Autoencoder)


def test_bad_requests_are_named(official, shipped, photo, tmp_path, monkeypatch):
    path = official / "autoencoder.ckpt"
    with pytest.raises(ValueError, match="classifier: expected one of this autoencoder's codes"):
        diffae(photo, "Smiling", autoencoder=path)
    with pytest.raises(ValueError, match=r"expected one of 5_o_Clock_Shadow, .* got 'glad'"):
        diffae(photo, "glad", autoencoder=path, classifier=official / "cls.ckpt")
    with pytest.raises(ValueError, match="no stride visits exactly 60"):
        diffae(photo, autoencoder=path, steps=60, whole=True, output=tmp_path / "out")
    with pytest.raises(ValueError, match="temperature: expected a number from 0 to 1, got 2"):
        diffae_sample(temperature=2)
    with pytest.raises(ValueError, match="num_frames"):
        diffae_interpolate(num_frames=1)
    with pytest.raises(ValueError, match="its classifier, which holds no network"):
        load_autoencoder(official / "cls.ckpt")
    with pytest.raises(FileNotFoundError, match="none"):
        load_autoencoder(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match=r"its autoencoder, without a latent prior; give"):
        diffae_sample(1, tmp_path / "out", path)
    with pytest.raises(SystemExit, match=r"diffrig-emo diffae: .*its autoencoder"):
        main(["diffae", "--attribute=happy", "--autoencoder", str(path), "--classifier", str(path)])
    model = load_autoencoder(path)
    with pytest.raises(ValueError, match=r"classifier: .* is for codes of 128, the autoencoder's have 16"):
        load_directions(shipped / "diffae_classifier", model)
    with pytest.raises(ValueError, match=r"prior: .* is for codes of 128, the autoencoder's have 16"):
        load_prior(shipped / "diffae_prior", model)
    with pytest.raises(ValueError, match="expected the run of a FaceDiffusion, got that of a LatentPrior"):
        load_autoencoder(shipped / "diffae_prior")
    with pytest.raises(ValueError, match=r"SemanticCodeConditioner .* got one with BufferConditioner"):
        Autoencoder.of(load_experiment("fit_synthetic_64.yaml", QUIET).model)


def test_scores_are_those_of_the_pictures_painted(official):
    model = load_autoencoder(official / "autoencoder.ckpt")
    images = torch.cat([bundled_picture(number, SIZE) for number in range(3)])
    scores = reconstruction_scores(model, images, 4, network=lambda a, b: (a - b).abs().mean(dim=(1, 2, 3)))
    z = model.code(images)
    painted = model.paint(z, model.latent(images, z, 4), 4)
    torch.testing.assert_close(scores["mse"], (painted - images).square().mean(dim=(1, 2, 3)), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(scores["lpips"], (painted - images).abs().mean(dim=(1, 2, 3)), atol=1e-4, rtol=1e-3)
    plain = reconstruction_scores(model, images, 4, "noise")
    assert plain.keys() == {"ssim", "mse"}
    assert not torch.allclose(plain["mse"], scores["mse"])
