"""The members of a zip file, read at their offsets.

The table of contents is read here and not with `zipfile`, which keeps half a kilobyte a member and
gives up on a whole archive when one name that is marked as UTF-8 is not (format: APPNOTE 6.3.10).
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mimflow.data.readers.files import MAX_BYTES, Files, check_size, tidy
from mimflow.data.readers.ranged import Ranged

_TAIL = struct.Struct("<4s4H2LH")  # end of the table of contents
_TAIL64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_IN_ZIP64 = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8


class _Member(NamedTuple):
    """The columns that are kept for each member, as int64."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def zip_files(archive: Ranged) -> Files:
    """Every file in the archive; a name that occurs twice means its last member, as in unzip."""
    table, shift = _table(archive)
    ignored: Counter[str] = Counter()
    found: dict[str, int] = {}
    rows = array("q")
    for raw, member in _members(table, archive.name):
        name = tidy(raw)
        if raw.endswith(b"/"):
            continue
        if not name:
            ignored["hidden"] += 1
            continue
        ignored["replaced by a later member"] += name in found
        found[name] = len(rows) // len(member)
        rows.extend(member)
    names = sorted(found)
    order = np.array([found[name] for name in names], np.int64)
    kept = np.array(rows, np.int64).reshape(-1, len(_Member._fields))[order]

    def read(i: int, most: int = MAX_BYTES) -> bytes:
        member = _Member(*kept[i].tolist())
        return _read(archive, member._replace(offset=member.offset + shift), most)

    identity = f"{zlib.crc32(table):08x}"
    return Files(" in zip", names, read, lambda i: int(kept[i, 4]), +ignored, identity)


def _table(archive: Ranged) -> tuple[bytes, int]:
    """The table of contents, and the length of what stands before the archive in its file."""
    length, path = archive.size, archive.name
    tail = archive.read(1 << 17, max(0, length - (1 << 17)))  # a comment has 64 KiB at most
    at = _tail(tail)
    if at < 0 or at + _TAIL.size > len(tail):
        raise ValueError(f"data.source: {path!r} is no zip file, or its end is missing")
    end = length - len(tail) + at
    *_, size, offset, _ = _TAIL.unpack_from(tail, at)
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\6\7":  # the locator of zip64
        end -= 20 + _TAIL64.size
        head = archive.read(_TAIL64.size, end) if end >= 0 else b""
        if head[:4] != b"PK\6\6":
            raise ValueError(f"data.source: {path!r}: the zip64 table is not where it should be")
        *_, size, offset = _TAIL64.unpack(head)
    shift = end - size - offset
    if shift < 0:
        raise ValueError(f"data.source: {path!r}: the zip table of contents is damaged")
    return archive.read(size, end - size), shift


def _tail(tail: bytes) -> int:
    """Where the end record begins: its comment, which may look like one, ends with the file."""
    at = last = tail.rfind(b"PK\5\6")
    while at >= 0:
        after = at + _TAIL.size
        if after <= len(tail) and after + _TAIL.unpack_from(tail, at)[-1] == len(tail):
            return at
        at = tail.rfind(b"PK\5\6", 0, at)
    return last


def _members(table: bytes, path: str) -> Iterator[tuple[bytes, _Member]]:
    at = 0
    while at < len(table):
        if table[at : at + 4] != b"PK\1\2" or at + _ENTRY.size > len(table):
            raise ValueError(f"data.source: {path!r}: the zip table of contents is damaged")
        entry = _ENTRY.unpack_from(table, at)
        flags, method, crc, packed, size = entry[3], entry[4], entry[7], entry[8], entry[9]
        name, extra, comment = entry[10:13]
        at += _ENTRY.size
        sizes = [size, packed, entry[16]]
        if _IN_ZIP64 in sizes:
            sizes = _wide(table[at + name : at + name + extra], sizes)
        if max(sizes) >= 1 << 62:
            raise ValueError(f"data.source: {path!r}: the zip table of contents is damaged")
        yield table[at : at + name], _Member(flags, method, crc, sizes[1], sizes[0], sizes[2])
        at += name + extra + comment


def _wide(extra: bytes, sizes: list[int]) -> list[int]:
    """The 64-bit values that stand in the extra field instead of the ones that did not fit."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            values = (number for (number,) in struct.iter_unpack("<Q", field[: len(field) & ~7]))
            return [next(values, 0) if size == _IN_ZIP64 else size for size in sizes]
        at += 4 + length
    return sizes


def _read(archive: Ranged, member: _Member, most: int) -> bytes:
    check_size(member.size, most)
    if member.flags & 1:
        raise ValueError("the zip member is encrypted")
    head = archive.read(_LOCAL.size, member.offset)
    if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
        raise ValueError("the zip member is not where the table of contents says")
    *_, name, extra = _LOCAL.unpack(head)
    check_size(member.packed, MAX_BYTES)
    data = archive.read(member.packed, member.offset + _LOCAL.size + name + extra)
    if member.method == _DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size + 1)
        except zlib.error as error:
            raise ValueError(f"the zip member is damaged ({error})") from error
    elif member.method != _STORED:
        raise ValueError(f"zip compression {member.method}: only stored and deflated are read")
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise ValueError("the zip member is damaged (its checksum differs)")
    return data
