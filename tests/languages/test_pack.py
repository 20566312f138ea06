"""The pack model: partial packs, what is missing, errors, and where packs are found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.core.errors import ConfigError
from ikusi.languages.pack import Pack, available, find_pack, load_pack, read_pack
from ikusi.languages.parts import COLOURS, KINDS, SIDES

Data = dict[str, Any]


def fails(data: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Pack.parse(data, "qu.yaml")
    message = str(caught.value)
    assert message.startswith("qu.yaml: ")
    assert "\n" not in message
    return message.removeprefix("qu.yaml: ")


def test_one_sentence_is_enough(partial: Data) -> None:
    pack = Pack.parse(partial, "qu.yaml")
    assert pack.tasks_ready() == ("what",)
    assert pack.wordings("what", "train") == ("Kayqa imataq?",)
    assert pack.wordings("what", "text") == ("Kayqa imataq?",)
    assert pack.wordings("what", "held_out") == ()
    assert pack.wordings("where", "text") == ()
    assert (pack.script, pack.ids.cldr, pack.ids.langid) == ("Latn", "qu", "qu")
    assert pack.scene == "{cells}."


def test_missing_is_told_in_words(partial: Data) -> None:
    partial["tasks"]["caption"] = ["Riqsichiy.", "Willay."]
    partial["tasks"]["where"] = ["Maypi: {name}?", "Maypin kachkan: {name}?"]
    partial["terms"] = {"sides": {"left": "lluqi", "right": "paña"}}
    partial["numbers"] = ["chusaq", "huk"]
    assert Pack.parse(partial, "qu.yaml").missing() == (
        "add 1 more sentence to `caption` to hold one out for evaluation",
        "add 2 more sentences to `what` to hold one out for evaluation",
        "add the words top, bottom to get `where`",
        "add 3 sentences and the numbers 2, 3, 4, 5, 6, 7, 8, 9, 10 to get `count`",
        "add 3 sentences and the words yes, no to get `exists`",
        f"add 3 sentences and the colours {', '.join(COLOURS)} to get `colour`",
        f"add 3 sentences and the kinds {', '.join(KINDS)} to get `kind`",
        "add 3 sentences to get `choice`",
        f"add 3 sentences and the kinds {', '.join(KINDS)} to get `kind_of`",
        "add 3 sentences and the name of another language (terms.languages) to get `translate`",
    )


def test_sentences_without_one_to_train_on(partial: Data) -> None:
    partial["tasks"]["choice"] = {"held_out": ["Mayqin? A) {a} B) {b} C) {c} D) {d}"]}
    pack = Pack.parse(partial, "qu.yaml")
    assert "choice" not in pack.tasks_ready()
    assert "add a sentence in the pool `train` to get `choice`" in pack.missing()


def test_a_caption_with_the_colour_needs_the_colours(partial: Data) -> None:
    partial["tasks"]["caption"] = ["Riqsichiy."]
    assert "caption" in Pack.parse(partial, "qu.yaml").tasks_ready()
    partial["caption_answer"] = "{names}. {colour}"
    assert "caption" not in Pack.parse(partial, "qu.yaml").tasks_ready()


def test_a_plain_list_is_dealt_to_pools(partial: Data) -> None:
    partial["tasks"]["what"] = ["Kayqa imataq?", "Imataq kayqa?", "Kayqa imataq kan?"]
    pack = Pack.parse(partial, "qu.yaml")
    assert [len(pack.wordings("what", pool)) for pool in ("text", "train", "held_out")] == [1, 1, 1]
    assert pack.wordings("what", "held_out") == ("Imataq kayqa?",)


def test_a_lone_string_is_a_list_of_one(partial: Data) -> None:
    partial["tasks"]["what"] = "Kayqa imataq?"
    assert Pack.parse(partial, "qu.yaml").wordings("what", "train") == ("Kayqa imataq?",)


def test_blank_values_are_not_there_yet(partial: Data) -> None:
    partial |= {"script": None, "articles": [], "scene": "", "numbers": ["a", None, "c", None]}
    partial["terms"] = {"sides": dict.fromkeys(SIDES), "colours": None}
    partial["tasks"]["where"] = None
    pack = Pack.parse(partial, "qu.yaml")
    assert pack.terms.sides == {}
    assert pack.numbers == (("a",), (), ("c",))  # a number's place is its value


def test_text_is_composed_and_trimmed(partial: Data) -> None:
    partial["tasks"]["what"] = ["  Ima\u0301taq  kay? "]
    assert Pack.parse(partial, "qu.yaml").wordings("what", "train") == ("Imátaq kay?",)


def test_unknown_words_of_held_out_sentences_are_found(partial: Data) -> None:
    partial["tasks"]["what"] = {"train": ["Kayqa imataq?"], "held_out": ["Imataq chay?"]}
    partial["scene"] = "Siqi: {cells}."
    pack = Pack.parse(partial, "qu.yaml")
    assert pack.unknown_words() == {"Imataq chay?": ("chay",), "Siqi: {cells}.": ("siqi",)}
    assert pack.known_words() == {"kayqa", "imataq"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "Quechua language"}, "code: a language code is written like eu, quz or pt-BR"),
        ({"code": "../qu"}, "code: a language code is written like"),
        ({"code": None}, "'code' is missing. Add it."),
        ({"names": None}, "'names.own' is missing. Add it."),
        ({"nam": "x"}, "unknown key 'nam'. Did you mean 'names'?"),
        ({"language": "qu"}, "unknown key 'language'. Here it is called 'code'."),
        ({"ids": {"nlb": "x"}}, "unknown key 'ids.nlb'. Did you mean 'nllb'?"),
        ({"script": "Latin"}, "script: a script is four letters such as Latn"),
        ({"scene": "{cell}"}, "scene: '{cell}' has the mark {cell}; the marks here are: {cells},"),
        ({"caption_answer": "x"}, "caption_answer: 'x' must hold {names} once, not 0 times"),
        ({"answer_phrases": ["a"]}, "answer_phrases: 'a' must hold {answer} once, not 0 times"),
        ({"numbers": list("abcdefghijkl")}, "numbers: has 12 numbers; give 0 to 10, in order"),
        ({"numbers": ["a", "A"]}, "numbers: 'A' stands for both '0' and '1'; use two words"),
        ({"numbers": [0]}, "numbers.0: is no text; put it in quotes (got 0)"),
        ({"yes_no": {"yes": "a", "no": "a"}}, "yes_no: 'a' stands for both 'yes' and 'no'"),
        ({"terms": {"colours": {"gray": "x"}}}, "'gray'. Did you mean 'grey'?"),
        ({"terms": {"sides": {"left": "x", "top": "X"}}}, "terms.sides: 'X' stands for both"),
        ({"terms": {"languages": {"Basque": "x"}}}, "'Basque' is not a language code such as eu"),
        ({"tasks": None}, 'tasks: add one sentence to `what` ("What is this?")'),
        ({"tasks": {"what": "A?", "wher": "B?"}}, "unknown task 'wher'. Did you mean 'where'?"),
        ({"tasks": {"what": ["A?", "a?"]}}, "'a?' stands in what.train and in what.train; keep"),
        ({"tasks": {"what": "A?", "kind": "A?"}}, "'A?' stands in what.train and in kind.train"),
        ({"tasks": {"what": {"trian": ["A?"]}}}, "key 'tasks.what.trian'. Did you mean 'train'?"),
        ({"tasks": {"what": "A\u202e?"}}, "is the control character U+202E; remove it"),
        ({"tasks": {"what": "Что?"}, "script": "Latn"}, "is not written in the script Latn"),
        ({"tasks": {"what": "A?", "where": "B?"}}, "where.train: 'B?' must hold {name} once"),
    ],
)
def test_errors_say_what_where_and_what_to_do(partial: Data, change: Data, message: str) -> None:
    assert message in fails({**partial, **change})


def test_an_error_quotes_one_sentence_and_not_all_of_them() -> None:
    data = load_pack("eu").model_dump(mode="json")
    data["tasks"]["where"]["train"][0] = "Non dago?"
    assert fails(data) == "tasks: where.train: 'Non dago?' must hold {name} once, not 0 times"


@pytest.mark.parametrize("data", [None, [], "qu", 3])
def test_a_file_that_is_no_mapping(data: Any) -> None:
    assert "a pack is a mapping that begins with `code:`" in fails(data)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(Pack.model_fields)), json), json)
def test_wild_data_is_a_pack_or_a_config_error(data: Data, what: Any) -> None:
    data["tasks"] = {"what": what}
    try:
        Pack.parse({"code": "qu", "names": {"own": "x"}, **data}, "wild")
    except ConfigError as error:
        assert "\n" not in str(error)


def test_unknown_tasks_and_pools_are_refused(partial: Data) -> None:
    pack = Pack.parse(partial, "x")
    with pytest.raises(ConfigError, match=r"Unknown task 'wat'\. Did you mean 'what'\?"):
        pack.wordings("wat", "train")
    with pytest.raises(ConfigError, match="Unknown pool 'test'"):
        pack.wordings("what", "test")


def write(folder: Path, code: str, sentence: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{code}.yaml"
    path.write_text(f"code: {code}\nnames: {{own: x}}\ntasks: {{what: '{sentence}'}}\n")
    return path


def test_own_folder_comes_before_the_environment_and_the_package(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = here / "one", here / "two"
    monkeypatch.setenv("IKUSI_LANGUAGES", os.pathsep.join([str(one), str(two)]))
    assert len(load_pack("eu").tasks_ready()) == 10
    write(two, "eu", "bi?")
    assert load_pack("eu").wordings("what", "train") == ("bi?",)
    write(one, "eu", "bat?")
    assert load_pack("eu").wordings("what", "train") == ("bat?",)
    write(here / "languages", "eu", "gurea?")
    write(here / "languages", "qu", "imataq?")
    (here / "languages" / "not a code.yaml").write_text("")
    assert load_pack("eu").wordings("what", "train") == ("gurea?",)
    assert available() == ("cy", "en", "es", "eu", "gl", "qu")


def test_a_changed_file_is_read_again(here: Path) -> None:
    path = write(here / "languages", "qu", "imataq?")
    assert read_pack(path) is read_pack(path)
    write(here / "languages", "qu", "kayqa imataq?")
    assert load_pack("qu").wordings("what", "train") == ("kayqa imataq?",)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "eus",
            "There is no language pack 'eus'. Did you mean 'eu'? There are: cy, en, es, eu, gl. ",
        ),
        ("qu", "pack 'qu'. There are: cy, en, es, eu, gl. To add one: ikusi languages new qu"),
        ("../en", "To add one: ikusi languages new CODE"),
    ],
)
def test_unknown_language(here: Path, code: str, message: str) -> None:
    assert find_pack(code) is None
    with pytest.raises(ConfigError) as caught:
        load_pack(code)
    assert message in str(caught.value)


def test_a_file_named_after_another_language(here: Path) -> None:
    path = write(here / "languages", "qu", "imataq?")
    path.rename(path.with_name("ay.yaml"))
    with pytest.raises(ConfigError, match=r"ay.yaml: code is 'qu'; name the file qu.yaml."):
        load_pack("ay")


def test_yaml_syntax_names_file_and_line(here: Path) -> None:
    path = write(here / "languages", "qu", "imataq?")
    path.write_text("code: qu\nnames: {own: x\ntasks: [\n")
    with pytest.raises(ConfigError, match=r"languages.qu\.yaml, line \d+: "):
        load_pack("qu")


def test_no_is_a_word_and_not_a_boolean(here: Path) -> None:
    """YAML 1.2: Norwegian's code and many languages' word for no."""
    path = write(here / "languages", "no", "hva?")
    path.write_text(path.read_text() + "yes_no: {yes: ja, no: [nei, no]}\n")
    pack = load_pack("no")
    assert (pack.code, pack.yes_no.no) == ("no", ("nei", "no"))


def test_a_missing_file_is_a_config_error(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"qu.yaml: cannot be read \(No such file"):
        read_pack(Path("qu.yaml"))
