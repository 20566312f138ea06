"""What is refused, and what must not be."""

from __future__ import annotations

import pytest

from ikusi.data.translate.settings import VerifySettings
from ikusi.data.translate.verify import Checker, weigh
from ikusi.languages.pack import load_pack


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(load_pack("en"), load_pack("eu"), VerifySettings())


GOOD = [
    ("What is in the picture?", "Zer dago irudian?"),
    ("Two dogs play on the beach.", "Bi txakur hondartzan jolasten ari dira."),
    ("3 dogs", "Hiru txakur"),
    ("The 19th century", "XIX. mendea"),
    ("Paris", "Paris"),
    ("Answer: yes", "Erantzuna: bai"),
    ('"Go home", he said.', '"Joan etxera", esan zuen.'),
    ("no no no no no no", "ez ez ez ez ez ez"),
    ("Translation: the art of saying it again", "Itzulpena: berriro esatearen artea"),
    ("A", "Bat"),
    ("It is the Guggenheim Museum Bilbao", "Guggenheim Bilbao Museoa da"),
    ("Ok", "Ados, hala izango da"),
]

BAD = [
    ("What is it?", " ", "translation-empty"),
    ("What is in the picture?", "Itzulpena: Zer dago irudian?", "preamble"),
    ("What is in the picture?", "**Here is the translation:** Zer dago irudian?", "preamble"),
    ("What is in the picture?", "Galdera euskaraz jarrita:\nZer dago irudian?", "preamble"),
    ("What is in the picture?", '"Zer dago irudian?"', "quotes"),
    ("What is in the picture?", "«Zer dago irudian?»", "quotes"),
    ("What is in the picture?", "What is in the picture?", "untranslated"),
    (
        "There is a man who wears a red hat and a blue coat in it",
        "Hona there is a man who wears a red hat and a blue coat bertan",
        "untranslated",
    ),
    ("A man.", "Gizon bat dago irudian eta " * 4 + "txano gorri handi bat darama", "repetition"),
    ("A man with a hat", "Gizon bat txano gorri batekin, " + "oso " * 6 + "handia", "repetition"),
    ("A man with a hat", "Gizon bat aaaaaaaaaaaaaaaaaaaa", "repetition"),
    ("There are 3 dogs and 12 cats.", "3 txakur eta katuak daude.", "numbers-lost"),
    ("In 1787 it was founded.", "Orduan sortu zuten.", "numbers-lost"),
    (
        "A very long description of a picture with many people who walk along the shore of the sea",
        "Bai",
        "translation-length",
    ),
    ("Yes", "Bai, hala da, zalantzarik gabe esan daiteke hori horrela dela", "translation-length"),
]


@pytest.mark.parametrize(("source", "translated"), GOOD)
def test_good_translations_pass(checker: Checker, source: str, translated: str) -> None:
    assert checker.piece(source, translated) is None


@pytest.mark.parametrize(("source", "translated", "reason"), BAD)
def test_faults_are_found(checker: Checker, source: str, translated: str, reason: str) -> None:
    fault = checker.piece(source, translated)
    assert fault is not None
    assert fault.reason == reason


def test_a_loop_in_a_script_without_spaces_is_found(checker: Checker) -> None:
    fault = checker.piece("a", "犬がいます犬がいます犬がいます犬がいます犬がいます", written=True)
    assert fault is not None
    assert fault.reason == "repetition"


def test_length_is_weighed_by_script() -> None:
    assert weigh("dog") == 3
    assert weigh("浜辺で遊ぶ犬") == pytest.approx(6 * 2.6)
    assert weigh("해변의 개") == pytest.approx(4 * 2.5)


ENGLISH = (
    "a man in a red hat walks with two small dogs along the shore of the sea in the evening sun"
)
BASQUE = (
    "txano gorria daraman gizon bat bi txakur txikirekin dabil itsasertzean arratsaldeko eguzkitan "
    "eta haur batzuk hondartzan jolasten ari dira beren gurasoekin batera"
)


def test_the_language_of_passages_is_checked(checker: Checker) -> None:
    assert checker.passages
    assert checker.language([BASQUE]) is None
    fault = checker.language([f"{ENGLISH} {ENGLISH}"])
    assert fault is not None
    assert fault.reason == "translation-language"


def test_short_texts_are_only_refused_in_the_language_of_the_source(checker: Checker) -> None:
    assert checker.language(["Hello there, where is the dog?"]) is not None
    assert checker.language(["Quel est ce chien-là dans la rue?"]) is None
    assert checker.language(["Zer dago irudian?"]) is None
    assert checker.language(["Paris"]) is None


def test_where_identification_is_not_reliable_it_is_left_out_and_said() -> None:
    galician = Checker(load_pack("en"), load_pack("gl"), VerifySettings())
    assert not galician.passages
    assert "switched off" in galician.about_language
    portuguese = "um homem com um chapéu vermelho caminha com dois cães pequenos na praia " * 3
    assert galician.language([portuguese]) is None
    off = Checker(load_pack("en"), load_pack("eu"), VerifySettings(language=False))
    assert off.language([ENGLISH, ENGLISH]) is None
