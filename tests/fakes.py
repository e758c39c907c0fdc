"""Small stand-ins: a low-poly head, flat textures, random faces. Truth is known, everything is quick."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.structures import FaceBatch, FaceCodes, FaceMesh, MeshTopology

N_SHAPE, N_TEX, N_EXP = 4, 3, 2


class FakeHead(FaceModel):
    """An ellipsoid of 62 vertices whose codes stretch it; posed by the global rotation alone."""

    space = "fake"
    n_shape = N_SHAPE
    n_exp = N_EXP

    def __init__(self, rings: int = 5, segments: int = 12) -> None:
        super().__init__()
        theta = torch.linspace(0, math.pi, rings + 2)[1:-1]
        phi = torch.arange(segments) * (2 * math.pi / segments)
        side = torch.stack(
            [
                (theta.sin()[:, None] * phi.sin()).flatten(),
                theta.cos()[:, None].expand(-1, segments).flatten(),
                (theta.sin()[:, None] * phi.cos()).flatten(),
            ],
            dim=1,
        )
        unit = torch.cat([side, torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])])
        top, bottom = len(unit) - 2, len(unit) - 1
        faces = []
        for j in range(segments):
            k = (j + 1) % segments
            faces.append([top, j, k])
            for i in range(rings - 1):
                a, b, c, d = i * segments + j, (i + 1) * segments + j, (i + 1) * segments + k, i * segments + k
                faces += [[a, b, c], [a, c, d]]
            faces.append([(rings - 1) * segments + j, bottom, (rings - 1) * segments + k])
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("rest", 0.08 * unit, persistent=False)
        basis = torch.randn(N_SHAPE + N_EXP, 3, 3, generator=generator)
        self.register_buffer("basis", 0.006 * torch.einsum("kij,vj->kvi", basis, unit), persistent=False)
        self.register_buffer("faces", torch.tensor(faces), persistent=False)
        self.register_buffer("uvs", unit[:, :2] * 0.45 + 0.5, persistent=False)

    @property
    def topology(self) -> MeshTopology:
        return MeshTopology(faces=self.faces, uvs=self.uvs, uv_faces=self.faces)

    def forward(self, codes: FaceCodes) -> FaceMesh:
        codes.require_space(self.space)
        weights = torch.cat([codes.shape, codes.exp], dim=1)
        rest = self.rest + torch.einsum("bk,kvi->bvi", weights, self.basis)
        x, y, z = codes.global_rotation.unbind(1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
        vertices = rest @ torch.linalg.matrix_exp(cross).transpose(1, 2)
        landmarks = vertices[:, torch.arange(68) % vertices.shape[1]]
        return FaceMesh(vertices=vertices, landmarks2d=landmarks, landmarks3d=landmarks)


class FakeTexture(TextureModel):
    """One colour over the whole map."""

    n_tex = N_TEX

    def forward(self, tex: Tensor) -> Tensor:
        return (0.6 + 0.1 * tex)[:, :, None, None].expand(-1, -1, 8, 8)


def fake_codes(batch_size: int, seed: int = 0) -> FaceCodes:
    """Random plausible codes of the fake head."""
    generator = torch.Generator().manual_seed(seed)
    zeros = FaceCodes.zeros(batch_size, n_shape=N_SHAPE, n_tex=N_TEX, n_exp=N_EXP, space="fake")
    return zeros.replace(
        shape=torch.randn(batch_size, N_SHAPE, generator=generator),
        tex=torch.randn(batch_size, N_TEX, generator=generator),
        exp=torch.randn(batch_size, N_EXP, generator=generator),
        pose=0.1 * torch.randn(batch_size, 6, generator=generator),
    )


class FakeFaces(Dataset[FaceBatch]):
    """Random pictures with random codes."""

    def __init__(self, num_faces: int, image_size: int = 16, seed: int = 0) -> None:
        self.image = torch.rand(num_faces, 3, image_size, image_size, generator=torch.Generator().manual_seed(seed))
        self.codes = fake_codes(num_faces, seed)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: int) -> FaceBatch:
        return FaceBatch(image=self.image[index], codes=self.codes[index], index=torch.tensor(index))


class FakeFacesDataModule(FaceDataModule):
    """Fake faces in every split."""

    def __init__(self, num_faces: int = 8, image_size: int = 16, batch_size: int = 4, seed: int = 0) -> None:
        super().__init__(batch_size, seed=seed)
        self.train_dataset = FakeFaces(num_faces, image_size, seed)
        self.val_dataset = self.test_dataset = self.predict_dataset = FakeFaces(num_faces, image_size, seed + 1)


class SquareDetector(FaceDetector):
    """Takes every square of a photograph that is a row of squares for a framed face, unless it is all of one colour."""

    def __call__(self, photo: Tensor) -> DetectedFaces:
        side = photo.shape[1]
        lefts = [
            left for left in range(0, photo.shape[2] - side + 1, side) if photo[:, :, left : left + side].std() > 0.1
        ]
        half = side / 1.85 / 2
        # Where a detector's box lies in the square that alignment cuts.
        boxes = [[x - half, 0.65 * side - half, x + half, 0.65 * side + half] for x in (y + side / 2 for y in lefts)]
        return DetectedFaces(torch.tensor(boxes).reshape(-1, 4) - 0.5, torch.ones(len(boxes)), "bbox")
