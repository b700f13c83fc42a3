"""A suite as a task of lm-eval: `cai-SUITE.yaml`, its rows beside it, and what reads them.

lm-eval compares log-probabilities, as cai does, so suites of choices and of text fit. Its prompt is
one message: what stands before the question can't be told.
"""

from __future__ import annotations

from typing import Any

import yaml

from cai.evaluation.harnesses.parts import (
    SEVERAL_ANSWERS,
    HarnessFiles,
    NotExportable,
    item_facts,
    left_out,
    stem_of,
)
from cai.evaluation.items import ChoiceItem, TextItem
from cai.evaluation.suite import Suite
from cai.evaluation.tasks import LETTERS, lettered
from cai.types import SetAside

_REPLIES = "its replies are judged by cai's rules; Inspect can run it (--export inspect)"
_REASONS = {
    "response": _REPLIES,
    "conversation": _REPLIES,
    "flip": SEVERAL_ANSWERS,
    "stance": SEVERAL_ANSWERS,
    "paraphrase": SEVERAL_ANSWERS,
    "style": "it measures a reward model",
}
READER_NAME = "cai_rows.py"
"""Beside the task files, and the same for all of them."""
_READER = '''"""Reads the rows of the suites beside it, for lm-eval."""

import json
from pathlib import Path
from typing import Any

from datasets import Dataset


def read(file: str, **_: Any) -> dict[str, Dataset]:
    """The rows of a file in this folder, wherever lm-eval is started."""
    lines = (Path(__file__).parent / file).read_text("utf-8").split("\\n")
    return {"test": Dataset.from_list([json.loads(line) for line in lines if line])}
'''


class _Function(str):
    """A function of the module beside a task file."""


class _TaskDumper(yaml.SafeDumper):
    """Writes lm-eval's own tag for functions."""


_TaskDumper.add_representer(
    _Function, lambda dumper, value: dumper.represent_scalar("!function", str(value))
)


def files_of(suite: Suite) -> HarnessFiles:
    """The task file, what reads the rows, and the rows. Raises `NotExportable`."""
    if suite.task in _REASONS:
        raise NotExportable(_REASONS[suite.task])
    return _text(suite) if suite.task == "text" else _choices(suite)


def _choices(suite: Suite) -> HarnessFiles:
    items = [item for item in suite.items if isinstance(item, ChoiceItem)]
    asked = [item for item in items if not item.earlier]
    out = [
        left_out(suite, item, "a prompt of lm-eval is one message, and this has some before it")
        for item in items if item.earlier
    ]  # fmt: skip
    if not asked:
        raise NotExportable("every item has messages before its question: lm-eval's prompt is one")
    # lm-eval looks at the first row to see whether there are several answers.
    several = any(len(item.right) > 1 for item in asked)
    letters = suite.scoring == "letters"
    rows = [
        {
            **item_facts(suite, item), "question": _question(item, letters),
            "choices": list(LETTERS[: len(item.choices)]) if letters else item.choices,
            "answer": sorted(item.right) if several else min(item.right),
        }
        for item in asked
    ]  # fmt: skip
    task: dict[str, Any] = {
        "output_type": "multiple_choice",
        "doc_to_text": "question",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
    }
    if letters:
        task["gen_prefix"] = "("
    # Without acc_bytes: where a chat template ends in a line break, lm-eval scores the break with
    # each choice, which changes no order, but does change what is then divided by a length.
    return _files(suite, task, ["acc"], rows, out)


def _question(item: ChoiceItem, letters: bool) -> str:
    question = f"{item.context}\n\n{item.question}" if item.context else item.question
    return lettered(question, item.choices) if letters else question


def _text(suite: Suite) -> HarnessFiles:
    rows = [
        {**item_facts(suite, item), "text": item.text}
        for item in suite.items if isinstance(item, TextItem)
    ]  # fmt: skip
    task = {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
    }
    return _files(suite, task, ["bits_per_byte", "byte_perplexity"], rows, [])


def _files(
    suite: Suite, task: dict[str, Any], measures: list[str], rows: list[dict[str, Any]],
    out: list[SetAside],
) -> HarnessFiles:  # fmt: skip
    stem = stem_of(suite)
    # Not the name of Inspect's rows: where a column lacks, lm-eval asks the column's name instead.
    rows_name = f"{stem}.lm-eval.jsonl"
    values = {
        "task": stem,  # not the suite's id: lm-eval has tasks of its own, such as TruthfulQA's
        "task_alias": suite.title,
        "custom_dataset": _Function(f"{READER_NAME.removesuffix('.py')}.read"),
        "dataset_kwargs": {"file": rows_name},
        "test_split": "test",
        **task,
        "metric_list": [{"metric": name} for name in measures],
        "metadata": {"version": suite.version, "suite_digest": suite.digest},
    }
    text = yaml.dump(values, Dumper=_TaskDumper, sort_keys=False, allow_unicode=True)
    return HarnessFiles({f"{stem}.yaml": text, READER_NAME: _READER}, rows_name, rows, tuple(out))
