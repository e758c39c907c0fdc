"""Learn a `DescentEncoder` in closed form."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from rich.progress import track
from torch import Tensor, nn

from diffrig_emo.morphable.descent_encoder import DescentEncoder
from diffrig_emo.structures import FaceCodes


@torch.no_grad()
def fit_descent(
    encoder: DescentEncoder,
    images: UInt8[Tensor, "faces 3 height width"],
    codes: FaceCodes,
    ridge: float = 0.05,
    batch_size: int = 256,
) -> None:
    """Solve every stage of an encoder by ridge regression, one after the other.

    Stage k must learn to correct the errors that the stages before make on faces they have not seen. The faces are
    therefore halved: each half's rows come from maps learned on the other half, while the encoder's own maps are
    learned on all. Memory holds what one stage sees of all faces: 1.1 GB for 48,000 faces and 700 vertices of eight
    features.

    Args:
        encoder: the encoder; its maps are replaced.
        images: crops of `encoder.image_size`, 0 to 255; kept where they are.
        codes: their codes.
        ridge: weight of the squared maps; features have about unit variance.
        batch_size: faces looked at together.

    Raises:
        ValueError: when pictures and codes differ in number, or there are fewer than four.
    """
    n = len(images)
    if n != codes.batch_size or n < 4:
        raise ValueError(f"fit_descent: expected at least 4 pictures and as many codes, got {n} and {codes.batch_size}")
    wanted = encoder.code_vector.pack(codes)
    halves = torch.arange(n) % 2
    rows = torch.zeros_like(wanted)
    steps: list[nn.Linear] = [encoder.first, *(s for s in encoder.stages if isinstance(s, nn.Linear))]
    for number, step in enumerate(track(steps, description="Descent")):
        starts = range(0, n, batch_size)
        moments = [_Moments(step.in_features, step.out_features) for _ in range(2)]
        seen = []
        for start in starts:
            these = slice(start, start + batch_size)
            picture = images[these].float() / 255
            inputs = encoder.look_at_vertices(picture, rows[these]) if number else encoder.look_whole(picture)
            errors = wanted[these] - rows[these]
            seen.append(inputs)
            for half in range(2):
                chosen = halves[these] == half
                moments[half].add(inputs[chosen], errors[chosen])
        weight, bias = _Moments.sum(moments).solve(ridge)
        step.weight.copy_(weight)
        step.bias.copy_(bias)
        if number + 1 == len(steps):
            return
        other = [moments[1 - half].solve(1.5 * ridge) for half in range(2)]
        corrected = rows.clone()
        for start, inputs in zip(starts, seen, strict=True):
            for half, (w, b) in enumerate(other):
                chosen = halves[start : start + batch_size] == half
                corrected[start : start + batch_size][chosen] += inputs[chosen] @ w.T + b
        rows = corrected


class _Moments:
    """Sums from which a ridge regression with an intercept is solved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.count = 0
        self.xx = torch.zeros(inputs + 1, inputs + 1)
        self.xy = torch.zeros(inputs + 1, outputs)

    def add(self, x: Float[Tensor, "faces inputs"], y: Float[Tensor, "faces outputs"]) -> None:
        x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)
        self.count += len(x)

    @classmethod
    def sum(cls, parts: list[_Moments]) -> _Moments:
        total = cls(parts[0].xx.shape[0] - 1, parts[0].xy.shape[1])
        for part in parts:
            total.xx += part.xx
            total.xy += part.xy
            total.count += part.count
        return total

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weight (outputs, inputs) and bias (outputs); the intercept goes unpunished."""
        penalty = torch.full((len(self.xx),), ridge * self.count)
        penalty[-1] = 1e-6 * self.count
        solution = torch.cholesky_solve(self.xy, torch.linalg.cholesky(self.xx + torch.diag(penalty)))
        return solution[:-1].T.contiguous(), solution[-1].contiguous()
