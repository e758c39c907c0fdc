"""`SyntheticHead` and `SyntheticTexture`: a whole morphable face without a licensed file."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.morphable.landmarks import contour_rows
from diffrig_emo.morphable.skinning import linear_blend_skinning, rodrigues
from diffrig_emo.morphable.synthetic_head import expressions, identity, rig
from diffrig_emo.morphable.synthetic_head.albedo import Painting
from diffrig_emo.morphable.synthetic_head.anatomy import Array
from diffrig_emo.morphable.synthetic_head.canvas import build_canvas
from diffrig_emo.morphable.synthetic_head.emotions import EMOTIONS
from diffrig_emo.morphable.synthetic_head.geometry import build_geometry
from diffrig_emo.morphable.synthetic_head.regions import vertex_regions
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology

SPACE = "synthetic1"


class SyntheticHead(FaceModel):
    """A procedural head with FLAME's interface, shipped with the package.

    A linear model like FLAME (Li et al., 2017): `rest = mean + S shape + E exp`, then linear blend skinning about
    five joints: root, neck, jaw, left eye, right eye. Every direction has a name; a shape coefficient of 1 is one
    standard deviation, an expression coefficient of 1 a full movement. Frame: metres, +x to the subject's left,
    +y up, +z out of the face, origin inside the head between the ears.

    Attributes:
        shape_names: name of each shape coefficient.
        expression_names: name of each expression coefficient.
        regions: name to (N,) int64 vertex ids, on the CPU; see `synthetic_head.regions`.

    Example:
        >>> head = SyntheticHead()
        >>> codes = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=30, n_exp=head.n_exp, space=head.space)
        >>> smiling = codes.replace(exp=head.expression_codes("smile")[None])
        >>> mesh = head(smiling)
        >>> tuple(mesh.landmarks3d.shape)
        (1, 68, 3)
    """

    space = SPACE
    n_shape = len(identity.SHAPE_NAMES)
    n_exp = len(expressions.EXPRESSION_NAMES)
    shape_names = identity.SHAPE_NAMES
    expression_names = expressions.EXPRESSION_NAMES
    mean: Float[Tensor, "n_vertices 3"]
    shape_directions: Float[Tensor, "n_vertices 3 n_shape"]
    expression_directions: Float[Tensor, "n_vertices 3 n_exp"]
    weights: Float[Tensor, "n_vertices 5"]
    joints: Float[Tensor, "5 3"]
    joint_directions: Float[Tensor, "5 3 n_shape"]
    faces: Int[Tensor, "n_faces 3"]
    uvs: Float[Tensor, "n_uvs 2"]
    uv_faces: Int[Tensor, "n_faces 3"]
    fixed_landmarks: Int[Tensor, " 68"]
    contour_landmarks: Int[Tensor, "n_yaws 17"]

    def __init__(self) -> None:
        super().__init__()
        for name, table in _head_tables().items():
            # Not persistent: the head is rebuilt from code, so checkpoints need not carry it.
            self.register_buffer(name, torch.tensor(table), persistent=False)
        self.regions: dict[str, Tensor] = {k: torch.tensor(v) for k, v in vertex_regions(build_geometry()).items()}

    @property
    def topology(self) -> MeshTopology:
        """Triangles and texture coordinates, on the model's device."""
        return MeshTopology(faces=self.faces, uvs=self.uvs, uv_faces=self.uv_faces)

    def forward(self, codes: FaceCodes) -> FaceMesh:
        """Pose a batch of heads.

        Args:
            codes: `shape` (B, n_shape), `exp` (B, n_exp), `pose` (B, 6); `eye_pose` and `translation` when given.

        Returns:
            World mesh, metres; `landmarks2d` has contour points that slide with the yaw, `landmarks3d` fixed ones.

        Raises:
            StructError: when the codes belong to another space.
            ValueError: when a code has another size than the model's.
        """
        codes.require_space(self.space)
        for name, size in (("shape", self.n_shape), ("exp", self.n_exp)):
            got = getattr(codes, name).shape[1]
            if got != size:
                raise ValueError(f"FaceCodes.{name}: SyntheticHead has {size} coefficients, got {got}")
        rest = self.mean + torch.einsum("vcs,bs->bvc", self.shape_directions, codes.shape)
        rest = rest + torch.einsum("vce,be->bvc", self.expression_directions, codes.exp)
        joints = self.joints + torch.einsum("jcs,bs->bjc", self.joint_directions, codes.shape)
        neck = torch.zeros_like(codes.pose[:, :3])
        eyes = torch.zeros_like(codes.pose) if codes.eye_pose is None else codes.eye_pose
        turns = torch.cat([codes.global_rotation, neck, codes.jaw_pose, eyes], dim=1).reshape(-1, 5, 3)
        rotations = rodrigues(turns)
        vertices = linear_blend_skinning(rest, joints, rotations, rig.PARENTS, self.weights)
        if codes.translation is not None:
            vertices = vertices + codes.translation[:, None]
        landmarks3d = vertices[:, self.fixed_landmarks]
        contour = self.contour_landmarks[contour_rows(rotations[:, 0])]
        sliding = torch.gather(vertices, 1, contour[..., None].expand(-1, -1, 3))
        landmarks2d = torch.cat([sliding, landmarks3d[:, 17:]], dim=1)
        return FaceMesh(vertices=vertices, landmarks2d=landmarks2d, landmarks3d=landmarks3d)

    def expression_codes(self, *names: str, **values: float) -> Float[Tensor, " n_exp"]:
        """Expression code from names (full movements) and named values.

        Args:
            *names: expressions at value 1.
            **values: expressions at a given value.

        Returns:
            (n_exp,) code.

        Raises:
            ValueError: for a name that is not in `expression_names`.

        Example:
            >>> SyntheticHead().expression_codes("smile", jaw_open=0.5).count_nonzero().item()
            2
        """
        return torch.tensor(_expression_vector({**dict.fromkeys(names, 1.0), **values}), device=self.mean.device)


