"""The images step: one row for each picture that is wanted, in the records' order, done once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.data.pictures import (
    PictureServer,
    Request,
    dataset,
    encode,
    here,
    jpeg,
    make_import,
    natural,
    quick,
    sha,
)

from ikusi.__main__ import run
from ikusi.core.artifact import Artifact
from ikusi.core.errors import DataError
from ikusi.core.store import Store
from ikusi.core.types import ImageRef
from ikusi.data import image_step
from ikusi.data.image_commands import make_images
from ikusi.data.image_manifest import MANIFEST_SCHEMA, ManifestRow, read_rows
from ikusi.data.image_plan import Wanted, make_plan
from ikusi.data.image_settings import ImageSettings
from ikusi.data.images import ImageReader
from ikusi.data.inspect import perceptual_hash

PICTURES = [jpeg(seed) for seed in range(4)]


def build(
    store: Store,
    *imports: Artifact,
    settings: ImageSettings | None = None,
    earlier: Artifact | None = None,
) -> Artifact:
    sets = [dataset(store, artifact) for artifact in imports]
    return make_images(store, sets, settings or quick(), earlier=earlier, lookup=here)


def rows(artifact: Artifact) -> list[ManifestRow]:
    return list(read_rows(artifact.path / "manifest.parquet"))


def urls(server: PictureServer, *names: str) -> list[ImageRef]:
    return [ImageRef(url=server.url(name)) for name in names]


def test_every_picture_has_one_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with PictureServer(
        a=PICTURES[0], b=PICTURES[1], copy=PICTURES[0], page=b"<html>no</html>", cut=jpeg(9)[:500]
    ) as server:
        images = build(
            store,
            make_import(
                store,
                "one",
                [
                    urls(server, "a", "b"),
                    urls(server, "a")[0],
                    ImageRef(sha256=sha(PICTURES[2])),
                    *urls(server, "copy", "page", "cut", "absent"),
                    (),
                    ImageRef(url="file:///etc/passwd"),
                    ImageRef(sha256=sha(PICTURES[1])),
                    ImageRef(sha256=sha(b"lost")),
                ],
                [PICTURES[1], PICTURES[2], PICTURES[3]],
            ),
        )
        assert server.hits["/a"] == 1
        found = [(row.url, row.status, row.reason, row.sha256) for row in rows(images)]
        assert found == [
            (server.url("a"), "fetched", "", sha(PICTURES[0])),
            (server.url("b"), "fetched", "", sha(PICTURES[1])),
            (None, "fetched", "", sha(PICTURES[2])),
            (server.url("copy"), "duplicate", "", sha(PICTURES[0])),
            (server.url("page"), "broken", "format-html", None),
            (server.url("cut"), "broken", "not-decodable", None),
            (server.url("absent"), "dead", "http-404", None),
            ("file:///etc/passwd", "dead", "scheme", None),
            (None, "duplicate", "", sha(PICTURES[1])),
            (None, "dead", "missing", None),
        ]
    first = rows(images)[0]
    assert (first.width, first.height, first.format) == (96, 64, "jpeg")
    assert first.bytes == len(PICTURES[0])
    reader = ImageReader(images.path / "images")
    assert [reader.read(s) for s in reader.sha256s()] == PICTURES[:3]
    assert first.phash == perceptual_hash(reader.open(sha(PICTURES[0])))
    assert images.stats == {
        "wanted": 10,
        "status": {"fetched": 3, "duplicate": 2, "dead": 3, "broken": 2},
        "pictures": 3,
        "bytes": sum(map(len, PICTURES[:3])),
        "reasons": {
            "dead": {"http-404": 1, "missing": 1, "scheme": 1},
            "broken": {"format-html": 1, "not-decodable": 1},
        },
    }
    table = pq.read_table(images.path / "manifest.parquet")
    assert table.schema.equals(MANIFEST_SCHEMA)
    assert sorted(p.name for p in images.path.iterdir()) == [
        *("config.yaml", "images", "manifest.json", "manifest.parquet", "stats.json"),
    ]


def test_order_comes_from_the_records_and_not_from_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_step, "CHUNK_ROWS", 4)
    monkeypatch.setattr(image_step, "_SETTLE_BYTES", 10_000)
    pictures = {f"p{n}": jpeg(n) for n in range(20)}
    payloads = []
    for turn in (1, -1):
        store = Store(tmp_path / str(turn))

        def answer(request: Request, turn: int = turn) -> None:
            number = int(request.path[2:])
            time.sleep(0.01 * (number % 5 if turn == 1 else 4 - number % 5))
            request.reply(200, pictures[request.path[1:]])

        with PictureServer(**dict.fromkeys(pictures, answer)) as server:
            # One port is another URL, and the payload holds URLs: so the host differs, not it.
            refs = [ImageRef(url=f"http://pictures.test/{name}") for name in pictures]
            forward = Forwarding(server.server_port)
            made = make_images(
                store,
                [dataset(store, make_import(store, "set", refs))],
                quick(network={"per_host": 16}),
                lookup=forward,
            )
        payloads.append(made.manifest.payload)
        assert [row.url for row in rows(made)] == [ref.url for ref in refs]
    assert payloads[0] == payloads[1]
    assert len(list((made.path / "images").iterdir())) > 2


class Forwarding:
    """Looks up every name as this machine, at another port than the one asked for."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, host: str, port: int) -> list[tuple[object, ...]]:
        ((family, kind, protocol, name, _),) = here(host, port)
        return [(family, kind, protocol, name, ("127.0.0.1", self.port))]


