from __future__ import annotations

import shutil

import pytest
import torch

from diffrig_emo.morphable import DECA, EMOCA
from diffrig_emo.morphable.emoca_checkpoints import Prediction, find_checkpoint
from diffrig_emo.structures import FaceCrop, StructError
from tests.parity.fake_assets import CHECKPOINT, component, write_fake_deca, write_fake_emoca

FIELDS = ("shape", "tex", "exp", "pose", "cam", "light")
TWO = ("E_flame", "E_expression")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models, in the layout of EMOCA's `assets`."""
    root = tmp_path_factory.mktemp("assets")
    write_fake_emoca(root / "EMOCA" / "models" / "EMOCA_v2_lr_mse_20", small=True)
    return root


@pytest.fixture(scope="module")
def emoca(models):
    return EMOCA(models, detail=True)


@pytest.fixture(scope="module")
def crop():
    return FaceCrop(image=torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(3)))


def small(folder, **options):
    write_fake_emoca(folder, small=True, parts=TWO, **options)
    return folder


def test_codes(emoca, crop):
    tform = torch.eye(3).expand(1, 3, 3)
    with torch.no_grad():
        deca, codes = emoca.encode_both(crop.replace(tform=tform))
        assert torch.equal(codes.exp, emoca.expression(crop.image))
        assert torch.equal(codes.detail, emoca.wrinkles(crop.image))
        assert torch.equal(emoca(crop).exp, codes.exp)
    assert not torch.equal(codes.exp, deca.exp)
    assert torch.equal(codes.tform, tform)
    assert (deca.space, codes.space) == ("flame2020", "flame2020")
    for name in ("shape", "tex", "pose", "cam", "light"):
        assert torch.equal(getattr(codes, name), getattr(deca, name)), name


def test_encode_both_passes_each_network_once(emoca, crop):
    passes = []
    networks = (emoca.coarse, emoca.expression, emoca.wrinkles)
    handles = [net.register_forward_hook(lambda net, *_: passes.append(net)) for net in networks]
    with torch.no_grad():
        emoca.encode_both(crop)
    for handle in handles:
        handle.remove()
    assert passes == list(networks)


@pytest.mark.parametrize(
    ("width", "flags", "global_part", "jaw_part"),
    [
        (50, (False, False), None, None),
        (53, (False, True), None, (50, 53)),
        (53, (True, False), (50, 53), None),
        (56, (True, True), (50, 53), (53, 56)),
    ],
)
def test_config_decides_what_the_second_encoder_gives(tmp_path, crop, width, flags, global_part, jaw_part):
    emoca = EMOCA(small(tmp_path / "model", width=width, flags=flags))
    assert emoca.prediction == Prediction(*flags)
    with torch.no_grad():
        outputs, (deca, codes) = emoca.expression(crop.image), emoca.encode_both(crop)
    assert torch.equal(codes.exp, outputs[:, :50])
    expected_global = outputs[:, slice(*global_part)] if global_part else deca.global_rotation
    assert torch.equal(codes.global_rotation, expected_global)
    assert torch.equal(codes.jaw_pose, outputs[:, slice(*jaw_part)] if jaw_part else deca.jaw_pose)


@pytest.mark.parametrize(("width", "expected"), [(50, (False, False)), (56, (True, True))])
def test_width_decides_without_config(tmp_path, width, expected):
    assert EMOCA(small(tmp_path / "model", width=width, flags=None)).prediction == Prediction(*expected)


def test_ambiguous_width_is_the_jaw_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="the jaw is assumed"):
        emoca = EMOCA(small(tmp_path / "model", width=53, flags=None))
    assert emoca.prediction == Prediction(global_rotation=False, jaw_pose=True)


def test_config_that_contradicts_the_weights(tmp_path):
    with pytest.raises(ValueError, match=r"cfg\.yaml: .*ask for 53 numbers, but E_expression of .* gives 50"):
        EMOCA(small(tmp_path / "model", width=50, flags=(False, True)))


def test_config_of_the_checkpoints_own_stage_counts(tmp_path):
    folder = small(tmp_path / "model", width=53, stage="coarse")
    (folder / "cfg.yaml").write_text(
        "coarse: {model: {exp_deca_jaw_pose: true, uv_size: '${inout.size}'}}\n"
        "detail: {model: {exp_deca_jaw_pose: false, exp_deca_global_pose: false}}\n"
    )
    assert EMOCA(folder).prediction == Prediction(global_rotation=False, jaw_pose=True)


