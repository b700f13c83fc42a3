"""The examination: what is asked, what counts as right, and what is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cai.backends.scripted import ScriptedBackend
from cai.constitution.load import load_constitution
from cai.content import packaged
from cai.pipeline.build import Models, build
from cai.pipeline.config import BuildConfig
from cai.pipeline.examine import (
    Examination,
    cases_digest,
    examination_cases,
    examine,
    neutral_pairs,
)
from cai.pipeline.steps import Draws
from cai.stats import Proportion
from cai.store.store import Store
from cai.types import Constitution, Feedback, Generate, Member, Plan, PrincipleTest, Score
from tests.factories import constitution, last, principle, prompt

BETTER = {pair.better for pairs in neutral_pairs().values() for pair in pairs}


def rules(**fields: object) -> Constitution:
    """Two principles: `respect.a` with three tests, `own.b`, of no theme, with none."""
    tests = (
        PrincipleTest("flags", "Hi?", {"critique_flags": "problem"}, response="Go away."),
        PrincipleTest("leaves", "Hi?", {"critique_flags": "none"}, response="Hello."),
        PrincipleTest("prefers", "Hi?", {"prefers": "b"}, a="Go away.", b="Hello."),
    )
    members = (
        Member(principle("respect.a", tests=tests)),
        Member(principle("own.b")),
    )
    return constitution(members=members, **fields)


def pointwise_judge(fine: Callable[[str], bool]) -> ScriptedBackend:
    """P(no problem) is 0.9 of a fine response and 0.1 of another; critiques go by it too."""

    def rate(request: Score, option: str) -> float:
        return math.log(0.9 if fine(request.messages[-2].content) else 0.1)

    def say(request: object) -> str:
        assert isinstance(request, Generate)
        if "what is" not in last(request):
            return ("Hello.", "Go away.")[request.sampling.seed % 2]
        return "No problem found." if fine(request.messages[-2].content) else "It is bad."

    return ScriptedBackend([("", say)], [("", rate)])


def letters_judge(first: float) -> ScriptedBackend:
    """Likes the better response with log-odds 1, and whatever stands first with `first`."""

    def rate(request: Score, option: str) -> float:
        a = re.findall(r"\(A\) (.*)", last(request))[0]
        liked = 1.0 if a in BETTER or a == "Hello." else -1.0
        odds = liked + first
        p = 1 / (1 + math.exp(-odds))
        return math.log(0.8 * (p if option == "A" else 1 - p))

    return ScriptedBackend([], [("", rate)])


def examined(backend: ScriptedBackend, rules_: Constitution, folder: Path) -> Examination:
    with Store.open(folder / "store.sqlite") as store, store.lock():
        return examine(rules_, Models.all(backend).by_role, store, Draws())


def test_what_is_asked() -> None:
    """Two critiques, one own pair, and the six pairs of the one theme that there is."""
    cases = examination_cases(rules())
    assert [c.kind for c in cases] == ["critique_flags"] * 2 + ["prefers"] + ["neutral"] * 6
    assert [c.expected for c in cases[:2]] == ["problem", "no-problem"]
    assert (cases[2].better, cases[2].worse) == ("Hello.", "Go away.")
    assert {c.theme for c in cases} == {"respect"}
    assert [len(c.rules.members) for c in cases] == [1, 1, 1] + [2] * 6
    assert [c.kind for c in examination_cases(rules(), judge=False)] == ["critique_flags"] * 2
    direct = examination_cases(rules(plan=Plan(critique=False)))
    assert "critique_flags" not in {c.kind for c in direct}


def test_a_perfect_judge(tmp_path: Path) -> None:
    """7 of 7, whose Wilson interval begins at 7 / (7 + 1.96²) = 0.6457: better than a coin."""
    examination = examined(pointwise_judge(lambda t: t in BETTER | {"Hello."}), rules(), tmp_path)
    assert (examination.prefers, examination.neutral, examination.critiques) == (
        Proportion(1, 1),
        Proportion(6, 6),
        Proportion(2, 2),
    )
    assert examination.themes == {"respect": Proportion(6, 6)}
    assert examination.pairs.interval[0] == pytest.approx(0.6457, abs=1e-4)
    assert not examination.no_better_than_chance
    assert examination.mean_mass == pytest.approx(0.5)  # 0.9 and 0.1
    assert (examination.first_place, examination.skipped) == (None, 0)


def test_a_judge_of_nothing_is_wrong_everywhere(tmp_path: Path) -> None:
    """A tie is wrong. All critiques name a problem, which is right of one."""
    examination = examined(pointwise_judge(lambda _: False), rules(), tmp_path)
    assert (examination.pairs, examination.critiques) == (Proportion(0, 7), Proportion(1, 2))
    assert examination.no_better_than_chance


def test_a_refusing_critic_is_wrong_of_both(tmp_path: Path) -> None:
    backend = ScriptedBackend([("", "I can't help with that.")], [("", lambda *_: -1.0)])
    assert examined(backend, rules(), tmp_path).critiques == Proportion(0, 2)


def test_letters_are_asked_in_both_orders(tmp_path: Path) -> None:
    """A liking for the first of log-odds 2, for the better of 1. Shown first the better one has 3,
    and shown second the worse one, in its first place, has 2 - 1: in all the better one is ahead.
    The first place gets σ(3) = 0.95257 and σ(1) = 0.73106 under one principle, and under two, each
    capped, σ(5 tanh(0.6)) = 0.93616 and σ(5 tanh(0.2)) = 0.72847. Of one pair and of six:
    (0.95257 + 0.73106 + 6 · (0.93616 + 0.72847)) / 14 = 0.83367.
    """
    letters = rules(feedback=Feedback(mode="letters"))
    examination = examined(letters_judge(2.0), letters, tmp_path)
    assert examination.pairs == Proportion(7, 7)
    assert examination.first_place == pytest.approx(0.83367, abs=1e-5)
    assert examination.mean_mass == pytest.approx(0.8)


def test_where_one_order_is_asked_its_label_counts(tmp_path: Path) -> None:
    """The same judge is right where the better one is shown first: 4 of the 7, the even ones."""
    letters = rules(feedback=Feedback(mode="letters", both_orders=False))
    assert examined(letters_judge(2.0), letters, tmp_path).pairs == Proportion(4, 7)


def test_it_comes_back_as_it_was_and_names_what_was_asked() -> None:
    examination = Examination(
        Proportion(1, 2),
        Proportion(3, 4),
        Proportion(5, 6),
        {"harm": Proportion(3, 4)},
        0.75,
        0.5,
        1,
    )
    plain = examination.plain()
    assert Examination.of(plain) == examination
    assert plain["judge"] == {"right": 4, "asked": 6, "interval": [0.3, 0.9032]}
    assert cases_digest(rules()) == cases_digest(rules())
    assert cases_digest(rules()) != cases_digest(rules(), judge=False)
    changed = replace(rules(), members=rules().members[:1])
    assert cases_digest(changed) != cases_digest(rules())


def test_a_build_examines_once_and_before_it_labels(tmp_path: Path) -> None:
    backend = pointwise_judge(lambda t: t in BETTER | {"Hello."})
    config = BuildConfig(sft_share=0.0, test_share=0.0, revision_pairs=False)
    counts: list[int] = []

    def note(examination: Examination) -> None:
        counts.append(len(backend.requests))
        assert examination.pairs == Proportion(7, 7)

    with Store.open(tmp_path / "store.sqlite") as store:
        run = build(rules(), [prompt()], store, backend, config, on_examination=note)
        requests = len(backend.requests)
        build(rules(), [prompt()], store, backend, config, on_examination=note)
        assert store.examination(run.id)["judge"]["right"] == 7  # type: ignore[index]
        assert len([e for e in store.events(run.id) if e.event == "examined"]) == 1
    # 2 critiques, and 2 scores for one principle of 1 pair and two principles of 6: 2 + 2 + 24
    assert counts == [28, requests] and requests > 28
    assert len(backend.requests) == requests, "the second build asked nothing"


def test_what_refuses_an_examination_ends_the_build(tmp_path: Path) -> None:
    backend = pointwise_judge(lambda _: False)

    def refuse(_: Examination) -> None:
        raise ValueError("no")

    config = BuildConfig(sft_share=0.0, revision_pairs=False)
    with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(ValueError, match="no"):
            build(rules(), [prompt()], store, backend, config, on_examination=refuse)
        (run,) = store.runs()
        assert store.status(run.id) == "failed" and store.counts(run.id)["comparison"] == 0


def test_the_shipped_pairs_serve_every_theme_and_favour_no_length() -> None:
    """A judge that counts words is right half of the time, whichever it prefers."""
    folders = {p.name for p in (packaged() / "principles").iterdir() if p.is_dir()}
    assert set(neutral_pairs()) == folders
    for theme, pairs in neutral_pairs().items():
        assert 4 <= len(pairs) <= 8, theme
        shorter = sum(len(p.better.split()) < len(p.worse.split()) for p in pairs)
        assert 2 * shorter == len(pairs), theme
    prompts = [p.prompt for pairs in neutral_pairs().values() for p in pairs]
    assert len(set(prompts)) == len(prompts)


def test_the_default_constitution_is_examined_in_moderation() -> None:
    cases = examination_cases(load_constitution("default"))
    assert 40 <= len(cases) <= 80
