"""The denoiser of semantic codes: Diffusion Autoencoders' latent prior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from diffrig_emo.diffusion.blocks import TimeEmbedding


class LatentMLP(nn.Module):
    """A multilayer perceptron that sees its noisy input again before every layer.

    Preechakul et al., "Diffusion Autoencoders", 2022, section 3.4 and appendix A. Between its layers

        h <- SiLU(LayerNorm(Linear([h, z_t]) (1 + Linear(SiLU(time)))));

    the first layer sees z_t alone, and the last is linear and knows no time.

    Args:
        dim: size of the codes.
        hidden_dim: width.
        num_layers: linear layers, the last included.
        sinusoid_dim: numbers that encode the time step before two linear layers widen them to `dim`.

    Raises:
        ValueError: when a size is not positive, or there are fewer than two layers.

    Example:
        >>> network = LatentMLP(dim=8, hidden_dim=16, num_layers=3)
        >>> network(torch.zeros(2, 8), torch.tensor([0, 999])).shape
        torch.Size([2, 8])
    """

    def __init__(self, dim: int = 512, hidden_dim: int = 2048, num_layers: int = 10, sinusoid_dim: int = 64) -> None:
        super().__init__()
        if min(dim, hidden_dim) < 1 or num_layers < 2 or sinusoid_dim < 2 or sinusoid_dim % 2:
            raise ValueError(
                "LatentMLP: expected dim and hidden_dim of at least 1, num_layers of at least 2 and an even "
                f"sinusoid_dim, got dim={dim}, hidden_dim={hidden_dim}, num_layers={num_layers}, "
                f"sinusoid_dim={sinusoid_dim}"
            )
        self.dim = dim
        self.time_embed = TimeEmbedding(sinusoid_dim, dim)
        inputs = [dim, *(num_layers - 1) * [hidden_dim + dim]]
        self.layers = nn.ModuleList([LatentLayer(i, hidden_dim, dim) for i in inputs[:-1]])
        self.head = nn.Linear(inputs[-1], dim)

    def forward(self, z_t: Float[Tensor, "batch dim"], t: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """Predict the noise in normalised codes at steps 0 ... 999.

        Raises:
            ValueError: when the codes are of another size.
        """
        if z_t.ndim != 2 or z_t.shape[1] != self.dim:
            raise ValueError(f"LatentMLP: expected codes of (batch, {self.dim}), got {tuple(z_t.shape)}")
        time = F.silu(self.time_embed(t))
        h = z_t
        for number, layer in enumerate(self.layers):
            h = layer(h if number == 0 else torch.cat([h, z_t], dim=1), time)
        eps: Tensor = self.head(torch.cat([h, z_t], dim=1))
        return eps


class LatentLayer(nn.Module):
    """`SiLU(LayerNorm(Linear(h) (1 + Linear(time))))`: the time scales before the norm, and does not shift."""

    def __init__(self, in_dim: int, out_dim: int, time_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim)
        self.time = nn.Linear(time_dim, out_dim)
        self.norm = nn.LayerNorm(out_dim)
        for part in (self.linear, self.time):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(
        self, h: Float[Tensor, "batch in_dim"], time: Float[Tensor, "batch time_dim"]
    ) -> Float[Tensor, "batch out_dim"]:
        """Run the parts in order."""
        return F.silu(self.norm(self.linear(h) * (1 + self.time(time))))
