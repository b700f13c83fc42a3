"""A suite as a task of Inspect: `cai-SUITE.py`, and a dataset `cai-SUITE.jsonl` beside it."""

from __future__ import annotations

import json
import keyword
import re
import string
from typing import Any

from cai.evaluation.harnesses.parts import (
    SEVERAL_ANSWERS,
    HarnessFiles,
    NotExportable,
    item_facts,
    left_out,
    stem_of,
)
from cai.evaluation.items import ChoiceItem, Item, PromptItem, TurnsItem
from cai.evaluation.measures import MEASURED_REPLIES
from cai.evaluation.suite import Suite
from cai.types import Messages, SetAside

_REASONS = {
    "flip": SEVERAL_ANSWERS,
    "stance": SEVERAL_ANSWERS,
    "paraphrase": SEVERAL_ANSWERS,
    "text": "Inspect asks a model for replies, and reads no log-probabilities of a given text",
    "style": "it measures a reward model, and Inspect asks a model for replies",
}
_CHOICE = '''"""{title}: a suite of cai for Inspect.

    inspect eval {file}.py --model MODEL

The model writes a letter. cai compares log-probabilities instead, so that the two accuracies
differ.
"""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import accuracy, choice, stderr
from inspect_ai.solver import multiple_choice


@task(name={name})
def {function}() -> Task:
    return Task(
        dataset=json_dataset(str(Path(__file__).with_suffix(".jsonl")), name={name}),
        solver=multiple_choice(),
        scorer=choice(),
        metrics=[accuracy(), stderr(cluster="cluster")],
        version={version},
        metadata={{"suite_digest": {digest}}},
    )
'''
_REPLIES = '''"""{title}: a suite of cai for Inspect.

    inspect eval {file}.py --model MODEL

Replies are judged by cai's rules, so cai must be installed beside Inspect.
"""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset

from cai.evaluation.harnesses.inspect_task import replies_by_rule, {solver}


@task(name={name})
def {function}() -> Task:
    return Task(
        dataset=json_dataset(str(Path(__file__).with_suffix(".jsonl")), name={name}),
        solver={solver}(),
        scorer=replies_by_rule({measures}),
        version={version},
        metadata={{"suite_digest": {digest}}},
    )
'''


def files_of(suite: Suite) -> HarnessFiles:
    """The task file and the dataset. Raises `NotExportable`."""
    if suite.task in _REASONS:
        raise NotExportable(_REASONS[suite.task])
    return _choices(suite) if suite.task == "choice" else _replies(suite)


def _choices(suite: Suite) -> HarnessFiles:
    if suite.answer_is != "right":
        raise NotExportable(
            "its choices are compared by log-probability, which Inspect does not read; lm-eval does"
        )
    rows: list[dict[str, Any]] = []
    out: list[SetAside] = []
    for item in suite.items:
        assert isinstance(item, ChoiceItem)
        if len(item.right) > 1:
            out.append(left_out(suite, item, "Inspect's choice() would ask for all right answers"))
            continue
        question = f"{item.context}\n\n{item.question}" if item.context else item.question
        rows.append({
            "id": item.id, "input": _input(item.before, question), "choices": item.choices,
            "target": string.ascii_uppercase[min(item.right)], "metadata": item_facts(suite, item),
        })  # fmt: skip
    if not rows:
        raise NotExportable("every item has several right answers")
    return _files(suite, _CHOICE, rows, out)


def _replies(suite: Suite) -> HarnessFiles:
    unknown = [name for name in suite.judges if name not in MEASURED_REPLIES]
    if unknown:
        raise NotExportable(f"{', '.join(unknown)} can be measured in cai alone")
    if not suite.judges:
        raise NotExportable("it names no `judges`, so that there is nothing to score by rule")
    rows = [
        {
            "id": item.id, "input": _asked(item),
            "target": item.reference if isinstance(item, PromptItem) else "",
            "metadata": {
                **item_facts(suite, item), "task": suite.task,
                "item": item.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            },
        }
        for item in suite.items
    ]  # fmt: skip
    solver = "generate" if suite.task == "response" else "say_turns"
    return _files(suite, _REPLIES, rows, [], solver)


def _asked(item: Item) -> str | list[dict[str, str]]:
    """What the model is given first: of a conversation, the first turn."""
    if isinstance(item, TurnsItem):
        return item.turns[0]
    assert isinstance(item, PromptItem)
    return _input(item.conversation[:-1], item.conversation[-1].content)


def _input(before: Messages, question: str) -> str | list[dict[str, str]]:
    if not before:
        return question
    earlier = [{"role": message.role, "content": message.content} for message in before]
    return [*earlier, {"role": "user", "content": question}]


def _files(
    suite: Suite, template: str, rows: list[dict[str, Any]], out: list[SetAside], solver: str = ""
) -> HarnessFiles:
    stem = stem_of(suite)
    text = template.format(
        title=_in_docstring(suite.title), file=stem, solver=solver, function=_function(suite.id),
        name=json.dumps(suite.id), version=json.dumps(suite.version),
        digest=json.dumps(suite.digest), measures=json.dumps(list(suite.judges)),
    )  # fmt: skip
    return HarnessFiles({f"{stem}.py": text}, f"{stem}.jsonl", rows, tuple(out))


def _in_docstring(text: str) -> str:
    """A text that can't end the docstring it stands in: titles are other people's."""
    return re.sub(r"""[\\"\x00-\x1f\x7f]""", " ", text).strip()


def _function(name: str) -> str:
    """A suite's id as the name of a function."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"suite_{plain}" if plain[:1].isdigit() or keyword.iskeyword(plain) else plain
