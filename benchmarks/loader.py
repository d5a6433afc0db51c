"""Loaders side by side: images a second with two workers, random-resized crop to 224 and flip.

Prints two tables, of the photos' own bytes and of the photos at a longest side of 256 (JPEG of
quality 90), medians of five warm epochs; the loaders take turns, so a busy machine slows all alike.
The peers are installed into .bench (requirements/bench.txt). From the root: python -m
benchmarks.loader [photos.zip]
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

from mimflow.data.sharding.merge import merge
from mimflow.data.sharding.publish import publish
from mimflow.data.sharding.write import write_part
from mimflow.data.sources import open_source

RECORDS, EPOCHS, WARM, SIDE = 2230, 5, 2, 256
ENVIRONMENT = Path(".bench")
OURS = ("ours", "limit", "limit, windows only")
PEERS = ("ImageFolder + Pillow", "webdataset", "litdata", "mosaicml-streaming", "FFCV")


def main() -> None:
    """Prints both tables."""
    photos = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/imagenet_photos.zip")
    missing = install()
    for title, side in (("original bytes", None), (f"longest side {SIDE}", SIDE)):
        with tempfile.TemporaryDirectory() as folder:
            prepare(photos, Path(folder), side)
            show(title, Path(folder), missing)


def install() -> dict[str, str]:
    """Makes the environment of the peers; why a peer is absent."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    missing = {}
    for names, options in ((PEERS[:-1], ["bench.txt"]), (PEERS[-1:], ["bench-ffcv.txt"])):
        command = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "-r",
            f"requirements/{options[0]}",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            missing |= dict.fromkeys(names, f"not installed: {_last(done.stderr)}")
    return missing


def prepare(photos: Path, folder: Path, side: int | None) -> None:
    """The photos, repeated under other names, as files and as shards."""
    (folder / "jpegs/0").mkdir(parents=True)
    with zipfile.ZipFile(photos) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        for number in range(RECORDS):
            data = archive.read(names[number % len(names)])
            if side:
                image = Image.open(io.BytesIO(data)).convert("RGB")
                image.thumbnail((side, side), Image.Resampling.BICUBIC)
                image.save(small := io.BytesIO(), "JPEG", quality=90)
                data = small.getvalue()
            (folder / f"jpegs/0/{number:05d}.jpg").write_bytes(data)
    source = open_source(str(folder / "jpegs"))
    write_part(source, folder / "parts", 0, 1, 8, 0.0, 1 << 28)
    merge(source, folder / "parts", folder / "index.json", folder / "audit.json", 8, 0.0)
    publish(folder / "parts", folder / "shards")


def show(title: str, folder: Path, missing: dict[str, str]) -> None:
    """Runs everyone in turn and prints the table."""
    reasons, running = dict(missing), {}
    for name in (*OURS, *PEERS):
        if name not in reasons:
            running[name] = start(name, folder)
            if running[name].stdout.readline() != "ready\n":
                reasons[name] = f"does not run: {end(running.pop(name))}"
    rates: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(WARM + EPOCHS):
        for name in list(running):
            running[name].stdin.write("\n")
            running[name].stdin.flush()
            answer = running[name].stdout.readline()
            if answer:
                rates[name].append(float(answer))
            else:
                reasons[name] = f"does not run: {end(running.pop(name))}"
    for process in running.values():
        end(process)
    median = {name: statistics.median(rates[name][WARM:]) for name in running}
    print(f"\n| {title} | images/s | lowest to highest | ours / this |\n| --- | --- | --- | --- |")
    for name in (*OURS, *PEERS):
        if name in reasons:
            print(f"| {name} | {reasons[name]} | | |")
            continue
        spread = f"{min(rates[name][WARM:]):,.0f} to {max(rates[name][WARM:]):,.0f}"
        ratio = median["ours"] / median[name]
        print(f"| {name} | {median[name]:,.0f} | {spread} | {ratio:.2f} |", flush=True)


def start(name: str, folder: Path) -> subprocess.Popen[str]:
    """A loader in the environment that it belongs to."""
    python = sys.executable if name in OURS else str(ENVIRONMENT / "bin/python")
    return subprocess.Popen(
        [python, "-m", "benchmarks.loader_peers", name, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """The last line it said."""
    return _last(process.communicate()[1])


def _last(text: str) -> str:
    return (text.strip() or "no reason given").splitlines()[-1][:200]


if __name__ == "__main__":
    main()
