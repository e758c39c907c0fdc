"""Diffusion Autoencoders' files about semantic codes: latent priors, the attribute classifier, the encoder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffrig_emo.diffusion.diffae_kinds import describe_file
from diffrig_emo.diffusion.latent_mlp import LatentMLP
from diffrig_emo.diffusion.semantic_codes import CELEBA_ATTRIBUTES, CodeNormalization, SemanticDirections
from diffrig_emo.diffusion.semantic_encoder import SemanticEncoder
from diffrig_emo.diffusion.state_dicts import load_diffae_encoder, load_diffae_prior
from diffrig_emo.io.checkpoints import read_weights

_STATISTICS = ("conds_mean", "conds_std")
_PRIOR = "ema_model.latent_net."
_BESIDE_PRIOR = ("model.", "ema_model.", "x_T", *_STATISTICS)
"""How names begin in such a file: raw and averaged weights, a noise for its log, the statistics."""
_OURS = ("semantic.encoder.", "encoder.")
"""How the encoder's names begin within a conditioner of ours."""


def read_diffae_prior(path: str | Path) -> tuple[LatentMLP, CodeNormalization]:
    """Read the latent prior of an official checkpoint (`ffhq256_autoenc_latent/last.ckpt` and its kin).

    Width and depth are recognised from the shapes in the file. The weights are the averaged ones (`ema_model.*`). The
    prior predicts eps in normalised codes, under `ConstantSchedule`. The autoencoder that lies in the same file is
    read by `read_diffae`.

    Args:
        path: the Lightning checkpoint as given out, or `.safetensors` of the same names.

    Returns:
        The network, and the statistics of the codes that it draws; in float32 on the CPU, in training mode.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, another file (an autoencoder without a prior, a classifier, ...), or has tensors
            missing, left over or of another shape.
    """
    path = Path(path)
    state = _tensors(path, "a latent prior", "give an `*_autoenc_latent/last.ckpt`", f"{_PRIOR}layers.0.linear.weight")
    official = {name.removeprefix(_PRIOR): tensor for name, tensor in state.items() if name.startswith(_PRIOR)}
    unknown = sorted(name for name in state if not name.startswith(_BESIDE_PRIOR))
    if unknown:
        raise ValueError(f"{path}: expected a latent prior, got one with {unknown[0]} beside it; check who wrote it")
    try:
        with torch.device("meta"):
            hidden_dim, dim = official["layers.0.linear.weight"].shape
            depth = 1 + max(int(name.split(".")[1]) for name in official if name.startswith("layers."))
            network = LatentMLP(dim, hidden_dim, depth, official["time_embed.0.weight"].shape[1])
        load_diffae_prior({name: tensor.to(torch.float32, copy=True) for name, tensor in official.items()}, network)
        return network, _normalization(state, dim)
    except (KeyError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {reason}. Download the file again, or check who wrote it") from error


def read_diffae_classifier(path: str | Path, dim: int | None = None) -> SemanticDirections:
    """Read the official classifier of CelebA's forty attributes (`ffhq256_autoenc_cls/last.ckpt` and its kin).

    The weights are `classifier.*`: the file's average, `ema_classifier.*`, still holds two fifths of its random start,
    and the authors edit with the former. The statistics are the file's, of FFHQ.

    Args:
        path: the Lightning checkpoint as given out, or `.safetensors` of the same names.
        dim: size of the codes that it is wanted for; None takes any.

    Returns:
        The classifier, its names those of `CELEBA_ATTRIBUTES`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, another file, of another code size than `dim`, or of other attributes.
    """
    path = Path(path)
    give = "give an `*_autoenc_cls/last.ckpt`"
    state = _tensors(path, "an attribute classifier", give, "classifier.weight")
    unknown = sorted(n for n in state if not n.startswith(("classifier.", "ema_classifier.", *_STATISTICS)))
    weight, bias = state["classifier.weight"], state.get("classifier.bias")
    if unknown or bias is None or weight.ndim != 2 or len(weight) != len(bias) or len(weight) != len(CELEBA_ATTRIBUTES):
        got = f"{unknown[0]} beside it" if unknown else f"a classifier.weight of {tuple(weight.shape)}"
        raise ValueError(
            f"{path}: expected classifier.weight of ({len(CELEBA_ATTRIBUTES)}, code size), its bias and statistics, "
            f"got {got}; {give}"
        )
    if dim is not None and weight.shape[1] != dim:
        raise ValueError(
            f"{path}: expected a classifier of codes of {dim}, the size that this autoencoder has, got one of "
            f"{weight.shape[1]}; give the classifier that was trained on its codes"
        )
    directions = SemanticDirections(weight.shape[1])
    try:
        directions.normalization = _normalization(state, weight.shape[1])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: {error}; {give}") from error
    directions.linear.load_state_dict({"weight": weight, "bias": bias})
    return directions


def load_semantic_encoder(encoder: SemanticEncoder, path: str | Path, name: str = "encoder_weights") -> None:
    """Copy the semantic encoder of a trained autoencoder, an official one or a run of ours.

    Args:
        encoder: an encoder of its build; its weights are replaced.
        path: an official checkpoint (its averaged weights are taken), one of ours, or `.safetensors` of either.
        name: the argument that `path` came from, for messages.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, has no semantic encoder, or one of another build; nothing is copied.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: expected a trained autoencoder, but {path} does not exist")
    content = read_weights(path)
    state = content.get("state_dict", content)
    official = {str(n).removeprefix("ema_model."): t for n, t in state.items()}
    official = {n: t.to(torch.float32, copy=True) for n, t in official.items() if n.startswith("encoder.")}
    try:
        if official:
            load_diffae_encoder(official, encoder)
            return
        own = _own_encoder(state)
        if not own:
            give = "give the autoencoder that the codes shall come from"
            raise ValueError(f"expected a trained autoencoder, got {describe_file(content, give)}")
        differing = [n for n in {**encoder.state_dict(), **own} if _shape(encoder.state_dict(), n) != _shape(own, n)]
        if differing:
            n = differing[0]
            raise ValueError(
                f"{len(differing)} tensors differ, such as {n}: the file has {_shape(own, n)}, this encoder "
                f"{_shape(encoder.state_dict(), n)}. Build the encoder with the settings that it was trained with"
            )
        encoder.load_state_dict(own)
    except ValueError as error:
        raise ValueError(f"{name}: {path}: {error}") from error


def _own_encoder(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The semantic encoder among the conditioners of a run of ours; nothing where there is none."""
    for number in sorted({n.split(".")[1] for n in state if n.startswith("conditioners.")}):
        for part in _OURS:
            prefix = f"conditioners.{number}.{part}"
            own = {n.removeprefix(prefix): t.clone() for n, t in state.items() if n.startswith(prefix)}
            if "head_linear.weight" in own:
                return own
    return {}


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(state[name].shape) if name in state else "nothing"


def _tensors(path: Path, wanted: str, give: str, needed: str) -> dict[str, Tensor]:
    content = read_weights(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or needed not in state or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(f"{path}: expected {wanted}, got {describe_file(content, give)}")
    return dict(state)


def _normalization(state: Mapping[str, Tensor], dim: int) -> CodeNormalization:
    normalization = CodeNormalization(dim)
    for name, buffer in zip(_STATISTICS, (normalization.mean, normalization.std), strict=True):
        if name not in state:
            raise ValueError(f"{name} is missing")
        if state[name].numel() != dim:
            raise ValueError(f"expected {name} of {dim} numbers, got {tuple(state[name].shape)}")
        buffer.copy_(state[name].flatten())
    return normalization
