"""Small files, each exactly in a published schema, and pictures to put in them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
RATINGS = ("relevance", "visual_dependency", "image_correspondence", "formatting")


def png(colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(stream, "PNG")
    return stream.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def picture(colour: str = "red") -> dict[str, Any]:
    return {"bytes": png(colour), "path": f"{colour}.png"}


def parquet(path: Path, rows: list[dict[str, Any]], **types: Any) -> Path:
    """Write rows; `types` says those that cannot be told from the values."""
    inferred = pa.Table.from_pylist(rows).schema
    kinds = {"image": IMAGE, "images": pa.list_(IMAGE), **types}
    schema = pa.schema([(f.name, kinds.get(f.name, f.type)) for f in inferred])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(r, ensure_ascii=False)}\n" for r in rows), "utf-8")
    return path


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


URLS = [f"https://example.org/{n}.jpg" for n in range(3)]


def cc3m(folder: Path) -> Path:
    rows = [{"image_url": url, "caption": f"a dog {n}"} for n, url in enumerate(URLS)]
    return parquet(folder / "cc3m.parquet", rows)


def cc3m_tsv(folder: Path) -> Path:
    path = folder / "Train_GCC-training.tsv"
    path.write_text("".join(f'a "dog" {n}\t{url}\n' for n, url in enumerate(URLS)), "utf-8")
    return path


def cc3m_wds(folder: Path) -> Path:
    members: dict[str, bytes] = {}
    for n, url in enumerate(URLS):
        members[f"{n:09d}.jpg"] = png(("red", "green", "blue")[n])
        members[f"{n:09d}.txt"] = f"a dog {n}".encode()
        members[f"{n:09d}.json"] = json.dumps({"url": url, "caption": f"a dog {n}"}).encode()
    return tar(folder / "cc3m-train-0000.tar", members)


def cc3m_eu(folder: Path) -> Path:
    rows = [
        {"id": n, "url": url, "caption_en": f"a dog {n}", "caption_eu": f"txakur bat {n}"}
        for n, url in enumerate(URLS)
    ]
    return parquet(folder / "train.parquet", rows)


def pixmo_cap(folder: Path) -> Path:
    rows = [{"image_url": URLS[0], "caption": "A dog sits.", "transcripts": ["a dog", "it sits"]}]
    return parquet(folder / "p.parquet", rows)


def pixmo_ama(folder: Path) -> Path:
    row = {"image_url": URLS[0], "image_sha256": "ab" * 32, "question": "What?", "answer": "A dog."}
    return parquet(folder / "p.parquet", [row])


def pixmo_ama_eu(folder: Path) -> Path:
    row = {"image": picture(), "question": "Zer da?", "answer": "Txakurra."}
    return parquet(folder / "p.parquet", [row])


def pixmo_cap_qa(folder: Path) -> Path:
    row = {
        "image_url": URLS[0],
        "question": "[USER] What? [ASSISTANT]",
        "answer": "A dog.",
        "messages": ["What?", "A dog.", "Where?", "On a <image> mat."],
    }
    return parquet(folder / "p.parquet", [row])


def pixmo_cap_qa_eu(folder: Path) -> Path:
    return pixmo_ama_eu(folder)


def finevision(folder: Path) -> Path:
    texts = [{"user": "What?", "assistant": "A dog."}, {"user": "Where?", "assistant": "There."}]
    ratings = {f"{name}_ratings": [5, n] for n, name in enumerate(RATINGS)}
    least = {f"{name}_min": n for n, name in enumerate(RATINGS)}
    both = {"images": [picture("red"), picture("blue")], "texts": texts, "source": "ai2d"}
    return parquet(folder / "p.parquet", [{**both, **ratings, **least}])


def llava(folder: Path) -> Path:
    (folder / "coco").mkdir()
    (folder / "coco" / "1.png").write_bytes(png())
    asked = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A dog."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ]
    text = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    rows = [
        {"id": "000000033471", "image": "coco/1.png", "conversations": asked},
        {"id": "text", "conversations": text},
    ]
    path = folder / "llava.json"
    path.write_text(json.dumps(rows, indent=1), "utf-8")
    return path


def sharegpt(folder: Path) -> Path:
    (folder / "1.png").write_bytes(png())
    (folder / "2.png").write_bytes(png("blue"))
    said = [
        {"from": "human", "value": "Is <image> like <image>?"},
        {"from": "gpt", "value": "No."},
    ]
    row = {"conversations": said, "images": ["1.png", "2.png"], "system": "Be short."}
    path = folder / "sharegpt.json"
    path.write_text(json.dumps([row]), "utf-8")
    return path


def ms_swift(folder: Path) -> Path:
    (folder / "1.png").write_bytes(png())
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "<image>What is it?"},
        {"role": "assistant", "content": "A dog."},
    ]
    by_url = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "A cat."}]
    rows = [
        {"messages": messages, "images": ["1.png"]},
        {"messages": by_url, "images": [URLS[0]]},
        {"messages": [*messages[:1], {"role": "user", "content": "Hi"}, messages[2]]},
    ]
    return jsonl(folder / "swift.jsonl", rows)


def magpie(folder: Path) -> Path:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    return parquet(folder / "p.parquet", [{"conversations": said}])


def text(folder: Path) -> Path:
    return jsonl(folder / "corpus.jsonl", [{"text": "Kaixo, mundua."}, {"text": "Bi\nlerro."}])


WIT = ["language", "page_url", "image_url", "page_title", "caption_reference_description"]


def wit(folder: Path) -> Path:
    lines = [
        ["eu", "https://eu.wikipedia.org/x", URLS[0], "Txakur", '"Txakur ""bat"""'],
        ["en", "https://en.wikipedia.org/x", URLS[0], "Dog", "A dog"],
        ["eu", "https://eu.wikipedia.org/y", URLS[1], "Katu", ""],
    ]
    path = folder / "wit_v1.train.tsv"
    path.write_text("".join("\t".join(line) + "\n" for line in [WIT, *lines]), "utf-8")
    return path


