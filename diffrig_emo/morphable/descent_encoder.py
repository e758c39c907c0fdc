"""Photo to codes by looking where the face is believed to be, correcting the belief, and looking again."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from diffrig_emo.morphable.base import FaceModel, MorphableEncoder
from diffrig_emo.morphable.code_vector import CodeVector
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError
from diffrig_emo.transforms.projection import project


class DescentEncoder(MorphableEncoder):
    """Supervised descent on a morphable model (Xiong and De la Torre 2013; Zhu et al. 2017, pose-adaptive features).

    A first linear map reads rough codes off a small version of the picture. Every further stage poses the face
    model by the codes so far, samples the picture where the model's vertices fall, and corrects the codes by a
    linear map of what it found there. Seen from the model, faces are aligned, so that linear maps go far and learn
    in closed form (`fit_descent`): on synthetic faces of 64 pixels, minutes of CPU take it where hours do not take
    a convolutional net. Gradients flow through it to the picture.

    An untrained encoder describes the mean face looking ahead in an even light.

    Args:
        face_model: the model whose codes it gives.
        n_tex: number of texture coefficients.
        image_size: side in pixels of the crop it wants.
        features: network from pictures (B, 3, H, W) in [0, 1] to maps (B, C, H, W) that are sampled at the
            vertices; None takes the colours.
        n_points: how many vertices are sampled; they are taken evenly from those that face the camera in
            the neutral pose.
        n_stages: corrections after the first map.
        coarse_size: side in pixels of the small version of the picture.
        cam_scale: camera scale of a typical face.

    Example:
        >>> from diffrig_emo.morphable import SyntheticHead
        >>> encoder = DescentEncoder(SyntheticHead(), image_size=32, n_points=50, n_stages=1)
        >>> codes = encoder(FaceCrop(image=torch.rand(2, 3, 32, 32)))
        >>> codes.batch_size, codes.space, codes.exp.abs().max().item()
        (2, 'synthetic1', 0.0)
    """

    points: Int[Tensor, " n_points"]

    def __init__(
        self,
        face_model: FaceModel,
        n_tex: int = 30,
        image_size: int = 64,
        features: nn.Module | None = None,
        n_points: int = 1400,
        n_stages: int = 6,
        coarse_size: int = 32,
        cam_scale: float = 8.0,
    ) -> None:
        super().__init__()
        for name, value in {"n_points": n_points, "coarse_size": coarse_size, "image_size": image_size}.items():
            if value < 1:
                raise ValueError(f"DescentEncoder: {name} must be at least 1, got {value}")
        self.space = face_model.space
        self.image_size = image_size
        self.coarse_size = coarse_size
        self.code_vector = CodeVector(face_model.n_shape, n_tex, face_model.n_exp, face_model.space, cam_scale)
        self.face_model = face_model.requires_grad_(False)
        self.features = features if features is not None else nn.Identity()
        self.register_buffer("points", _facing_vertices(face_model, self.code_vector, n_points))
        with torch.no_grad():
            channels = self.features(torch.zeros(1, 3, 8, 8)).shape[1]
        size = self.code_vector.size
        self.first = _zero_linear(3 * coarse_size**2, size)
        inputs = channels * len(self.points) + 2 * channels + size
        self.stages = nn.ModuleList(_zero_linear(inputs, size) for _ in range(n_stages))

    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of the faces in `crop.image` ((B, 3, image_size, image_size), RGB in [0, 1]).

        Raises:
            StructError: when the crop has another size.
        """
        size = tuple(crop.image.shape[2:])
        if size != (self.image_size, self.image_size):
            raise StructError(
                f"FaceCrop.image: this encoder wants {self.image_size} x {self.image_size} pixels, got {size}; "
                "resize the crop, or build the encoder with that image_size"
            )
        rows = self.first(self.look_whole(crop.image))
        for stage in self.stages:
            rows = rows + stage(self.look_at_vertices(crop.image, rows))
        return self.code_vector.unpack(rows, crop.tform)

    def look_whole(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch inputs"]:
        """What the first map sees: the small picture."""
        return F.adaptive_avg_pool2d(image, self.coarse_size).flatten(1)

    def look_at_vertices(
        self, image: Float[Tensor, "batch 3 height width"], rows: Float[Tensor, "batch size"]
    ) -> Float[Tensor, "batch inputs"]:
        """What a later stage sees: the features at the vertices, each face's own mean and spread, and its rows.

        Vertices that fall outside the picture see its border. The place of the vertices counts as given: gradients
        reach the picture, not the rows.
        """
        with torch.no_grad():
            rows = rows.clamp(-5, 5)  # far beyond any face: a stage can be asked about pictures of none
            codes = self.code_vector.unpack(rows)
            screen = project(self.face_model(codes).vertices[:, self.points], codes.cam)[..., :2]
        maps = self.features(image)
        seen = F.grid_sample(maps, screen[:, None], padding_mode="border", align_corners=False)[:, :, 0]
        mean, spread = seen.mean(dim=2), seen.std(dim=2)
        scale = spread.mean(dim=1)[:, None, None] + 1e-4
        normalised = (seen - mean.mean(dim=1)[:, None, None]) / scale
        return torch.cat([normalised.flatten(1), 5 * mean, 10 * spread, rows], dim=1)


class OrientedGradients(nn.Module):
    """Brightness differences in four directions, each way apart: eight maps, smoothed over their neighbourhood.

    The kind of feature that supervised descent was published with: blind to even light and to the skin's tone.

    Args:
        smoothing: side in pixels of the mean filter over the responses, odd.

    Example:
        >>> OrientedGradients()(torch.rand(2, 3, 16, 16)).shape
        torch.Size([2, 8, 16, 16])
    """

    kernels: Float[Tensor, "4 1 3 3"]

    def __init__(self, smoothing: int = 3) -> None:
        super().__init__()
        if smoothing < 1 or smoothing % 2 == 0:
            raise ValueError(f"OrientedGradients: smoothing must be odd and positive, got {smoothing}")
        self.smoothing = smoothing
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
        diagonal = torch.tensor([[-2.0, -1, 0], [-1, 0, 1], [0, 1, 2]]) / 4
        self.register_buffer("kernels", torch.stack([across, across.T, diagonal, diagonal.flip(1)])[:, None])

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 8 height width"]:
        """Responses of pictures in [0, 1]; at least 0."""
        grey = F.pad(image.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        slopes = F.conv2d(grey, self.kernels)
        responses = torch.cat([slopes, -slopes], dim=1).clamp(min=0)
        return F.avg_pool2d(responses, self.smoothing, 1, self.smoothing // 2, count_include_pad=False)


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def _facing_vertices(face_model: FaceModel, code_vector: CodeVector, n_points: int) -> Int[Tensor, " n_points"]:
    """Vertices of the neutral face whose normals point to the camera, thinned evenly in their order."""
    if face_model.topology.faces.is_meta:  # sizes alone are asked for
        return torch.zeros(n_points, dtype=torch.int64)
    vertices = face_model(code_vector.unpack(torch.zeros(1, code_vector.size))).vertices[0]
    faces = face_model.topology.faces
    a, b, c = vertices[faces].unbind(dim=1)
    normals = torch.zeros_like(vertices).index_add_(
        0, faces.flatten(), torch.linalg.cross(b - a, c - a).repeat_interleave(3, dim=0)
    )
    facing = (F.normalize(normals, dim=1)[:, 2] > 0.1).nonzero()[:, 0]
    if n_points > len(facing):
        raise ValueError(f"DescentEncoder: n_points must be at most {len(facing)} on this face model, got {n_points}")
    return facing[torch.linspace(0, len(facing) - 1, n_points).round().long()]
