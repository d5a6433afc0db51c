"""A real S3-compatible server on a free port, for tests of sources behind a URL."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "pictures"


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """The environment under which its one bucket, empty, is reached."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url)
        request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=a/1/us-east-1/s3/x")
        urllib.request.urlopen(request).close()
        yield {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait()


def put(environment: dict[str, str], name: str, data: bytes) -> None:
    """One object of the bucket, replaced if it is there."""
    url = f"{environment['AWS_ENDPOINT_URL']}/{BUCKET}/{name}"
    request = urllib.request.Request(url, data=data, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=a/1/us-east-1/s3/x")
    urllib.request.urlopen(request).close()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/moto-api/").close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")
