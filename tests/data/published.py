"""A small chain of data sets in a store: two languages, pictures, drops, and a translation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image as Picture

from ikusi.core.artifact import Artifact
from ikusi.core.store import Spec, Store, work_folder
from ikusi.core.types import Image, ImageRef, Record, assistant, user
from ikusi.data.images import ImageWriter
from ikusi.data.steps import Drop, Outcome, run_step

TRANSLATOR = "HiTZ/mt-hitz-en-eu@1a2b3c"


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Picture.new("RGB", (40 + number, 30), ((number * 37) % 256, 80, 160)).save(stream, "PNG")
    return stream.getvalue()


@dataclass(frozen=True)
class Chain:
    """What was built."""

    store: Store
    english: Artifact
    basque: Artifact


def build_chain(
    root: Path,
    *,
    rows: int = 12,
    licence: str = "CC-BY-4.0",
    translator: str = "CC-BY-4.0",
    answers: bool = False,
    urls: bool = False,
    question: str = "What is in picture {n}?",
) -> Chain:
    """Import `rows` records in English with pictures, and translate all but every fourth."""
    store = Store(root)

    def write_english(out: Path) -> dict[str, object]:
        records = []
        with ImageWriter(out / "images") as writer:
            for n in range(rows):
                url = f"https://pictures.example/{n}.png" if urls else None
                image = ImageRef(sha256=writer.add(png(n)), url=url)
                turns = (user(Image(), question.format(n=n)), assistant(f"Answer number {n}."))
                records.append(
                    Record(
                        id=f"en-{n}",
                        group=f"g{n}",
                        turns=turns,
                        language="en",
                        task="question",
                        source="pixmo",
                        images=(image,),
                        answers=(f"answer {n}",) if answers else (),
                        licence=licence,
                        provenance="native",
                        meta={"category": n % 3},
                    )
                )
        flow = run_step("import", records, lambda batch: batch, out, work_folder(out))
        return flow.to_stats()

    english = store.build(
        Spec("import", "pixmo-en", 1, {"rows": rows, "l": licence}), write_english
    )

    def translate(batch: Sequence[Record]) -> list[Outcome]:
        return [
            Drop("untranslated", record, "came back as it was")
            if int(record.id.partition("-")[2]) % 4 == 3
            else replace(
                record,
                id=record.id.replace("en", "eu"),
                parent=record.id,
                language="eu",
                licence=f"{licence} AND {translator}",
                provenance=TRANSLATOR,
                turns=(user(Image(), f"Zer dago {record.id} irudian?"), assistant("Erantzuna.")),
            )
            for record in batch
        ]

    def write_basque(out: Path) -> dict[str, object]:
        from ikusi.core.records import read_records

        records = read_records(english.path / "records")
        stats = run_step("translate", records, translate, out, work_folder(out)).to_stats()
        return stats | {"quality": {"chrf": 51.5}}

    basque = store.build(
        Spec("translate", "pixmo-eu", 1, {"by": translator}, {"records": english.address}),
        write_basque,
    )
    return Chain(store, english, basque)
