"""FLAME, read from its official files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.io.obj import read_obj
from diffrig_emo.io.safe_pickle import load_object_npy, load_pickle
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.morphable.landmarks import barycentric_points, contour_rows
from diffrig_emo.morphable.skinning import linear_blend_skinning, rodrigues
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology
from diffrig_emo.utils.assets import locate_asset

N_SHAPE_TOTAL, N_EXP_TOTAL = 300, 100
"""Columns of the official blendshape basis: first identity, then expression."""
N_JOINTS = 5
"""Root, neck, jaw, left eye, right eye."""


class FLAME(FaceModel):
    """FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", 2017).

    Blendshapes, pose correctives, joints regressed from the shaped mesh, linear blend skinning, and
    landmarks: equations 1-2 of the paper, with the conventions of DECA. The neck stays straight; the eyes turn
    by `codes.eye_pose`. The head turns about its root joint, near the bottom of the neck.

    The files are licensed, so their contents are left out of checkpoints and read again.

    Args:
        model_path: `generic_model.pkl` of FLAME 2020, as downloaded (chumpy is not needed). None, here and
            below: the file is looked for where `diffrig_emo.utils.assets` looks.
        landmark_path: `landmark_embedding.npy`.
        template_path: `head_template.obj`, for triangles and texture coordinates; its vertices are not used.
        n_shape: how many shape coefficients to use (at most 300; DECA 100).
        n_exp: how many expression coefficients to use (at most 100; DECA 50).
        space: name of the code space. FLAME 2023 has the same files but other bases, so its codes are no codes
            of FLAME 2020: give it another name.

    Raises:
        FileNotFoundError: naming the missing file, where it was looked for and where to get it.
        ValueError: when a file is damaged, is refused, or holds arrays of other shapes.

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
        space: str = "flame2020",
    ) -> None:
        super().__init__()
        if not (1 <= n_shape <= N_SHAPE_TOTAL and 1 <= n_exp <= N_EXP_TOTAL):
            raise ValueError(
                f"n_shape and n_exp: expected 1..{N_SHAPE_TOTAL} and 1..{N_EXP_TOTAL}, got {n_shape} and {n_exp}"
            )
        model_path = locate_asset("flame", model_path)
        landmark_path = locate_asset("landmark_embedding", landmark_path)
        template_path = locate_asset("head_template", template_path)
        self.space, self.n_shape, self.n_exp = space, n_shape, n_exp

        model = _Table(model_path, load_pickle(model_path))
        template = model.floats("v_template", (None, 3))
        n_vertices = len(template)
        directions = model.floats("shapedirs", (n_vertices, 3, N_SHAPE_TOTAL + N_EXP_TOTAL))
        used = list(range(n_shape)) + list(range(N_SHAPE_TOTAL, N_SHAPE_TOTAL + n_exp))
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

        marks = _Table(landmark_path, load_object_npy(landmark_path))
        tensors = {
            "template": template,
            "blendshapes": directions[:, :, used].flatten(0, 1).T.contiguous(),
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


class _Table:
    """Arrays of one file by name, each checked as it is taken out."""

    def __init__(self, path: Path, content: Any) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected a dictionary of arrays, got {type(content).__name__}")
        self.path, self.content = path, content

    def floats(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """Take out an array as float32; None in `shape` stands for any size."""
        array = self._array(key, shape)
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{self.path}, {key!r}: expected finite numbers, got {array.dtype} with others among them")
        return torch.from_numpy(array.astype(np.float32, order="C"))

    def integers(self, key: str, shape: tuple[int | None, ...], below: int | None = None) -> Tensor:
        """Take out an array as int64, optionally of indices below some number."""
        array = self._array(key, shape)
        # Whole floats pass, because chumpy turns whatever it wraps into floats.
        if array.dtype.kind not in "iuf" or not (array == np.rint(array)).all():
            raise ValueError(f"{self.path}, {key!r}: expected whole numbers, got {array.dtype} with others among them")
        if below is not None and not (array.min() >= 0 and array.max() < below):
            raise ValueError(f"{self.path}, {key!r}: expected 0..{below - 1}, got {array.min()}..{array.max()}")
        return torch.from_numpy(array.astype(np.int64, order="C"))

    def _array(self, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        if key not in self.content:
            raise ValueError(f"{self.path}: expected an array named {key!r}, got only {sorted(self.content)}")
        array = np.asarray(self.content[key])
        fits = array.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = ", ".join("n" if size is None else str(size) for size in shape)
            raise ValueError(f"{self.path}, {key!r}: expected shape ({wanted}), got {array.shape}")
        return array
