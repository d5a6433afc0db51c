"""A source behind a URL reads like its local copy, and archives are read by range."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from s3 import BUCKET, put, server

from mimflow.data.readers import remote
from mimflow.data.readers.record import Source
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import open_source

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


TREE = {
    f"{split}/{c}/{i}.png": picture(i) for split in ("train", "val") for c in "ab" for i in (1, 2)
}


def content(source: Source) -> list[tuple]:
    return [(r.name, r.split, r.label, r.data()) for r in source.records()]


def in_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in TREE.items():
            packed.writestr(name, data)
    return file.getvalue()


def in_tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:  # type: ignore[call-overload]
        for name, data in TREE.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return file.getvalue()


def in_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": list(TREE.values()), "label": [0, 1] * 4}), file)
    return file.getvalue()


ARCHIVES = {
    "x.zip": in_zip(),
    "x.tar": in_tar("w"),
    "x.tar.gz": in_tar("w:gz"),
    "x.parquet": in_parquet(),
}


def test_a_prefix_reads_like_its_folder(store: dict[str, str], tmp_path: Path) -> None:
    for name, data in TREE.items():
        put(store, f"set/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found, expected = open_source(f"s3://{BUCKET}/set"), open_source(str(tmp_path))
    assert found.kind == expected.kind == "imagefolder"
    assert found.label_names == expected.label_names and found.splits == expected.splits
    assert content(found) == content(expected) and len(content(found)) == 8


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_reads_like_its_local_copy(
    name: str, store: dict[str, str], tmp_path: Path
) -> None:
    put(store, name, ARCHIVES[name])
    (tmp_path / name).write_bytes(ARCHIVES[name])
    found, expected = open_source(f"s3://{BUCKET}/{name}"), open_source(str(tmp_path / name))
    assert found.kind == expected.kind
    assert content(found) == content(expected) and len(content(found)) == 8


def test_of_an_archive_only_what_is_asked_for_is_fetched(
    store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    padding = {f"{i}.png": bytes(200_000) for i in range(20)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in padding.items():
            packed.writestr(name, data)
    put(store, "large.zip", file.getvalue())
    fetched = []
    plain = remote._ranged

    def counted(*arguments: object) -> remote.Ranged:
        ranged = plain(*arguments)  # type: ignore[arg-type]
        return remote.Ranged(
            ranged.name, ranged.size, lambda s, o: fetched.append(s) or ranged.read(s, o)
        )

    monkeypatch.setattr(remote, "_ranged", counted)
    source = open_source(f"s3://{BUCKET}/large.zip")
    [record] = source.records([7])
    assert record.data() == bytes(200_000)
    assert sum(fetched) < 350_000 < len(file.getvalue()) / 10


def test_the_identity_changes_with_the_files(store: dict[str, str]) -> None:
    url = f"s3://{BUCKET}/changing"
    put(store, "changing/a.png", picture(1))
    first = remote.identity(url)
    assert open_source(url).identity == first == remote.identity(url)
    put(store, "changing/a.png", picture(2))
    second = remote.identity(url)
    put(store, "changing/b.png", picture(3))
    assert len({first, second, remote.identity(url)}) == 3


def test_what_is_not_there_is_one_line(
    store: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"nothing is found at 's3://pictures/nowhere'"):
        open_source(f"s3://{BUCKET}/nowhere")
    with pytest.raises(ValueError, match=r"data\.source: 'foo://x/y'"):
        open_source("foo://x/y")


def test_a_list_may_name_pictures_beside_it_or_by_url(store: dict[str, str]) -> None:
    put(store, "l/a.png", picture(1))
    put(store, "m/b.png", picture(2))
    put(store, "l/list.csv", f"path,label\na.png,x\ns3://{BUCKET}/m/b.png,y\n".encode())
    source = open_source(f"s3://{BUCKET}/l/list.csv")
    assert [(r.label, r.data()) for r in source.records()] == [(0, picture(1)), (1, picture(2))]


def test_tars_below_a_prefix_are_one_set(store: dict[str, str], tmp_path: Path) -> None:
    for i in range(3):
        put(store, f"tars/train-{i}.tar", in_tar("w"))
    source = open_source(f"s3://{BUCKET}/tars/train-{{0..1}}.tar")
    assert source.kind == "webdataset" and source.splits == ("train",) and len(source.names) == 16
    assert [r.data() for r in source.records()] == [*TREE.values()] * 2
    write_part(source, tmp_path, 0, 1, 2, 0.2, 10_000)
    merge(source, tmp_path, tmp_path / "index.json", tmp_path / "audit.json", 2, 0)
    assert Shards(tmp_path / "index.json", tmp_path, "train").verify() == 2
