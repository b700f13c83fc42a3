"""Whether the miniature passes the project's principles' own `tests:`.

A principle promises what it does on an input: that its critique finds a problem or none, that its
revision changes the text or not and holds certain words, which of two responses it prefers. Here
every promise about a model is kept or broken by the checkpoint, greedily, with the words that the
engine sends; preferences are judged pointwise, as in the default constitution.
"""

from __future__ import annotations

from pathlib import Path

from bundled.evaluation.probe import Checkpoint, chat
from bundled.recipe.turns import critique_turn, revision_turn
from cai.constitution.load import load_principle
from cai.miniature.world import critic
from cai.types import Principle, PrincipleTest


def promises(model: Checkpoint, principle: Principle, test: PrincipleTest) -> dict[str, bool]:
    """Expectation → whether it holds, for those that need a model."""
    expect, prompt = test.expect, test.prompt
    question = critique_turn(principle.critique_request)
    outcomes: dict[str, bool] = {}
    if "prefers" in expect:
        sides = [chat(prompt, side or "", question) for side in (test.a, test.b)]
        a, b = model.option_logprobs(sides, [critic.NO_PROBLEM])[:, 0].tolist()
        outcomes["prefers"] = (a > b) == (expect["prefers"] == "a")
    if test.response is None:
        return outcomes
    turns = (prompt, test.response, question)
    critique = model.generate([chat(*turns)], limit=70)[0]
    clean = critique == critic.NO_PROBLEM
    revised = test.response
    if not clean:  # as the engine: a critique that finds nothing leaves the text alone
        change = revision_turn(principle.revision_request)
        revised = model.generate([chat(*turns, critique, change)])[0]
    if "critique_flags" in expect:
        outcomes["critique_flags"] = clean == (expect["critique_flags"] == "none")
    if "revision" in expect:
        outcomes["revision"] = (revised == test.response) == (expect["revision"] == "unchanged")
    for key, present in (("contains", True), ("not_contains", False)):
        if key in expect:
            expected = expect[key]
            texts = [expected] if isinstance(expected, str) else expected
            outcomes[key] = all((text in revised) == present for text in texts)
    return outcomes


def own_tests(model: Checkpoint, folder: Path, ids: set[str]) -> dict[str, dict[str, bool]]:
    """ "principle: test" → its promises, for the principles of a folder with these ids."""
    results: dict[str, dict[str, bool]] = {}
    for file in sorted(folder.glob("*/*.yaml")):
        principle = load_principle(file)
        if principle.id in ids:
            for test in principle.tests:
                outcomes = promises(model, principle, test)
                if outcomes:
                    results[f"{principle.id}: {test.name}"] = outcomes
    return results
