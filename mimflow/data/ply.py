"""PLY files: a header that names the columns, then text or binary rows (Turk 1994)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from mimflow.data.meshes import Mesh, as_mesh

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
_LETTERS = dict(zip(("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"), "bBhHiIfd", strict=True))
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_Columns = list[tuple[str, str, str]]  # name, type, type of a list's length or ""
_Table = dict[str, list[Any]]  # the values of each column, row by row


def parse_ply(data: bytes) -> Mesh:
    """Points, faces if there are any, and normals (nx ny nz) if there are any."""
    head, mark, body = data.partition(b"end_header")
    newline = body.find(b"\n")
    if not data.startswith(b"ply") or not mark or newline < 0:
        raise ValueError("no PLY header")
    order, elements = _header(head.decode("ascii", "replace"))
    rows = body[newline + 1 :]
    read = _binary(rows, order) if order else _text(rows)
    tables: dict[str, _Table] = {}
    for name, count, columns in elements:
        try:
            tables[name] = _table(read, count, columns)
        except (StopIteration, struct.error) as error:
            raise ValueError(f"the file ends within its {count} rows of {name!r}") from error
    vertices, faces = tables.get("vertex", {}), tables.get("face", {})
    points, normals = _three(vertices, "x", "y", "z"), _three(vertices, "nx", "ny", "nz")
    if points is None:
        raise ValueError("PLY: no points of three numbers")
    corners = faces.get("vertex_indices", faces.get("vertex_index", []))
    return as_mesh(points, [[int(corner) for corner in face] for face in corners], normals)


def _header(text: str) -> tuple[str, list[tuple[str, int, _Columns]]]:
    order, elements = "", []
    for words in (line.split() for line in text.splitlines()):
        try:
            if words[:1] == ["format"]:
                order = _ORDERS[words[1]]
            elif words[:1] == ["element"]:
                elements.append((words[1], int(words[2]), _Columns()))
            elif words[:2] == ["property", "list"]:
                elements[-1][2].append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[:1] == ["property"]:
                elements[-1][2].append((words[2], _TYPES[words[1]], ""))
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"PLY header: {' '.join(words)[:60]!r}") from error
    return order, elements


def _table(read: Callable[[str], float], count: int, columns: _Columns) -> _Table:
    table: _Table = {name: [] for name, _, _ in columns}
    for _ in range(count):
        for name, kind, length in columns:
            if length:
                table[name].append([read(kind) for _ in range(int(read(length)))])
            else:
                table[name].append(read(kind))
    return table


def _three(table: _Table, *names: str) -> np.ndarray | None:
    """float64 (V, 3) of three columns, None where one is missing."""
    if not all(table.get(name) for name in names):
        return None
    return np.array([table[name] for name in names], np.float64).T


def _text(rows: bytes) -> Callable[[str], float]:
    words = iter(rows.split())

    def read(kind: str) -> float:
        return float(next(words))

    return read


def _binary(rows: bytes, order: str) -> Callable[[str], float]:
    forms = {kind: struct.Struct(order + letter) for kind, letter in _LETTERS.items()}
    at = 0

    def read(kind: str) -> float:
        nonlocal at
        (value,) = forms[kind].unpack_from(rows, at)
        at += forms[kind].size
        return float(value)

    return read
