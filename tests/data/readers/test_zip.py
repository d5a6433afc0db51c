"""The zip reader agrees with zipfile, and reads what zipfile gives up on."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimflow.data.readers.files import tidy
from mimflow.data.readers.ranged import local
from mimflow.data.readers.zip import zip_files
from mimflow.data.sources import open_source


@pytest.mark.parametrize("flag", [0, 0x800])  # 0x800 claims UTF-8
def test_names_that_are_not_utf8_are_read_as_in_a_folder(flag: int, tmp_path: Path) -> None:
    raw = b"caf\xe9_\xff.png"
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.png", b"1")
        file.writestr("cafX_Y.png", b"2")
    data = bytearray(packed.read_bytes().replace(b"cafX_Y.png", raw))
    for at in range(len(data)):
        if data[at : at + 4] == b"PK\1\2":
            data[at + 8 : at + 10] = flag.to_bytes(2, "little")
    packed.write_bytes(data)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"1")
    (folder / os.fsdecode(raw)).write_bytes(b"2")
    for source in (open_source(str(packed)), open_source(str(folder))):
        assert [(record.name, record.data()) for record in source.records()] == [
            ("a.png", b"1"),
            (r"caf\xe9_\xff.png", b"2"),
        ]


def shown(name: str) -> bool:
    return bool(name) and tidy(name.encode()) == name


def plain(data: bytes) -> bool:
    """Whether zipfile reads an archive with this before it or as its comment."""
    return b"PK" not in data


MEMBERS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), max_size=20).filter(shown),
    st.tuples(st.binary(max_size=60), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])),
    max_size=6,
)


AROUND = st.binary(max_size=30).filter(plain)


@settings(max_examples=60, deadline=None)
@given(MEMBERS, AROUND, AROUND, st.booleans())
def test_the_zip_reader_agrees_with_zipfile(
    members: dict[str, tuple[bytes, int]], before: bytes, comment: bytes, wide: bool
) -> None:
    limit = 10 if wide else zipfile.ZIP64_LIMIT
    with tempfile.TemporaryDirectory() as folder, patch.object(zipfile, "ZIP64_LIMIT", limit):
        path = Path(folder) / "x.zip"
        path.write_bytes(before)
        with zipfile.ZipFile(path, "a") as file:
            file.comment = comment
            for name, (data, method) in members.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = method
                with file.open(info, "w", force_zip64=wide) as member:
                    member.write(data)
        files = zip_files(local(path))
        read = {name: files.read(i) for i, name in enumerate(files.names)}
        with zipfile.ZipFile(path) as file:
            expected = {info.filename: file.read(info) for info in file.infolist()}
    assert read == expected and list(read) == sorted(expected)


def test_a_comment_that_looks_like_the_end_is_seen_through(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    for comment in (b"PK\5\6", b"PK\5\6" + bytes(18) + b"more"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.png", b"1")
            file.comment = comment
        assert zip_files(local(path)).names == ["a.png"]
