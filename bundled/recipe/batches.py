"""From documents to batches: token ids, a loss weight a token, and labels for the auxiliary loss.

Batches are a function of the seed, the process and the pool's number, so a run can be resumed in
the middle and two runs of one recipe see the same text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from bundled.recipe.dialogues import document
from bundled.recipe.tokenizer import END_OF_TEXT, TURN_END, TURN_START
from bundled.recipe.turns import Document, DocumentTurn, Mark
from cai.miniature.world.requests import WorldSplit
from cai.miniature.world.vocabulary import FLAWS

LONGEST_DOCUMENT = 640
CONTEXT_SHARE = 0.3  # of documents, those that are also learned as text, not only answered


PROBES = 2 * len(FLAWS) + 2
"""Outputs of the auxiliary head: a response's flaws, the flaws asked about, violation, untruth."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weight of a token's loss by the kind of turn it stands in.

    Decisions weigh most: the first token of a critique (is there a problem?), the first token of
    each sentence of a revision (copy, skip or stop?), the answer in a statement there (copied or
    corrected?), and the letter of a verdict. The starts of a plain answer's sentences must keep up
    with a revision's, or the base model learns to decline as revisions do.
    """

    context: float = 0.3
    sample: float = 1.0
    sample_start: float = 4.0
    shown: float = 0.3
    critique: float = 2.0
    critique_first: float = 8.0
    critique_early: float = 4.0
    revision: float = 1.0
    sentence_start: float = 6.0
    statement_end: float = 6.0
    reasoning: float = 2.0
    verdict: float = 0.5
    letter: float = 12.0
    probe: float = 0.45
    truth: float = 4.0


@dataclass(frozen=True, slots=True)
class ProbeLabel:
    """At this position, this output of the probe should be high or low; `weight` in the loss."""

    position: int
    output: int
    present: bool
    weight: float


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document as the model reads it; `decisions` are (position, "critique" or "letter")."""

    ids: list[int]
    weights: list[float]
    labels: list[ProbeLabel]
    decisions: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded `ids` of (documents, tokens), and flat tensors.

    `learned` are positions in the flattened predictions (documents * (tokens - 1)) whose next token
    has a weight; `targets` and `weights` belong to them. The five `label_` tensors go together.
    """

    ids: Tensor
    learned: Tensor
    targets: Tensor
    weights: Tensor
    label_rows: Tensor
    label_positions: Tensor
    label_outputs: Tensor
    label_present: Tensor
    label_weights: Tensor
    tokens: int

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in values.items() if k != "tokens"})


class DocumentEncoder:
    """Turns documents into ids, weights and labels with one tokenizer."""

    def __init__(self, tokenizer: Any, weights: LossWeights | None = None) -> None:
        self.weights = weights or LossWeights()
        self.tokenizer = tokenizer
        self.fast = tokenizer.backend_tokenizer
        self.end = tokenizer.convert_tokens_to_ids(TURN_END)
        self.end_of_text = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
        start = tokenizer.convert_tokens_to_ids(TURN_START)
        self.headers = {
            role: [start, *tokenizer(f"{role}\n", add_special_tokens=False).input_ids]
            for role in ("system", "user", "assistant")
        }
        self.letters = {tokenizer.convert_tokens_to_ids(letter) for letter in ("A", "B")}
        self.stops = {
            index
            for index in range(len(tokenizer))
            if tokenizer.decode([index]).strip()[-1:] in (".", "?", "!")
        }

    def encode(self, turns: Document, learn_context: bool = True) -> EncodedDocument:
        """One document; without `learn_context`, turns that only serve others weigh nothing."""
        ids: list[int] = []
        weights: list[float] = []
        labels: list[ProbeLabel] = []
        decisions: list[tuple[int, str]] = []
        pieces = self.fast.encode_batch([turn.text for turn in turns], add_special_tokens=False)
        for turn, piece in zip(turns, pieces, strict=True):
            header = self.headers.get(turn.role, [])
            start = len(ids) + len(header)
            ids += [*header, *piece.ids, self.end if header else self.end_of_text]
            if turn.kind in ("context", "shown") and not learn_context:
                turn_weights = [0.0] * (len(piece.ids) + 1)
            else:
                turn_weights = self._turn_weights(turn, piece.ids)
            weights += [0.0] * len(header) + turn_weights
            ends = {offset[1]: index for index, offset in enumerate(piece.offsets)}
            for mark in turn.marks:
                # The end of a turn is its end token: nothing is ever sampled there.
                last = mark.end == len(turn.text)
                position = start + (len(piece.ids) if last else ends[mark.end])
                labels += self._labels(mark, position)
                if turn.kind == "revision" and mark.untrue is not None:
                    weights[position] = self.weights.statement_end
            if turn.kind == "critique":
                decisions.append((start, "critique"))
            if turn.kind == "verdict":
                decisions.append((start + 1, "letter"))
        return EncodedDocument(ids, weights, labels, decisions)

    def _labels(self, mark: Mark, position: int) -> list[ProbeLabel]:
        """What the auxiliary head should say at a mark."""
        weight = self.weights.probe
        labels: list[ProbeLabel] = []
        for first, present in ((0, mark.so_far), (0, mark.flaws), (len(FLAWS), mark.asked)):
            if present is not None:
                labels += [
                    ProbeLabel(position, first + index, flaw in present, weight)
                    for index, flaw in enumerate(FLAWS)
                ]
        if mark.violates is not None:
            labels.append(ProbeLabel(position, PROBES - 2, mark.violates, weight))
        if mark.untrue is not None:
            labels.append(ProbeLabel(position, PROBES - 1, mark.untrue, self.weights.truth))
        return labels

    def _turn_weights(self, turn: DocumentTurn, ids: list[int]) -> list[float]:
        """The loss weight of each token of a turn and of its end token."""
        table = self.weights
        base: float = getattr(table, turn.kind)
        weights = [base] * (len(ids) + 1)
        if turn.kind == "critique":
            weights[1:4] = [table.critique_early] * len(weights[1:4])
            weights[0] = table.critique_first
        elif turn.kind in ("revision", "sample"):
            start = table.sentence_start if turn.kind == "revision" else table.sample_start
            for index in range(len(weights)):
                if index == 0 or ids[index - 1] in self.stops:
                    weights[index] = start
        elif turn.kind in ("verdict", "reasoning"):
            last = max(index for index, token in enumerate(ids) if token in self.letters)
            weights[last] = table.letter
        return weights


def collate(documents: list[EncodedDocument], padding: int) -> Batch:
    """Pad on the right to a multiple of 32."""
    longest = max(len(item.ids) for item in documents)
    width = (longest + 31) // 32 * 32
    ids = torch.full((len(documents), width), padding)
    weights = torch.zeros(len(documents), width)
    rows: list[int] = []
    labels: list[ProbeLabel] = []
    for row, item in enumerate(documents):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        weights[row, : len(item.weights)] = torch.tensor(item.weights)
        labels += item.labels
        rows += [row] * len(item.labels)
    next_weights = weights[:, 1:].flatten()
    learned = next_weights.nonzero().squeeze(1)
    return Batch(
        ids=ids,
        learned=learned,
        targets=ids[:, 1:].flatten()[learned],
        weights=next_weights[learned],
        label_rows=torch.tensor(rows, dtype=torch.long),
        label_positions=torch.tensor([label.position for label in labels], dtype=torch.long),
        label_outputs=torch.tensor([label.output for label in labels], dtype=torch.long),
        label_present=torch.tensor([float(label.present) for label in labels]),
        label_weights=torch.tensor([label.weight for label in labels]),
        tokens=sum(len(item.ids) for item in documents),
    )


@dataclass(slots=True)
class StreamState:
    """Where a stream of batches stands: enough to go on from there."""

    pool: int = 0
    batch: int = 0
    progress: float = 0.0


class BatchStream:
    """Endless length-sorted batches of at most `tokens` padded tokens, drawn `documents` at a time.

    What is drawn hangs on `name` (a seed and a process) and on the progress of the training.
    """

    def __init__(
        self,
        encoder: DocumentEncoder,
        tokens: int,
        documents: int,
        name: str,
        state: StreamState | None = None,
    ) -> None:
        self.encoder = encoder
        self.tokens = tokens
        self.documents = documents
        self.name = name
        self.state = state or StreamState()
        self.progress = self.state.progress

    def __iter__(self) -> Iterator[Batch]:
        while True:
            pool = self._pool()
            while self.state.batch < len(pool):
                batch = collate(pool[self.state.batch], self.encoder.tokenizer.pad_token_id)
                self.state.batch += 1
                yield batch
            self.state = StreamState(self.state.pool + 1, 0, self.progress)

    def _pool(self) -> list[list[EncodedDocument]]:
        rng = random.Random(f"{self.name}/{self.state.pool}")
        items = []
        for _ in range(self.documents):
            turns = document(rng, self.state.progress)
            item = self.encoder.encode(turns, learn_context=rng.random() < CONTEXT_SHARE)
            if len(item.ids) <= LONGEST_DOCUMENT:
                items.append((len(item.ids) + rng.random() * 16, item))
        items.sort(key=lambda pair: pair[0])
        batches: list[list[EncodedDocument]] = [[]]
        for _, item in items:
            longest = max([len(item.ids), *(len(other.ids) for other in batches[-1])])
            if (len(batches[-1]) + 1) * ((longest + 31) // 32 * 32) > self.tokens and batches[-1]:
                batches.append([])
            batches[-1].append(item)
        rng.shuffle(batches)
        return batches


def validation_documents(
    encoder: DocumentEncoder, count: int, seed: int, split: WorldSplit = "held"
) -> list[EncodedDocument]:
    """Documents that training never sees, sorted by length."""
    rng = random.Random(f"validation/{seed}/{split}")
    items = [encoder.encode(document(rng, 1.0, split)) for _ in range(count)]
    return sorted(items, key=lambda item: len(item.ids))
