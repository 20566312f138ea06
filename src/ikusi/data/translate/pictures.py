"""The pictures that `mode: describe` writes from, by their hash or by the url that they had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ikusi.core.errors import DataError, first_line
from ikusi.core.types import Record
from ikusi.data.images import ImageReader
from ikusi.data.steps import Drop


class Pictures:
    """The bytes of records' pictures, from payloads that hold `images/` and perhaps a manifest."""

    def __init__(self, payloads: Sequence[Path]) -> None:
        """Map them.

        Raises:
            DataError: one is damaged.
        """
        self._readers = [ImageReader(p / "images") for p in payloads if (p / "images").is_dir()]
        self._by_url: dict[str, str] = {}
        for payload in payloads:
            manifest = payload / "manifest.parquet"
            if manifest.is_file():
                try:
                    table = pq.read_table(manifest, columns=["url", "sha256"])
                except (pa.ArrowException, OSError) as error:
                    raise DataError(f"{manifest}: is damaged ({first_line(error)}).") from None
                for url, sha256 in zip(
                    table["url"].to_pylist(), table["sha256"].to_pylist(), strict=True
                ):
                    if url is not None and sha256 is not None:
                        self._by_url[url] = sha256

    def of(self, record: Record) -> tuple[bytes, ...] | Drop:
        """Return a record's pictures, or the drop where one is not there."""
        if not record.images:
            return Drop("no-image", record, "there is nothing to describe")
        found = []
        for image in record.images:
            sha256 = image.sha256 or self._by_url.get(image.url or "")
            reader = next((one for one in self._readers if sha256 in one), None)
            if reader is None or sha256 is None:
                return Drop("image-missing", record, image.url or image.sha256 or "")
            found.append(reader.read(sha256))
        return tuple(found)
