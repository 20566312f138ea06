"""One record from one language into another: protect, ask, read back, verify, climb.

Place: step -> [hop] -> voices. Contract: what comes out depends on the record, the settings and the
backends' answers alone, never on what else is translated at the time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ikusi.core.types import Record
from ikusi.data.translate.asking import Asking, Done, Job, has_words, tags_of
from ikusi.data.translate.faults import Fault
from ikusi.data.translate.ladder import Fallen, Rung, Tried, climb, rungs
from ikusi.data.translate.protect import (
    NO_GLOSSARY,
    Glossary,
    Protected,
    changed_spans,
    protect,
    restore,
    without_placeholders,
)
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.units import (
    Plan,
    chunk,
    take_apart,
    write_tagged,
)
from ikusi.data.translate.verify import Checker
from ikusi.data.translate.voices import Voice
from ikusi.languages.pack import Pack, load_pack


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated record, and the backends that it is of."""

    record: Record
    voices: tuple[Voice, ...]


class Hop:
    """Translates records into one language."""

    def __init__(
        self,
        to: str,
        voices: Sequence[Voice],
        settings: TranslateSettings,
        *,
        glossary: Glossary = NO_GLOSSARY,
        verify: bool = True,
    ) -> None:
        """Prepare.

        Args:
            to: code of the pack of the language to translate into.
            voices: the backend, and perhaps a fallback.
            settings: of the whole step.
            glossary: terms with a fixed translation into this language.
            verify: whether the answers are judged by more than their placeholders.
        """
        self.target = load_pack(to)
        self.voices = tuple(voices)
        self._settings = settings
        self._glossary = glossary
        # In a memory alone nothing is guessed: what people wrote is taken as they wrote it.
        self._verify = verify and not all(voice.is_memory for voice in voices)
        self._sources: dict[str, Pack] = {}
        self._asking = Asking(self.target, settings)
        self.checkers: dict[str, Checker] = {}
        self._describes = settings.mode == "describe" and verify
        self._ladder = [
            rung
            for number, voice in enumerate(voices)
            for rung in rungs(
                number, chat=voice.chat, sampling=voice.samples, describe=self._describes
            )
        ]

    def checker(self, source: str) -> Checker:
        """Return who judges translations from a language."""
        if source not in self.checkers:
            self.checkers[source] = Checker(load_pack(source), self.target, self._settings.verify)
        return self.checkers[source]

    async def translate(
        self, record: Record, tally: Counter[str], images: tuple[bytes, ...] = ()
    ) -> Translated | Fallen:
        """Return the record in the target language, or why there is none.

        Args:
            record: in a language that has a pack.
            tally: counts faults by their names, and what was left out.
            images: the record's pictures, for those who write from them.
        """
        plan = take_apart(record, write=self._describes)
        long = max((len(piece.text) for piece in plan.pieces), default=0)
        if long > self._settings.max_text:
            detail = f"a text of {long} characters; `max_text` is {self._settings.max_text}"
            return Fallen((Fault("too-long", detail),))
        if record.language not in self._sources:
            self._sources[record.language] = load_pack(record.language)
        source = self._sources[record.language]
        checker = self.checker(record.language) if self._verify else None
        job = Job(plan, source, checker, images, tally, self._glossary)
        done: dict[int, Done] = {}
        for stage in self._stages(job):
            context: tuple[str, str] | None = None
            fallen = None
            if self.voices[0].chat:
                for group in stage:
                    result = await self._climb(job, group, done, context)
                    if isinstance(result, Fallen):
                        return result
                    done.update(zip(group, result, strict=True))
                    context = self._context(plan, group, done)
            else:
                results = await asyncio.gather(
                    *(self._climb(job, group, done, None) for group in stage)
                )
                for group, result in zip(stage, results, strict=True):
                    if isinstance(result, Fallen):
                        fallen = fallen or result
                    else:
                        done.update(zip(group, result, strict=True))
            if fallen is not None:
                return fallen
        told = _options(plan, done)
        texts = [
            done[number].text if number in done else _as_it_is(job.protect(number), told)
            for number in range(len(plan.pieces))
        ]
        fault = _disagreement(plan, texts) if self._verify else None
        if fault is not None:
            tally[fault.reason] += 1
            return Fallen((fault,), "\n".join(texts))
        used = sorted({one.voice for one in done.values()}) or [0]
        return Translated(plan.rebuild(texts), tuple(self.voices[number] for number in used))

    def _stages(self, job: Job) -> list[list[list[int]]]:
        """Return the groups of pieces that are translated together; a stage needs those before.

        Options come first where they are not in one request with their question: it holds them.
        """
        plan = job.plan
        wanted = [
            number
            for number, piece in enumerate(plan.pieces)
            if piece.is_written or has_words(job.protect(number))
        ]
        if not wanted:
            return []
        options = [number for number in wanted if plan.pieces[number].role == "option"]
        others = [number for number in wanted if plan.pieces[number].role != "option"]
        if not self.voices[0].chat:
            return [[[number] for number in part] for part in (options, others) if part]
        limit = self._settings.max_characters
        parts = list(chunk([plan.pieces[number] for number in wanted], limit))
        if len(parts) > 1 and options:
            wanted = [*options, *others]
            parts = list(chunk([plan.pieces[number] for number in wanted], limit))
        return [[[wanted[index] for index in part] for part in parts]]

    def _context(
        self, plan: Plan, group: Sequence[int], done: Mapping[int, Done]
    ) -> tuple[str, str]:
        """Return what was asked and answered last, which the next request is shown."""
        tags = tags_of(plan, group)
        asked = [plan.pieces[number].text for number in group]
        answered = [done[number].text for number in group]
        return (
            write_tagged(list(zip(tags, asked, strict=True))),
            write_tagged(list(zip(tags, answered, strict=True))),
        )

    async def _climb(
        self,
        job: Job,
        group: Sequence[int],
        done: Mapping[int, Done],
        context: tuple[str, str] | None,
    ) -> list[Done] | Fallen:
        def count(fault: Fault) -> None:
            job.tally[fault.reason] += 1

        attempt = partial(self._attempt, job, group, _options(job.plan, done), context)
        return await climb(self._ladder, attempt, count)

    async def _attempt(
        self,
        job: Job,
        group: Sequence[int],
        told: Mapping[str, str],
        context: tuple[str, str] | None,
        rung: Rung,
        before: Fault | None,
    ) -> Tried[list[Done]]:
        voice = self.voices[rung.voice]
        if voice.chat:
            tried = await self._asking.together(job, group, told, context, rung, voice, before)
        else:
            tried = await self._asking.alone(job, group, told, rung, voice)
        if tried.result is None or job.checker is None:
            return tried
        fault = self._judge(job, job.checker, group, tried.result, voice)
        return Tried(fault=fault, answer=tried.answer) if fault else tried

    def _judge(
        self, job: Job, checker: Checker, group: Sequence[int], result: list[Done], voice: Voice
    ) -> Fault | None:
        options: dict[str, str] = {}
        for number, one in zip(group, result, strict=True):
            piece = job.plan.pieces[number]
            bare = without_placeholders(job.prepare(number, voice))
            fault = checker.piece(bare, one.bare, written=piece.is_written)
            if fault is None and voice.units == "text":
                fault = changed_spans(piece.text, one.text, self._glossary)
            if fault is not None:
                return fault
            if piece.role == "option":
                other = options.setdefault(one.text.casefold(), piece.text)
                if other != piece.text:
                    return Fault("options-merged", f"{other!r} and {piece.text!r}: {one.text!r}")
        return checker.language(one.bare for one in result)


