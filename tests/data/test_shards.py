"""Shards hold every record once, equal byte for byte for any number of parts, and show damage."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mimflow.data.decode import decode
from mimflow.data.scenes import Scenes, draw_scenes
from mimflow.data.sharding.format import shard_of
from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.write import write_part
from mimflow.data.shards import Shards
from mimflow.data.sources import Source, open_source

LIMIT, NUM_SHARDS = 10_000, 5


def picture(seed: int, kind: str = "PNG", grey: bool = False) -> bytes:
    draw = np.random.default_rng(seed)
    shape = (int(draw.integers(3, 9)), int(draw.integers(3, 9)))
    pixels = draw.integers(0, 256, shape if grey else (*shape, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    """Sixty sound pictures in two splits and three classes, one of them twice, and two broken."""
    files = {}
    for i in range(60):
        split, kind = ("train", "test")[i % 4 == 3], ("PNG", "JPEG", "WEBP")[i % 3]
        files[f"{split}/c{i % 5 % 3}/{i:03d}"] = picture(i, kind, grey=i % 7 == 0)
    files["test/c0/copy.png"] = files["train/c0/000"]
    files["train/c1/cut.jpg"] = picture(1, "JPEG")[:-40]
    files["test/c2/text.png"] = b"not a picture"
    return files


@pytest.fixture(scope="module")
def root(tree: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("source")
    for name, data in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


@pytest.fixture(scope="module")
def source(root: str) -> Source:
    return open_source(root)


def make(source: Source, folder: Path, order: list[int] | None = None, bad: float = 0.1) -> Path:
    order = order or [0]
    for part in order:
        write_part(source, folder, part, len(order), NUM_SHARDS, 0.2, LIMIT)
    merge(source, folder, folder / "index.json", folder / "audit.json", NUM_SHARDS, bad)
    return folder


def index_of(folder: Path) -> dict:
    return json.loads((folder / "index.json").read_bytes())


def audit_of(folder: Path) -> dict:
    return json.loads((folder / "audit.json").read_bytes())


def splits(folder: Path) -> list[Shards]:
    index = folder / "index.json"
    return [Shards(index, folder, split) for split in ("train", "test")]


@pytest.fixture(scope="module")
def made(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(source, tmp_path_factory.mktemp("shards"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("parts", [1, 3, 4, 7])
def test_any_number_of_parts_in_any_order_gives_the_same_bytes(
    parts: int, source: Source, made: Path, tmp_path: Path
) -> None:
    order = random.Random(parts).sample(range(parts), parts)
    assert contents(make(source, tmp_path, order)) == contents(made)


def test_another_process_gives_the_same_bytes(root: str, made: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mimflow.data.sources import open_source;"
        "from mimflow.data.sharding.write import write_part;"
        f"write_part(open_source(sys.argv[1]), Path(sys.argv[2]), 0, 1, {NUM_SHARDS}, 0.2, {LIMIT})"
    )
    path = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, root, str(tmp_path)], env=environment, check=True)
    assert contents(tmp_path).items() <= contents(made).items()


def test_found_is_sharded_and_quarantined(source: Source, made: Path) -> None:
    index, audit = index_of(made), audit_of(made)
    assert index["found"] == len(source.names) == 63
    assert index["found"] == index["sharded"] + index["quarantined"]
    assert index["sharded"] == sum(index["splits"].values()) == sum(map(len, splits(made)))
    assert [broken["name"] for broken in audit["broken"]] == [
        "test/c2/text.png",
        "train/c1/cut.jpg",
    ]
    assert sum(audit["sizes"].values()) == index["sharded"]
    assert {split: sum(count.values()) for split, count in audit["classes"].items()} == {
        **index["splits"]
    }


def test_every_sound_record_comes_back_with_its_bytes(
    source: Source, made: Path, tree: dict[str, bytes]
) -> None:
    seen = []
    for shards in splits(made):
        for i in range(len(shards)):
            name = shards.name(i)
            seen.append(name)
            assert bytes(shards.image(i)) == tree[name]
            assert source.label_names[shards.label(i)] == name.split("/")[1]
            assert shards.label(i) == shards.labels()[i]
            pixels = decode(tree[name], LIMIT)
            assert np.array_equal(shards.pixels(i, LIMIT), pixels)
            assert shards.shape(i) == pixels.shape[:2]
    broken = {"test/c2/text.png", "train/c1/cut.jpg"}
    assert sorted(seen) == sorted(tree.keys() - broken)


def test_access_by_number_equals_a_walk_through_the_files(made: Path) -> None:
    walked: dict[str, list[str]] = {"train": [], "test": []}
    for path in sorted(made.glob("*.arrow")):
        file = pa.ipc.open_file(path)
        assert file.num_record_batches == 1
        names = file.read_all().column("name").to_pylist()
        order = [(name.startswith("test"), name) for name in names]
        assert order == sorted(order)  # train before test, then by name
        for name in names:
            assert shard_of(name, NUM_SHARDS) == int(path.stem)
            walked[name.split("/")[0]].append(name)
    for shards, names in zip(splits(made), walked.values(), strict=True):
        assert [shards.name(i) for i in range(len(shards))] == names
        assert shards.labels().dtype == np.int32 and len(shards.labels()) == len(shards)
        with pytest.raises(IndexError):
            shards.image(len(shards))


def test_a_copy_across_splits_and_grey_pictures_are_reported(made: Path) -> None:
    audit = audit_of(made)
    assert audit["duplicates"]["groups_across_splits"] == audit["duplicates"]["groups"] == 1
    assert audit["duplicates"]["listed"] == [
        {
            "names": ["test/c0/copy.png", "train/c0/000"],
            "splits": ["train", "test"],
            "labels": ["c0"],
        }
    ]
    every = [s.pixels(i, LIMIT) for s in splits(made) for i in range(len(s))]
    grey = sum((pixels == pixels[..., :1]).all() for pixels in every)
    assert grey > 5 and audit["greyscale"] == round(grey / len(every), 6)


def test_the_moments_are_those_of_all_train_pixels(made: Path) -> None:
    train, index = splits(made)[0], index_of(made)
    pixels = [train.pixels(i, LIMIT).reshape(-1, 3) / 255 for i in range(len(train))]
    for key, expected in (("mean", np.mean), ("std", np.std)):  # six digits are stored
        assert np.allclose(index[key], expected(np.concatenate(pixels), 0), atol=1e-6)


def test_a_missing_a_cut_and_a_flipped_shard_are_noticed(source: Source, tmp_path: Path) -> None:
    folder = make(source, tmp_path)
    index, victim = folder / "index.json", folder / "00003.arrow"
    data = victim.read_bytes()
    Shards(index, folder, "train").verify()
    victim.write_bytes(data[:300] + bytes([data[300] ^ 1]) + data[301:])
    with pytest.raises(ValueError, match=r"00003\.arrow: sha256"):
        Shards(index, folder, "train").verify()
    victim.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"00003\.arrow: .* bytes"):
        Shards(index, folder, "train")
    victim.unlink()
    with pytest.raises(ValueError, match=r"00003\.arrow: the shard is missing"):
        Shards(index, folder, "train")


def test_a_second_run_keeps_what_is_whole_and_mends_the_rest(
    source: Source, made: Path, tmp_path: Path
) -> None:
    make(source, tmp_path)
    cut, unfinished, whole = (tmp_path / f"0000{i}.arrow" for i in range(3))
    cut.write_bytes(cut.read_bytes()[:-7])
    unfinished.with_suffix(".json").unlink()
    before = whole.stat().st_mtime_ns
    assert contents(make(source, tmp_path)) == contents(made)
    assert whole.stat().st_mtime_ns == before


def test_shards_of_other_parameters_are_not_taken_over(source: Source, tmp_path: Path) -> None:
    write_part(source, tmp_path, 0, 2, NUM_SHARDS, 0.2, LIMIT)
    with pytest.raises(ValueError, match="shard 1 of 5 has not been written"):
        merge(source, tmp_path, tmp_path / "i", tmp_path / "a", NUM_SHARDS, 1)
    write_part(source, tmp_path, 1, 2, NUM_SHARDS, 0.2, 40)
    with pytest.raises(ValueError, match="shard 1 was made from another source"):
        merge(source, tmp_path, tmp_path / "i", tmp_path / "a", NUM_SHARDS, 1)
    before = (tmp_path / "00000.json").read_bytes()
    write_part(source, tmp_path, 0, 2, NUM_SHARDS, 0.2, 40)
    assert (tmp_path / "00000.json").read_bytes() != before


def test_too_many_broken_files_stop_the_merge(source: Source, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"max_bad_fraction: 2 of 63 .* 'test/c2/text.png': no pict"
    ):
        make(source, tmp_path, bad=0.03)
    assert not (tmp_path / "index.json").exists() and not (tmp_path / "audit.json").exists()
    make(source, tmp_path, bad=2 / 63)


def test_an_unknown_split_and_part_are_named(source: Source, made: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no image is in the split 'val' .there are: test, train"):
        Shards(made / "index.json", made, "val")
    with pytest.raises(ValueError, match="part: 3; allowed: 0 to 2"):
        write_part(source, tmp_path, 3, 3, NUM_SHARDS, 0.2, LIMIT)


def test_shards_travel_to_other_processes_by_path(made: Path) -> None:
    train = splits(made)[0]
    expected = [bytes(train.image(i)) for i in range(len(train))]
    packed = pickle.dumps(train)
    assert len(packed) < 4000 + 200 * NUM_SHARDS
    copy = pickle.loads(packed)
    assert [bytes(copy.image(i)) for i in range(len(copy))] == expected


def test_images_are_not_copied(made: Path) -> None:
    train = splits(made)[0]
    first = np.frombuffer(train.image(0), np.uint8)
    again = np.frombuffer(train.image(0), np.uint8)
    assert first.ctypes.data == again.ctypes.data and train.image(0).readonly


def test_val_is_held_out_where_there_is_no_test(tmp_path: Path) -> None:
    for i, name in enumerate(["train/1.png", "train/2.png", "val/3.png"]):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(picture(i))
    index = index_of(make(open_source(str(tmp_path / "x")), tmp_path / "out"))
    assert index["held_out"] == "val" and index["splits"] == {"train": 2, "val": 1}


def test_scenes_keep_their_pixels_and_annotations(tmp_path: Path) -> None:
    text = "kind: scenes\nseed: 1\ntrain: 40\ntest: 9\nsize: 32\nclutter: middle\nobjects: 2\n"
    (tmp_path / "s.yaml").write_text(text)
    folder = make(open_source(str(tmp_path / "s.yaml")), tmp_path / "out", [1, 0])
    for shards in splits(folder):
        split = shards.name(0).split("/")[0]
        index = np.array([int(shards.name(i).split("/")[1]) for i in range(len(shards))])
        drawn = draw_scenes(Scenes(1, 40, 9, 32, "middle", 2), split, index)
        assert np.array_equal(shards.labels(), drawn["label"])
        for i in range(len(shards)):
            found = shards.annotations(i)
            assert np.array_equal(shards.pixels(i, LIMIT), drawn["image"][i])
            for key in ("semantic", "instances", "boxes", "classes"):
                assert np.array_equal(found[key], drawn[key][i])
            assert found["caption"] == drawn["captions"][i] and found["boxes"].dtype == np.float32
            assert len(shards.image(i)) == 32 * 32 * 3


def test_real_files_of_every_odd_kind_are_sharded_or_named(
    tmp_path: Path, shared_data: Path
) -> None:
    source = open_source(str(shared_data / "bad_images.zip"))
    for part in (1, 0):
        write_part(source, tmp_path, part, 2, 4, 0.2, 50_000_000)
    merge(source, tmp_path, tmp_path / "index.json", tmp_path / "audit.json", 4, 0.3)
    audit = audit_of(tmp_path)
    assert (audit["found"], audit["sharded"], audit["quarantined"]) == (55, 43, 12)
    broken = {"truncated", "no", "zero", "text", "html", "huge", "large", "bad", "true"}
    assert {entry["name"].split("_")[0].split(".")[0] for entry in audit["broken"]} == broken
    assert audit["ignored"] == {"hidden": 2, ".csv": 1, ".json": 1}
