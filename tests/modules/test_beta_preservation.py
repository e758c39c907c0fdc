import lightning as L
import pytest
import torch

from diffrig_emo.conditioning import BufferConditioner, GlobalCodeConditioner
from diffrig_emo.diffusion import ConditionedUNet, CosineSchedule, LowRankAdapter, TimmGlobalEncoder, VectorModulation
from diffrig_emo.diffusion.edit_chains import EditSample, InversionEdit, OneStepEdit, TruncatedEdit
from diffrig_emo.losses.preservation import PreservationLoss
from diffrig_emo.modules import BetaPreservation, FaceDiffusion
from diffrig_emo.morphable import BackboneEncoder
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import Conditioning, face_collate
from diffrig_emo.utils.memory import added_memory
from tests.fakes import N_EXP, N_SHAPE, N_TEX, FakeFaces, FakeFacesDataModule, FakeHead, FakeTexture

CHAINS = {
    "one_step": OneStepEdit(),
    "truncated": TruncatedEdit(num_steps=4, last=2),
    "inversion": InversionEdit(num_steps=3),
}


def parts(width=8):
    torch.manual_seed(0)
    denoiser = ConditionedUNet(
        image_size=16,
        base_channels=width,
        channel_mult=(1, 2),
        num_res_blocks=1,
        spatial_channels=9,
        vectors=[VectorModulation("global", 4)],
    )
    for parameter in denoiser.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return {
        "denoiser": denoiser,
        "conditioners": [
            BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)),
            GlobalCodeConditioner(TimmGlobalEncoder("resnet10t", 4), frozen=True),
        ],
        "schedule": CosineSchedule(),
    }


def encoder(**changes):
    torch.manual_seed(1)
    sizes = {"n_shape": N_SHAPE, "n_tex": N_TEX, "n_exp": N_EXP, "space": "fake", "image_size": 32}
    net = BackboneEncoder("test_resnet", **{**sizes, **changes})
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


def stage_two(**changes):
    settings = {"prediction_type": "v", "num_inference_steps": 4, "encoder": encoder()}
    return BetaPreservation(**parts(), **{**settings, **changes})


@pytest.fixture
def batch():
    return face_collate([FakeFaces(4)[i] for i in range(4)])


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **settings,
    )


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_training_moves_the_denoiser_and_nothing_that_is_frozen(chain, tmp_path):
    module = stage_two(chain=chain)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trainer(tmp_path, max_steps=2, enable_checkpointing=False).fit(module, FakeFacesDataModule())
    moved = {name.partition(".")[0] for name, t in module.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {"denoiser"}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_the_preservation_loss_falls_when_it_alone_is_trained(chain, batch):
    module = stage_two(chain=chain, denoising_weight=0.0, reference_weight=0.0)
    optimizer = torch.optim.Adam(module.denoiser.parameters(), lr=2e-3)
    losses = []
    for step in range(13):
        torch.manual_seed(step % 2)
        target, reading = module.targets(batch)
        sample = module.draw(batch, module.condition(batch), module.condition({**batch, "codes": target}))
        loss = torch.stack(list(module.drift(batch, sample, reading).values())).sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["preservation_alone", "with_regularisers"])
def test_a_step_through_four_checkpointed_steps_fits_where_one_step_fits(weight, batch):
    # Wide enough for the denoiser's activations to be most of the memory.
    weights = {"denoising_weight": weight, "reference_weight": weight}
    module = BetaPreservation(**parts(width=32), prediction_type="v", encoder=encoder(), **weights)
    module.log = module.log_dict = lambda *args, **kwargs: None

    def added(chain):
        def step():
            module.zero_grad(set_to_none=True)
            module.training_step(batch, 0).backward()

        module.chain = chain
        step()
        module.zero_grad(set_to_none=True)
        return added_memory(step)

    one_step = added(OneStepEdit())
    assert added(TruncatedEdit(num_steps=5, last=4)) < 1.2 * one_step
    assert added(TruncatedEdit(num_steps=5, last=4, checkpointing=False)) > 1.5 * one_step


def test_stillness_counts_pixels_whose_conditions_stay_and_no_others(batch):
    module = stage_two()
    target, _ = module.targets(batch)
    own, wanted = module.condition(batch), module.condition({**batch, "codes": target})
    change = (wanted.spatial - own.spatial).abs().amax(dim=1, keepdim=True)
    still, moving = change == 0, change >= 0.1
    assert still.any()
    assert moving.any()
    source = 2 * batch["image"] - 1
    weight = torch.ones(len(source))
    elsewhere = EditSample(source + moving.float(), weight)
    assert module.stillness(batch, elsewhere, own, wanted) == 0
    everywhere_still = EditSample(source + 0.5 * still.float(), weight)
    expected = 0.25 * still.float().mean()
    torch.testing.assert_close(module.stillness(batch, everywhere_still, own, wanted), expected)


def test_stillness_joins_the_loss_by_its_weight(batch):
    losses = []
    for weight in (0.0, 1.0, 3.0):
        module = stage_two(stillness_weight=weight)
        module.log = module.log_dict = lambda *args, **kwargs: None
        torch.manual_seed(0)
        losses.append(module.training_step(batch, 0).item())
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(3 * (losses[1] - losses[0]), rel=1e-3)


