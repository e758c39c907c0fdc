"""FLAME, read from its official files."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.io.obj import read_obj
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.morphable.flame_files import (
    N_EXP_TOTAL,
    N_JOINTS,
    N_SHAPE_TOTAL,
    choose_space,
    read_landmark_embedding,
    read_model,
)
from diffrig_emo.morphable.landmarks import barycentric_points, contour_rows
from diffrig_emo.morphable.skinning import linear_blend_skinning, rodrigues
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology
from diffrig_emo.utils.assets import locate_asset


class FLAME(FaceModel):
    """FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", 2017).

    Blendshapes, pose correctives, joints regressed from the shaped mesh, linear blend skinning, and
    landmarks: equations 1-2 of the paper, with the conventions of DECA. The neck stays straight; the eyes turn
    by `codes.eye_pose`. The head turns about its root joint, near the bottom of the neck.

    The files are licensed, so their contents are left out of checkpoints and read again.

    Args:
        model_path: `generic_model.pkl` of FLAME 2020, `flame2023.pkl` or `flame2023_Open.pkl`, as downloaded
            (chumpy is not needed), or what `diffrig-emo convert` made of it. None, here and below: FLAME 2020 is
            looked for where `diffrig_emo.utils.assets` looks.
        landmark_path: `landmark_embedding.npy` or `.npz`; that of FLAME 2020 fits FLAME 2023 too.
        template_path: `head_template.obj`, for triangles and texture coordinates; its vertices are not used.
        n_shape: how many shape coefficients to use (at most 300; DECA 100).
        n_exp: how many expression coefficients to use (at most 100; DECA 50).
        space: name of the code space. None: that of the file, "flame2020", "flame2023" or "flame2023_open",
            known by its digest; a file that nobody knows counts as FLAME 2020. The bases of the versions differ, so
            codes of one are no codes of another.

    Raises:
        FileNotFoundError: naming the missing file, where it was looked for and where to get it.
        ValueError: when a file is damaged, is refused, holds arrays of other shapes, is FLAME 2023 without a jaw,
            or is known to belong to another one of FLAME's spaces than `space`.

    Example:
        ```python
        flame = FLAME.from_folder("data")
        mesh = flame(FaceCodes.zeros(1, n_shape=100, n_tex=50, n_exp=50, space="flame2020"))
        mesh.vertices.shape  # (1, 5023, 3)
        ```
    """

    template: Tensor
    blendshapes: Tensor
    pose_correctives: Tensor
    joint_regressor: Tensor
    skinning_weights: Tensor
    model_faces: Tensor
    faces: Tensor
    uvs: Tensor
    uv_faces: Tensor
    fixed_faces: Tensor
    fixed_bary: Tensor
    contour_faces: Tensor
    contour_bary: Tensor
    full_faces: Tensor
    full_bary: Tensor

    def __init__(
        self,
        model_path: str | Path | None = None,
        landmark_path: str | Path | None = None,
        template_path: str | Path | None = None,
        n_shape: int = 100,
        n_exp: int = 50,
        space: str | None = None,
    ) -> None:
        super().__init__()
        if not (1 <= n_shape <= N_SHAPE_TOTAL and 1 <= n_exp <= N_EXP_TOTAL):
            raise ValueError(
                f"n_shape and n_exp: expected 1..{N_SHAPE_TOTAL} and 1..{N_EXP_TOTAL}, got {n_shape} and {n_exp}"
            )
        model_path = locate_asset("flame", model_path)
        landmark_path = locate_asset("landmark_embedding", landmark_path)
        template_path = locate_asset("head_template", template_path)
        self.n_shape, self.n_exp = n_shape, n_exp

        model = read_model(model_path)
        self.space = choose_space(model, space)
        template = model.floats("v_template", (None, 3))
        n_vertices = len(template)
        used = [*range(n_shape), *range(N_SHAPE_TOTAL, N_SHAPE_TOTAL + n_exp)]
        directions = model.floats("shapedirs", (n_vertices, 3, N_SHAPE_TOTAL + N_EXP_TOTAL), last=used)
        correctives = model.floats("posedirs", (n_vertices, 3, (N_JOINTS - 1) * 9))
        parents = model.integers("kintree_table", (2, N_JOINTS))[0].tolist()
        self.parents = [-1, *parents[1:]]  # the root's parent is stored as the largest uint32
        obj = read_obj(template_path)
        if len(obj.vertices) != n_vertices or obj.uv_faces is None:
            raise ValueError(
                f"{template_path}: expected a mesh of {n_vertices} vertices with texture coordinates, as "
                f"{model_path} has, got {len(obj.vertices)} vertices and {len(obj.uvs)} texture coordinates"
            )
        faces = model.integers("f", tuple(obj.faces.shape), below=n_vertices)

        marks = read_landmark_embedding(landmark_path)
        tensors = {
            "template": template,
            "blendshapes": directions.flatten(0, 1).T.contiguous(),
            "pose_correctives": correctives.flatten(0, 1).T.contiguous(),
            "joint_regressor": model.floats("J_regressor", (N_JOINTS, n_vertices)),
            "skinning_weights": model.floats("weights", (n_vertices, N_JOINTS)),
            "model_faces": faces,
            "faces": obj.faces,
            "uvs": obj.uvs,
            "uv_faces": obj.uv_faces,
        }
        layouts = {"fixed": ("static", (51,)), "contour": ("dynamic", (79, 17)), "full": ("full", (1, 68))}
        for name, (key, size) in layouts.items():
            tensors[f"{name}_faces"] = marks.integers(f"{key}_lmk_faces_idx", size, below=len(faces))
            tensors[f"{name}_bary"] = marks.floats(f"{key}_lmk_bary_coords", (*size, 3))
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def from_folder(cls, folder: str | Path, n_shape: int = 100, n_exp: int = 50) -> Self:
        """Read the three official files, under their official names, from one folder (DECA's `data`)."""
        return cls(folder, folder, folder, n_shape=n_shape, n_exp=n_exp)

    @property
    def topology(self) -> MeshTopology:
        """Triangles and texture coordinates, on the model's device."""
        return MeshTopology(faces=self.faces, uvs=self.uvs, uv_faces=self.uv_faces)

    def forward(self, codes: FaceCodes) -> FaceMesh:
        """Pose a batch of faces.

        Args:
            codes: codes of this model's space, with `n_shape` shape and `n_exp` expression coefficients.

        Returns:
            World vertices and landmarks, metres; `codes.translation` is added to all of them.

        Raises:
            StructError: when the codes belong to another space.
            ValueError: when they have other sizes.
        """
        codes.require_space(self.space)
        if (codes.shape.shape[1], codes.exp.shape[1]) != (self.n_shape, self.n_exp):
            raise ValueError(
                f"FaceCodes.shape and .exp: expected {self.n_shape} and {self.n_exp} coefficients, got "
                f"{codes.shape.shape[1]} and {codes.exp.shape[1]}; construct FLAME with those n_shape and n_exp"
            )
        betas = torch.cat([codes.shape, codes.exp], dim=1)
        shaped = self.template + (betas @ self.blendshapes).reshape(len(betas), -1, 3)
        rotations = rodrigues(_joint_angles(codes))
        # SMPL, equation 9: correctives are linear in the entries of R - I of all joints but the root.
        bends = (rotations[:, 1:] - torch.eye(3, dtype=betas.dtype, device=betas.device)).flatten(1)
        rest = shaped + (bends @ self.pose_correctives).reshape(len(betas), -1, 3)
        joints = self.joint_regressor @ shaped
        vertices = linear_blend_skinning(rest, joints, rotations, self.parents, self.skinning_weights)
        if codes.translation is not None:
            vertices = vertices + codes.translation[:, None]
        # The neck is straight, so the root's rotation is the head's.
        rows = contour_rows(rotations[:, 0].detach())
        contour = self._points(vertices, self.contour_faces[rows], self.contour_bary[rows])
        fixed = self._points(vertices, self.fixed_faces, self.fixed_bary)
        return FaceMesh(
            vertices=vertices,
            landmarks2d=torch.cat([contour, fixed], dim=1),
            landmarks3d=self._points(vertices, self.full_faces, self.full_bary),
        )

    def _points(self, vertices: Tensor, face_ids: Tensor, bary_coords: Tensor) -> Tensor:
        return barycentric_points(vertices, self.model_faces, face_ids, bary_coords)


def _joint_angles(codes: FaceCodes) -> Float[Tensor, "batch 5 3"]:
    """Axis-angles of root, neck, jaw, left and right eye."""
    neck = torch.zeros_like(codes.jaw_pose)
    eyes = torch.zeros_like(codes.pose) if codes.eye_pose is None else codes.eye_pose
    return torch.cat([codes.global_rotation, neck, codes.jaw_pose, eyes], dim=1).reshape(-1, N_JOINTS, 3)
