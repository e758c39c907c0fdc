"""The configs for FFHQ and AffectNet run on folders of those layouts, with FLAME's and the codes' stand-ins."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser

import diffrig_emo
from diffrig_emo.cli import main
from diffrig_emo.datamodules import FaceDataModule
from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.structures import FaceCodes
from diffrig_emo.structures.codes import EVEN_LIGHT
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.writers import write_affectnet_csv, write_ffhq
from tests.parity import make_fake_flame

CONFIGS = Path(diffrig_emo.__file__).parent / "configs"
SIZE = 64
SMALL = [
    "--trainer.max_steps=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--model.init_args.denoiser.init_args.base_channels=32",
    "--model.init_args.num_inference_steps=2",
    "--data.init_args.batch_size=2",
    "--data.init_args.num_workers=0",
]
# Sources of a combination are no single options.
SOURCES = yaml.safe_load((CONFIGS / "data/ffhq_affectnet_256.yaml").read_text())["init_args"]["sources"]
IMAGE_SIZE = {
    "fit_diffusionrig_ffhq_affectnet.yaml": [
        f"--data.init_args.sources={[{**s, 'init_args': {**s['init_args'], 'image_size': SIZE}} for s in SOURCES]}"
    ]
}
IMAGE_SIZE["fit_beta_preservation_256.yaml"] = IMAGE_SIZE["fit_diffusionrig_ffhq_affectnet.yaml"]
# EMOCA's stand-in: what it reads matters, not how.
READS_FLAME = {
    "class_path": "diffrig_emo.morphable.BackboneEncoder",
    "init_args": {
        "model_name": "test_resnet",
        "n_shape": 100,
        "n_tex": 50,
        "n_exp": 50,
        "space": "flame2020",
        "image_size": 224,
    },
}
MORE = {
    "fit_beta_preservation_256.yaml": [
        f"--model.init_args.encoder={READS_FLAME}",
        "--model.init_args.chain.num_steps=4",
    ]
}
RUNS = [*sorted(path.name for path in CONFIGS.glob("fit_diffusionrig_*.yaml")), "fit_beta_preservation_256.yaml"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A working folder with the data sets, the stores and FLAME's files, as the configs name them."""
    folder = tmp_path_factory.mktemp("lab")
    make_fake_flame.build(folder / "assets", seed=7, components=50, chumpy_keys=("shapedirs",))
    faces = SyntheticFaces(8, SIZE, 0)
    write_ffhq(faces, folder / "ffhq", val_fraction=0.25, codes=False)
    write_affectnet_csv(faces, folder / "affectnet", val_fraction=0.25, codes=False)
    for name in ("ffhq_deca", "ffhq_emoca", "affectnet_emoca"):
        root = folder / name.partition("_")[0]
        with StoreWriter(folder / f"{name}.h5", {"encoder": name.upper(), "image_size": SIZE}) as writer:
            for number, path in enumerate(sorted([*root.rglob("*.png"), *root.rglob("*.jpg")])):
                writer.add(path.relative_to(root).as_posix(), codes=flame_codes(number))
        merge(folder / f"{name}.h5")
    return folder


def flame_codes(number):
    zeros = FaceCodes.zeros(1, n_shape=100, n_tex=50, n_exp=50, space="flame2020")
    exp = 0.1 * torch.randn(1, 50, generator=torch.Generator().manual_seed(number))
    light = torch.zeros(1, 9, 3)
    light[:, 0] = torch.as_tensor(EVEN_LIGHT)
    # The crop is the picture itself, a little larger than the face.
    tform = torch.diag(torch.tensor([224 / SIZE, 224 / SIZE, 1.0]))[None]
    return zeros.replace(exp=exp, cam=torch.tensor([[8.0, 0.0, 0.0]]), light=light, tform=tform)


@pytest.fixture
def in_lab(lab, monkeypatch):
    monkeypatch.chdir(lab)
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(lab / "assets"))


def test_the_model_is_the_published_network_on_flame():
    synthetic = (CONFIGS / "model/diffusion_rig_256.yaml").read_text()  # whose parameters test_configs.py counts
    wanted = synthetic.replace("SyntheticHead", "FLAME").replace("SyntheticTexture", "FlameTexture")
    assert yaml.safe_load((CONFIGS / "model/diffusion_rig_flame_256.yaml").read_text()) == yaml.safe_load(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_step_through_the_command_line(name, in_lab, tmp_path):
    image_size = IMAGE_SIZE.get(name, [f"--data.init_args.image_size={SIZE}"])
    # The network may be small, but the conditions must have the size of its pictures.
    conditioners = yaml.safe_load((CONFIGS / "model/diffusion_rig_flame_256.yaml").read_text())["init_args"]
    conditioners = conditioners["conditioners"]
    conditioners[0]["init_args"]["renderer"]["init_args"]["image_size"] = SIZE
    arguments = ["--config", name, *SMALL, *image_size, *MORE.get(name, []), f"--trainer.default_root_dir={tmp_path}"]
    main(["fit", *arguments, f"--model.init_args.conditioners={conditioners}"])
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1
    assert not any("face_model" in key or "texture" in key for key in checkpoint["state_dict"]), "licensed"
    assert list(tmp_path.glob("grids/*.png"))


def test_the_album_s_data_is_read(lab, in_lab):
    write_ffhq(SyntheticFaces(4, SIZE, 0), lab / "album", codes=False)
    with StoreWriter(lab / "album.h5", {"encoder": "DECA", "image_size": SIZE}, mean_shape=torch.ones(100)) as writer:
        for path in sorted((lab / "album").rglob("*.png")):
            writer.add(path.relative_to(lab / "album").as_posix(), codes=flame_codes(0))
    merge(lab / "album.h5")
    parser = LightningArgumentParser()
    parser.add_subclass_arguments(FaceDataModule, "data")
    smaller = [f"--data.init_args.image_size={SIZE}", "--data.init_args.num_workers=0"]
    options = parser.parse_args(["--data", str(CONFIGS / "data/album_256.yaml"), *smaller])
    data = parser.instantiate_classes(options).data
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert batch["image"].shape == (4, 3, SIZE, SIZE)
    assert torch.equal(batch["codes"].shape, torch.ones(4, 100))
