"""The latent emotion model's configs: published sizes, and every stage one step on the one before, by the commands."""

import json
from pathlib import Path

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.io.images import read_image
from diffrig_emo.modules import EmotionEditor, FaceDiffusion
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.emotion import study
from diffrig_emo.workflows.emotion.systems import FinetunedSystem
from diffrig_emo.workflows.load import load_run
from tests.configs.test_configs import SMALL, SMALL_MODEL, on_meta_device

FEW = [
    "--trainer.max_steps=1",
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_the_presets_are_the_published_networks():
    assert millions(on_meta_device("fit_vq_affectnet_128.yaml", ["--model.init_args.perceptual=null"]).network) == (
        pytest.approx(60.61, abs=0.01)
    )
    model = on_meta_device("fit_latent_emotion_128.yaml")
    assert millions(model.denoiser) == pytest.approx(156.76, abs=0.01)
    assert millions(model.autoencoder) == pytest.approx(60.61, abs=0.01)
    assert model.conditioners[0].embedding.weight.shape == (8, 512)


@pytest.mark.parametrize(
    ("name", "said"),
    [("fit_vq_affectnet_128.yaml", "vgg16"), ("fit_emotion_finetuning_128.yaml", "CLIP")],
)
def test_missing_weights_are_said_before_training(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=said):
        main(["fit", "--config", name])


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Runs of every stage, a step each."""
    root = tmp_path_factory.mktemp("stages")

    def fit(name, *options):
        folder = root / name.removeprefix("fit_").removesuffix("_synthetic_64.yaml")
        words = ["--config", name, *options, f"--trainer.default_root_dir={folder}"]
        main(["fit", *words])
        return next(folder.rglob("last.ckpt"))

    small = ["--config", str(SMALL)]
    vq = fit("fit_vq_synthetic_64.yaml", *small, "--model.init_args.adversarial_start=0")
    name = "fit_latent_emotion_synthetic_64.yaml"
    latent = fit(name, *small, *SMALL_MODEL[name], f"--model.init_args.autoencoder_weights={vq}")
    fit("fit_recognizer_synthetic_64.yaml", *small)
    inverted = root / "inverted.safetensors"
    words = [f"--rig={latent.parents[1]}", f"--output={inverted}", "--faces=8", "--steps=2", "--scenes=true"]
    main(["invert-emotions", *words])
    words = [*FEW, f"--data.init_args.path={inverted}", "--data.init_args.num_val=1", "--data.init_args.batch_size=2"]
    all_emotions, sad = root / "finetuned" / "all", root / "finetuned" / "sad"
    own = [f"--model.init_args.initial_weights={latent}", f"--trainer.default_root_dir={all_emotions}"]
    main(["fit", "--config", "fit_paired_finetuning_synthetic_64.yaml", *words, *own])
    own = [
        f"--model.init_args.initial_weights={all_emotions / 'checkpoints/last.ckpt'}",
        f"--trainer.default_root_dir={sad}",
        "--model.init_args.target=sad",
        "--data.init_args.true_edits=sad",
        "--model.init_args.num_inference_steps=2",
    ]
    main(["fit", "--config", "fit_emotion_finetuning_synthetic_64.yaml", *words, *own])
    return root


def test_every_stage_is_built_on_the_one_before(stages):
    first = torch.load(next((stages / "vq").rglob("last.ckpt")), weights_only=True)["state_dict"]
    latent = torch.load(next((stages / "latent_emotion").rglob("last.ckpt")), weights_only=True)
    finetuned = torch.load(next((stages / "finetuned/sad").rglob("last.ckpt")), weights_only=True)["state_dict"]
    name = "model.decoder.conv_out.weight"
    assert torch.equal(first[f"network.{name}"], latent["state_dict"][f"autoencoder.{name}"])
    assert torch.equal(first[f"network.{name}"], finetuned[f"autoencoder.{name}"])
    assert latent["hyper_parameters"]["autoencoder_weights"] is None, "the earlier file may be gone"
    label = "conditioners.0.embedding.weight"
    assert torch.equal(latent["state_dict"][label], finetuned[label])


def test_the_study_measures_every_system_beside_the_published_table(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_LABELLED", 8)
    words = [f"--rig={stages / 'latent_emotion'}", f"--recognizer={stages / 'recognizer'}", f"--output={tmp_path}"]
    words += [
        f"--finetuned={stages / 'finetuned'}",
        "--finetuned_steps=3",
        "--finetuned_guidance=1",
        "--faces=3",
        "--steps=2",
        "--targets=[happy,sad]",
    ]
    words += ["--encoder=shipped", "--two_stage=shipped"]
    words += ["--sweep_faces=2", "--strengths=[0.3,0.5]", "--step_counts=[2]", "--guidance_scales=[1.0]"]
    main(["emotion-study", *words])
    found = json.loads((tmp_path / "emotion.json").read_text())
    for target in ("happy", "sad", "overall"):
        row = found[target]
        assert 0 <= row["accuracy"] <= 1
        assert row["psnr"] > 0
        assert {"ssim", "psnr_changed", "psnr_rest", "psnr_changed_source", "beta_drift", "beta_floor"} <= row.keys()
        assert row["lpips"] is None
        assert row["csim"] is None
    assert set(found) == {"happy", "sad", "overall"}
    assert set(found["overall"]["null_because"]) == {"lpips", "csim"}
    more = json.loads((tmp_path / "emotion_more.json").read_text())
    assert set(more["systems"]) == {"latent", "two stages", "Groundtruth"}
    assert more["settings"]["system"] == "latent, finetuned"
    assert (more["settings"]["finetuned_steps"], more["settings"]["finetuned_guidance"]) == (3, 1.0)
    assert [point["strength"] for point in more["sweeps"]["strength"]] == [0.3, 0.5]
    table = (tmp_path / "table.md").read_text()
    assert "| sad | Pikoulis et al. + CLIP finetuning | 0.875 | 24.72 | 0.822 | 0.093 | 0.794 |" in table
    assert "| happy | **two stages** |" in table
    for name in ("edits", "sweep_strength", "sweep_steps", "sweep_guidance"):
        assert read_image(tmp_path / f"{name}.png").shape[0] == 3


def test_an_emotion_without_a_model_of_its_own_is_edited_by_that_of_all(stages, tmp_path):
    editor = EmotionEditor(load_run(stages / "latent_emotion", FaceDiffusion), None, 2)
    faces = next(SyntheticFaces(2, 64).batches(2))
    (tmp_path / "finetuned").mkdir()
    (tmp_path / "finetuned/all").symlink_to(stages / "finetuned/all")
    (tmp_path / "finetuned/happy").symlink_to(stages / "finetuned/sad")
    common = FinetunedSystem(editor, tmp_path / "finetuned", 1.0, 2)
    own = FinetunedSystem(editor, stages / "finetuned", 1.0, 2)
    assert len(common.targets) == len(own.targets) == 8
    with torch.no_grad():
        assert torch.equal(common.edit(faces, 3), own.edit(faces, 3)), "surprise: both by that of all"
        assert not torch.equal(common.edit(faces, 1), own.edit(faces, 1)), "happy: one has its own"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--targets=[joyful]"], "targets: expected words among"),
        (["--two_stage=shipped"], "two_stage reads codes"),
        (["--step_counts=[1]", "--faces=4"], "num_inference_steps"),
        (["--faces=1"], "faces: expected at least 2"),
        (["--encoder=nowhere", "--faces=4"], "encoder"),
        (["--finetuned=nowhere", "--faces=4"], "nowhere"),
    ],
)
def test_bad_input_of_the_study_is_named(stages, words, said, capsys, tmp_path):
    options = [f"--rig={stages / 'latent_emotion'}", f"--recognizer={stages / 'recognizer'}", f"--output={tmp_path}"]
    with pytest.raises(SystemExit) as stopped:
        main(["emotion-study", *options, *words])
    assert said in f"{stopped.value}{capsys.readouterr().err}"
    assert not Path(tmp_path / "emotion.json").exists()


@pytest.mark.parametrize("words", [["--faces=4"], ["--faces=8", "--data=faces.yaml"]])
def test_scenes_are_whole_and_synthetic(words):
    with pytest.raises(SystemExit, match="scenes: expected synthetic faces, a multiple of 8"):
        main(["invert-emotions", "--rig=nowhere", "--scenes=true", *words])
