"""Triangles over lattices of vertices."""

from __future__ import annotations

import numpy as np


def lattice_faces(ids: np.ndarray, closed: bool = False, flip: bool = False) -> np.ndarray:
    """Join a lattice of vertex ids into triangles, dropping those that collapse to a line."""
    right = np.roll(ids, -1, axis=1)
    a, b, c, d = ids[:-1], right[:-1], right[1:], ids[1:]
    quads = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2)
    faces = (quads if closed else quads[:, :-1]).reshape(-1, 3)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
    return np.asarray(faces[:, ::-1] if flip else faces)
