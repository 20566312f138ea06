"""Settings of all kinds of backends, for recipes and for the command line.

translate: {kind: endpoint, url: "http://localhost:8000/v1", model: HiTZ/Latxa-7B}
translate: {kind: seq2seq, model: HiTZ/mt-hitz-en-eu}
translate: {kind: memory, path: names.tsv}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ikusi.core.config import Settings
from ikusi.core.errors import ConfigError, suggest


class Prices(Settings):
    """What tokens cost, in any currency: for the progress line and the totals."""

    per_million_prompt_tokens: float = Field(ge=0)
    """Price of a million tokens of prompts."""
    per_million_completion_tokens: float = Field(ge=0)
    """Price of a million tokens of answers."""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (
            prompt_tokens * self.per_million_prompt_tokens
            + completion_tokens * self.per_million_completion_tokens
        ) / 1e6


class Retry(Settings):
    """How long to insist when nothing arrives."""

    tries: int = Field(8, ge=1)
    """Times that a request is sent at most."""
    seconds: float = Field(1800, gt=0)
    """No further try is begun so long after the first one, in seconds."""
    first_wait: float = Field(1.0, ge=0)
    """Seconds before the second try; doubled each time, with jitter. A server's `Retry-After`
    counts where it is longer."""
    longest_wait: float = Field(60.0, ge=0)
    """Seconds between two tries at most, unless the server asks for more."""
    failures_in_a_row: int = Field(20, ge=1)
    """So many failed requests without any answer between them, and the backend counts as down."""


class EndpointSettings(Settings):
    """A model behind an OpenAI-compatible chat server, one that runs or one to `launch`."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "base_url": "url",
        "api_base": "url",
        "api_key": "api_key_env",
        "model_name_or_path": "model",
        "max_concurrency": "concurrency",
        "num_concurrent": "concurrency",
        "extra_body": "extra",
    }

    kind: Literal["endpoint"] = "endpoint"
    """The kind of backend."""
    model: str = Field(min_length=1)
    """As the server calls it."""
    url: str | None = None
    """Address of the server's API, which ends in `/v1` with most. Left out with `launch`."""
    launch: str | None = None
    """Command that starts the server on this machine, such as `vllm serve {model} --port {port}`;
    `{port}` is a free one. No shell: use `bash -c '...'` where it needs one."""
    launch_env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the launched server, besides ours."""
    launch_timeout: float = Field(1800, gt=0)
    """Seconds until a launched server must be ready: it may load, and even fetch, a large model."""
    restarts: int = Field(3, ge=0)
    """Times that a launched server is started again when it dies."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    revision: str = ""
    """Of the model, where the server does not say it: part of the key of its cached answers."""
    images: bool = False
    """The model sees pictures."""
    score: bool = False
    """The server gives the likelihood of a given text (`prompt_logprobs` of vLLM)."""
    concurrency: int = Field(64, ge=1)
    """Requests in flight at most; fewer while the server says that it is too many."""
    timeout: float = Field(600, gt=0)
    """Seconds that one answer may take."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, such as `top_p`; null takes one of ours away."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of each request; no place for a key."""
    prices: Prices | None = None
    """Of tokens."""
    retry: Retry = Retry()
    """How long to insist when nothing arrives."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("an address begins with http:// or https://")
        return url.rstrip("/") if url else url

    @field_validator("launch")
    @classmethod
    def _check_launch(cls, launch: str | None) -> str | None:
        if launch is not None and "{port}" not in launch:
            raise ValueError("say with {port} where the command takes the port to listen at")
        return launch

    @model_validator(mode="after")
    def _check_place(self) -> Self:
        if (self.url is None) == (self.launch is None):
            raise ValueError("give either `url`, of a server that runs, or `launch`")
        return self


class Seq2SeqSettings(Settings):
    """A translation model: Marian, NLLB or MADLAD."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "model_name_or_path": "model",
        "num_beams": "beam_size",
        "max_length": "max_tokens",
    }

    kind: Literal["seq2seq"] = "seq2seq"
    """The kind of backend."""
    model: str = Field(min_length=1)
    """Folder, or id on the hub. A folder that `ct2-transformers-converter` made is read by
    CTranslate2, any other by transformers."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    family: Literal["auto", "marian", "nllb", "madlad"] = "auto"
    """How the languages are named to the model; `auto` sees it from the tokenizer."""
    tokenizer: str | None = None
    """Folder or id of the tokenizer, where the model's folder has none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it computes."""
    compute_type: str = "auto"
    """CTranslate2: such as `int8` or `float16`; `auto` takes the fastest of the stored ones."""
    beam_size: int = Field(4, ge=1)
    """Beams of the search; 1 is greedy."""
    batch_size: int = Field(32, ge=1)
    """Sentences translated together."""
    max_tokens: int = Field(512, ge=1)
    """Longest translation, in tokens, where a request names no limit of its own."""
    concurrency: int = Field(256, ge=1)
    """Sentences taken in at a time, among which those of like length go together."""
    retry: Retry = Retry()
    """How long to insist when nothing arrives."""
    prices: None = None
    """None: it runs here."""


class MemorySettings(Settings):
    """A translation memory or lexicon: a TSV file."""

    kind: Literal["memory"] = "memory"
    """The kind of backend."""
    path: Path
    """UTF-8, tab-separated, with the header `source`, `target` and, if needed, `context`."""
    concurrency: int = Field(16, ge=1)
    """Requests taken in at a time."""
    retry: Retry = Retry()
    """How long to insist when nothing arrives."""
    prices: None = None
    """None: it is a file."""


BackendSettings = Annotated[
    EndpointSettings | Seq2SeqSettings | MemorySettings, Field(discriminator="kind")
]
"""For a field of other settings."""

_KINDS: Mapping[str, type[EndpointSettings] | type[Seq2SeqSettings] | type[MemorySettings]] = {
    "endpoint": EndpointSettings,
    "seq2seq": Seq2SeqSettings,
    "memory": MemorySettings,
}


def parse_backend(data: Any, where: str) -> EndpointSettings | Seq2SeqSettings | MemorySettings:
    """Validate plain `data`, a mapping with `kind`, and return the settings of that kind.

    Args:
        data: what a YAML file held.
        where: file or key that the data came from, for the message.

    Raises:
        ConfigError: says in one line which key is wrong, where, and what would be right.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise ConfigError(f"{where}: a backend is a mapping with `kind`: {', '.join(_KINDS)}.")
    kind = data["kind"]
    if kind not in _KINDS:
        raise ConfigError(f"{where}: no kind of backend {kind!r}. {suggest(kind, _KINDS)}")
    return _KINDS[kind].parse(data, where)
