"""Formats of training rows: a conversation to learn, or a pair of responses to a prompt.

A prompt or a response is a list of messages, a transcript as in HH-RLHF, or plain text. A pair's
`chosen` and `rejected` are responses to the `prompt`, or whole conversations that contain it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cai.data.documents import ORIGIN
from cai.data.messages import (
    RowError,
    json_kind,
    not_to_learn,
    with_system,
)
from cai.data.prompts import row_id
from cai.data.row_values import (
    digest_id,
    read_names,
    read_number,
    read_prompt,
    read_response,
    read_turns,
    transcript_turns,
    validate_conversation,
    validate_row,
)
from cai.data.split import folded
from cai.data.transcripts import TranscriptError
from cai.errors import PromptError
from cai.text.validation import validate_text
from cai.types import Message, Messages, Role

UNSTATED_ORIGIN = "given"
"""The origin of a pair whose row states none."""
_LARGEST_MARGIN = 1e4  # of a difference of scores


@dataclass(frozen=True, slots=True)
class SftRow:
    """A conversation whose last message is the response to learn. `source` is `file:line`.

    not_to_learn: indices of earlier responses that are excluded from the loss (`weight: 0`).
    document: a text to learn whole, in place of a conversation; `messages` is then empty.
    """

    id: str
    messages: Messages
    source: str
    not_to_learn: tuple[int, ...] = ()
    document: str = ""

    @property
    def prompt(self) -> Messages:
        """What the response to learn answers; of a document, which has no prompt, its own text."""
        return (Message("user", self.document),) if self.document else self.messages[:-1]


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two responses to one prompt; `chosen` and `rejected` are the messages after it.

    The prompt ends with the user's message; both responses begin and end with the assistant's and
    are usually one message each. probability: the soft label, that `chosen` is better, 0.5 or more;
    None if the row has none. margin: the margin of the reward model's loss. origin: `comparison` or
    `revision` in our own rows, `given` where none is stated.
    """

    id: str
    prompt: Messages
    chosen: Messages
    rejected: Messages
    probability: float | None
    margin: float | None
    origin: str
    principle_ids: tuple[str, ...]
    source: str


TrainingRowT = TypeVar("TrainingRowT")


@dataclass(frozen=True, slots=True)
class TrainingRowFormat(Generic[TrainingRowT]):
    """A row format: the keys that identify it, and how a row with its source is read.

    `read` raises `RowError` or `TranscriptError` for an invalid row.
    """

    keys: tuple[str, ...]
    read: Callable[[dict[str, Any], str], TrainingRowT]

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether a row has the keys."""
        return all(key in row for key in self.keys)


# -- pairs ----------------------------------------------------------------------------------


def _pair(row: dict[str, Any], source: str) -> PairRow:
    validate_row(row)
    prompt, chosen, rejected = _sides(row)
    if chosen == rejected:
        raise RowError("same responses: chosen equals rejected")
    if _words(chosen) == _words(rejected):
        raise RowError("same responses: chosen and rejected differ in white space alone")
    for name, response in (("chosen", chosen), ("rejected", rejected)):
        if not response:
            raise RowError(f"empty: {name} has no messages")
        validate_conversation(prompt + response, f" of {name}")
        if response[0].role != "assistant":
            raise RowError(f"wrong prompt: {name} begins with the {response[0].role}'s message")
        if any(m.role == "assistant" and not m.content.strip() for m in response):
            raise RowError(f"empty: {name} has no text")
    if not prompt[-1].content.strip():
        raise RowError("empty: the prompt's last message has no text")
    probability, better, worse = _by_probability(row, chosen, rejected)
    margin = read_number(row, "margin")
    if margin is not None and abs(margin) > _LARGEST_MARGIN:
        raise RowError(f"wrong margin: {margin:g}, beyond {_LARGEST_MARGIN:g}")
    return PairRow(
        id=row_id(row.get("id")) or digest_id("pair", prompt, chosen, rejected),
        prompt=prompt,
        chosen=better,
        rejected=worse,
        probability=probability,
        margin=margin if margin is None or better is chosen else -margin,
        origin=read_names(row, "origin")[0] if row.get("origin") else UNSTATED_ORIGIN,
        principle_ids=read_names(row, "principle_ids"),
        source=source,
    )


def _words(messages: Messages) -> list[tuple[Role, str, str]]:
    return [(m.role, folded(m.content), folded(m.reasoning)) for m in messages]


def _sides(row: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """Prompt, chosen, rejected, with the row's system turn in front of the prompt."""
    prompt, chosen, rejected = _split_sides(row)
    return with_system(row, prompt), chosen, rejected


def _split_sides(row: dict[str, Any]) -> tuple[Messages, Messages, Messages]:
    """Prompt, chosen, rejected; a prompt inside the responses is their common prefix."""
    key = next((k for k in ("prompt", "init_prompt") if row.get(k) not in (None, "", [])), None)
    if key is None:
        chosen, rejected = (_conversation_of(row, side) for side in ("chosen", "rejected"))
    else:
        prompt = read_prompt(row, key)
        chosen, rejected = (read_response(row, side, key) for side in ("chosen", "rejected"))
        if not (_is_whole(chosen) and _is_whole(rejected)):
            return prompt, chosen, rejected
    shared = _common_beginning(chosen, rejected)
    if not shared:
        raise RowError("no shared prompt: chosen and rejected begin with different messages")
    if key is not None:
        if all(m.content.strip() != prompt[-1].content.strip() for m in shared):
            raise RowError(f"wrong prompt: chosen and rejected do not both hold the {key}")
        if prompt[0].role == "system" and shared[0] != prompt[0]:
            raise RowError(f"system: chosen and rejected do not begin with that of the {key}")
    return shared, chosen[len(shared) :], rejected[len(shared) :]


