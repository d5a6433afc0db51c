"""A record without a held-out split gets one by its name alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimflow.data.sharding.write import split_of
from mimflow.data.sources import open_source


def splits(folder: Path, names: list[str]) -> dict[str, str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    source = open_source(str(folder))
    return {name: split_of(source, i, 0.2) for i, name in enumerate(source.names)}


@pytest.mark.parametrize("below", ["", "train/"])
def test_the_share_of_the_test_split_is_drawn_by_name(below: str, tmp_path: Path) -> None:
    names = [f"{below}{i:03d}.png" for i in range(400)]
    few, many = splits(tmp_path / "few", names[:100]), splits(tmp_path / "many", names)
    assert few.items() <= many.items()  # more files move nothing
    assert 48 < list(many.values()).count("test") < 112  # 80, four standard deviations


@pytest.mark.parametrize("held", ["val", "test"])
def test_the_splits_of_the_source_are_kept(held: str, tmp_path: Path) -> None:
    names = [f"{split}/{i}.png" for split in ("train", held) for i in range(20)]
    assert splits(tmp_path, names) == {name: name.split("/")[0] for name in names}