def test_the_same_imports_in_any_order_are_one_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with PictureServer(a=PICTURES[0], b=PICTURES[1]) as server:
        one = make_import(store, "one", urls(server, "a", "b"))
        two = make_import(store, "two", urls(server, "b"))
        first = build(store, one, two)
        assert build(store, two, one, one).hash == first.hash
        assert build(store, one, two, settings=quick(network={"per_host": 1})).hash == first.hash
        assert sum(server.hits.values()) == 2
        assert build(store, one, two, settings=quick(max_bytes=99)).hash != first.hash
        assert set(first.manifest.inputs.values()) == {one.address, two.address}


def test_published_hashes_are_compared(tmp_path: Path) -> None:
    store = Store(tmp_path)
    right, wrong = sha(PICTURES[0]), sha(b"what it was")
    with PictureServer(a=PICTURES[0], b=PICTURES[1], c=PICTURES[2]) as server:
        refs = [
            ImageRef(url=server.url("a"), sha256=right.upper()),
            ImageRef(url=server.url("b"), sha256=wrong),
            ImageRef(url=server.url("c")),
            ImageRef(url=server.url("c"), sha256=wrong),  # one record knew it, one did not
        ]
        made = rows(build(store, make_import(store, "set", refs)))
    assert [(row.status, row.reason) for row in made] == [
        ("fetched", ""),
        ("dead", "hash-mismatch"),
        ("dead", "hash-mismatch"),
    ]
    assert sha(PICTURES[1]) in made[1].detail
    assert wrong in made[1].detail


