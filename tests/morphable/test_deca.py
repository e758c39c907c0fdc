from __future__ import annotations

import copy

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.models import resnet50

from diffrig_emo.modules import FaceEncoder
from diffrig_emo.morphable import DECA
from diffrig_emo.morphable.resnet_code_encoder import ResNetCodeEncoder
from diffrig_emo.structures import FaceCrop, StructError
from diffrig_emo.transforms.rotations import to_quaternion
from tests.parity.fake_assets import component, write_fake_deca, write_fake_emoca

FIELDS = ("shape", "tex", "exp", "pose", "cam", "light")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_fake_deca(tmp_path_factory.mktemp("deca"), small=True)


@pytest.fixture(scope="module")
def deca(path):
    return DECA(path, detail=True)


@pytest.fixture(scope="module")
def crop():
    return FaceCrop(image=torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(3)))


def test_trunk_is_torchvisions():
    """Names, shapes and numbers of the unfolded network are those of torchvision's ResNet-50 and two layers."""
    ours, theirs = ResNetCodeEncoder(9).eval(), resnet50(weights=None).eval()
    theirs.fc = torch.nn.Identity()
    theirs.load_state_dict({n.removeprefix("encoder."): t for n, t in ours.state_dict().items() if "encoder." in n})
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        features = theirs(image)
        expected = ours.layers[2](torch.relu(ours.layers[0](features)))
        assert torch.equal(ours(image), expected)


