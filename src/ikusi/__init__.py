"""ikusi turns a text LLM into a multimodal one that sees and answers in a low-resource language.

import ikusi
print(ikusi.load("runs/quickstart/best").answer("picture.png", "Zer dago irudian?"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ikusi.api import Model, load

    __version__: str

__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Lazy: `import ikusi` must not load torch.
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("ikusi")
        except PackageNotFoundError:
            return "unknown"
    if name in ("load", "Model"):
        from ikusi import api

        return getattr(api, name)
    raise AttributeError(f"module 'ikusi' has no attribute {name!r}")
