"""What is done with semantic codes: normalising, moving along directions, interpolating."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""CelebA's attributes in the order of its files (Liu et al. 2015), which is that of the official classifier."""


class CodeNormalization(nn.Module):
    """Mean and standard deviation of each component of a data set's codes, as buffers: (z - mean) / std.

    Args:
        dim: size of the codes.

    Example:
        >>> normalization = CodeNormalization(dim=1)
        >>> normalization.learn(torch.tensor([[1.0], [3.0]]))
        >>> normalization(torch.tensor([[2.0], [4.0]])).round(decimals=4).tolist()
        [[0.0], [1.414...]]
    """

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Normalise codes.

        Raises:
            ValueError: when they are of another size.
        """
        self._check(z)
        return (z - self.mean) / self.std

    def invert(self, normalised: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Codes of normalised ones.

        Raises:
            ValueError: when they are of another size.
        """
        self._check(normalised)
        return normalised * self.std + self.mean

    @torch.no_grad()
    def learn(self, codes: Float[Tensor, "faces dim"]) -> None:
        """Take the statistics of a whole data set; the deviation is the unbiased estimate.

        Raises:
            ValueError: when codes are of another size, fewer than two, or not finite.
        """
        self._check(codes)
        if len(codes) < 2 or not codes.isfinite().all():
            raise ValueError(f"CodeNormalization: expected at least two codes, all finite, got {len(codes)}")
        codes = codes.double()
        self.mean.copy_(codes.mean(dim=0))
        self.std.copy_(codes.std(dim=0).clamp(min=1e-6))  # a component that never changes says nothing

    def _check(self, codes: Tensor) -> None:
        if codes.ndim != 2 or codes.shape[1] != len(self.mean):
            raise ValueError(
                f"CodeNormalization: expected codes of (batch, {len(self.mean)}), got {tuple(codes.shape)}; they are "
                "another encoder's"
            )


class SemanticDirections(nn.Module):
    """A linear classifier of normalised semantic codes, whose rows are the directions of what it tells.

    Preechakul et al., "Diffusion Autoencoders", 2022, section 4.3: logits are `w z~ + b` of z~ = (z - mean) / std.

    Args:
        dim: size of the codes.
        names: what each row tells.

    Raises:
        ValueError: when there is no name, or one twice.

    Example:
        >>> directions = SemanticDirections(dim=16, names=["happy", "sad"])
        >>> z = torch.randn(2, 16)
        >>> moved = directions.move(z, "happy", strength=0.3)
        >>> ((moved - z).norm(dim=1) / 16**0.5).round(decimals=4).tolist()
        [0.3000..., 0.3000...]
    """

    def __init__(self, dim: int = 512, names: Sequence[str] = CELEBA_ATTRIBUTES) -> None:
        super().__init__()
        if not names or len(set(names)) < len(names):
            raise ValueError(f"SemanticDirections: expected different names, at least one, got {list(names)}")
        self.dim = dim
        self.names = tuple(names)
        self.normalization = CodeNormalization(dim)
        self.linear = nn.Linear(dim, len(names))

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch names"]:
        """Logit of each name; its sigmoid is the probability that the name is true of the face."""
        logits: Tensor = self.linear(self.normalization(z))
        return logits

    def move(self, z: Float[Tensor, "batch dim"], name: str, strength: float) -> Float[Tensor, "batch dim"]:
        """Push codes along the direction of a name: by `strength sqrt(dim)` in normalised codes.

        Args:
            z: codes.
            name: one of `names`, in any case.
            strength: 0.3 is a clear edit, 0.5 a strong one; negative goes the other way.

        Raises:
            ValueError: when no direction is called that, or codes are of another size.
        """
        direction = self.linear.weight[self.find(name)]
        unit = direction / direction.norm().clamp(min=1e-12)
        return self.normalization.invert(self.normalization(z) + strength * math.sqrt(self.dim) * unit)

    def find(self, name: str) -> int:
        """Row of a name, whatever its case.

        Raises:
            ValueError: when there is none, naming all.
        """
        folded = [own.casefold() for own in self.names]
        if name.casefold() not in folded:
            raise ValueError(f"attribute: expected one of {', '.join(self.names)}, got {name!r}")
        return folded.index(name.casefold())


def slerp(
    start: Float[Tensor, "batch ..."], end: Float[Tensor, "batch ..."], share: Float[Tensor, " batch"] | float
) -> Float[Tensor, "batch ..."]:
    """Go from one noise to another on the arc between them, so that what is on the way is as long as they are.

    `(sin((1 - s) angle) start + sin(s angle) end) / sin(angle)`, the angle being that of the flattened maps (Shoemake
    1985). Where it is zero, or half a turn, there is no such arc, and the way is straight.

    Args:
        start: where it begins.
        end: where it ends.
        share: how far to go, 0 to 1; one for all or one for each.

    Example:
        >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.5).round(decimals=4).tolist()
        [[0.7070..., 0.7070...]]
    """
    a, b = start.flatten(1), end.flatten(1)
    cosine = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)
    s = torch.as_tensor(share, dtype=a.dtype, device=a.device).expand(len(a))
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    straight = sine < 1e-4
    safe = torch.where(straight, torch.ones_like(sine), sine)
    weights = [torch.where(straight, line, (line * angle).sin() / safe) for line in (1 - s, s)]
    shape = (-1, *[1] * (start.ndim - 1))
    return weights[0].view(shape) * start + weights[1].view(shape) * end