def wikimedia(folder: Path) -> Path:
    features = {
        "language": ["en", "eu"],
        "caption_reference_description": ["A dog", "Txakur bat"],
    }
    other = {"language": ["en"], "caption_reference_description": ["A cat"]}
    rows = [
        {"image": picture(), "image_url": URLS[0], "wit_features": features},
        {"image": picture("blue"), "image_url": URLS[1], "wit_features": other},
    ]
    return parquet(folder / "p.parquet", rows)


def ocr_eu(folder: Path) -> Path:
    return parquet(folder / "p.parquet", [{"image": picture(), "transcription": "KALE NAGUSIA"}])


def _vqa(number: int, question: str) -> dict[str, Any]:
    said = ["dog"] * 3 + ["puppy"] * 5 + ["animal"] * 2
    return {
        "question_id": number,
        "image": picture(),
        "question": question,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": n}
            for n, answer in enumerate(said, 1)
        ],
        "multiple_choice_answer": "puppy",
        "question_type": "what",
        "answer_type": "other",
    }


def vqav2(folder: Path) -> Path:
    return parquet(folder / "p.parquet", [_vqa(262148000, "What is it?")])


def vqa_v2_eu(folder: Path) -> Path:
    data = folder / "data"
    data.mkdir()
    parquet(data / "en-00000-of-00001.parquet", [_vqa(262148000, "What is it?")])
    parquet(data / "eu-00000-of-00001.parquet", [_vqa(262148000, "Zer da?")])
    return data


def aokvqa(folder: Path) -> Path:
    row = {
        "image": picture(),
        "question_id": "22MexNkBPpdZGX6sxbxVBH",
        "question": "What is the man by the bags awaiting?",
        "choices": ["skateboarder", "train", "delivery", "cab"],
        "correct_choice_idx": 3,
        "direct_answers": "['ride', 'cab']",
        "difficult_direct_answer": False,
        "rationales": ["A train would not be on the street."],
    }
    return parquet(folder / "p.parquet", [row])


