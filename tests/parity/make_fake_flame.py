"""Write synthetic assets in the on-disk formats of FLAME and DECA.

No licensed data is used: geometry, blend shapes, skinning and texture are
smooth random functions of a seed. File names, dictionary keys, dtypes and
pickle dialects follow the official downloads, so a loader written for those
must also load these:

``head_template.obj``       text OBJ, ``v``/``vt``/``f v/vt`` with a UV seam
``generic_model.pkl``       protocol-2 pickle in the *Python 2* dialect (byte
                            strings, old module names), some arrays wrapped in
                            ``chumpy.ch.Ch``, ``J_regressor`` a SciPy CSC matrix,
                            ``f`` and ``kintree_table`` uint32
``landmark_embedding.npy``  0-d object array: dict with static / dynamic / full
                            embeddings, the dynamic ones as torch tensors
``FLAME_texture.npz``       ``mean`` (S,S,3), ``tex_dir`` (S,S,3,n), ``vt``,
                            ``ft``; values in 0..255, BGR channel order
``uv_face_mask.png``, ``uv_face_eye_mask.png``  256x256 RGBA
``fixed_displacement_256.npy``  (256,256) float64
``mean_texture.jpg``        512x512

The mesh is a lumpy ellipsoid (600 vertices, 1196 faces).
"""

from __future__ import annotations

import io
import pickle
import struct
import types
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

N_SHAPE, N_EXP = 300, 100
PARENTS = np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32)


def rng_for(seed: int, tag: str) -> np.random.RandomState:
    """Return the generator for one named ingredient."""
    return np.random.RandomState(zlib.crc32(f"{seed}:{tag}".encode()) & 0xFFFFFFFF)


# --------------------------------------------------------------------- pickle dialect


