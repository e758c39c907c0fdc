import pytest
import torch
from diffusers import UNet2DConditionModel

from diffrig_emo.diffusion import CrossAttentionUNet
from diffrig_emo.structures import Conditioning


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return CrossAttentionUNet(8, 3, channels=(8, 16), num_heads=(1, 2), num_res_blocks=1, token_dim=4).eval()


def test_the_published_denoiser_has_its_number_of_parameters():
    with torch.device("meta"):
        network = CrossAttentionUNet()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(156.76, abs=0.01)


def test_it_is_diffusers_model(unet):
    reference = UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=3, down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2, block_out_channels=(8, 16), layers_per_block=1,
        cross_attention_dim=4, attention_head_dim=(1, 2), norm_num_groups=8,
    ).eval()  # fmt: skip
    reference.load_state_dict(unet.model.state_dict())
    x_t, t, tokens = torch.randn(2, 3, 8, 8), torch.tensor([3, 700]), torch.randn(2, 1, 4)
    torch.testing.assert_close(unet(x_t, t, Conditioning(tokens=tokens)), reference(x_t, t, tokens).sample)


def test_what_it_cannot_read_is_refused(unet):
    x_t, t, tokens = torch.zeros(1, 3, 8, 8), torch.tensor([3]), torch.zeros(1, 1, 4)
    with pytest.raises(ValueError, match="tokens of length 4, got none"):
        unet(x_t, t, Conditioning())
    with pytest.raises(ValueError, match="got length 5"):
        unet(x_t, t, Conditioning(tokens=torch.zeros(1, 1, 5)))
    with pytest.raises(ValueError, match="tokens alone"):
        unet(x_t, t, Conditioning(tokens=tokens, spatial=torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ValueError, match="num_heads"):
        CrossAttentionUNet(num_heads=(3, 10, 20))
    with pytest.raises(ValueError, match="each of the 3 levels"):
        CrossAttentionUNet(num_heads=(5, 10))
