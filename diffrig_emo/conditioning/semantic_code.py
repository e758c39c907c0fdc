"""Photo to semantic code, alone as in Diffusion Autoencoders, or joined by an expression of its own."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.expression_code import ExpressionCodeConditioner
from diffrig_emo.conditioning.expression_subspace import ExpressionSubspace
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner
from diffrig_emo.diffusion.blocks import zeroed
from diffrig_emo.structures import Conditioning, FaceBatch

Join = Literal["residual", "modulation", "both"]


class SemanticCodeConditioner(GlobalCodeConditioner):
    """Encode the photo to z_sem (Preechakul et al., "Diffusion Autoencoders", 2022).

    Args:
        encoder: network from (B, 3, H, W) in [-1, 1] to (B, D), such as `SemanticEncoder`.
        name: name of the vector, as the denoiser's `VectorModulation` expects it.
        frozen: the encoder learns nothing and is always in eval mode.
    """

    def __init__(self, encoder: nn.Module, name: str = "semantic", frozen: bool = False) -> None:
        super().__init__(encoder, name, frozen)


class ExpressiveSemanticConditioner(Conditioner):
    """A semantic code z that an expression e joins: the expression-specialised diffusion autoencoder.

    z of a photo already tells its expression, so that nothing would make the denoiser look at e. A `subspace` takes
    what is linearly known about the expression out of z first; then e comes in

        "residual":   z' = z + sigma P(e), P a small network, sigma the spread of z: the denoiser is an ordinary
                      diffusion autoencoder's;
        "modulation": as a vector of its own beside z, for a `VectorModulation` behind z's;
        "both".

    P's last layer is zero at first (and so are the modulation's with `zero_init`): a diffusion autoencoder that is
    given an expression starts as what it was, bit for bit, as long as the subspace takes nothing away.

    To edit, invert with the photo's own expression and paint with the target's, see `ExpressionCodeConditioner`.

    Args:
        semantic: photo to z; its encoder may be frozen.
        expression: batch to e.
        dim: size of z.
        join: where e comes in.
        subspace: takes the expression out of z; None leaves z as it is.
        hidden_dim: width of P.

    Raises:
        ValueError: when a size is not that of the parts, or two vectors have one name.

    Example:
        >>> import torch
        >>> from diffrig_emo.diffusion import SemanticEncoder
        >>> from diffrig_emo.perception import TimmEmotionRecognizer
        >>> conditioner = ExpressiveSemanticConditioner(
        ...     SemanticCodeConditioner(SemanticEncoder(32, 16, (1, 2), dim=24, attention_resolutions=())),
        ...     ExpressionCodeConditioner(TimmEmotionRecognizer("test_resnet", 32), feature_dim=16),
        ...     dim=24,
        ...     join="both",
        ...     subspace=ExpressionSubspace(dim=24),
        ... ).eval()
        >>> vectors = conditioner({"image": torch.rand(2, 3, 32, 32)}).vectors
        >>> {name: tuple(vector.shape) for name, vector in vectors.items()}
        {'semantic': (2, 24), 'expression': (2, 26)}
    """

    def __init__(
        self,
        semantic: SemanticCodeConditioner,
        expression: ExpressionCodeConditioner,
        dim: int = 512,
        join: Join = "modulation",
        subspace: ExpressionSubspace | None = None,
        hidden_dim: int = 512,
    ) -> None:
        super().__init__()
        encoded = getattr(semantic.encoder, "dim", dim)
        if encoded != dim or (subspace is not None and subspace.dim != dim):
            raise ValueError(
                f"ExpressiveSemanticConditioner: dim is {dim}, but the encoder gives codes of {encoded}"
                + (f" and the subspace is for codes of {subspace.dim}" if subspace is not None else "")
                + "; give all the same"
            )
        if semantic.name == expression.name:
            raise ValueError(
                f"ExpressiveSemanticConditioner: both vectors are named {semantic.name!r}; name them differently"
            )
        if hidden_dim < 1:
            raise ValueError(f"ExpressiveSemanticConditioner: hidden_dim must be at least 1, got {hidden_dim}")
        self.semantic = semantic
        self.expression = expression
        self.join = join
        self.subspace = subspace
        self.residual: nn.Sequential | None = None
        if join != "modulation":
            first, last = nn.Linear(expression.dim, hidden_dim), zeroed(nn.Linear(hidden_dim, dim))
            self.residual = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden_dim, hidden_dim), nn.SiLU(), last)

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from `batch["image"]` and the targets beside it; in training, the subspace learns."""
        z: Tensor = self.semantic(batch).vectors[self.semantic.name]
        own = self.expression.observe(batch)
        if self.subspace is not None:
            if self.training:
                self.subspace.learn(z, own[:, -10:-2], own[:, -2:])
            z = self.subspace(z)
        return self._joined(z, self.expression.encode(own, batch))

    def unconditional(self, batch: FaceBatch) -> Conditioning:
        """The semantic code with the null expression."""
        z: Tensor = self.semantic(batch).vectors[self.semantic.name]
        z = z if self.subspace is None else self.subspace(z)
        return self._joined(z, self.expression.null_code(z.shape[0]))

    def _joined(self, z: Float[Tensor, "batch dim"], e: Float[Tensor, "batch code"]) -> Conditioning:
        if self.residual is not None:
            spread = 1.0 if self.subspace is None else self.subspace.std
            z = z + spread * self.residual(e)
        vectors = {self.semantic.name: z}
        if self.join != "residual":
            vectors[self.expression.name] = e
        return Conditioning(vectors=vectors)