class Ch:
    """Array holder with the pickled state layout, and under the pickled name, of chumpy's class."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = np.asarray(x, dtype=np.float64)
        self._dirty_vars = {"x"}
        self._itr = None
        self._make_dense = False
        self._make_sparse = False
        self._depends_on_deps: dict[str, Any] = {}


Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"

_OLD_MODULES = {
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "scipy.sparse._csc": "scipy.sparse.csc",
}


class _OldNames(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Pure-Python pickler that writes the module names of older libraries."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_global(self, obj: Any, name: str | None = None) -> None:
        name = name or getattr(obj, "__qualname__", obj.__name__)
        module = _OLD_MODULES.get(obj.__module__, obj.__module__)
        if self.proto < 3:
            module = {"builtins": "__builtin__", "copyreg": "copy_reg"}.get(module, module)
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    def save_type(self, obj: Any) -> None:
        self.save_global(obj)

    dispatch[type] = save_type
    dispatch[types.FunctionType] = save_global
    dispatch[types.BuiltinFunctionType] = save_global


class _Python2(_OldNames):
    """Also writes every string as a Python 2 byte string."""

    dispatch: ClassVar = dict(_OldNames.dispatch)

    def _save_py2_str(self, data: bytes, obj: Any) -> None:
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(obj)

    def save_str(self, obj: str) -> None:
        self._save_py2_str(obj.encode("latin1"), obj)

    def save_bytes(self, obj: bytes) -> None:
        self._save_py2_str(obj, obj)

    dispatch[str] = save_str
    dispatch[bytes] = save_bytes


def dump_python2(obj: Any, path: Path) -> None:
    """Pickle ``obj`` the way Python 2 with protocol 2 would have."""
    with path.open("wb") as fh:
        _Python2(fh, 2).dump(obj)


def save_object_npy(obj: Any, path: Path) -> None:
    """Write a 0-d object array like ``np.save(path, dict)`` of an older NumPy."""
    array = np.empty((), dtype=object)
    array[()] = obj
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    _OldNames(buffer, 3).dump(array)
    path.write_bytes(buffer.getvalue())


# --------------------------------------------------------------------- smooth functions


def smooth_field(
    rng: np.random.RandomState, points: np.ndarray, n_out: int, waves: int = 6, freq: float = 2.5
) -> np.ndarray:
    """Return ``(len(points), n_out)`` sums of random low-frequency plane waves."""
    scaled = (points - points.mean(0)) / np.abs(points - points.mean(0)).max()
    out = np.zeros((len(points), n_out))
    for _ in range(waves):
        k = rng.standard_normal((points.shape[1], n_out)) * freq
        phase = rng.uniform(0, 2 * np.pi, n_out)
        amplitude = rng.standard_normal(n_out) / np.sqrt(waves)
        out += amplitude * np.sin(scaled @ k + phase)
    return out


# --------------------------------------------------------------------- mesh


def make_mesh(seed: int, rings: int = 23, segments: int = 26) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices, uv coordinates, faces and uv faces of a lumpy ellipsoid.

    The face looks along +z, y is up. The column u=0/1 (back of the head) is a
    seam: one vertex, two texture coordinates. The poles have one vertex and one
    texture coordinate per segment.
    """
    verts = [[0.0, 1.0, 0.0]]
    for i in range(1, rings + 1):
        theta = np.pi * i / (rings + 1)
        for j in range(segments):
            phi = 2 * np.pi * j / segments - np.pi
            verts.append([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)])
    verts.append([0.0, -1.0, 0.0])
    unit = np.array(verts)
    nose = 0.25 * np.exp(-((unit[:, 0] / 0.15) ** 2 + ((unit[:, 1] + 0.05) / 0.22) ** 2)) * (unit[:, 2] > 0)
    lump = 1 + 0.04 * smooth_field(rng_for(seed, "mesh"), unit, 1, freq=2.0)[:, 0] + nose
    vertices = unit * lump[:, None] * np.array([0.078, 0.118, 0.095]) + np.array([0.002, -0.01, -0.01])

    uv = [[(j + 0.5) / segments, 1.0] for j in range(segments)]
    for i in range(1, rings + 1):
        uv += [[j / segments, 1.0 - i / (rings + 1)] for j in range(segments + 1)]
    uv += [[(j + 0.5) / segments, 0.0] for j in range(segments)]
    uvs = 0.02 + 0.96 * np.array(uv)
    faces, uvfaces = [], []
    vid = lambda i, j: 1 + (i - 1) * segments + j % segments  # noqa: E731
    tid = lambda i, j: segments + (i - 1) * (segments + 1) + j  # noqa: E731
    last_v, last_t = 1 + rings * segments, segments + rings * (segments + 1)
    for j in range(segments):
        faces.append([0, vid(1, j), vid(1, j + 1)])
        uvfaces.append([j, tid(1, j), tid(1, j + 1)])
        for i in range(1, rings):
            faces += [[vid(i, j), vid(i + 1, j), vid(i + 1, j + 1)], [vid(i, j), vid(i + 1, j + 1), vid(i, j + 1)]]
            uvfaces += [[tid(i, j), tid(i + 1, j), tid(i + 1, j + 1)], [tid(i, j), tid(i + 1, j + 1), tid(i, j + 1)]]
        faces.append([vid(rings, j), last_v, vid(rings, j + 1)])
        uvfaces.append([tid(rings, j), last_t + j, tid(rings, j + 1)])
    return vertices, uvs, np.array(faces), np.array(uvfaces)


