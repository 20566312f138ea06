"""Answers are kept: across processes, kills at any byte, damaged files and a full disk."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikusi.backends import cache as cache_module
from ikusi.backends.base import Answer
from ikusi.backends.cache import Cache, _Index
from ikusi.core.errors import StoreError


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def kept(folder: Path, answers: dict[str, Answer]) -> Path:
    """Put answers with a cache of its own, and return its file."""
    cache = Cache(folder)
    for name, answer in answers.items():
        cache.put(key(name), answer)
    cache.close()
    return max(folder.glob("*.jsonl"))


def test_an_answer_comes_back_under_the_id_of_who_asks(tmp_path: Path) -> None:
    answer = Answer("first", "kaixo", "length", 3, 4)
    kept(tmp_path, {"a": answer, "b": Answer("x", "", "other", problem="none", detail="é")})
    cache = Cache(tmp_path)
    assert len(cache) == 2
    assert cache.get(key("a"), "second") == Answer("second", "kaixo", "length", 3, 4)
    assert cache.get(key("b"), "b") == Answer("b", "", "other", problem="none", detail="é")
    assert cache.get(key("c"), "c") is None


def test_it_is_seen_at_once_by_who_put_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for number in range(1500):
        cache.put(key(number), Answer("", str(number)))
        found = cache.get(key(number // 2), "x")
        assert found is not None and found.text == str(number // 2)
    cache.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text())
def test_any_text_survives(text: str, detail: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wild = text + "\ud800\0\u2028\n"
        kept(Path(folder), {"a": Answer("", wild, detail=detail)})
        assert Cache(Path(folder)).get(key("a"), "") == Answer("", wild, detail=detail)


def test_two_writers_have_files_of_their_own(tmp_path: Path) -> None:
    one, two = Cache(tmp_path), Cache(tmp_path)
    one.put(key("a"), Answer("", "one"))
    two.put(key("a"), Answer("", "two"))
    two.put(key("b"), Answer("", "b"))
    one.close()
    two.close()
    assert len(list(tmp_path.iterdir())) == 2
    both = Cache(tmp_path)
    assert len(both) == 2
    found = both.get(key("a"), "")
    assert found is not None and found.text == "one"  # the older file's, for everybody


def test_a_file_cut_anywhere_loses_only_what_was_cut(tmp_path: Path) -> None:
    path = kept(tmp_path, {name: Answer("", name * 3) for name in "abc"})
    whole = path.read_bytes()
    ends = [number + 1 for number, byte in enumerate(whole) if byte == ord("\n")]
    for size in sorted({*range(0, len(whole), 11), *ends, *(end - 1 for end in ends)}):
        path.write_bytes(whole[:size])
        cache = Cache(tmp_path)
        assert len(cache) == sum(end <= size for end in ends)
        cache.put(key("d"), Answer("", "d"))
        cache.close()
        again = Cache(tmp_path)
        found = again.get(key("d"), "")
        assert found is not None and found.text == "d"
        for other in tmp_path.glob("*.jsonl"):
            if other != path:
                other.unlink()


def test_a_damaged_line_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = kept(tmp_path, {name: Answer("", name) for name in "abc"})
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b'{"key":"nonsense' + lines[1][16:]
    lines[2] = lines[2].replace(b'"text":"c"', b'"text":\xff"c')
    path.write_bytes(b"".join(lines))
    cache = Cache(tmp_path)
    found = cache.get(key("a"), "")
    assert found is not None and found.text == "a"
    assert cache.get(key("b"), "") is None
    assert cache.get(key("c"), "") is None
    assert "1 damaged" in caplog.text


def test_a_full_disk_is_told_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    cache.put(key("a"), Answer("", "a"))
    really = os.write

    def write(file: int, data: bytes) -> int:
        really(file, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.os, "write", write)
    with pytest.raises(StoreError, match="the disk is full"):
        cache.put(key("b"), Answer("", "b"))
    monkeypatch.setattr(cache_module.os, "write", really)
    assert cache.get(key("b"), "") is None
    cache.put(key("b"), Answer("", "b again"))
    cache.close()
    again = Cache(tmp_path)
    assert len(again) == 2
    found = again.get(key("b"), "")
    assert found is not None and found.text == "b again"


def test_keys_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    one, two = "ab" * 8 + "0" * 48, "ab" * 8 + "1" * 48
    cache = Cache(tmp_path)
    cache.put(one, Answer("", "one"))
    assert cache.get(two, "") is None
    cache.put(two, Answer("", "two"))
    cache.close()
    for reader in (cache, Cache(tmp_path)):
        assert [reader.get(k, "") for k in (one, two)] == [Answer("", "one"), Answer("", "two")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1 << 50)), max_size=1500))
def test_the_index_is_a_dictionary_of_lists(pairs: list[tuple[int, int]]) -> None:
    index, expected = _Index(), dict[int, list[int]]()
    places = sorted({place for _, place in pairs})
    for (short, _), place in zip(pairs, places, strict=False):
        index.add(short, place)
        expected.setdefault(short, []).append(place)
    for short in range(41):
        assert list(index.find(short)) == expected.get(short, [])


def test_an_answer_takes_few_bytes_of_memory(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    tracemalloc.start()
    for number in range(4_000):
        cache.put(key(number), Answer("", "a text that would take more than this " * 3))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cache.close()
    assert used / 4_000 < 80
