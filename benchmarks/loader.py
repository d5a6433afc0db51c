"""Loaders side by side: images a second with two workers, random-resized crop to 224 and flip.

Prints two tables, of the photos' own bytes and of the photos at a longest side of 256 (JPEG of
quality 90), medians of five warm epochs. The loaders take turns, so a busy machine slows all alike.
The peers are installed into .bench (requirements/bench.txt). From the root: python -m
benchmarks.loader [photos.zip]
"""

from __future__ import annotations

import io
import os
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
    """Runs everyone in turn and prints the table; a ratio is the median of the rounds'."""
    reasons, rates = dict(missing), {name: [] for name in (*OURS, *PEERS)}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    running = {name: Peer(name, folder) for name in rates if name not in reasons}
    for turn in range(1 + WARM + EPOCHS):  # the first answer is that it is ready
        for name, peer in list(running.items()):
            used = peer.processor_time() if turn else 0
            answer = peer.ask() if turn else peer.answer()
            if not answer:
                reasons[name] = f"does not run: {running.pop(name).end()}"
            elif turn > WARM:
                rates[name].append(float(answer))
                costs[name].append((peer.processor_time() - used) / RECORDS * 1000)
    for peer in running.values():
        peer.end()
    print(f"\n| {title} | images/s | lowest to highest | ours / this | ms of a core for an image |")
    print("| --- | --- | --- | --- | --- |")
    for name, found in rates.items():
        if name in reasons:
            print(f"| {name} | {reasons[name]} | | | |")
            continue
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], found, strict=True))
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        rate, cost = statistics.median(found), statistics.median(costs[name])
        print(f"| {name} | {rate:,.0f} | {spread} | {ratio:.2f} | {cost:.2f} |", flush=True)


class Peer:
    """A loader in the environment that it belongs to."""

    def __init__(self, name: str, folder: Path):
        python = sys.executable if name in OURS else str(ENVIRONMENT / "bin/python")
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.loader_peers", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def ask(self) -> str:
        """Images a second of one more epoch; nothing when it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def processor_time(self) -> float:
        """Seconds of all its processes, also of those that have ended: /proc/PID/stat."""
        stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
        rows = [(int(line.split()[0]), line.rpartition(")")[2].split()) for line in stats]
        family, known = {self.process.pid}, 0
        while len(family) > known:
            known = len(family)
            family |= {pid for pid, fields in rows if int(fields[1]) in family}
        ticks = sum(int(t) for pid, fields in rows if pid in family for t in fields[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")

    def end(self) -> str:
        """The last line it said."""
        self.process.communicate()
        self.said.seek(0)
        with self.said:
            return _last(self.said.read())


def _last(text: str) -> str:
    return (text.strip() or "no reason given").splitlines()[-1][:200]


if __name__ == "__main__":
    main()
