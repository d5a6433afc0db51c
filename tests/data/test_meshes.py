"""Meshes of every form hold the same surface; samples are even by area and fixed by the name."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from mimflow.data.meshes import Mesh, parse_obj, parse_off, sample, thin
from mimflow.data.ply import parse_ply

# A unit square of two triangles, and a far triangle of area 2.
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 0, 1], [7, 0, 1], [5, 2, 1]])
FACES = [[0, 1, 2, 3], [4, 5, 6]]
ROWS = "\n".join(" ".join(map(str, point)) for point in POINTS)

OFF = f"OFF\n# comment\n7 2 0\n{ROWS}\n4 0 1 2 3\n3 4 5 6\n".encode()
GLUED = OFF.replace(b"OFF\n# comment\n7", b"OFF7")
OBJ = (
    "o thing\n" + "\n".join("v " + row for row in ROWS.split("\n")) + "\nf 1 2/1 3/1/1 4\nf -3 6 7"
).encode()
HEAD = (
    "ply\nformat {}\nelement vertex 7\nproperty float x\nproperty float y\nproperty float z\n"
    "property uchar red\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
)
PLY = (
    HEAD.format("ascii 1.0")
    + "\n".join(r + " 9" for r in ROWS.split("\n"))
    + "\n4 0 1 2 3\n3 4 5 6"
).encode()


def binary(order: str, name: str) -> bytes:
    rows = b"".join(struct.pack(order + "fffB", *point, 9) for point in POINTS)
    faces = b"".join(struct.pack(f"{order}B{len(f)}i", len(f), *f) for f in FACES)
    return HEAD.format(f"{name} 1.0").encode() + rows + faces


@pytest.mark.parametrize(
    "mesh",
    [
        parse_off(OFF),
        parse_off(GLUED),
        parse_obj(OBJ),
        parse_ply(PLY),
        parse_ply(binary("<", "binary_little_endian")),
        parse_ply(binary(">", "binary_big_endian")),
    ],
)
def test_every_form_holds_the_same_mesh(mesh: Mesh) -> None:
    assert np.array_equal(mesh.points, POINTS)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]


def test_each_face_has_its_share_of_the_points() -> None:
    found = sample(parse_off(OFF), 3000, "a")
    assert found.shape == (3000, 6) and found.dtype == np.float32
    square = found[:, 2] == 0
    assert abs(square.sum() - 1000) <= 1  # area 1 of 3: even, not only on average
    inside = found[square, :2]
    assert ((inside >= 0) & (inside <= 1)).all()
    assert abs(inside.mean(0) - 0.5).max() < 0.03  # 3.3 standard deviations of 0.29 / sqrt(1000)
    far = found[~square, :2] - (5, 0)
    assert (far >= 0).all() and (far.sum(1) <= 2 + 1e-5).all()
    assert np.array_equal(found[:, 3:], np.broadcast_to([0, 0, 1], (3000, 3)).astype(np.float32))


def test_the_first_points_are_a_fair_sample() -> None:
    found = sample(parse_off(OFF), 3000, "a")[:300]
    assert 67 < (found[:, 2] == 0).sum() < 133  # 100, four standard deviations


def test_a_sample_is_a_function_of_the_name() -> None:
    mesh = parse_off(OFF)
    assert np.array_equal(sample(mesh, 64, "a"), sample(mesh, 64, "a"))
    assert not np.array_equal(sample(mesh, 64, "a"), sample(mesh, 64, "b"))


def test_faces_without_area_have_no_points() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]])
    mesh = Mesh(points, np.array([[3, 3, 3], [0, 1, 2], [3, 3, 3]]))
    assert (sample(mesh, 100, "a")[:, :3] <= 1).all()
    with pytest.raises(ValueError, match="the mesh has no area"):
        sample(Mesh(points, np.array([[3, 3, 3]])), 10, "a")


def test_a_cloud_is_thinned_without_repetition() -> None:
    cloud = np.arange(300).reshape(100, 3)
    found = thin(cloud, 40, "a")
    assert len({tuple(row) for row in found.tolist()}) == 40
    assert thin(cloud, 100, "a") is cloud
    with pytest.raises(ValueError, match=r"100 points, fewer than data\.num_points 101"):
        thin(cloud, 101, "a")


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        *((parse_off, OFF[:n]) for n in (0, 3, 20, 40, 70)),
        (parse_off, OFF.replace(b"4 0 1 2 3", b"4 0 1 2 9")),
        (parse_off, OFF.replace(b"7 2 0", b"999999999 2 0")),
        (parse_off, OFF.replace(b"5 0 1\n", b"5 zero 1\n")),
        (parse_obj, b"v 1 2\n"),
        (parse_obj, b"f 1 2 3\n"),
        (parse_obj, OBJ.replace(b"f -3", b"f -9")),
        (parse_ply, b"plx"),
        (parse_ply, PLY[:-9]),
        (parse_ply, PLY.replace(b"float x", b"floaty x")),
        (parse_ply, PLY.replace(b"float z", b"float w")),
        (parse_ply, binary("<", "binary_little_endian")[:-5]),
        (parse_ply, PLY.replace(b"vertex 7", b"vertex 99999999999")),
    ],
)
def test_a_damaged_mesh_is_a_value_error(parse: object, data: bytes) -> None:
    with pytest.raises(ValueError):
        sample(parse(data), 8, "a")  # type: ignore[operator]
