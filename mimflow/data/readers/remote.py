"""Files behind a URL: listed, then read whole or by range.

What fsspec knows how to reach is reached: s3://, gs://, https:// and others. Credentials and the
endpoint are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on), never
parameters. A remote place has no content hash: its identity is the names, sizes and tags (ETag,
checksum or time, whichever the store has) of its files.
"""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from mimflow.data.readers.files import MAX_BYTES, Files, check_size, tidy
from mimflow.data.readers.ranged import Ranged

_T = TypeVar("_T")
_TAGS = ("ETag", "etag", "md5Hash", "checksum", "LastModified", "mtime", "created")


def is_url(place: str) -> bool:
    return "://" in place


def remote_files(url: str) -> Files:
    """Every file below the prefix."""
    system, root = _connect(url)
    ignored: Counter[str] = Counter()
    found: dict[str, tuple[str, int]] = {}
    for path, facts in _below(url):
        if facts["size"] == 0 and path.endswith("/"):  # the mark of an empty folder
            continue
        name = tidy(path[len(root) :].encode())
        if not name:
            ignored["hidden"] += 1
            continue
        found[name] = (path, int(facts["size"] or 0))
    names = sorted(found)

    def size(i: int) -> int:
        return found[names[i]][1]

    def read(i: int, most: int = MAX_BYTES) -> bytes:
        check_size(size(i), most)
        try:
            data = bytes(_asked(url, lambda: system.cat_file(found[names[i]][0])))
        except (FileNotFoundError, PermissionError) as error:
            raise ValueError(f"{type(error).__name__} at {names[i]!r}") from error
        if len(data) != size(i):
            raise ValueError(f"{len(data)} bytes came, but {size(i)} were listed")
        return data

    def ranged(i: int) -> Ranged:
        return _ranged(system, found[names[i]][0], size(i), url)

    return Files("", names, read, size, ignored, identity(url), ranged)


def remote_file(url: str) -> Ranged:
    """One file, read by range."""
    system, path = _connect(url)
    size = _asked(url, lambda: system.info(path))["size"]
    if size is None:
        raise ValueError(f"data.source: {url!r}: the server does not say how long the file is")
    return _ranged(system, path, int(size), url)


def read_url(url: str, most: int = MAX_BYTES) -> bytes:
    """The bytes of one file; a ValueError if there is none or it is too large."""
    try:
        file = remote_file(url)
        check_size(file.size, most)
        return file.read(file.size, 0)
    except (FileNotFoundError, PermissionError) as error:
        raise ValueError(f"{type(error).__name__} at {url!r}") from error


def is_file(url: str) -> bool:
    """Whether one file stands there and no prefix; a ValueError if there is neither."""
    system, path = _connect(url)
    try:
        return bool(_asked(url, lambda: system.info(path))["type"] == "file")
    except FileNotFoundError:
        raise ValueError(f"data.source: nothing is found at {url!r}") from None


def identity(url: str) -> str:
    """Equal as long as no file there has changed, as far as the store says."""
    total = hashlib.sha256()
    for path, facts in _below(url):
        tag = next((str(facts[key]) for key in _TAGS if facts.get(key)), "")
        total.update(f"{path!r} {facts.get('size')} {tag}\n".encode())
    return total.hexdigest()


def _below(url: str) -> list[tuple[str, dict[str, Any]]]:
    system, root = _connect(url)
    found = _asked(url, lambda: system.find(root, detail=True))
    if not found:
        raise ValueError(f"data.source: nothing is found at {url!r}")
    return sorted(found.items())


def _connect(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # here: a local source needs none of it

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:  # an unknown protocol, or one with no package
        raise ValueError(f"data.source: {url!r}: {str(error).splitlines()[0]}") from None
    return system, path


def _ranged(system: Any, path: str, size: int, url: str) -> Ranged:
    def read(count: int, offset: int) -> bytes:
        end = min(offset + count, size)
        if end <= offset:
            return b""
        return bytes(_asked(url, lambda: system.cat_file(path, start=offset, end=end)))

    return Ranged(f"{url.partition('://')[0]}://{path}", size, read)


def _asked(url: str, call: Callable[[], _T]) -> _T:
    """The answer; whatever a store's client raises becomes one line."""
    try:
        return call()
    except (OSError, ValueError):
        raise
    except Exception as error:  # no credentials, no connection: each client has its own class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OSError(errno.EIO, f"data.source: {url!r}: {reason}") from error
