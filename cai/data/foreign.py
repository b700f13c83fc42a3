"""Rows in other tools' formats, rewritten under this project's keys.

A conversation is under `prompt` or `messages`, responses are under `completion`, or `chosen` and
`rejected`. For formats that are not supported, a message says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from cai.data.messages import RowError, has_value, json_kind, key_names, read_messages
from cai.data.split import folded
from cai.data.transcripts import dialogue, is_transcript
from cai.types import Messages

ForeignRow: TypeAlias = dict[str, Any]

_OURS = ("prompt", "messages", "init_prompt", "transcript")


@dataclass(frozen=True, slots=True)
class ForeignRowFormat:
    """A format: its name for `--format`, the keys that identify it, and how its rows are rewritten.

    beside: this project's keys that its rows may have; a row with others is in our own format.
    """

    name: str
    keys: tuple[str, ...]
    rewrite: Callable[[ForeignRow], ForeignRow]
    beside: tuple[str, ...] = ()

    def has_keys(self, row: ForeignRow) -> bool:
        """Whether a row has the format's keys."""
        return all(key in row for key in self.keys)

    def fits(self, row: ForeignRow) -> bool:
        """Whether a row is in this format and not in our own."""
        ours = (key for key in _OURS if key not in self.beside)
        return self.has_keys(row) and not any(has_value(row.get(key)) for key in ours)


def normalize(row: ForeignRow, name: str | None = None) -> ForeignRow:
    """The row under our own keys; unchanged if it is in no other format. Raises `RowError`.

    name: the format that the row must have.
    """
    if name is None:
        row_format = next((f for f in FORMATS if f.fits(row)), None)
        return row_format.rewrite(row) if row_format else row
    formats = [f for f in FORMATS if f.name == name]
    row_format = next((f for f in formats if f.has_keys(row)), None)
    if row_format is None:
        first, *others = ("+".join(f.keys) for f in formats)
        keys = f"neither {' nor '.join([first, *others])}" if others else f"no {first}"
        raise RowError(f"other keys: {keys} of the format {name}; its keys are: {key_names(row)}")
    return row_format.rewrite(row)


_HOLDERS = (
    "init_prompt", "prompt", "messages", "conversations", "conversation", "instruction",
    "question", "input", "transcript", "chosen",
)  # fmt: skip
"""Keys that may hold a row's prompt, or a conversation that begins with it."""


def require_one_prompt(row: ForeignRow, messages: Messages) -> None:
    """Raise `RowError` if another key of the row holds a different prompt.

    Two keys agree if one contains all user turns of the other, like a conversation and its first
    turn, or if its text is part of the other's, like an instruction and the prompt made of it.
    """
    user_texts = {folded(m.content) for m in messages if m.role == "user"}
    texts = [folded(m.content) for m in messages]
    if user_texts == {""}:
        return
    for key in _HOLDERS:
        turns = _turns_under(row, key)
        other = [text for role, text in turns if role == "user"]
        if not other or user_texts <= {text for _, text in turns}:
            continue
        if not all(any(text in one for one in texts) for text in other):
            raise RowError(f"two prompts: {key} holds another text than the prompt that was read")


def _turns_under(row: ForeignRow, key: str) -> list[tuple[str, str]]:
    """(role, text) of the turns under a key; empty if it holds no prompt."""
    value = row.get(key)
    if key == "input":
        value = value.get("messages") if isinstance(value, dict) else None
    if isinstance(value, str):
        if is_transcript(value):
            return [(m.role, folded(m.content)) for m in dialogue(value, "all")]
        text = folded(value)
        return [("user", text)] if text and key in _TEXTS else []
    try:
        turns = read_messages(value, drop_answer=True)
    except RowError:
        return []
    return [(m.role, folded(m.content)) for m in turns]


_TEXTS = frozenset({"init_prompt", "prompt", "instruction", "question"})
"""The keys of `_HOLDERS` that may hold a prompt as plain text."""


def _without(row: ForeignRow, *keys: str) -> ForeignRow:
    return {key: value for key, value in row.items() if key not in keys}


def _sharegpt(row: ForeignRow) -> ForeignRow:
    """`conversations`; LLaMA-Factory adds `chosen` and `rejected`, a message each."""
    key = "conversations" if "conversations" in row else "conversation"
    rest = _without(row, key)
    if "chosen" in row and "rejected" in row:
        return {**rest, "prompt": row[key]}
    return {**rest, "messages": row[key]}


def _alpaca(row: ForeignRow) -> ForeignRow:
    """`instruction` and `input`, joined by a line break; in Dolly `context` and `response`.

    `history` holds earlier (instruction, response) pairs, as LLaMA-Factory has them.
    """
    parts = [row[k] for k in ("instruction", "input", "context") if has_value(row.get(k))]
    if any(not isinstance(part, str) for part in parts):
        raise RowError("wrong type: instruction and input are not both text")
    answer = next((key for key in ("output", "response") if row.get(key) is not None), "output")
    rest = _without(row, "instruction", "input", "context", "history", answer)
    talk = [*_history(row.get("history")), _turn("user", "\n".join(parts))]
    responses = {"completion": row[answer]} if answer in row else {}
    return {**rest, "prompt": talk, **responses}


def _history(value: Any) -> list[ForeignRow]:
    if not has_value(value):
        return []
    if not isinstance(value, list) or any(not isinstance(p, list) or len(p) != 2 for p in value):
        raise RowError("wrong type: history is not a list of (instruction, response) pairs")
    return [_turn(who, text) for pair in value for who, text in zip(_TURNS, pair, strict=True)]


_TURNS = ("user", "assistant")