class SyntheticTexture(TextureModel):
    """Linear space of albedo maps for `SyntheticHead`: skin, lips, brows, irises, teeth, painted hair.

    Args:
        size: side of the map in texels.

    Attributes:
        texture_names: name of each texture coefficient; 1 is one standard deviation.

    Example:
        >>> texture = SyntheticTexture(size=64)
        >>> tuple(texture(torch.zeros(2, texture.n_tex)).shape)
        (2, 3, 64, 64)
    """

    mean: Float[Tensor, "3 size size"]
    directions: Float[Tensor, "n_tex 3 size size"]

    def __init__(self, size: int = 256) -> None:
        super().__init__()
        if size < 32:
            raise ValueError(f"SyntheticTexture.size: expected at least 32 texels, got {size}")
        names, mean, directions = _albedo(size)
        self.texture_names = names
        self.n_tex = len(names)
        self.register_buffer("mean", torch.tensor(mean).permute(2, 0, 1).contiguous(), persistent=False)
        self.register_buffer("directions", torch.from_numpy(directions).clone(), persistent=False)

    def forward(self, tex: Float[Tensor, "batch n_tex"]) -> Float[Tensor, "batch 3 size size"]:
        """Albedo map, RGB about [0, 1], not clamped; row 0 lies at v = 1.

        Raises:
            ValueError: when `tex` is not (batch, n_tex).
        """
        if tex.ndim != 2 or tex.shape[1] != self.n_tex:
            raise ValueError(f"tex: expected (batch, {self.n_tex}), got {tuple(tex.shape)}")
        albedo: Tensor = self.mean + torch.einsum("bt,tchw->bchw", tex, self.directions)
        return albedo


def emotion_preset(label: int | str) -> tuple[Float[Tensor, " n_exp"], Float[Tensor, " 3"], float, float]:
    """How the synthetic head shows an emotion.

    Args:
        label: AffectNet's number 0..7 or name (neutral, happy, sad, surprise, fear, disgust, anger, contempt).

    Returns:
        Expression code (n_exp,), jaw rotation (3,) axis-angle in radians, valence and arousal in [-1, 1].

    Raises:
        ValueError: for another number or name.

    Example:
        >>> exp, jaw_pose, valence, arousal = emotion_preset("happy")
        >>> valence > 0
        True
    """
    names = tuple(EMOTIONS)
    name = names[label] if isinstance(label, int) and 0 <= label < len(names) else label
    if name not in names:
        raise ValueError(f"label: expected 0..{len(names) - 1} or one of {', '.join(names)}; got {label!r}")
    emotion = EMOTIONS[str(name)]
    exp = torch.tensor(_expression_vector(emotion.expression))
    return exp, torch.tensor([emotion.jaw, 0.0, 0.0]), emotion.valence, emotion.arousal


def _expression_vector(values: Mapping[str, float]) -> list[float]:
    unknown = sorted(set(values) - set(expressions.EXPRESSION_NAMES))
    if unknown:
        raise ValueError(f"unknown expression {', '.join(unknown)}; known: {', '.join(expressions.EXPRESSION_NAMES)}")
    return [float(values.get(name, 0.0)) for name in expressions.EXPRESSION_NAMES]


@functools.cache
def _head_tables() -> dict[str, np.ndarray]:
    head = build_geometry()
    lower = rig.jaw_weights(head)
    shapes = identity.shape_directions(head, lower)
    fixed = rig.fixed_landmarks(head)
    # Eyeball joints follow their eyeballs; the others sit deep inside, where identity is not defined.
    joint_directions = np.zeros((5, 3, shapes.shape[-1]))
    for joint, sign in ((3, 1), (4, -1)):
        ball = (head.part == "eye") & (sign * head.vertices[:, 0] > 0)
        offset = head.vertices[ball] - rig.joint_positions()[joint]
        # Eyeballs only move and grow; an affine fit reads off how their centre moves.
        design = np.concatenate([np.ones((len(offset), 1)), offset], axis=1)
        joint_directions[joint] = np.linalg.lstsq(design, shapes[ball].reshape(len(offset), -1), rcond=None)[0][
            0
        ].reshape(3, -1)
    floats = {
        "mean": head.vertices,
        "shape_directions": shapes,
        "expression_directions": expressions.expression_directions(head, lower),
        "weights": rig.skinning_weights(head),
        "joints": rig.joint_positions(),
        "joint_directions": joint_directions,
        "uvs": head.uvs,
    }
    integers = {
        "faces": head.faces,
        "uv_faces": head.uv_faces,
        "fixed_landmarks": fixed,
        "contour_landmarks": rig.contour_table(head, fixed),
    }
    tables = {name: _flushed(value) for name, value in floats.items()}
    return tables | {name: value.astype(np.int64) for name, value in integers.items()}


@functools.cache
def _albedo(size: int) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    painting = Painting(build_canvas(size))
    directions = painting.directions()
    stacked = np.stack([_flushed(change).transpose(2, 0, 1) for change in directions.values()])
    return tuple(directions), _flushed(painting.mean()), stacked


def _flushed(value: Array) -> NDArray[np.float32]:
    """Single precision without the far tails of the Gaussians: subnormal numbers slow every product down."""
    return np.where(np.abs(value) < 1e-9, 0.0, value).astype(np.float32)