def write_obj(path: Path, vertices: np.ndarray, uvs: np.ndarray, faces: np.ndarray, uvfaces: np.ndarray) -> None:
    """Write a Blender-style OBJ with texture coordinates."""
    lines = ["# synthetic head", "mtllib template.mtl"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uvs]
    lines += ["usemtl material_1", "s off"]
    lines += [
        "f " + " ".join(f"{a + 1}/{b + 1}" for a, b in zip(f, t, strict=True))
        for f, t in zip(faces, uvfaces, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read the ``v``, ``vt`` and ``f v/vt`` records of a triangle OBJ."""
    v, t, f, g = [], [], [], []
    for line in path.read_text().splitlines():
        parts = line.split()
        if not parts:
            continue
        if parts[0] == "v":
            v.append([float(p) for p in parts[1:4]])
        elif parts[0] == "vt":
            t.append([float(p) for p in parts[1:3]])
        elif parts[0] == "f":
            corner = [p.split("/") for p in parts[1:4]]
            f.append([int(c[0]) - 1 for c in corner])
            g.append([int(c[1]) - 1 if len(c) > 1 and c[1] else 0 for c in corner])
    return np.array(v), np.array(t), np.array(f), np.array(g)


# --------------------------------------------------------------------- FLAME model


def make_model(seed: int, vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Return plain-array contents of ``generic_model.pkl``."""
    n = len(vertices)
    shape_scale = 0.0030 / np.sqrt(1 + 0.1 * np.arange(N_SHAPE))
    exp_scale = 0.0025 / np.sqrt(1 + 0.1 * np.arange(N_EXP))
    scale = np.concatenate([shape_scale, exp_scale])
    field = smooth_field(rng_for(seed, "shapedirs"), vertices, 3 * (N_SHAPE + N_EXP))
    shapedirs = field.reshape(n, 3, N_SHAPE + N_EXP) * scale
    posedirs = 0.004 * smooth_field(rng_for(seed, "posedirs"), vertices, 3 * 36).reshape(n, 3, 36)

    center, extent = vertices.mean(0), vertices.max(0) - vertices.min(0)
    joints = center + extent * np.array(
        [[0, -0.45, -0.15], [0, -0.30, -0.10], [0, -0.12, 0.02], [-0.18, 0.10, 0.33], [0.18, 0.10, 0.33]]
    )
    rng = rng_for(seed, "J_regressor")
    regressor = np.zeros((5, n))
    for j, joint in enumerate(joints):
        near = np.argsort(np.linalg.norm(vertices - joint, axis=1), kind="stable")[:24]
        regressor[j, near] = rng.uniform(0.5, 1.5, 24)
    regressor /= regressor.sum(1, keepdims=True)

    distance = np.linalg.norm((vertices[:, None] - joints[None]) / extent, axis=2)
    logits = -6.0 * distance + 0.3 * smooth_field(rng_for(seed, "weights"), vertices, 5)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return {
        "f": faces.astype(np.uint32),
        "J_regressor": sp.csc_matrix(regressor),
        "kintree_table": PARENTS.copy(),
        "J": regressor @ vertices,
        "weights": weights,
        "posedirs": posedirs,
        "bs_style": "lbs",
        "v_template": vertices.astype(np.float64),
        "shapedirs": shapedirs,
        "bs_type": "lrotmin",
    }


def make_landmarks(seed: int, vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Return a landmark embedding on the front of the mesh."""
    import torch

    centers = vertices[faces].mean(1)
    lo, hi = vertices.min(0), vertices.max(0)
    mid, half = (lo + hi) / 2, (hi - lo) / 2
    front = np.flatnonzero(centers[:, 2] > mid[2])

    def nearest(xy: np.ndarray, yaw: float = 0.0) -> int:
        c, s = np.cos(yaw), np.sin(yaw)
        rel = (centers - mid) / half
        turned = np.stack([c * rel[:, 0] + s * rel[:, 2], rel[:, 1], -s * rel[:, 0] + c * rel[:, 2]], 1)
        pool = np.flatnonzero(turned[:, 2] > 0.0) if yaw else front
        return int(pool[np.argmin(((turned[pool, :2] - xy) ** 2).sum(1))])

    def arc(cx: float, cy: float, rx: float, ry: float, n: int, a0: float, a1: float) -> list[tuple[float, float]]:
        return [(cx + rx * np.cos(a), cy + ry * np.sin(a)) for a in np.linspace(a0, a1, n)]

    def loop(cx: float, cy: float, rx: float, ry: float, n: int) -> list[tuple[float, float]]:
        return arc(cx, cy, rx, ry, n + 1, np.pi, -np.pi)[:n]

    points = arc(-0.38, 0.38, 0.2, 0.08, 5, np.pi, 0) + arc(0.38, 0.38, 0.2, 0.08, 5, np.pi, 0)
    points += [(0.0, y) for y in np.linspace(0.25, -0.05, 4)] + [(x, -0.15) for x in np.linspace(-0.15, 0.15, 5)]
    points += loop(-0.38, 0.22, 0.15, 0.07, 6) + loop(0.38, 0.22, 0.15, 0.07, 6)
    points += loop(0.0, -0.42, 0.28, 0.12, 12) + loop(0.0, -0.42, 0.2, 0.05, 8)
    assert len(points) == 51
    rng = rng_for(seed, "landmarks")

    def bary(*shape: int) -> np.ndarray:
        w = rng.uniform(0.1, 1.0, (*shape, 3))
        return w / w.sum(-1, keepdims=True)

    static = np.array([nearest(np.array(p)) for p in points], dtype=np.int64)
    static_b = bary(51)
    contour = arc(0.0, -0.05, 0.72, 0.78, 17, np.pi, 2 * np.pi)
    degrees = list(range(0, 40)) + list(range(-1, -40, -1))
    dynamic = np.array([[nearest(np.array(p), np.deg2rad(-0.5 * d)) for p in contour] for d in degrees], dtype=np.int64)
    dynamic_b = bary(79, 17).astype(np.float32)
    full = np.concatenate([dynamic[0], static])[None]
    full_b = np.concatenate([bary(17), static_b])[None].astype(np.float32)
    return {
        "static_lmk_faces_idx": static,
        "static_lmk_bary_coords": static_b.astype(np.float64),
        "dynamic_lmk_faces_idx": torch.from_numpy(dynamic),
        "dynamic_lmk_bary_coords": torch.from_numpy(dynamic_b),
        "full_lmk_faces_idx": full.astype(np.int64),
        "full_lmk_bary_coords": full_b,
    }


# --------------------------------------------------------------------- images


def texture_component(seed: int, index: int, size: int) -> np.ndarray:
    """Return texture basis image ``index`` as (size, size, 3), about +-4 grey levels."""
    rng = rng_for(seed, f"tex{index}")
    grid = np.arange(size) / 512.0
    out = np.zeros((size, size, 3))
    for _ in range(3):
        k = rng.standard_normal((2, 3)) * 9.0
        phase, amplitude = rng.uniform(0, 2 * np.pi, 3), rng.standard_normal(3) * 4.0
        for c in range(3):
            wave = np.exp(1j * (k[0, c] * grid))[:, None] * np.exp(1j * (k[1, c] * grid + phase[c]))[None]
            out[:, :, c] += amplitude[c] * wave.imag
    return out


def texture_mean(seed: int, size: int) -> np.ndarray:
    """Return the mean texture (BGR, 0..255)."""
    rng = rng_for(seed, "texmean")
    y, x = np.meshgrid(np.arange(size) / 512.0, np.arange(size) / 512.0, indexing="ij")
    base = np.array([95.0, 120.0, 160.0])
    field = smooth_field(rng, np.stack([y.ravel(), x.ravel()], 1), 3, freq=6.0).reshape(size, size, 3)
    return base + 35.0 * np.tanh(field)


def write_textures(out: Path, seed: int, components: int, size: int, uvs: np.ndarray, uvfaces: np.ndarray) -> None:
    """Write ``FLAME_texture.npz``."""
    basis = np.empty((size, size, 3, components), dtype=np.float32)
    for i in range(components):
        basis[..., i] = texture_component(seed, i, size)
    mean = texture_mean(seed, size).astype(np.float64)
    np.savez(out / "FLAME_texture.npz", mean=mean, tex_dir=basis, vt=uvs, ft=uvfaces.astype(np.int64))


def write_images(out: Path, seed: int) -> None:
    """Write masks, displacement and the mean texture picture."""
    from PIL import Image

    y, x = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(-1, 1, 256), indexing="ij")
    face = np.clip((0.72 - np.hypot(x * 1.05, y * 0.95)) * 12, 0, 1)
    eyes = np.clip((0.13 - np.hypot(np.abs(x) - 0.3, (y + 0.2) * 1.6)) * 20, 0, 1)
    for name, mask in (("uv_face_mask.png", face), ("uv_face_eye_mask.png", face * (1 - eyes))):
        grey = np.rint(mask * 255).astype(np.uint8)
        rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
        Image.fromarray(rgba).save(out / name)
    field = smooth_field(rng_for(seed, "displacement"), np.stack([y.ravel(), x.ravel()], 1), 1, freq=5.0)
    np.save(out / "fixed_displacement_256.npy", 5e-4 * field.reshape(256, 256))
    rgb = texture_mean(seed, 512)[:, :, ::-1]
    Image.fromarray(np.rint(np.clip(rgb, 0, 255)).astype(np.uint8)).save(out / "mean_texture.jpg", quality=95)


def build(
    out: Path,
    seed: int = 7,
    components: int = 200,
    tex_size: int = 512,
    chumpy_keys: Iterable[str] = ("shapedirs", "J"),
) -> Path:
    """Write the whole asset folder and return it; `components` is 200 in the official texture."""
    out.mkdir(parents=True, exist_ok=True)
    write_obj(out / "head_template.obj", *make_mesh(seed))
    vertices, uvs, faces, uvfaces = read_obj(out / "head_template.obj")
    wrapped = set(chumpy_keys)
    model = {k: Ch(v) if k in wrapped else v for k, v in make_model(seed, vertices, faces).items()}
    dump_python2(model, out / "generic_model.pkl")
    save_object_npy(make_landmarks(seed, vertices, faces), out / "landmark_embedding.npy")
    write_images(out, seed)
    write_textures(out, seed, components, tex_size, uvs, uvfaces)
    return out