def _as_it_is(protected: Protected, told: Mapping[str, str]) -> str:
    """Return a text without words; where it holds options, with their translations."""
    kept = restore(protected, protected.text, told)
    assert isinstance(kept, str)
    return kept


def _options(plan: Plan, done: Mapping[int, Done]) -> dict[str, str]:
    """Return option -> translation, of those that are translated."""
    return {
        plan.pieces[number].text: one.text
        for number, one in done.items()
        if plan.pieces[number].role == "option"
    }


def _disagreement(plan: Plan, texts: Sequence[str]) -> Fault | None:
    """Return a fault if options are not told apart, or a question has others than its options."""
    seen: dict[str, str] = {}
    options = {
        piece.text: text
        for piece, text in zip(plan.pieces, texts, strict=True)
        if piece.role == "option"
    }
    for option, text in options.items():
        other = seen.setdefault(text.casefold(), option)
        if other != option:
            return Fault("options-merged", f"{other!r} and {option!r} are both {text!r}")
    if options:
        for piece, text in zip(plan.pieces, texts, strict=True):
            if piece.role == "option":
                continue
            for span in protect(piece.text, options=options).spans.values():
                if span.kind == "option" and options[span.text] not in text:
                    return Fault(
                        "option-mismatch", f"{options[span.text]!r} is not in the question"
                    )
    return None
