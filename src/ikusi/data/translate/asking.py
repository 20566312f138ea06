"""Asking a backend for the texts of one record: all together, or a sentence at a time.

Place: hop -> [asking] -> backends. Contract: what comes back is put together exactly, or is a
fault; whether it is a good translation is for others to say.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ikusi.backends.base import Answer, Request
from ikusi.core.types import Turn, user
from ikusi.data.translate.faults import Fault
from ikusi.data.translate.ladder import Rung, Tried
from ikusi.data.translate.prompts import Prompt, conversation, opening
from ikusi.data.translate.protect import (
    TOKENS,
    Glossary,
    Protected,
    Style,
    protect,
    renumber,
    restore,
    without_placeholders,
)
from ikusi.data.translate.segment import sentences
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.units import Plan, read_tagged, write_tagged
from ikusi.data.translate.verify import Checker
from ikusi.data.translate.voices import Voice
from ikusi.languages.pack import Pack


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
class Job:
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


class Asking:
    """Asks for translations into one language."""

    def __init__(self, target: Pack, settings: TranslateSettings) -> None:
        """Prepare."""
        self._target, self._settings = target, settings
        self._openings: dict[tuple[str, Prompt], tuple[Turn, ...]] = {}

    async def together(
        self,
        job: Job,
        group: Sequence[int],
        told: Mapping[str, str],
        context: tuple[str, str] | None,
        rung: Rung,
        voice: Voice,
        before: Fault | None,
    ) -> Tried[list[Done]]:
        """Ask a chat backend for all pieces of a group at once."""
        plan = job.plan
        protecteds: list[Protected] = []
        first = 1
        for number in group:
            protected = job.prepare(number, voice)
            protecteds.append(renumber(protected, 0, len(protected.text), first))
            first += len(protecteds[-1].spans)
        tags = tags_of(plan, group)
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

    async def alone(
        self, job: Job, group: Sequence[int], told: Mapping[str, str], rung: Rung, voice: Voice
    ) -> Tried[list[Done]]:
        """Ask a backend for one sentence, or one text, at a time."""
        result: list[Done] = []
        told = dict(told)
        for number in group:
            tried = await self._ask_piece(job, number, told, rung, voice)
            if tried.result is None:
                return Tried(fault=tried.fault, answer=tried.answer)
            result.append(tried.result)
            piece = job.plan.pieces[number]
            if piece.role == "option":
                told[piece.text] = tried.result.text
        return Tried(result, answer="\n".join(one.shown for one in result))

    async def _ask_piece(
        self, job: Job, number: int, told: Mapping[str, str], rung: Rung, voice: Voice
    ) -> Tried[Done]:
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
        self, job: Job, voice: Voice, rung: Rung, part: Protected
    ) -> Answer | Fault:
        if not has_words(part):
            return Answer("", part.text)
        most = 128 + 2 * len(part.text)
        return await self._ask(job, voice, rung, turns=(user(part.text),), most=most)

    async def _ask(
        self, job: Job, voice: Voice, rung: Rung, *, turns: tuple[Turn, ...], most: int
    ) -> Answer | Fault:
        request = Request(
            job.plan.record.id,
            turns,
            images=job.images if voice.chat else (),
            source_language=job.source.code,
            target_language=self._target.code,
            max_tokens=min(most, self._settings.max_tokens),
            temperature=rung.temperature,
            sample=rung.sample,
            extra={"context": job.plan.record.task} if voice.units == "text" else {},
        )
        answer = await voice.asker.ask(request)
        if isinstance(answer, Answer):
            return answer
        return Fault(answer.reason, answer.detail)

    def _opening(self, source: Pack, prompt: Prompt, fault: Fault | None) -> tuple[Turn, ...]:
        if fault is not None:
            return opening(prompt, source, self._target, fault)
        if (source.code, prompt) not in self._openings:
            self._openings[source.code, prompt] = opening(prompt, source, self._target)
        return self._openings[source.code, prompt]


def tags_of(plan: Plan, group: Sequence[int]) -> list[str]:
    """Return the tags of pieces that are translated together."""
    return [f"{plan.pieces[number].role}{place}" for place, number in enumerate(group, 1)]


def has_words(protected: Protected) -> bool:
    """Return whether there is something to translate besides what is protected."""
    return any(map(str.isalpha, without_placeholders(protected)))


def _unfinished(answer: Answer) -> Fault | None:
    if answer.problem:
        return Fault(answer.problem, answer.detail)
    if answer.finish == "length":
        return Fault("translation-cut", "it reached the limit of tokens")
    if answer.finish != "stop":
        return Fault("translation-stopped", "the backend ended it before its end")
    return None