def _by_probability(
    row: dict[str, Any], chosen: Messages, rejected: Messages
) -> tuple[float | None, Messages, Messages]:
    """The better response's probability, that response, and the other one.

    If a row gives its `chosen` less than one half, `rejected` is the better one.
    """
    probability = read_number(row, "probability")
    if probability is None:
        return None, chosen, rejected
    if not 0 <= probability <= 1:
        raise RowError(f"wrong probability: {probability} is not between 0 and 1")
    if probability < 0.5:
        return 1 - probability, rejected, chosen
    return probability, chosen, rejected


def _conversation_of(row: dict[str, Any], key: str) -> Messages:
    """A whole conversation, with the prompt in it: messages, or a transcript."""
    value = row[key]
    if value in ("", []):
        raise RowError(f"empty: {key} has no text")
    try:
        return transcript_turns(value) if isinstance(value, str) else read_turns(row, key, "user")
    except TranscriptError:
        raise RowError(f"no prompt: the row has none, and {key} is not a transcript") from None


def _is_whole(messages: Messages) -> bool:
    return bool(messages) and messages[0].role != "assistant"


def _common_beginning(chosen: Messages, rejected: Messages) -> Messages:
    """The longest common prefix that ends with the user's message."""
    both = zip(chosen, rejected, strict=False)
    length = next((i for i, (a, b) in enumerate(both) if a != b), min(len(chosen), len(rejected)))
    while length and chosen[length - 1].role != "user":
        length -= 1
    return chosen[:length]


# -- conversations --------------------------------------------------------------------------


def _sft_row(
    conversation: Messages, row: dict[str, Any], source: str, marks: tuple[int, ...] = ()
) -> SftRow:
    """The SFT row of a conversation. marks: indices of messages excluded from the loss."""
    validate_row(row)
    messages = with_system(row, conversation)
    validate_conversation(messages)
    for number, message in enumerate(messages, 1):
        if message.role != "system" and not message.content.strip():
            raise RowError(f"empty: message {number} has no text")
    name = row_id(row.get("id")) or digest_id("sft", messages)
    moved = len(messages) - len(conversation)
    return SftRow(name, messages, source, tuple(place + moved for place in marks))


def _conversation(row: dict[str, Any], source: str) -> SftRow:
    return _sft_row(read_turns(row, "messages", "user"), row, source, not_to_learn(row["messages"]))


def _completion_reader(prompt_key: str, key: str) -> Callable[[dict[str, Any], str], SftRow]:
    """A reader of rows with a prompt under one key and its response under another."""

    def read(row: dict[str, Any], source: str) -> SftRow:
        prompt, response = read_prompt(row, prompt_key), read_response(row, key, prompt_key)
        marks = not_to_learn(row[prompt_key])
        marks += tuple(len(prompt) + place for place in not_to_learn(row[key]))
        return _sft_row(prompt + response, row, source, marks)

    return read


def _chosen_response(row: dict[str, Any], source: str) -> SftRow:
    """The better response of a pair, as Rafailov et al. 2023 start DPO on HH-RLHF (section 6)."""
    prompt, chosen, rejected = _sides(row)
    probability, better, _ = _by_probability(row, chosen, rejected)
    if probability == 0.5:
        raise RowError("tie: by its probability, neither response is the better one to learn")
    if any(not_to_learn(row.get(key)) for key in ("prompt", "chosen", "rejected")):
        raise RowError("weight: messages of a pair have some, and are not weighted here")
    return _sft_row(prompt + better, row, source)


def _document(row: dict[str, Any], source: str) -> SftRow:
    """A document, as `cai build-documents` writes it.

    Other files have rendered chats under `text`; so a row has to say what its text is.
    """
    validate_row(row)
    text = row["text"]
    if row["origin"] != ORIGIN:
        raise RowError(f"wrong origin: a text is learned whole where its origin is {ORIGIN!r}")
    if not isinstance(text, str):
        raise RowError(f"wrong type: text is {json_kind(text)}, not text")
    if not text.strip():
        raise RowError("empty: text has no text")
    document = (Message("user", text),)
    try:
        validate_text(document)
    except PromptError as error:
        raise RowError(f"invalid text: {error.message}") from None
    name = row_id(row.get("id")) or digest_id("sft", document)
    return SftRow(name, (), source, document=text)


PAIR_SHAPES = (TrainingRowFormat(("chosen", "rejected"), _pair),)
"""Our own rows, conversational and text pairs, HH-RLHF and llm-swarm are read alike."""

SFT_SHAPES = (
    TrainingRowFormat(("messages",), _conversation),
    TrainingRowFormat(("prompt", "completion"), _completion_reader("prompt", "completion")),
    TrainingRowFormat(
        ("init_prompt", "revision_response"), _completion_reader("init_prompt", "revision_response")
    ),
    TrainingRowFormat(("chosen", "rejected"), _chosen_response),
)
"""Known formats; a file is read in the first one whose keys its first valid row has."""

DOCUMENT_SHAPE = TrainingRowFormat(("text", "origin"), _document)
"""Plain text. It is no response, so it has no label, and only SFT reads it."""
