"""Settings of every test."""

from __future__ import annotations

import os

# Before torch is imported: threads that spin against those of other tests are slower than one.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