def test_folding_changes_nothing_but_rounding():
    network = ResNetCodeEncoder(9)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.weight, 0.5, 0.1)
            torch.nn.init.normal_(module.bias)
    network = network.double().eval()
    image = torch.rand(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        expected = network(image)
        actual = network.fold()(image)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_order_of_the_outputs(deca, crop):
    with torch.no_grad():
        outputs, codes = deca.coarse(crop.image), deca(crop)
    parts = [codes.shape, codes.tex, codes.exp, codes.pose, codes.cam, codes.light.flatten(1)]
    assert [p.shape[1] for p in parts] == [100, 50, 50, 6, 3, 27]
    assert torch.equal(torch.cat(parts, dim=1), outputs)
    # row-major: the three colours of one harmonic lie side by side
    assert torch.equal(codes.light[:, 1], outputs[:, 212:215])
    assert torch.equal(codes.detail, deca.wrinkles(crop.image))
    assert codes.space == "flame2020"
    assert outputs[0].sub(outputs[1]).abs().max() > 1e-6  # the small weights do see the picture


def test_tform_of_the_crop_travels_with_the_codes(deca, crop):
    tform = torch.eye(3).expand(2, 3, 3)
    assert torch.equal(deca(crop.replace(tform=tform)).tform, tform)


def test_detail_is_on_demand(path, crop):
    assert DECA(path)(crop).detail is None


def test_euler_jaw(path, deca, crop):
    """DECA's formula for the quaternion of the half angles, and nothing else changed."""
    with torch.no_grad():
        angles, codes = deca(crop), DECA(path, jaw_type="euler")(crop)
    (cx, cy, cz), (sx, sy, sz) = (f(angles.jaw_pose.double() / 2).T for f in (torch.cos, torch.sin))
    expected = [
        cx * cy * cz - sx * sy * sz,
        cx * sy * sz + cy * cz * sx,
        cx * cz * sy - sx * cy * sz,
        cx * cy * sz + sx * cz * sy,
    ]
    actual = to_quaternion(codes.jaw_pose.double())
    torch.testing.assert_close(actual, torch.stack(expected, dim=1), atol=1e-6, rtol=0)
    assert torch.equal(codes.global_rotation, angles.global_rotation)
    assert torch.equal(codes.exp, angles.exp)
    with pytest.raises(ValueError, match="jaw_type: expected 'aa' or 'euler', got 'quaternion'"):
        DECA(path, jaw_type="quaternion")


def test_frozen_and_always_in_eval_mode(path):
    deca = DECA(path, detail=True)
    assert not any(p.requires_grad for p in deca.parameters())
    assert not any(m.training for m in deca.train().modules())
    assert not any(m.training for m in torch.nn.Sequential(deca).train()[0].modules())


def test_gradients_reach_the_picture(deca, crop):
    image = crop.image.clone().requires_grad_()
    deca(FaceCrop(image=image)).exp.sum().backward()
    assert image.grad.abs().sum() > 0


def test_stays_out_of_checkpoints(deca):
    assert not deca.state_dict()
    deca.load_state_dict({})
    assert not copy.deepcopy(deca).state_dict()


def test_autocast_gives_codes_in_the_pictures_precision(deca, crop):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        lowered = deca(crop[0])
    with torch.no_grad():
        codes = deca(crop[0])
    assert lowered.exp.dtype == torch.float32
    assert lowered.exp.sub(codes.exp).abs().max() < 0.05 * codes.exp.abs().max()


def test_follows_its_dtype(path, crop):
    deca = DECA(path).double()
    with torch.no_grad():
        assert deca(crop[0].to(torch.float64)).light.dtype == torch.float64


@pytest.mark.gpu
def test_on_a_gpu(path, deca, crop):
    with torch.no_grad():
        codes, expected = DECA(path).cuda()(crop.to("cuda")), deca(crop)
    for name in FIELDS:
        torch.testing.assert_close(getattr(codes, name).cpu(), getattr(expected, name), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("size", [(256, 256), (224, 192)])
def test_wrong_size(deca, size):
    with pytest.raises(StructError, match=rf"FaceCrop.image: DECA wants 224 x 224 pixels, got {size[0]} x {size[1]}"):
        deca(FaceCrop(image=torch.rand(1, 3, *size)))


def test_predicts_in_a_face_encoder(deca):
    module = FaceEncoder(deca)
    batch = {"image": torch.rand(2, 3, 64, 64)}
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    (codes,) = trainer.predict(module, DataLoader([{"image": i} for i in batch["image"]], batch_size=2))
    with torch.no_grad():
        assert torch.equal(codes.exp, module.predict_step(batch).exp)
    assert not [name for name in module.state_dict() if name.startswith("encoder.")]


def test_legacy_format(path, tmp_path, deca, crop):
    content = torch.load(path)
    torch.save(content, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    with torch.no_grad():
        codes = DECA(tmp_path / "old.tar")(crop)
    assert torch.equal(codes.exp, deca(crop).exp)


def test_half_precision_file(path, tmp_path, crop, deca):
    content = torch.load(path)
    halves = {n: {k: t.half() if t.is_floating_point() else t for k, t in content[n].items()} for n in ("E_flame",)}
    torch.save(halves, tmp_path / "half.tar")
    with torch.no_grad():
        exp = DECA(tmp_path / "half.tar")(crop).exp
    np.testing.assert_allclose(exp, deca(crop).exp, atol=2e-2 * float(exp.abs().max()))


def write(path, **components):
    torch.save(components, path)
    return path


def test_differences_are_reported_by_component(tmp_path):
    flame, detail = component("E_flame", small=True), component("E_detail", small=True)
    flame["layers.2.weight"] = torch.zeros(230, 1024)
    for name in [name for name in flame if name.startswith("encoder.layer4.2.conv")]:
        del flame[name]
    detail["encoder.fc.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match="does not hold the expected networks") as caught:
        DECA(write(tmp_path / "a.tar", E_flame=flame, E_detail=detail), detail=True)
    message = str(caught.value)
    missing = "encoder.layer4.2.conv1.weight, encoder.layer4.2.conv2.weight, encoder.layer4.2.conv3.weight"
    assert (
        f"E_flame: 3 missing ({missing}), 1 mis-sized (layers.2.weight is (230, 1024), wanted (236, 1024))" in message
    )
    assert "E_detail: 1 unexpected (encoder.fc.weight)" in message
    assert "download it again" in message
    assert len(message) < 700


def test_absent_component(tmp_path):
    path = write(tmp_path / "a.tar", E_flame=component("E_flame", small=True))
    DECA(path)
    with pytest.raises(ValueError, match="E_detail: absent"):
        DECA(path, detail=True)


def test_emocas_file_is_told_apart(tmp_path):
    path = write_fake_emoca(tmp_path / "model", small=True, parts=("E_flame", "E_expression"))
    for given in (path, tmp_path / "model"):
        with pytest.raises(
            ValueError, match=r"expected DECA's file, got EMOCA's checkpoint; read it with EMOCA\(path\)"
        ):
            DECA(given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"denoisingUNet.out.0.weight": torch.zeros(1), "encoder.conv1.weight": torch.zeros(1)},
            "a model of DiffusionRig, which has no encoder",
        ),
        ({"state_dict": {"net.weight": torch.zeros(1)}}, "a checkpoint of another model, with net.weight"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "a file with a, b, c, ..."),
        ({}, "a file with nothing in it"),
    ],
)
def test_other_files_are_told_apart(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"a\.pt: expected weights of DECA or EMOCA, got {message}"):
        DECA(tmp_path / "a.pt")


def test_truncated_file(path, tmp_path):
    data = path.read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"a\.tar \([\d,]+ bytes\) cannot be read as weights: it is truncated"):
        DECA(tmp_path / "a.tar")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"deca_model\.tar .*was not found.*github\.com/yfeng95/DECA"):
        DECA(tmp_path)