@pytest.mark.parametrize("text", ["coarse: {}\ndetail: {}\n", "coarse: {model: {n_exp: 50}}\n"])
def test_config_without_the_settings_leaves_it_to_the_width(tmp_path, text):
    folder = small(tmp_path / "model", width=50)
    (folder / "cfg.yaml").write_text(text)
    assert EMOCA(folder).prediction == Prediction(global_rotation=False, jaw_pose=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "expected EMOCA's settings as plain YAML"),
        ("a: !!python/object/apply:os.system ['touch ran']", "expected EMOCA's settings as plain YAML"),
        ("just text", "got none of them"),
        ("model: {n_exp: 50}", "got none of them"),
    ],
)
def test_wrong_config(tmp_path, text, message):
    folder = small(tmp_path / "model")
    (folder / "cfg.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"cfg\.yaml: .*{message}"):
        EMOCA(folder)
    assert not (tmp_path / "ran").exists()


def test_best_checkpoint(tmp_path):
    folder = tmp_path / "model" / "detail" / "checkpoints"
    for name in (
        "last.ckpt",
        "deca-epoch=01-val_loss/dataloader_idx_0=3.5.ckpt",
        "deca-epoch=02-val_loss/dataloader_idx_0=3.25.ckpt",
        "deca-epoch=03-val_loss/dataloader_idx_0=3.25.ckpt",
        "deca-epoch=04-val_loss/dataloader_idx_0=10.0.ckpt",
        "deca-epoch=05-val_loss/dataloader_idx_0=nan.ckpt",
        "deca-epoch=06-val_loss/dataloader_idx_0=1.0-v1.ckpt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    coarse = tmp_path / "model" / "coarse" / "checkpoints" / CHECKPOINT.replace("3.25521111", "0.1")
    coarse.parent.mkdir(parents=True)
    coarse.touch()
    best = folder / "deca-epoch=03-val_loss" / "dataloader_idx_0=3.25.ckpt"
    for path in (tmp_path / "model", tmp_path / "model" / "detail", folder, best):
        assert find_checkpoint(path) == best
    shutil.rmtree(folder)
    assert find_checkpoint(tmp_path / "model") == coarse


def test_default_model_is_looked_for_where_assets_are(models, monkeypatch):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(models))
    folder = models / "EMOCA" / "models" / "EMOCA_v2_lr_mse_20"
    assert find_checkpoint(None) == folder / "detail" / "checkpoints" / CHECKPOINT


def test_no_checkpoint(tmp_path):
    (tmp_path / "model" / "detail" / "checkpoints").mkdir(parents=True)
    (tmp_path / "EMOCA_v2_lr_mse_20").mkdir()
    for folder in (tmp_path / "model", tmp_path / "EMOCA_v2_lr_mse_20"):
        with pytest.raises(FileNotFoundError, match=r"no checkpoint of EMOCA was found in .*detail.checkpoints"):
            EMOCA(folder)
    with pytest.raises(FileNotFoundError, match=r"EMOCA_v2_lr_mse_20 .*was not found.*emoca\.is\.tue\.mpg\.de"):
        EMOCA(tmp_path / "elsewhere")


def test_frozen_in_eval_mode_and_out_of_checkpoints(emoca):
    assert not any(p.requires_grad for p in emoca.parameters())
    assert not any(m.training for m in emoca.train().modules())
    assert not emoca.state_dict()
    emoca.load_state_dict({})


def test_its_decas_codes_are_decas(emoca, crop, tmp_path):
    with torch.no_grad():
        codes, expected = emoca.encode_both(crop)[0], DECA(write_fake_deca(tmp_path, small=True))(crop)
    for name in FIELDS:
        assert torch.equal(getattr(codes, name), getattr(expected, name)), name


def test_wrong_size(emoca):
    with pytest.raises(StructError, match=r"EMOCA wants 224 x 224 pixels, got 64 x 64"):
        emoca(FaceCrop(image=torch.rand(1, 3, 64, 64)))


def test_decas_file_is_told_apart(tmp_path):
    path = write_fake_deca(tmp_path, small=True)
    with pytest.raises(ValueError, match=r"expected EMOCA's checkpoint, got DECA's file.*read it with DECA\(path\)"):
        EMOCA(path)


def test_deca_in_emocas_layout(tmp_path):
    """The authors of EMOCA also give DECA out as one of their models."""
    path = write_fake_emoca(tmp_path / "DECA", small=True, parts=("E_flame", "E_detail", "D_detail"))
    with pytest.raises(ValueError, match=r"has no second encoder; read it with DECA\(path\)"):
        EMOCA(tmp_path / "DECA")
    assert DECA(path, detail=True).wrinkles is not None
    assert DECA(tmp_path / "DECA").wrinkles is None


def test_differences_are_reported_by_component(tmp_path):
    parts = {name: component(name, small=True) for name in TWO}
    del parts["E_expression"]["layers.2.weight"]
    parts["E_flame"]["layers.2.bias"] = torch.zeros(50)
    state = {f"deca.{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.items()}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="EMOCA's checkpoint does not hold the expected networks") as caught:
        EMOCA(tmp_path / "a.ckpt", detail=True)
    assert "E_flame: 1 mis-sized (layers.2.bias is (50,), wanted (236,))" in str(caught.value)
    assert "E_expression: 1 missing (layers.2.weight)" in str(caught.value)
    assert "E_detail: absent" in str(caught.value)


def test_other_widths_are_other_models(tmp_path):
    with pytest.raises(ValueError, match=r"E_expression gives 100 numbers.*EMICA"):
        EMOCA(small(tmp_path / "model", width=100))


def test_truncated_file(tmp_path):
    path = write_fake_emoca(tmp_path / "model", small=True, parts=TWO)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot be read as weights: it is truncated"):
        EMOCA(tmp_path / "model")