def _turn(role: str, content: Any) -> ForeignRow:
    return {"role": role, "content": content}


def _openai_preference(row: ForeignRow) -> ForeignRow:
    """OpenAI's preference format: `input` holds the messages, and perhaps tools."""
    value = row["input"]
    if not isinstance(value, dict) or "messages" not in value:
        raise RowError(f"wrong type: input is {json_kind(value)}, not an object with messages")
    rest = _without(row, "input", "preferred_output", "non_preferred_output")
    return {
        **rest,
        **_without(value, "messages", "parallel_tool_calls"),
        "prompt": value["messages"],
        "chosen": row["preferred_output"],
        "rejected": row["non_preferred_output"],
    }


def _question_pair(row: ForeignRow) -> ForeignRow:
    """Intel's Orca pairs: `question`, `chosen`, `rejected`, mostly with `system`."""
    return {**_without(row, "question"), "prompt": row["question"]}


def _axolotl_pair(row: ForeignRow) -> ForeignRow:
    """`messages` up to the user's turn, `chosen` and `rejected` a message each.

    Where the sides are whole conversations (as in UltraFeedback), the row is one of ours.
    """
    if isinstance(row["chosen"], dict) and isinstance(row["rejected"], dict):
        return {**_without(row, "messages"), "prompt": row["messages"]}
    return row


FORMATS = (
    ForeignRowFormat("sharegpt", ("conversations",), _sharegpt),
    ForeignRowFormat("sharegpt", ("conversation",), _sharegpt),
    ForeignRowFormat("openai-preference", ("input", "preferred_output", "non_preferred_output"),
           _openai_preference),
    ForeignRowFormat("alpaca", ("instruction",), _alpaca),
    ForeignRowFormat("orca", ("question", "chosen", "rejected"), _question_pair),
    ForeignRowFormat("axolotl", ("messages", "chosen", "rejected"), _axolotl_pair, ("messages",)),
)  # fmt: skip
"""The first format that fits a row rewrites it."""


# -- formats that are not supported -----------------------------------------------------------

_TO_PAIRS = "write prompt, chosen and rejected"
_TO_COMPLETION = "rename {0} to prompt and {1} to completion"
_UNSUPPORTED: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("prompt", "completions", "labels"), "TRL's stepwise supervision",
     "write the completion whose steps are all right as completion"),
    (("segments",), "Axolotl's template-free segments", "write them as messages"),
    (("contents",), "Gemini's contents", "write them as messages, with role and content"),
    (("body", "custom_id"), "requests to OpenAI's batch API", "take out the messages in body"),
    (("input", "ideal"), "an OpenAI evaluation", _TO_COMPLETION.format("input", "ideal")),
    (("question", "response_j", "response_k"), "paired answers of Stack Exchange",
     "rename question to prompt, response_j to chosen and response_k to rejected"),
    (("prompt", "response_0", "response_1"), "pairs of PKU-SafeRLHF", _TO_PAIRS),
    (("prompt", "response_a", "response_b"), "pairs of responses", _TO_PAIRS),
    (("history", "human_ref_A", "human_ref_B"), "pairs of SHP", _TO_PAIRS),
    (("conversation_a", "conversation_b"), "battles of a chatbot arena", _TO_PAIRS),
    (("text_a", "text_b", "preferred_text"), "pairs of inverse constitutional AI", _TO_PAIRS),
    (("prompt", "completions"), "UltraFeedback before it was binarized", _TO_PAIRS),
    (("prompt", "response"), "prompts with one response each", "rename response to completion"),
    (("query", "response"), "rows of ms-swift", _TO_COMPLETION.format("query", "response")),
    (("question", "answer"), "questions with answers",
     _TO_COMPLETION.format("question", "answer")),
    (("prompt", "chosen_response", "rejected_response"), "pairs of Argilla", _TO_PAIRS),
    (("text",), "text as TRL and Axolotl pre-train on it, whose turns can't be told apart",
     "write messages, or prompt and completion"),
)  # fmt: skip
"""Unsupported rows: their keys, what they are, and what to do. The first that fits counts."""

_SINGLE: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("prompt", "completion", "label"), "TRL's KTO rows, a labelled response each",
     "a pair needs chosen and rejected; cai train sft learns the responses labelled true"),
    (("prompt", "completion"), "prompts with a response each",
     "a pair needs chosen and rejected; cai train sft learns from these rows"),
    (("messages",), "conversations", "a pair needs chosen and rejected; cai train sft learns from"
     " these rows"),
)  # fmt: skip
"""Rows that are read, but not as pairs."""


def looks_like(row: Mapping[str, Any], *, as_pair: bool = False) -> str:
    """The likely format of a row that can't be read, with advice; empty if it is unknown."""
    for keys, name, advice in (*(_SINGLE if as_pair else ()), *_UNSUPPORTED):
        if all(key in row for key in keys):
            return f"this looks like {name}: {advice}"
    return ""


_PROMPT_WORDS = ("prompt", "question", "query", "instruction", "goal", "behavior", "text", "input")


_NAME_WORDS = 4
"""Words of the longest name of a column; more are a prompt in a file without a header."""


def likely_column(keys: Sequence[str]) -> str:
    """The key that most likely holds the prompts, by its name; empty if none or several do.

    With a key like `context`, one key alone is not the prompt.
    """
    if any(word in key.lower() for key in keys for word in ("context", "passage", "article")):
        return ""
    keys = [key for key in keys if len(key.split()) <= _NAME_WORDS]
    for word in _PROMPT_WORDS:
        matches = [key for key in keys if word in key.lower()]
        if matches:
            return matches[0] if len(matches) == 1 else ""
    return ""
