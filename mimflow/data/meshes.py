"""Triangle meshes and clouds of points: .off, .obj and .ply files as arrays, and fair samples.

Formats: OFF (Geomview), OBJ (Wavefront; vertices and faces only), PLY (ascii and binary; Turk
1994). A file without faces is a cloud.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mimflow.draw import Draw, fold


class Mesh(NamedTuple):
    """`points` float64 (V, 3), `faces` int64 (F, 3), `normals` float64 (V, 3) or None."""

    points: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None


def sample(mesh: Mesh, count: int, name: str) -> np.ndarray:
    """float32 (count, 6): points x y z and the normals of their faces, the same for each name.

    The surface is cut into `count` shares of equal area in the order of the faces, and each share
    has one point; then they are shuffled, so that the first k are a fair sample too.
    """
    corners = mesh.points[mesh.faces]  # (F, 3, 3)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    if not np.isfinite(area).all() or area.sum() <= 0:
        raise ValueError("the mesh has no area, or corners that are not finite")
    draw = Draw(np.arange(count), "mesh", fold(name))
    jitter, a, b = draw.uniform("place", 3).astype(np.float64).T
    solid = np.flatnonzero(area)  # a point never falls on a face without area
    upto = np.cumsum(area[solid])
    at = (np.arange(count) + jitter) / count * upto[-1]
    face = solid[np.searchsorted(upto, at, "right").clip(max=len(solid) - 1)]
    root = np.sqrt(a)
    share = np.stack([1 - root, root * (1 - b), root * b], 1)  # uniform on a triangle
    points = (corners[face] * share[:, :, None]).sum(1)
    normals = across[face] / area[face, None]
    order = np.argsort(draw.uniform("order", 1)[:, 0], kind="stable")
    return np.concatenate([points, normals], 1)[order].astype(np.float32)


def thin(cloud: np.ndarray, count: int, name: str) -> np.ndarray:
    """`count` of the points of a cloud (n, c): the first ones where that is all, else drawn."""
    if len(cloud) < count:
        raise ValueError(f"{len(cloud)} points, fewer than data.num_points {count}")
    if len(cloud) == count:
        return cloud
    order = Draw(np.arange(len(cloud)), "cloud", fold(name)).uniform("order", 1)[:, 0]
    return cloud[np.argsort(order, kind="stable")[:count]]


def parse_off(data: bytes) -> Mesh:
    """The header may be glued to the counts, as it is in ModelNet40."""
    text = data.decode("ascii", "replace")
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines or not lines[0].upper().startswith("OFF"):
        raise ValueError("no OFF header")
    rest = lines[0][3:].strip()
    lines = [rest, *lines[1:]] if rest else lines[1:]
    counts = _numbers(lines[:1])[0]
    vertices, faces = int(counts[0]), int(counts[1])
    if not 0 < vertices <= len(lines) - 1 or not 0 <= faces <= len(lines) - 1 - vertices:
        raise ValueError(f"{vertices} points and {faces} faces in {len(lines) - 1} lines")
    points = np.array([row[:3] for row in _numbers(lines[1 : 1 + vertices])])
    rows = _numbers(lines[1 + vertices : 1 + vertices + faces])
    polygons = [[int(v) for v in row[1 : 1 + int(row[0])]] for row in rows]
    return as_mesh(points, polygons)


def parse_obj(data: bytes) -> Mesh:
    """Faces may name texture and normal too (1/2/3) and count backwards (-1)."""
    points: list[list[float]] = []
    polygons: list[list[int]] = []
    for line in data.decode("utf-8", "replace").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            points.append(_numbers([" ".join(words[1:4])])[0])
        elif words[0] == "f":
            try:
                corners = [int(word.partition("/")[0]) for word in words[1:]]
            except ValueError as error:
                raise ValueError(f"no face: {line[:40]!r}") from error
            polygons.append([c - 1 if c > 0 else len(points) + c for c in corners])
    return as_mesh(np.array(points), polygons)


def _numbers(lines: list[str]) -> list[list[float]]:
    try:
        found = [[float(word) for word in line.split()] for line in lines]
    except ValueError as error:
        raise ValueError(f"a number is expected: {error}") from error
    if not found or min(map(len, found)) < 1:
        raise ValueError("the file ends too early")
    return found


def as_mesh(
    points: np.ndarray, polygons: list[list[int]], normals: np.ndarray | None = None
) -> Mesh:
    """Polygons become fans of triangles; corners that do not exist are refused."""
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise ValueError("no points of three numbers")
    fans = [[p[0], p[i], p[i + 1]] for p in polygons for i in range(1, len(p) - 1)]
    faces = np.array(fans, np.int64).reshape(-1, 3)
    if faces.size and not 0 <= faces.min() <= faces.max() < len(points):
        raise ValueError(f"a face names corner {faces.max()} of {len(points)}")
    return Mesh(points, faces, normals)