def test_what_an_import_holds_is_not_fetched(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with PictureServer(a=PICTURES[0]) as server:
        ref = ImageRef(url=server.url("a"), sha256=sha(PICTURES[0]))
        made = build(store, make_import(store, "set", [ref], [PICTURES[0]]))
        assert not server.hits
        assert [(row.url, row.status) for row in rows(made)] == [(ref.url, "fetched")]


def test_pictures_made_before_are_taken_over_and_dead_ones_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with PictureServer(a=PICTURES[0]) as server:
        one = make_import(store, "one", urls(server, "a", "b"))
        first = build(store, one)
        assert [row.reason for row in rows(first)] == ["", "http-404"]
        server.routes["/b"] = PICTURES[1]
        server.routes["/c"] = PICTURES[2]
        two = make_import(store, "two", urls(server, "c"))
        second = build(store, one, two, earlier=first)
        assert {row.url: row.status for row in rows(second)} == {
            server.url(name): "fetched" for name in "abc"
        }
        assert server.hits == {"/a": 1, "/b": 2, "/c": 1}
        with pytest.raises(DataError, match="holds no images"):
            build(store, one, earlier=one)


def test_limits_hold_for_pictures_of_imports_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    data = [encode(natural(1, 200, 100), "BMP"), encode(natural(2, 60, 50), "PNG")]
    one = make_import(store, "one", [ImageRef(sha256=sha(d)) for d in data], data)
    made = build(store, one, settings=quick(max_bytes=20_000, max_pixels=2_999))
    assert [row.reason for row in rows(made)] == ["too-large", "too-many-pixels"]
    # Without a url, only the hash tells which picture it was.
    assert [row.sha256 for row in rows(made)] == [sha(d) for d in data]
    assert len(ImageReader(made.path / "images")) == 0


def test_without_a_network_nothing_is_called_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_step, "OFFLINE_AFTER", 8)
    store = Store(tmp_path)
    refs = [ImageRef(url=f"http://gone{n}.test/a.jpg") for n in range(20)]
    one = make_import(store, "one", refs)
    with pytest.raises(DataError, match=r"None of the last 8 addresses answered.*gone.*\(dns\)"):
        build(store, one)
    two = make_import(store, "two", refs[:3])
    with pytest.raises(DataError, match="None of the last 3"):
        build(store, two)
    made = build(store, two, settings=quick(network={"check_online": False}))
    assert [row.reason for row in rows(made)] == ["dns"] * 3
    monkeypatch.setattr(image_step, "OFFLINE_AFTER", 21)
    monkeypatch.setattr(image_step, "CHUNK_ROWS", 4)
    with PictureServer(a=PICTURES[0]) as server:
        made = build(store, make_import(store, "three", refs + urls(server, "a") + refs))
    assert [row.reason for row in rows(made)] == ["dns"] * 20 + [""]


def test_a_network_that_fails_on_the_way_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_step, "OFFLINE_AFTER", 5)
    store = Store(tmp_path)
    up = threading.Event()
    up.set()

    def answer(request: Request) -> None:
        if not up.is_set():
            request.drop()
            return
        if request.path == "/p7":
            up.clear()
        request.reply(200, jpeg(int(request.path[2:])))

    names = [f"p{n}" for n in range(30)]
    settings = quick(network={"tries": 1, "connections": 1})
    with PictureServer(**dict.fromkeys(names, answer)) as server:
        one = make_import(store, "one", urls(server, *names))
        with pytest.raises(DataError, match=r"addresses answered.*Check the network"):
            build(store, one, settings=settings)
        up.set()
        server.hits.clear()
        server.routes = {f"/{name}": jpeg(int(name[1:])) for name in names}
        made = build(store, one, settings=settings)
        assert {row.status for row in rows(made)} == {"fetched"}
        assert not server.hits.keys() & {f"/p{n}" for n in range(7)}


def plan(folder: Path, *records: Sequence[ImageRef]) -> list[Wanted]:
    store = Store(folder / "store")
    paths = [make_import(store, f"set{n}", refs).path / "records" for n, refs in enumerate(records)]
    made = make_plan(paths, folder / "plan.arrow")
    return made.slice(0, len(made))


def test_plan_of_several_imports(tmp_path: Path) -> None:
    assert plan(tmp_path, [ImageRef()], []) == []
    first = [ImageRef(url="u1"), ImageRef(sha256="aa"), ImageRef(url="u2", sha256="bb")]
    second = [ImageRef(url="u2"), ImageRef(url="u1", sha256="CC"), ImageRef(url="aa"), ImageRef()]
    assert plan(tmp_path, first, second, first) == [
        Wanted("u1", "cc"),
        Wanted(None, "aa"),
        Wanted("u2", "bb"),
        Wanted("aa", None),
    ]


