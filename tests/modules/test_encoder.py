import lightning as L
import pytest
import torch

from diffrig_emo.modules import FaceEncoder
from diffrig_emo.morphable.backbone_encoder import BackboneEncoder
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError, face_collate
from tests.fakes import N_EXP, N_SHAPE, N_TEX, FakeFaces, FakeFacesDataModule, FakeHead, FakeTexture, fake_codes


def backbone(image_size=32):
    return BackboneEncoder("resnet10t", n_shape=N_SHAPE, n_tex=N_TEX, n_exp=N_EXP, space="fake", image_size=image_size)


def with_renderer(**settings):
    return FaceEncoder(
        backbone(), face_model=FakeHead(), texture=FakeTexture(), renderer=BufferRenderer(16), **settings
    )


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **settings,
    )


def test_fit_then_predict_gives_codes_of_every_face(tmp_path):
    data = FakeFacesDataModule()
    model = with_renderer()
    run = trainer(tmp_path, max_steps=2, enable_checkpointing=False)
    run.fit(model, data)
    assert run.callback_metrics["train/loss"].isfinite()
    assert run.callback_metrics["train/photometric"] > 0
    codes = FaceCodes.cat(run.predict(model, data))
    assert (codes.batch_size, codes.space, codes.light.shape[1:]) == (8, "fake", (9, 3))


def test_it_learns_the_codes_of_rendered_faces(tmp_path):
    torch.manual_seed(0)
    codes = fake_codes(8)
    renderer = BufferRenderer(16)
    head = FakeHead()
    image = renderer(head(codes), head.topology, FakeTexture()(codes.tex), codes).rendered.clamp(0, 1)
    batch = {"image": image, "codes": codes}
    model = with_renderer()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.log = model.log_dict = lambda *a, **k: None
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_photometric_loss_reaches_every_group_that_shows():
    model = with_renderer()
    codes = fake_codes(2)
    leaves = {n: getattr(codes, n).requires_grad_() for n in ("shape", "tex", "exp", "pose", "cam", "light")}
    image = torch.rand(2, 3, 16, 16)
    grads = torch.autograd.grad(model.photometric_loss(codes.replace(**leaves), image), list(leaves.values()))
    assert all(grad.abs().sum() > 0 for grad in grads)


def test_photometric_loss_is_zero_on_its_own_rendering():
    model = with_renderer()
    codes = fake_codes(2)
    assert model.photometric_loss(codes, model.bridge.render(codes).rendered) == 0


def test_half_a_renderer_is_refused():
    with pytest.raises(ValueError, match="face_model, texture and renderer together"):
        FaceEncoder(backbone(), face_model=FakeHead())


def test_crop_of_another_size_is_named():
    with pytest.raises(StructError, match=r"wants 32 x 32 pixels, got \(16, 16\)"):
        backbone()(FaceCrop(image=torch.rand(1, 3, 16, 16)))


def test_batch_size_changes_no_code():
    model = with_renderer().eval()
    batch = face_collate([FakeFaces(4)[i] for i in range(4)])
    together = model.encode(batch)
    alone = FaceCodes.cat([model.encode({"image": batch["image"][i : i + 1]}) for i in range(4)])
    torch.testing.assert_close(together.exp, alone.exp, atol=1e-5, rtol=1e-5)
