"""Which concepts a world has: named by both languages, told apart, and shared out evenly."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.world.worlds import PAIRS, SIX, vocabulary_of

from ikusi.core.errors import ConfigError, DataError
from ikusi.world import assets
from ikusi.world.assets import KINDS
from ikusi.world.scene import COLOURS
from ikusi.world.vocabulary import Vocabulary, choose_vocabulary


def spread(counts: Counter[str]) -> int:
    return max(counts.values()) - min(counts.values())


def check(world: Vocabulary) -> None:
    """Assert what holds of every world."""
    assert not set(world.paired) & set(world.probe)
    assert len(set(world.all)) == len(world.all)
    names = [name for by_emoji in world.names.values() for name in by_emoji.values()]
    assert len(set(names)) == len(names) == 2 * len(world.all)
    assert not [name for name in names if set(name) & set(',.;:?!()"/')]
    for emoji in world.all:
        kind = next(concept.kind for concept in assets.concepts() if concept.emoji == emoji)
        assert world.kinds[emoji] == kind
    for group in (world.paired, world.probe):
        grounds = Counter(world.unseen_colour[emoji] for emoji in group)
        assert max(grounds.values()) - min(grounds[c] for c in COLOURS) <= 1


@pytest.mark.parametrize(("pivot", "target"), [*PAIRS, ("en", "qu"), ("en", "ja"), ("fr", "ar")])
def test_names_tell_concepts_and_languages_apart(pivot: str, target: str) -> None:
    world = choose_vocabulary(pivot, target, num_paired=120, num_probe=24, kinds=SIX)
    check(world)
    assert (len(world.paired), len(world.probe)) == (120, 24)
    for language in (pivot, target):
        named = assets.names(language)
        assert all(world.names[language][emoji] == named[emoji].text.lower() for emoji in world.all)
        assert max(len(name.split()) for name in world.names[language].values()) <= 2


@pytest.mark.parametrize("target", ["eu", "cy"])
def test_kinds_are_even_where_there_are_names_enough(target: str) -> None:
    world = vocabulary_of("en", target)
    assert set(world.kinds.values()) == set(SIX) == set(world.used_kinds)
    for group in (world.paired, world.probe):
        assert spread(Counter(world.kinds[emoji] for emoji in group)) <= 2


@pytest.mark.parametrize(("pivot", "target"), PAIRS)
def test_the_probe_and_every_unseen_ground_get_their_share_of_each_kind(
    pivot: str, target: str
) -> None:
    world = choose_vocabulary(pivot, target, num_paired=120, num_probe=24, kinds=SIX)
    for kind in world.used_kinds:
        paired, probe = (
            [emoji for emoji in group if world.kinds[emoji] == kind]
            for group in (world.paired, world.probe)
        )
        assert abs(len(probe) - (len(paired) + len(probe)) / 6) <= 1
        # so that a ground does not tell the kind of what stands on it
        grounds = Counter(world.unseen_colour[emoji] for emoji in paired)
        assert max(grounds.values()) - min(grounds[colour] for colour in COLOURS) <= 1


def test_a_world_is_the_same_for_the_same_arguments_and_grows_by_the_same_concepts() -> None:
    small, again, large = (vocabulary_of.__wrapped__("en", "eu", n, 0) for n in (40, 40, 80))
    assert small == again
    assert large.all[:40] == small.all


def test_few_names_make_a_small_world_with_the_same_share_of_probes() -> None:
    world = choose_vocabulary("es", "gl", num_paired=480, num_probe=120, kinds=SIX)
    check(world)
    assert len(world.all) < 600
    assert len(world.probe) == round(len(world.all) / 5)


@pytest.mark.parametrize(("target", "kinds", "count"), [("eu", ["sky"], r"\d+"), ("x", KINDS, 0)])
def test_too_few_names_are_refused_with_their_number(
    target: str, kinds: list[str], count: object
) -> None:
    message = f"only {count} usable names in both 'en' and '{target}', and needs 24"
    with pytest.raises(DataError, match=message):
        choose_vocabulary(
            "en", target, num_paired=24, num_probe=0, kinds=kinds, cldr={"x": "en"}, max_words=1
        )


def test_a_language_without_names_is_refused_and_a_pack_may_say_whose_names_it_uses() -> None:
    with pytest.raises(ConfigError, match="no emoji names in language 'quz'"):
        choose_vocabulary("en", "quz", num_paired=60, num_probe=6, kinds=SIX)
    quz = choose_vocabulary(
        "en", "quz", num_paired=60, num_probe=6, kinds=SIX, cldr={"quz": "qu", "en": "en"}
    )
    qu = choose_vocabulary("en", "qu", num_paired=60, num_probe=6, kinds=SIX)
    assert quz.names["quz"] == qu.names["qu"]