def test_no_records_no_pictures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = build(store, make_import(store, "none", []))
    assert rows(made) == []
    assert made.stats["wanted"] == 0
    assert len(ImageReader(made.path / "images")) == 0


# -- the command line


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store")
    with PictureServer(a=PICTURES[0], b=b"<html>") as server:
        one = make_import(store, "one", urls(server, "a", "b", "c"))
        store.link(tmp_path / "runs/data/one", one)
        places = ["--store", str(store.root), "--runs", str(tmp_path / "runs")]
        command = ["images", str(tmp_path / "runs/data/one"), "allow_private=true", *places]
        assert run(command) == (0, "")
        out = capsys.readouterr().out
        assert "3 pictures wanted: 1 can be used (1 different" in out
        assert "dead: http-404 1" in out
        assert "broken: format-html 1" in out
        made = store.resolve(tmp_path / "runs/data/one-images")
        assert len(rows(made)) == 3
        hits = sum(server.hits.values())
        assert run(command) == (0, "")
        assert sum(server.hits.values()) == hits
        again = [*command, "--from", made.address, "--name", "more"]
        assert run(again) == (0, "")
        assert server.hits == {"/a": 1, "/b": 2, "/c": 2}
        assert store.resolve(tmp_path / "runs/data/more").manifest.name == "more"


def test_a_dry_run_contacts_nobody_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    with PictureServer(a=PICTURES[0]) as server:
        refs = [*urls(server, "a", "b", "a"), ImageRef(sha256="ab" * 32)]
        one = make_import(store, "one", refs)
        places = ["--store", str(store.root), "--runs", str(tmp_path / "runs")]
        command = ["images", one.address, "allow_private=true", *places]
        assert run([*command, "--dry-run"]) == (0, "")
        out = capsys.readouterr().out
        assert "3 different pictures: 2 to fetch by their URL" in out
        assert f"records0: {one.address}" in out
        assert not server.hits
        assert store.ls("images") == []
        address, _, rest = out.partition(" ")
        assert rest.startswith("would be made")
        assert run(command) == (0, "")
        assert store.open(address).manifest.name == "one"
        capsys.readouterr()
        assert run([*command, "--dry-run"]) == (0, "")
        assert "is there already" in capsys.readouterr().out
    code, line = run(["images", "nothing", *places, "--dry-run"])
    assert code == 1
    assert "'nothing'" in line


def test_by_default_nothing_private_is_contacted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    with PictureServer(a=PICTURES[0]) as server:
        one = make_import(store, "one", [*urls(server, "a"), ImageRef(url="http://localhost/a")])
        places = ["--store", str(store.root), "--runs", str(tmp_path / "runs")]
        assert run(["images", one.address, *places]) == (0, "")
        assert not server.hits
    assert "dead: private-address 2" in capsys.readouterr().out


WRONG = [
    (["nothing"], "no artifact, link or folder"),
    (["max_byte=3"], "no records are named"),
    (["IMPORT", "max_byte=3"], r"unknown key 'max_byte'. Did you mean 'max_bytes'\?"),
    (["IMPORT", "network.perhost=3"], "'per_host'"),
    (["IMPORT", "max_pixels=999999999"], "max_pixels"),
    (["IMPORT", "network.contact=ñ"], "ASCII"),
    (["IMPORT", "--from", "IMPORT"], "holds no images"),
    (["IMPORT", "--name", "a/b"], "letters, digits"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_what_is_wrong_is_one_line(arguments: list[str], part: str, tmp_path: Path) -> None:
    import re

    store = Store(tmp_path / "store")
    address = make_import(store, "one", []).address
    named = [address if text == "IMPORT" else text for text in arguments]
    places = ["--store", str(store.root), "--runs", str(tmp_path / "runs")]
    code, line = run(["images", *named, *places])
    assert code == 1
    assert re.search(part, line), line
    assert "\n" not in line
    assert "unexpected" not in line