def test_stillness_without_spatial_conditions_is_refused(batch):
    module = stage_two()
    sample = EditSample(batch["image"], torch.ones(4))
    with pytest.raises(ValueError, match="stillness_weight: no conditioner gives spatial conditions"):
        module.stillness(batch, sample, Conditioning(), Conditioning())


def test_targets_are_the_next_face_s_expression_and_its_reading(batch):
    module = stage_two()
    target, reading = module.targets(batch)
    codes = batch["codes"]
    torch.testing.assert_close(target.exp, codes.exp.roll(-1, 0))
    torch.testing.assert_close(target.jaw_pose, codes.jaw_pose.roll(-1, 0))
    torch.testing.assert_close(target.shape, codes.shape)
    assert (reading.exp - target.exp).abs().max() > 0.01  # the encoder's reading, not the truth
    given = codes.replace(exp=codes.exp + 1)
    assert module.targets({**batch, "target_codes": given})[0] is given


def test_the_drift_of_an_untouched_picture_is_its_expression_alone(batch):
    module = stage_two(identity=torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten()))
    _, reading = module.targets(batch)
    losses = module.drift(batch, EditSample(batch["image"] * 2 - 1, torch.ones(4)), reading)
    kept = {name: value.item() for name, value in losses.items() if name not in ("exp", "jaw_pose")}
    assert kept == pytest.approx(dict.fromkeys(kept, 0.0), abs=1e-6)
    assert "identity" in kept
    assert losses["exp"] > 1e-4


def test_the_reference_is_stage_one_and_travels_in_the_checkpoint(tmp_path):
    first = FaceDiffusion(**parts(), prediction_type="v", num_inference_steps=4)
    run = trainer(tmp_path / "one", max_steps=2)
    run.fit(first, FakeFacesDataModule())
    path = run.checkpoint_callback.best_model_path
    module = stage_two(initial_weights=path)
    for name, tensor in first.denoiser.state_dict().items():
        assert torch.equal(module.reference.state_dict()[name], tensor), name
    run = trainer(tmp_path / "two", max_steps=2)
    run.fit(module, FakeFacesDataModule())
    resumed = BetaPreservation.load_from_checkpoint(
        run.checkpoint_callback.best_model_path, weights_only=True, encoder=encoder(), **parts()
    )
    for name, tensor in first.denoiser.state_dict().items():
        assert torch.equal(resumed.reference.state_dict()[name], tensor), name
    assert not torch.equal(resumed.denoiser.stem.weight, resumed.reference.stem.weight)


def test_adapters_are_all_that_trains(tmp_path):
    module = stage_two(adapter=LowRankAdapter(rank=2))
    trainable = [name for name, p in module.named_parameters() if p.requires_grad]
    assert trainable
    assert all("lora" in name for name in trainable)
    trainer(tmp_path, max_steps=1, enable_checkpointing=False).fit(module, FakeFacesDataModule())


def test_frozen_networks_stay_in_eval_mode():
    module = stage_two().train()
    assert module.denoiser.training
    assert not module.encoder.training
    assert not module.reference.training


def test_validation_reports_drift_of_edits(tmp_path):
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    run.fit(stage_two(preservation=PreservationLoss(floor={"shape": 0.01})), FakeFacesDataModule())
    assert {"val/loss", "val/beta_drift", "val/expression_error"} <= run.callback_metrics.keys()


def test_an_encoder_of_other_codes_is_refused_with_the_mismatch_named():
    with pytest.raises(ValueError, match="shape codes have 4 numbers, but encoder reads 7"):
        stage_two(encoder=encoder(n_shape=7))
    with pytest.raises(ValueError, match="space 'flame2020'"):
        stage_two(encoder=encoder(space="flame2020"))


def test_a_crop_of_another_size_is_refused_with_the_mismatch_named(batch):
    codes = batch["codes"].replace(tform=torch.eye(3).expand(4, 3, 3))
    with pytest.raises(ValueError, match=r"32 x 32 .* 224"):
        stage_two().targets({**batch, "codes": codes})


def test_weights_of_another_encoder_are_refused(tmp_path):
    path = tmp_path / "encoder.ckpt"
    state = {f"encoder.{name}": tensor for name, tensor in encoder(n_exp=5).state_dict().items()}
    torch.save({"state_dict": state}, path)
    with pytest.raises(ValueError, match=r"head.weight: checkpoint has"):
        stage_two(encoder_weights=str(path))
    with pytest.raises(FileNotFoundError, match="encoder_weights"):
        stage_two(encoder_weights=str(tmp_path / "none.ckpt"))


def test_trained_encoder_weights_are_taken_over(tmp_path):
    trained = encoder()
    with torch.no_grad():
        trained.head.bias.fill_(0.5)
    path = tmp_path / "encoder.ckpt"
    torch.save({"state_dict": {f"encoder.{name}": tensor for name, tensor in trained.state_dict().items()}}, path)
    assert float(stage_two(encoder_weights=str(path)).encoder.head.bias.mean()) == 0.5
