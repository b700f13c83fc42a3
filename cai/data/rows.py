"""Training rows from the records of a run: which file they go to, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from cai.data.documents import document_example, document_values
from cai.data.labels import comparison_labels, trace_labels
from cai.data.preferences import comparison_preference, revision_preference
from cai.data.served import is_served
from cai.data.sft import LeftOut, sft_examples, without_reasoning
from cai.data.split import family, side_of, split_of
from cai.store.records import Run
from cai.types import (
    Comparison,
    DocumentExample,
    LabelledResponse,
    Message,
    Preference,
    SftExample,
    Trace,
    as_dicts,
)

ExportTable: TypeAlias = Literal["sft", "preferences", "labels"]
DATA_FILES = ("sft", "sft.test", "preferences", "preferences.test", "labels", "labels.test")
"""Names of the files of rows, without their ending."""
ExportedExample: TypeAlias = SftExample | DocumentExample | Preference | LabelledResponse


SERVED = LeftOut("an answer to a user of a guard")


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A training row: its table, its file (without the ending), and its values."""

    table: ExportTable
    file: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """The settings of a run that decide which rows its records become.

    ties: near ties become rows. check_gate: the lowest probability of "no problem" that the last
    check must give a final response under every principle; None for no gate. reasoning: rows keep
    the reasoning before a response, as `reasoning_content`. served: by a guard to users; what they
    wrote is not made into training data. pointwise: the judge was asked about each response by
    itself.
    """

    seed: int
    sft_share: float
    test_share: float
    sft_rows: Literal["last", "all"]
    revision_pairs: bool
    ties: bool
    check_gate: float | None
    reasoning: bool
    served: bool = False
    pointwise: bool = False

    @classmethod
    def of(cls, run: Run) -> ExportSettings:
        """The settings of a run; without pairs, all its prompts are for SFT."""
        config = run.config
        revision_pairs = bool(config.get("revision_pairs", True))
        no_preferences = config.get("pairs", 1) == 0
        feedback = (run.constitution.get("feedback") or {}).get("mode")
        return cls(
            seed=run.seed,
            sft_share=1.0 if no_preferences else config.get("sft_share", 0.5),
            test_share=config.get("test_share", 0.0),
            sft_rows=config.get("sft_rows", "last"),
            revision_pairs=revision_pairs,
            ties=config.get("ties", True),  # as runs were exported before there was a choice
            check_gate=config.get("check_gate"),
            reasoning=config.get("export_reasoning", False),
            served=is_served(config),
            pointwise=feedback in ("pointwise", "contrast"),  # as `Feedback.judging` has it
        )

    def rows(self, record: Trace | Comparison) -> list[ExportedRow | LeftOut]:
        """The rows of a record, or the reasons why there are none.

        A prompt's rows are SFT data or preferences; labels of its responses are beside either.
        """
        if self.served:
            return [SERVED]
        if isinstance(record, Trace) and record.explained is not None:
            document = document_example(record, record.explained, self.seed)
            return [document if isinstance(document, LeftOut) else _row(document)]
        family_id = family(record.prompt.messages)
        split = split_of(family_id, self.seed, self.test_share)
        for_sft = side_of(family_id, self.seed, self.sft_share) == "sft"
        examples: Sequence[ExportedExample | LeftOut]
        if isinstance(record, Trace) and for_sft:
            examples = sft_examples(record, split, self.sft_rows, self.check_gate, self.reasoning)
        elif isinstance(record, Trace):
            pair = revision_preference(record, split, check_gate=self.check_gate, ties=self.ties)
            examples = [pair] if self.revision_pairs else []
        elif for_sft:
            examples = [LeftOut("a pair for a prompt on the SFT side")]
        else:
            examples = [comparison_preference(record, split, ties=self.ties)]
        labels = (
            trace_labels(record, split, pointwise=self.pointwise)
            if isinstance(record, Trace)
            else comparison_labels(record, split)
        )
        return [m if isinstance(m, LeftOut) else self._row(m) for m in (*examples, *labels)]

    def _row(self, example: ExportedExample) -> ExportedRow:
        if isinstance(example, LabelledResponse) and not self.reasoning:
            example = replace(example, prompt=without_reasoning(example.prompt), reasoning="")
        if isinstance(example, Preference) and not self.reasoning:
            example = replace(
                example,
                prompt=without_reasoning(example.prompt),
                chosen_reasoning="",
                rejected_reasoning="",
            )
        return _row(example)


def _row(example: ExportedExample) -> ExportedRow:
    if isinstance(example, SftExample):
        return ExportedRow("sft", _file("sft", example.split), sft_values(example))
    if isinstance(example, DocumentExample):
        return ExportedRow("sft", "sft", document_values(example))
    if isinstance(example, LabelledResponse):
        return ExportedRow("labels", _file("labels", example.split), label_values(example))
    return ExportedRow(
        "preferences", _file("preferences", example.split), preference_values(example)
    )


def _file(table: ExportTable, split: str) -> str:
    return table if split == "train" else f"{table}.{split}"


def sft_values(example: SftExample) -> dict[str, Any]:
    """A row of `sft.jsonl`: `messages` as trainers read them, and ids for tracing."""
    return {
        "id": f"{example.trace_id}.{example.round}",
        "messages": as_dicts(example.messages),
        "prompt_id": example.prompt_id,
        "trace_id": example.trace_id,
        "principle_ids": list(example.principle_ids),
        "round": example.round,
        "split": example.split,
    }


def preference_values(preference: Preference) -> dict[str, Any]:
    """A row of `preferences.jsonl`: conversations as trainers read them, and the soft label."""
    of_trace = preference.origin == "revision"
    return {
        "id": preference.origin_id,
        "prompt": as_dicts(preference.prompt),
        "chosen": _assistant(preference.chosen, preference.chosen_reasoning),
        "rejected": _assistant(preference.rejected, preference.rejected_reasoning),
        "probability": preference.probability,
        "p_ab": preference.p_ab,
        "p_ba": preference.p_ba,
        "judge_mass": preference.judge_mass,
        **({"judge_method": preference.judge_method} if preference.judge_method else {}),
        "origin": preference.origin,
        "principle_ids": list(preference.principle_ids),
        "trace_id": preference.origin_id if of_trace else None,
        "comparison_id": None if of_trace else preference.origin_id,
        "prompt_id": preference.prompt_id,
        "split": preference.split,
    }


def label_values(label: LabelledResponse) -> dict[str, Any]:
    """A row of `labels.jsonl`: TRL's KTO format, and what each principle made of the response."""
    of_trace = label.part in ("final", "first")
    return {
        "id": f"{label.origin_id}.{label.part}",
        "prompt": as_dicts(label.prompt),
        "completion": _assistant(label.response, label.reasoning),
        "label": label.desirable,
        "probability": label.probability,
        "no_problem": [{"principle_id": i, "probability": p} for i, p in label.no_problem],
        **({"judge_method": label.judge_method} if label.judge_method else {}),
        "origin": label.part if of_trace else "comparison",
        "principle_ids": list(label.principle_ids),
        "trace_id": label.origin_id if of_trace else None,
        "comparison_id": None if of_trace else label.origin_id,
        "prompt_id": label.prompt_id,
        "split": label.split,
    }


def _assistant(text: str, reasoning: str) -> list[dict[str, str]]:
    return as_dicts((Message("assistant", text, reasoning),))
