"""One record from one language into another: protect, ask, read back, verify, climb.

Place: step -> [hop] -> voices. Contract: what comes out depends on the record, the settings and the
backends' answers alone, never on what else is translated at the time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ikusi.backends.base import Answer, Request
from ikusi.core.types import Record, Turn, user
from ikusi.data.translate.faults import Fault
from ikusi.data.translate.ladder import Fallen, Rung, Tried, climb, rungs
from ikusi.data.translate.prompts import Prompt, conversation, opening
from ikusi.data.translate.protect import (
    NO_GLOSSARY,
    TOKENS,
    Glossary,
    Protected,
    Style,
    changed_spans,
    protect,
    renumber,
    restore,
    without_placeholders,
)
from ikusi.data.translate.segment import sentences
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.units import (
    Plan,
    chunk,
    read_tagged,
    take_apart,
    write_tagged,
)
from ikusi.data.translate.verify import Checker
from ikusi.data.translate.voices import Voice
from ikusi.languages.pack import Pack, load_pack


@dataclass(frozen=True, slots=True)
class Done:
    """A translated piece."""

    text: str
    """With everything that was protected."""
    shown: str
    """As the backend gave it."""
    bare: str
    """Without what was protected: what checks read."""
    voice: int = 0
    """Which backend it is of."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated record, and the backends that it is of."""

    record: Record
    voices: tuple[Voice, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """What all attempts for one record share."""

    plan: Plan
    source: Pack
    checker: Checker | None
    images: tuple[bytes, ...]
    tally: Counter[str]
    glossary: Glossary
    protected: dict[tuple[int, Style], Protected] = field(default_factory=dict)

    def protect(self, number: int, style: Style = "brackets") -> Protected:
        """Return a piece with placeholders, counted from 1; made once."""
        found = self.protected.get((number, style))
        if found is None:
            piece = self.plan.pieces[number]
            options = () if piece.role == "option" else self.plan.options
            found = protect(piece.text, style, glossary=self.glossary, options=options)
            self.protected[number, style] = found
        return found

    def prepare(self, number: int, voice: Voice) -> Protected:
        """Return a piece as a backend is given it: whoever looks texts up gets all of it."""
        if voice.units == "text":
            return Protected(self.plan.pieces[number].text, {}, voice.style)
        return self.protect(number, voice.style)


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
        self._verify = verify
        self._sources: dict[str, Pack] = {}
        self._openings: dict[tuple[str, Prompt], tuple[Turn, ...]] = {}
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
        job = _Job(plan, source, checker, images, tally, self._glossary)
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

    def _stages(self, job: _Job) -> list[list[list[int]]]:
        """Return the groups of pieces that are translated together; a stage needs those before.

        Options come first where they are not in one request with their question: it holds them.
        """
        plan = job.plan
        wanted = [
            number
            for number, piece in enumerate(plan.pieces)
            if piece.is_written or _has_words(job.protect(number))
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
        tags = _tags(plan, group)
        asked = [plan.pieces[number].text for number in group]
        answered = [done[number].text for number in group]
        return (
            write_tagged(list(zip(tags, asked, strict=True))),
            write_tagged(list(zip(tags, answered, strict=True))),
        )

    def _opening(self, source: Pack, prompt: Prompt, fault: Fault | None) -> tuple[Turn, ...]:
        if fault is not None:
            return opening(prompt, source, self.target, fault)
        if (source.code, prompt) not in self._openings:
            self._openings[source.code, prompt] = opening(prompt, source, self.target)
        return self._openings[source.code, prompt]

    async def _climb(
        self,
        job: _Job,
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
        job: _Job,
        group: Sequence[int],
        told: Mapping[str, str],
        context: tuple[str, str] | None,
        rung: Rung,
        before: Fault | None,
    ) -> Tried[list[Done]]:
        voice = self.voices[rung.voice]
        if voice.chat:
            tried = await self._ask_together(job, group, told, context, rung, before)
        else:
            tried = await self._ask_alone(job, group, told, rung)
        if tried.result is None or job.checker is None:
            return tried
        fault = self._judge(job, job.checker, group, tried.result, voice)
        return Tried(fault=fault, answer=tried.answer) if fault else tried

    def _judge(
        self, job: _Job, checker: Checker, group: Sequence[int], result: list[Done], voice: Voice
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

    async def _ask_together(
        self,
        job: _Job,
        group: Sequence[int],
        told: Mapping[str, str],
        context: tuple[str, str] | None,
        rung: Rung,
        before: Fault | None,
    ) -> Tried[list[Done]]:
        """Ask a chat backend for all pieces of a group at once."""
        plan, voice = job.plan, self.voices[rung.voice]
        protecteds: list[Protected] = []
        first = 1
        for number in group:
            protected = job.prepare(number, voice)
            protecteds.append(renumber(protected, 0, len(protected.text), first))
            first += len(protecteds[-1].spans)
        tags = _tags(plan, group)
        texts = [
            "..." if plan.pieces[number].is_written else protected.text
            for number, protected in zip(group, protecteds, strict=True)
        ]
        asked = write_tagged(list(zip(tags, texts, strict=True)))
        if read_tagged(asked, tags) != (texts, ""):
            return Tried(fault=Fault("format-source", "its texts look like the tags around them"))
        begun = self._opening(job.source, rung.prompt or "translate", before)
        shown, answered = ([context[0]], [context[1]]) if context else ([], [])
        turns = conversation(begun, [*shown, asked], answered, len(job.images))
        written = any(plan.pieces[number].is_written for number in group)
        most = self._settings.max_tokens if written else 256 + 2 * len(asked)
        answer = await self._ask(job, voice, rung, turns=turns, most=most)
        if isinstance(answer, Fault):
            return Tried(fault=answer)
        fault = _unfinished(answer)
        if fault is not None:
            return Tried(fault=fault, answer=answer.text)
        read = read_tagged(answer.text, tags)
        if isinstance(read, Fault):
            return Tried(fault=read, answer=answer.text)
        given, outside = read
        if outside:
            job.tally["text-outside-tags"] += 1
        result: dict[int, Done] = {}
        told = dict(told)
        order = sorted(range(len(group)), key=lambda i: plan.pieces[group[i]].role != "option")
        for index in order:  # options first: the others hold them
            piece, protected = plan.pieces[group[index]], protecteds[index]
            if piece.is_written:
                protected = Protected("", {}, protected.style)
            text = restore(protected, given[index], told)
            if isinstance(text, Fault):
                return Tried(fault=text, answer=answer.text)
            if piece.role == "option":
                told[piece.text] = text
            bare = TOKENS[voice.style].sub(" ", given[index])
            result[index] = Done(text, given[index], bare, rung.voice)
        return Tried([result[index] for index in range(len(group))], answer=answer.text)

    async def _ask_alone(
        self, job: _Job, group: Sequence[int], told: Mapping[str, str], rung: Rung
    ) -> Tried[list[Done]]:
        """Ask a backend for one sentence, or one text, at a time."""
        result: list[Done] = []
        told = dict(told)
        for number in group:
            tried = await self._ask_piece(job, number, told, rung)
            if tried.result is None:
                return Tried(fault=tried.fault, answer=tried.answer)
            result.append(tried.result)
            piece = job.plan.pieces[number]
            if piece.role == "option":
                told[piece.text] = tried.result.text
        return Tried(result, answer="\n".join(one.shown for one in result))

    async def _ask_piece(
        self, job: _Job, number: int, told: Mapping[str, str], rung: Rung
    ) -> Tried[Done]:
        voice = self.voices[rung.voice]
        protected = job.prepare(number, voice)
        text = protected.text
        bounds = [(0, len(text))]
        if voice.units == "sentence":
            bounds = sentences(text, job.source.script, job.source.translation.abbreviations)
        parts = [renumber(protected, start, end) for start, end in bounds]
        answers = await asyncio.gather(*(self._ask_part(job, voice, rung, part) for part in parts))
        out: list[str] = []
        shown: list[str] = []
        bare: list[str] = []
        end_before = 0
        for (start, end), part, answer in zip(bounds, parts, answers, strict=True):
            if isinstance(answer, Fault):
                return Tried(fault=answer)
            fault = _unfinished(answer)
            restored = fault or restore(part, answer.text.strip(), told)
            if isinstance(restored, Fault):
                return Tried(fault=restored, answer=answer.text)
            between = text[end_before:start]
            out += (between, restored)
            shown.append(answer.text)
            bare += (between, TOKENS[voice.style].sub(" ", answer.text))
            end_before = end
        out.append(text[end_before:])
        done = Done("".join(out), "\n".join(shown), "".join(bare).strip(), rung.voice)
        return Tried(done, answer=done.shown)

    async def _ask_part(
        self, job: _Job, voice: Voice, rung: Rung, part: Protected
    ) -> Answer | Fault:
        if not _has_words(part):
            return Answer("", part.text)
        most = 128 + 2 * len(part.text)
        return await self._ask(job, voice, rung, turns=(user(part.text),), most=most)

    async def _ask(
        self, job: _Job, voice: Voice, rung: Rung, *, turns: tuple[Turn, ...], most: int
    ) -> Answer | Fault:
        request = Request(
            job.plan.record.id,
            turns,
            images=job.images if voice.chat else (),
            source_language=job.source.code,
            target_language=self.target.code,
            max_tokens=min(most, self._settings.max_tokens),
            temperature=rung.temperature,
            sample=rung.sample,
            extra={"context": job.plan.record.task} if voice.units == "text" else {},
        )
        answer = await voice.asker.ask(request)
        if isinstance(answer, Answer):
            return answer
        return Fault(answer.reason, answer.detail)


def _tags(plan: Plan, group: Sequence[int]) -> list[str]:
    return [f"{plan.pieces[number].role}{place}" for place, number in enumerate(group, 1)]


def _has_words(protected: Protected) -> bool:
    return any(map(str.isalpha, without_placeholders(protected)))


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


def _unfinished(answer: Answer) -> Fault | None:
    if answer.problem:
        return Fault(answer.problem, answer.detail)
    if answer.finish == "length":
        return Fault("translation-cut", "it reached the limit of tokens")
    if answer.finish != "stop":
        return Fault("translation-stopped", "the backend ended it before its end")
    return None


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
