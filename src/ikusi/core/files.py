"""Writing that survives a kill or a power cut, and disk errors told in one line.

Place: under the store. Contract: after `write_durably` and `publish` return, the change is on the
disk; before, nothing of it can be seen under its final name.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ikusi.core.errors import StoreError

FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
"""Numbers of the errors of a full disk or a used-up quota."""
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV}
"""Numbers of the errors of file systems without hard links, such as exFAT."""
_DENIED = {errno.EACCES, errno.EPERM}
# Libraries that write in Rust or C++ (safetensors, torch) lose the number and keep these words.
_FULL_WORDS = ("no space left on device", "os error 28", "disk quota exceeded")
_TOO_LARGE_WORDS = ("file too large", "os error 27")


def show_bytes(count: float) -> str:
    """Return `count` bytes for people, in powers of 1000: `2.1 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def fsync_file(path: Path) -> None:
    """Bring a file's content onto the disk."""
    # Windows refuses to fsync what was opened for reading.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Bring a folder's entries onto the disk; Windows has no such call and needs none."""
    if os.name != "nt":
        fsync_file(path)


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` under `path` so that a reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; what is not there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_files(source: Path, target: Path, pattern: str) -> None:
    """Make the files of one folder appear in another, without a copy where hard links are known.

    Args:
        source: what is in it stays.
        target: made if needed.
        pattern: which files, such as `*.arrow`.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob(pattern)):
        try:
            os.link(path, target / path.name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(path, target / path.name)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; what vanishes meanwhile counts 0."""
    total = 0
    stack = [path]
    while stack:
        here = stack.pop()
        try:
            if here.is_dir() and not here.is_symlink():
                stack.extend(here.iterdir())
            else:
                total += here.lstat().st_size
        except FileNotFoundError:
            continue
    return total


@contextmanager
def disk_errors(root: Path, option: str = "--store") -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a `StoreError` that says what to do.

    Args:
        root: the store, for the message and for the space that is left.
        option: the command line's, that says where `root` is.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        told = explain(error, root, option)
        if told is None:
            raise
        raise StoreError(told) from error


def explain(error: BaseException, root: Path, option: str = "--store") -> str | None:
    """Return the line for a disk error in the store at `root`; None when `error` is not one."""
    elsewhere = f"or point {option} elsewhere"
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        number = current.errno if isinstance(current, OSError) else None
        text = str(current).lower()
        if number in FULL or any(words in text for words in _FULL_WORDS):
            return (
                f"{root}: the disk is full{_left(root)}. Free space there (`ikusi store gc` "
                f"shows what can go), {elsewhere}."
            )
        where = getattr(current, "filename", None)
        if number == errno.EROFS:
            return f"{where or root}: the disk is read-only. Mount it for writing, {elsewhere}."
        if number in _DENIED and _is_inside(where, root):
            return (
                f"{where}: no permission to write or read there. "
                f"Change the owner or mode of {root}, {elsewhere}."
            )
        if number == errno.EIO:
            return f"{where or root}: the disk reports an error. Check it, or use another one."
        if number == errno.EFBIG or any(words in text for words in _TOO_LARGE_WORDS):
            return (
                f"{root}: a file is larger than the disk or a limit (`ulimit -f`) allows. "
                f"Raise the limit, {elsewhere}."
            )
        if number in (errno.ENOTDIR, errno.EEXIST):
            for path in (root, *root.parents):
                if path.exists() and not path.is_dir():
                    return f"{path}: is no folder. Point {option} at one."
        if number == errno.ENOENT and _is_inside(where, root) and not root.is_dir():
            return f"{root}: no folder can be made there. Point {option} elsewhere."
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return None


def _left(root: Path) -> str:
    for folder in (root, *root.parents):
        try:
            return f" ({show_bytes(shutil.disk_usage(folder).free)} left)"
        except OSError:
            continue
    return ""


def _is_inside(where: object, root: Path) -> bool:
    if not isinstance(where, str | bytes | os.PathLike):
        return False
    path = Path(os.path.abspath(os.fsdecode(where)))
    base = Path(os.path.abspath(root))
    return path == base or base in path.parents or path in base.parents
