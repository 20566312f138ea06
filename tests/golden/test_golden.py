"""A step's output changes only together with its version, so that no store holds a stale one.

python -m tests.golden.update    after a version was raised, or a step was added
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.golden.cases import EXACT, FILE, Chain, outcome, versions, write_packs

from ikusi.study.steps import STEPS

FILED = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("golden")
    write_packs(folder / "languages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield Chain(folder / "store")


def test_what_is_filed_is_of_these_versions() -> None:
    assert FILED["versions"] == versions(), "run python -m tests.golden.update"


@pytest.mark.parametrize("kind", STEPS)
def test_output_changes_only_with_the_version(kind: str, chain: Chain) -> None:
    if FILED["versions"] != versions():
        pytest.skip("what is filed is of other versions")
    made, filed = outcome(kind, chain), dict(FILED["outcomes"][kind])
    told = (
        f"the output of the step {kind!r} changed, but its version did not: artifacts that are in "
        f"people's stores would be taken for the new ones. Raise {STEPS[kind][0]} in study/steps.py"
        " and run python -m tests.golden.update. (Of several steps that fail, the first is the "
        "cause; where nobody has a store yet, or only the packaged names and pictures changed, the "
        "update is enough.)"
    )
    if kind == "evaluate":  # an answer may turn on the last bit of a logit
        answers, wanted = made.pop("answers"), filed.pop("answers")
        same = sum(one == other for one, other in zip(answers, wanted, strict=True))
        assert same >= 0.9 * len(wanted), told
    elif kind not in EXACT:
        assert made.pop("loss") == pytest.approx(filed.pop("loss"), rel=1e-3), told
    assert made == filed, told
