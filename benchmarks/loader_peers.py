"""One loader, epoch after epoch: started by `benchmarks.loader` in the environment of that loader.

Each line on the standard input asks for an epoch; the answer is its images a second. Everyone makes
the same: random-resized crop (area 0.08 to 1) to 224 and a flip, uint8 batches of 64, two workers.
`folder` holds what `benchmarks.loader` has prepared: `jpegs/0/*.jpg`, `shards` and `index.json`.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

BATCH, SIZE, WORKERS, SMALLEST = 64, 224, 2, 0.08
AHEAD = 8  # batches that our workers hold ready
Epoch = Callable[[], tuple[int, float]]  # images of an epoch and the seconds that it took


def main() -> None:
    """Arguments: which loader, the prepared folder."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # some loaders print
    epoch = PEERS[name](folder)
    print("ready", file=answers)
    for _ in sys.stdin:
        count, seconds = epoch()
        print(count / seconds, file=answers)


def _timed(batches: Iterable) -> tuple[int, float]:
    begin = time.perf_counter()
    count = sum(len(b[0] if isinstance(b, list | tuple) else b) for b in batches)
    return count, time.perf_counter() - begin


def _transform() -> Callable:
    """torchvision's own, as its users write it: Pillow decodes all and resizes the crop."""
    import torch

    try:
        import torchvision.transforms as t
    except RuntimeError:  # torchvision built for CUDA beside a torch for CPUs
        sys.modules.pop("torchvision", None)
        global operators  # as long as the process lives
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        import torchvision.transforms as t
    crop = t.RandomResizedCrop(SIZE, scale=(SMALLEST, 1))
    return t.Compose([crop, t.RandomHorizontalFlip(), t.PILToTensor()])


def _decode(data: bytes, transform: Callable) -> object:
    import io

    from PIL import Image

    return transform(Image.open(io.BytesIO(data)).convert("RGB"))


