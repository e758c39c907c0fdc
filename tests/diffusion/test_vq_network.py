import pytest
import torch
from diffusers import VQModel

from diffrig_emo.diffusion import PatchDiscriminator, VQNetwork
from diffrig_emo.utils import imports


@pytest.fixture
def network():
    torch.manual_seed(0)
    return VQNetwork(channels=(8, 16), num_res_blocks=1, num_codes=32, code_dim=3).eval()


def test_the_published_first_stage_has_its_number_of_parameters():
    with torch.device("meta"):
        network = VQNetwork()
        z = network.encode(torch.zeros(1, 3, 128, 128))
        assert network.paint(z).shape == (1, 3, 128, 128)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(60.61, abs=0.01)
    assert z.shape == (1, 3, 32, 32)
    assert (network.factor, network.latent_channels) == (4, 3)


def test_it_is_diffusers_model(network):
    reference = VQModel(
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=3,
        num_vq_embeddings=32,
        norm_num_groups=8,
    ).eval()
    reference.load_state_dict(network.model.state_dict())
    x = torch.randn(2, 3, 16, 16)
    z = network.encode(x)
    torch.testing.assert_close(z, reference.encode(x).latents)
    torch.testing.assert_close(network.decode(z), reference.decode(z).sample)


def test_codes_are_the_nearest_and_their_loss_is_the_papers(network):
    z = torch.randn(2, 3, 4, 4, requires_grad=True)
    quantised = network.quantise(z)
    vectors = z.detach().permute(0, 2, 3, 1).reshape(-1, 3)
    distance = (vectors[:, None] - network.codebook.detach()[None]).square().sum(dim=2)
    assert torch.equal(quantised.entry, distance.argmin(dim=1))
    entries = network.codebook.detach()[quantised.entry].view(2, 4, 4, 3).permute(0, 3, 1, 2)
    torch.testing.assert_close(quantised.z, entries)
    assert quantised.loss.item() == pytest.approx(1.25 * (z.detach() - entries).square().mean().item(), rel=1e-5)
    quantised.z.sum().backward()
    torch.testing.assert_close(z.grad, torch.ones_like(z))  # straight through


def test_codes_without_neighbours_become_latents(network):
    z = torch.randn(1, 3, 4, 4)
    before = network.codebook.detach().clone()
    dead = torch.arange(32) < 5
    network.replace_codes(dead, z)
    vectors = z.permute(0, 2, 3, 1).reshape(-1, 3)
    after = network.codebook.detach()
    assert all((code == vectors).all(dim=1).any() for code in after[:5])
    assert torch.equal(after[5:], before[5:])


def test_bad_settings_and_pictures_are_named(network):
    with pytest.raises(ValueError, match="num_codes"):
        VQNetwork(num_codes=0)
    with pytest.raises(ValueError, match="multiples of 2"):
        network.encode(torch.zeros(1, 3, 15, 16))
    with pytest.raises(ValueError, match="num_layers"):
        PatchDiscriminator(num_layers=0)
    with pytest.raises(ValueError, match="fewer num_layers"):
        PatchDiscriminator(channels=4)(torch.zeros(1, 3, 16, 16))


def test_without_diffusers_the_message_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(imports.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"VQNetwork needs diffusers.*diffrig_emo\[latent\]"):
        VQNetwork()


def test_every_patch_is_judged_by_what_it_sees():
    torch.manual_seed(0)
    critic = PatchDiscriminator(channels=4, num_layers=1).eval()
    x = torch.randn(1, 3, 64, 64)
    other = x.clone()
    other[..., :8, :8] += 1  # a corner
    changed = (critic(x) - critic(other)).abs()[0, 0] > 0
    assert changed[:4, :4].any()
    assert not changed[10:, 10:].any()
