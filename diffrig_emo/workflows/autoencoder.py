"""A diffusion autoencoder in use: photographs to codes and noises and back; and where trained ones come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning import SemanticCodeConditioner
from diffrig_emo.datasets.detectors import FaceDetector
from diffrig_emo.datasets.photos import NoFaceError, align_window, crop_photo
from diffrig_emo.diffusion import SemanticDirections, SemanticEncoder, read_diffae_classifier
from diffrig_emo.io.checkpoints import read_weights
from diffrig_emo.io.images import read_image
from diffrig_emo.modules import FaceDiffusion, LatentPrior, SemanticClassifier
from diffrig_emo.structures import Conditioning
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.ranges import to_signed
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.load import WEIGHTS, load_run
from diffrig_emo.workflows.shipped import shipped_run

BUNDLED_SEED = 3
"""Seed of the synthetic people that verbs show without a photograph; no shipped config trains on them."""


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """A `FaceDiffusion` conditioned on its photo's semantic code alone (Preechakul et al. 2022)."""

    model: FaceDiffusion
    """In eval mode."""
    conditioner: SemanticCodeConditioner
    encoder: SemanticEncoder

    @classmethod
    def of(cls, model: FaceDiffusion) -> Autoencoder:
        """Take a model as an autoencoder.

        Raises:
            ValueError: when it has other conditions than a semantic code, such as a rig.
        """
        kinds = [type(conditioner).__name__ for conditioner in model.conditioners]
        conditioner = model.conditioners[0] if len(kinds) == 1 else None
        if not isinstance(conditioner, SemanticCodeConditioner) or not isinstance(conditioner.encoder, SemanticEncoder):
            raise ValueError(
                "autoencoder: expected a model with one SemanticCodeConditioner around a SemanticEncoder, got one with "
                f"{', '.join(kinds) or 'no conditions'}; rigs edit with `diffrig-emo edit`"
            )
        return cls(model, conditioner, conditioner.encoder)

    @property
    def image_size(self) -> int:
        """Side of its pictures in pixels."""
        return self.encoder.image_size

    @property
    def dim(self) -> int:
        """Size of its codes."""
        return self.encoder.dim

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.encoder.head_linear.weight.device

    @torch.no_grad()
    def code(self, image: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch dim"]:
        """Semantic codes of pictures in [0, 1]."""
        z: Tensor = self.encoder(to_signed(image.to(self.device)))
        return z

    def latent(
        self, image: Float[Tensor, "batch 3 size size"], z: Float[Tensor, "batch dim"], steps: int = 20
    ) -> Float[Tensor, "batch 3 size size"]:
        """The noise x_T from which these codes are painted as these pictures.

        Args:
            image: RGB in [0, 1].
            z: the pictures' own codes.
            steps: DDIM steps.

        Raises:
            ValueError: when no grid visits so many steps.
        """
        self.model.set_steps(steps)
        return self.model.invert(image.to(self.device), self._conditioning(z))

    def paint(
        self, z: Float[Tensor, "batch dim"], x_t: Float[Tensor, "batch 3 size size"], steps: int = 20
    ) -> Float[Tensor, "batch 3 size size"]:
        """Pictures in [0, 1] of codes, from noise; errors as for `latent`."""
        self.model.set_steps(steps)
        return self.model.sample(self._conditioning(z), x_t.to(self.device))

    def _conditioning(self, z: Tensor) -> Conditioning:
        return Conditioning(vectors={self.conditioner.name: z})


def load_autoencoder(path: Path | None = None) -> Autoencoder:
    """Load a trained autoencoder onto the best device.

    Args:
        path: an official checkpoint (`ffhq256_autoenc/last.ckpt`, with or without latent prior), or a run of ours, as
            for `load_run`. None takes the small one of synthetic faces that comes with the package.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the file is damaged or another one.
    """
    if path is None:
        model = load_run(shipped_run("diffae"), FaceDiffusion)
    elif _is_ours(path, "denoiser."):
        model = load_run(path, FaceDiffusion)
    else:
        model = FaceDiffusion.from_diffae(path).eval()
    return Autoencoder.of(model.to(choose_device()))


def load_directions(path: Path | None, autoencoder: Autoencoder) -> SemanticDirections:
    """Load a classifier whose rows are directions in an autoencoder's codes.

    Args:
        path: the official classifier (`ffhq256_autoenc_cls/last.ckpt`), or the run of a `SemanticClassifier`. None
            takes the one of the small autoencoder that comes with the package.
        autoencoder: whose codes they are.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the file is damaged, another one, or for codes of another size.
    """
    if path is None or _is_ours(path, "directions."):
        folder = shipped_run("diffae_classifier") if path is None else path
        directions = load_run(folder, SemanticClassifier).directions
        _require_dim("classifier", folder, directions.dim, autoencoder)
    else:
        directions = read_diffae_classifier(path, autoencoder.dim)
    return directions.eval().to(autoencoder.device)


def load_prior(path: Path | None, autoencoder: Autoencoder) -> LatentPrior:
    """Load the latent prior of an autoencoder's codes.

    Args:
        path: an official checkpoint with one (`ffhq256_autoenc_latent/last.ckpt`), or the run of a `LatentPrior`. None
            takes the one of the small autoencoder that comes with the package.
        autoencoder: whose codes they are.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the file is damaged, another one, or for codes of another size.
    """
    if path is None or _is_ours(path, "network."):
        prior = load_run(shipped_run("diffae_prior") if path is None else path, LatentPrior)
    else:
        prior = LatentPrior.from_diffae(path).eval()
    _require_dim("prior", path, prior.network.dim, autoencoder)
    return prior.to(autoencoder.device)


def read_picture(
    path: Path,
    size: int,
    detector: FaceDetector,
    face_policy: Literal["largest", "center"] | int = "largest",
    whole: bool = False,
) -> Float[Tensor, "1 3 size size"]:
    """Cut a face out of a photograph as FFHQ does, for an autoencoder of this size.

    Args:
        path: the photograph.
        size: side of the result in pixels.
        detector: finds the face; landmarks beside the photo come first.
        face_policy: which face of a photo with several.
        whole: the photograph is such a picture already; its largest square in the middle is taken.

    Raises:
        FileNotFoundError: when there is no photograph.
        ValueError: when it is no complete picture, or has no face.
    """
    if whole:
        photo = read_image(path)
        middle = torch.tensor([0.0, 0.0, photo.shape[2] - 1, photo.shape[1] - 1])
        return align_window(photo, middle, size)[1][None]
    try:
        crop = crop_photo(path, size, detector, face_policy=face_policy)
    except NoFaceError as error:
        raise NoFaceError(f"{error}. Or, where the photo is a cut-out face already, give --whole true") from error
    assert crop.aligned is not None  # crop_photo always takes it
    return crop.aligned


def bundled_picture(number: int, size: int) -> Float[Tensor, "1 3 size size"]:
    """The photograph of a synthetic person whom no shipped config trains on, RGB in [0, 1].

    Raises:
        ValueError: when the number is negative.
    """
    if number < 0:
        raise ValueError(f"face: expected a number of at least 0, got {number}")
    return SyntheticFaces(number + 1, size, BUNDLED_SEED)[number]["image"][None]


def _is_ours(path: Path, prefix: str) -> bool:
    """Whether a path is that of a run of ours; official checkpoints have the same suffix."""
    if path.is_dir() or path.name == WEIGHTS:
        return True
    content = read_weights(path)
    return any(str(name).startswith(prefix) for name in content.get("state_dict", content))


def _require_dim(name: str, path: Path | None, dim: int, autoencoder: Autoencoder) -> None:
    if dim != autoencoder.dim:
        raise ValueError(
            f"{name}: {path or 'the one that comes with the package'} is for codes of {dim}, the autoencoder's have "
            f"{autoencoder.dim}; give the {name} that was trained on this autoencoder's codes"
        )