def ours(folder: Path) -> Epoch:
    """mimflow: one iterator for the whole run, as in training."""
    from mimflow.data.augment import one_view
    from mimflow.data.loader import Batches, load
    from mimflow.data.shards import Shards
    from mimflow.params.fields import Augment

    shards = Shards(folder / "index.json", folder / "shards", "train")
    views = one_view(Augment(kind="crop", amount=SMALLEST, flip=True), SIZE)
    batches = iter(load(Batches(shards, views, BATCH, 0, 1 << 28), 0, 1 << 40))
    images = (batch["image"] for batch in batches)

    def epoch() -> tuple[int, float]:
        for _ in range(AHEAD):  # made while the others had their turn
            next(images)
        return _timed(itertools.islice(images, len(shards) // BATCH))

    return epoch


def imagefolder(folder: Path) -> Epoch:
    """torchvision's ImageFolder with Pillow."""
    transform = _transform()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    data = ImageFolder(str(folder / "jpegs"), transform)
    loader = DataLoader(data, BATCH, True, num_workers=WORKERS, persistent_workers=True)
    return lambda: _timed(loader)


def webdataset(folder: Path) -> Epoch:
    """Tar files, Pillow."""
    import functools
    import tarfile

    import webdataset as wds

    files = sorted((folder / "jpegs/0").iterdir())
    (folder / "tars").mkdir(exist_ok=True)
    for i in range(8):
        with tarfile.open(folder / f"tars/{i}.tar", "w") as tar:
            for file in files[i::8]:
                tar.add(file, file.name)
    urls = [str(path) for path in sorted((folder / "tars").iterdir())]
    decode = functools.partial(_decode, transform=_transform())
    data = wds.WebDataset(urls, shardshuffle=8).shuffle(500).to_tuple("jpg").map_tuple(decode)
    data = data.batched(BATCH)
    loader = wds.WebLoader(data, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    return lambda: _timed(loader)


class _Bytes:
    """A file's bytes as a record of litdata."""

    def __call__(self, path: str) -> dict[str, bytes]:
        return {"jpg": Path(path).read_bytes()}


def litdata(folder: Path) -> Epoch:
    """Its chunks, Pillow."""
    transform = _transform()
    import functools
    import multiprocessing

    import litdata as lit

    out = folder / "litdata"
    files = [str(path) for path in sorted((folder / "jpegs/0").iterdir())]
    if not out.exists():
        work = functools.partial(lit.optimize, _Bytes(), files, str(out), chunk_bytes="64MB")
        process = multiprocessing.get_context("fork").Process(target=work)  # it sets start methods
        process.start()
        process.join()

    class Data(lit.StreamingDataset):
        def __getitem__(self, index: object) -> object:
            return _decode(super().__getitem__(index)["jpg"], transform)

    loader = lit.StreamingDataLoader(
        Data(str(out), shuffle=True),
        batch_size=BATCH,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return lambda: _timed(loader)


def mosaicml(folder: Path) -> Epoch:
    """Its MDS shards, Pillow."""
    transform = _transform()
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    out = folder / "mds"
    if not out.exists():
        with MDSWriter(out=str(out), columns={"jpg": "bytes"}) as writer:
            for path in sorted((folder / "jpegs/0").iterdir()):
                writer.write({"jpg": path.read_bytes()})

    class Data(StreamingDataset):
        def __getitem__(self, index: object) -> object:
            return _decode(super().__getitem__(index)["jpg"], transform)

    data = Data(local=str(out), shuffle=True, batch_size=BATCH)
    loader = DataLoader(data, BATCH, num_workers=WORKERS, persistent_workers=True)
    return lambda: _timed(loader)


def ffcv(folder: Path) -> Epoch:
    """Its file of JPEGs as they are; decoded whole, resized by OpenCV (INTER_AREA)."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor
    from ffcv.writer import DatasetWriter
    from PIL import Image

    paths = sorted((folder / "jpegs/0").iterdir())

    class Pictures:
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> tuple:
            return Image.open(paths[i]).convert("RGB"), 0

    file = folder / "pictures.beton"
    if not file.exists():
        field = RGBImageField(write_mode="jpg", jpeg_quality=90)
        DatasetWriter(
            str(file), {"image": field, "label": IntField()}, num_workers=1
        ).from_indexed_dataset(Pictures())
    crop = RandomResizedCropRGBImageDecoder((SIZE, SIZE), scale=(SMALLEST, 1))
    pipelines = {"image": [crop, RandomHorizontalFlip(), ToTensor()], "label": [IntDecoder()]}
    loader = Loader(
        str(file),
        batch_size=BATCH,
        num_workers=WORKERS,
        order=OrderOption.RANDOM,
        pipelines=pipelines,
        drop_last=True,
    )
    return lambda: _timed(loader)


def _bare(folder: Path, whole: bool) -> Epoch:
    """Two processes, files in memory, boxes known: nothing but the calls that decode and resize."""
    import multiprocessing

    import numpy as np

    from mimflow.data import encoded
    from mimflow.data.augment import crop_boxes
    from mimflow.data.shards import Shards
    from mimflow.draw import Draw

    shards = Shards(folder / "index.json", folder / "shards", "train")
    pictures = [shards.picture(i, 1 << 28) for i in range(len(shards))]
    boxes = crop_boxes(pictures, SMALLEST, Draw(np.arange(len(shards)), "bare")).tolist()
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    calls = []
    for i, (picture, box) in enumerate(zip(pictures, boxes, strict=True)):
        data = memoryview(bytes(shards.image(i)))
        factor = picture._factor(box, out)
        scaled = [side / factor for side in box]
        high, wide = (-(-side // factor) for side in picture.shape[:2])
        window = (0, 0, wide, high) if whole else picture._window(scaled, out, factor)
        x, y, w, h = scaled[0] - window[0], scaled[1] - window[1], *scaled[2:]
        part = np.array([x, y, x + w, y + h], np.float32)
        calls.append((data, picture.shape[:2], factor, window, part))

    def work(mine: list) -> None:
        for data, shape, factor, window, part in mine:
            pixels = encoded.decode_window(data, shape, factor, window)
            encoded.resize(pixels, part, out)

    def epoch() -> tuple[int, float]:
        begin = time.perf_counter()
        fork = multiprocessing.get_context("fork")
        workers = [fork.Process(target=work, args=(calls[i::WORKERS],)) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return len(calls), time.perf_counter() - begin

    return epoch


PEERS = {
    "ours": ours,
    "ImageFolder + Pillow": imagefolder,
    "webdataset": webdataset,
    "litdata": litdata,
    "mosaicml-streaming": mosaicml,
    "FFCV": ffcv,
    "limit": lambda folder: _bare(folder, whole=True),
    "limit, windows only": lambda folder: _bare(folder, whole=False),
}

if __name__ == "__main__":
    main()
