"""Files appear whole or not at all; canonical JSON is one byte string for one value."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimflow.files import canonical, replacing, sha256, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


def test_written_bytes_are_read_back_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert sha256(path) == hashlib.sha256(b"new").hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write(path, b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as beside:
        beside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(), VALUES))
def test_canonical_json_ignores_the_order_of_keys_and_keeps_the_value(value: dict) -> None:
    data = canonical(value)
    assert data == canonical(dict(reversed(value.items())))
    assert data.endswith(b"\n") and json.loads(data) == value


def test_canonical_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical({"loss": float("nan")})