def a_ok_vqa_eu(folder: Path) -> Path:
    row = {
        "image": picture(),
        "question": "Zeren zain dago gizona?",
        "choices": "['skateboarda', 'trena', 'paketea', 'taxia']",
        "correct_choice_idx": "3",
        "question_id": "22MexNkBPpdZGX6sxbxVBH",
    }
    return parquet(folder / "eu-00000-of-00001.parquet", [row])


def wildvision(folder: Path) -> Path:
    row = {
        "question_id": "5f2b",
        "instruction": "Describe it.",
        "image": picture(),
        "language": "English",
    }
    return parquet(folder / "p.parquet", [row])


def _mmstar(index: int, question: str) -> dict[str, Any]:
    return {
        "index": index,
        "question": question,
        "image": png(),
        "answer": "B",
        "category": "coarse perception",
        "l2_category": "image scene and topic",
        "meta_info": {"source": "MMBench", "split": "val"},
    }


def mmstar(folder: Path) -> Path:
    rows = [
        _mmstar(0, "Where is it?\nOptions: A: On the mat, yes., B: Under it., C: No, D: Yes"),
        _mmstar(1, "No options here"),
    ]
    return parquet(folder / "p.parquet", rows, image=pa.binary())


def mmstar_eu(folder: Path) -> Path:
    row = _mmstar(0, "Non dago?\nAukerak: A: Gainean, B: Azpian, C: Ez, D: Bai")
    return parquet(folder / "eu-00000-of-00001.parquet", [row], image=pa.binary())


MMBENCH = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image"]


def mmbench(folder: Path) -> Path:
    data = base64.b64encode(png()).decode()
    rows = [
        ["241", "What is it?", "Look\nclosely.", "cat", "dog", "cow", "pig", "B", "object", data],
        ["1000241", "What is it?", "", "dog", "cat", "", "", "A", "object", "241"],
    ]
    lines = [MMBENCH, *rows]
    text = "\n".join("\t".join(f'"{c}"' if "\n" in c else c for c in row) for row in lines)
    path = folder / "MMBench_DEV_EN.tsv"
    path.write_text(text + "\n", "utf-8")
    return path


def xm3600(folder: Path) -> Path:
    (folder / "0001eeaf4aed83f9.jpg").write_bytes(png())
    said = {"caption": ["Un perro.", "Un perro marrón."], "caption/tokenized": ["Un perro ."]}
    rows = [
        {"image/key": "0001eeaf4aed83f9", "image/locale": "es", "es": said, "en": said},
        {"image/key": "0002", "image/locale": "en", "en": said},
    ]
    return jsonl(folder / "captions.jsonl", rows)


FILES: dict[str, Callable[[Path], Path]] = {
    "cc3m": cc3m,
    "cc3m-tsv": cc3m_tsv,
    "cc3m-wds": cc3m_wds,
    "cc3m-eu": cc3m_eu,
    "pixmo-cap": pixmo_cap,
    "pixmo-ama": pixmo_ama,
    "pixmo-ama-eu": pixmo_ama_eu,
    "pixmo-cap-qa": pixmo_cap_qa,
    "pixmo-cap-qa-eu": pixmo_cap_qa_eu,
    "finevision": finevision,
    "llava": llava,
    "sharegpt": sharegpt,
    "ms-swift": ms_swift,
    "magpie": magpie,
    "magpie-eu": magpie,
    "text": text,
    "wit": wit,
    "wikimedia-captions": wikimedia,
    "ocr-eu": ocr_eu,
    "vqav2": vqav2,
    "vqa-v2-eu": vqa_v2_eu,
    "aokvqa": aokvqa,
    "a-ok-vqa-eu": a_ok_vqa_eu,
    "wildvision": wildvision,
    "mmstar": mmstar,
    "mmstar-eu": mmstar_eu,
    "mmbench": mmbench,
    "xm3600": xm3600,
}
"""Source -> what writes its file."""
