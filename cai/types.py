"""The data types of the project: frozen, comparable, without behaviour or heavy imports.

A prompt is answered by a response; a critique and a revision follow, once a round; the whole is a
trace. Two responses to one prompt are judged in a comparison. Traces and comparisons become
training rows, and each row names the trace or the comparison it came from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]
Phase: TypeAlias = Literal["sl", "rl"]
Split: TypeAlias = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `reasoning`: what the assistant thought before its answer."""

    role: Role
    content: str
    reasoning: str = field(default="", metadata={"digest": "where set"})


Messages: TypeAlias = tuple[Message, ...]


def as_dicts(messages: Messages) -> list[dict[str, str]]:
    """Messages as chat formats have them; `reasoning_content` where there is some."""
    return [
        {"role": m.role, "content": m.content}
        | ({"reasoning_content": m.reasoning} if m.reasoning else {})
        for m in messages
    ]


def message_of(entry: Mapping[str, str]) -> Message:
    """The message that `as_dicts` wrote."""
    return Message(entry["role"], entry["content"], entry.get("reasoning_content", ""))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for the assistant: the last message is the user's.

    `id` seeds every random choice made for the prompt. `source` says where the row stands
    (`file:line`). `meta` holds the input row's other keys, unread by the engine.
    """

    id: str
    messages: Messages
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Example:
    """A few-shot example of one critique and one revision."""

    prompt: str
    response: str
    critique: str
    revision: str


@dataclass(frozen=True, slots=True)
class ContrastWording:
    """A principle as instructions to a generator: to follow it, and to do the opposite."""

    follow: str
    oppose: str


@dataclass(frozen=True, slots=True)
class PrincipleTest:
    """What a principle promises on one input; `expect` as in the principle schema.

    source: where the test comes from, for people.
    """

    name: str
    prompt: str
    expect: dict[str, Any]
    response: str | None = None
    a: str | None = None
    b: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Principle:
    """One rule a team owns. `digest` covers only what a model gets to read."""

    id: str
    version: str
    title: str
    why: str
    critique_request: str
    revision_request: str
    comparison_question: str
    source: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    tests: tuple[PrincipleTest, ...] = ()
    contrast: ContrastWording | None = None
    deprecated: str | None = None
    path: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A principle inside a constitution: how often it is drawn, and in which phases it serves.

    rounds: the rounds of critique and revision in which it may be drawn, from 1; empty for all. A
        round that no member names is open to every one. Read where principles are drawn: `fixed`
        and `all` follow the file.
    """

    principle: Principle
    weight: float = 1.0
    phases: tuple[Phase, ...] = ("sl", "rl")
    rounds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The supervised stage (Bai et al. 2022, section 3): how responses are critiqued and revised.

    draw: `weighted` or `uniform` (one principle a round), `fixed` (file order, one a round),
        `all` (every principle once, in file order; `rounds` is then not read).
    critique: False revises directly, without a critique (section 3.5).
    history: `replace` shows a later round the latest revision alone, `append` the whole exchange.
    skip_revision_if: `critique_none` leaves a response alone when its critique found nothing.
    check: ask every principle once more after the last round.
    """

    rounds: int = 2
    draw: Literal["weighted", "uniform", "all", "fixed"] = "weighted"
    with_replacement: bool = False
    critique: bool = True
    fewshot: int = 0
    history: Literal["replace", "append"] = "replace"
    skip_revision_if: Literal["critique_none", "never"] = "critique_none"
    check: bool = True


@dataclass(frozen=True, slots=True)
class Feedback:
    """The feedback stage (Bai et al. 2022, section 4): how pairs of responses get their labels.

    mode: `letters` asks for (A) or (B) and reads both letters' probabilities; `pointwise` asks the
        critic about each response alone and takes the difference of the two logits of
        "no problem": no position to be biased by. `contrast` asks no judge: one response is written
        under the instruction to follow a principle, the other under the instruction to do the
        opposite, and the first is chosen (Yang et al. 2023).
    principles_per_pair: how many principles judge a pair, or `all` (an ensemble, by weight). Not
        read by `contrast`, which draws one for each pair.
    both_orders: letters only; ask (A)(B) and (B)(A) and average the logits.
    chain_of_thought: letters only; write reasoning first, then score, then clamp.
    clamp: bounds of a probability, (0.4, 0.6) with reasoning in the paper.
    temperature: divides the preference's logit before it becomes a probability (calibration).
    """

    mode: Literal["letters", "pointwise", "contrast"] = "pointwise"
    principles_per_pair: int | Literal["all"] = "all"
    both_orders: bool = True
    chain_of_thought: bool = False
    reasoning_samples: int = 1
    clamp: tuple[float, float] | None = None
    temperature: float = 1.0

    @property
    def judging(self) -> Literal["letters", "pointwise"]:
        """How a judge compares two given texts; pointwise where pairs are made by contrast."""
        return "pointwise" if self.mode == "contrast" else self.mode


@dataclass(frozen=True, slots=True)
class Templates:
    """Jinja sources of the turns that each stage sends.

    teach, document: empty for the shipped one, so that a constitution without its own keeps its
    digest.
    """

    critique: str
    revise: str
    compare: str
    compare_cot: str
    contrast: str = field(default="", metadata={"digest": "where set"})
    teach: str = field(default="", metadata={"digest": "where set"})
    document: str = field(default="", metadata={"digest": "where set"})


@dataclass(frozen=True, slots=True)
class Constitution:
    """Principles and how they are used. `digest` covers all that can change a model's text.

    no_problem: the sentences with which a critique says that it found nothing. The first is the
        one templates ask for; pointwise judging adds up the probabilities of them all.
    show_why: whether critic, reviser and judge read each principle's reason.
    """

    id: str
    version: str
    title: str
    members: tuple[Member, ...]
    templates: Templates
    plan: Plan = Plan()
    feedback: Feedback = Feedback()
    no_problem: tuple[str, ...] = ("No problem found.",)
    path: str = ""
    digest: str = ""
    show_why: bool = False

    def phase(self, phase: Phase) -> tuple[Member, ...]:
        """The members that serve in a phase, in file order."""
        return tuple(m for m in self.members if phase in m.phases)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a response is drawn; None leaves a setting to the model's own (see `cai.decoding`).

    `temperature` 0 is greedy; `seed` fixes every draw of one row.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0
    max_reasoning_tokens: int = field(default=1024, metadata={"digest": "where set"})
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask a model to write the assistant's next turn, which begins with `prefill`."""

    messages: Messages
    sampling: Sampling
    prefill: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """Ask a model how likely each option is as the assistant's next words after `prefill`.

    Without messages: how likely each is as a text by itself, outside of a conversation. reasoning:
    what a judge that thinks has thought before it answers.
    """

    messages: Messages
    options: tuple[str, ...]
    prefill: str = ""
    reasoning: str = field(default="", metadata={"digest": "where set"})


Request: TypeAlias = Generate | Score

FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Generation:
    """Text that a model wrote, with all that determined it.

    `token_ids` end before the end-of-turn token; `response_tokens` counts it where there was one.
    `key` is the digest under which the store keeps this step. `reasoning` is what the model thought
    before the text, by its own markers; its tokens are among `token_ids`. Reasoning that did not
    end within its limit leaves no text, and `finish_reason` is `length`.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    model: str
    rendered_prompt: str
    prompt_tokens: int
    response_tokens: int
    key: str = ""
    reasoning: str = field(default="", metadata={"digest": "where set"})


@dataclass(frozen=True, slots=True)
class Scores:
    """Natural-log probability of each option of a `Score`, in its order.

    method: how a model server was asked for them (`cai.backends.server.scoring`); "" for a model
    whose probabilities were computed here.
    """

    logprobs: tuple[float, ...]
    options: tuple[str, ...]
    model: str
    rendered_prompt: str
    prompt_tokens: int
    key: str = ""
    method: str = field(default="", metadata={"digest": "where set"})

    @property
    def mass(self) -> float:
        """Probability that the model says any of the options, 0 to 1.

        An option that begins with another ("No problem found." with "No problem found") is one of
        the ways in which that other goes on, so it is not added to it; nor is one given twice.
        """
        counted = [
            logprob
            for option, logprob in dict(zip(self.options, self.logprobs, strict=False)).items()
            if not any(_goes_on(option, other) for other in self.options)
        ]
        return min(1.0, math.fsum(map(math.exp, counted)))


def _goes_on(option: str, other: str) -> bool:
    """Whether an option is another one with more behind its last word."""
    rest = option.removeprefix(other)
    return 0 < len(rest) < len(option) and not rest[0].isalnum()


Result: TypeAlias = Generation | Scores

CritiqueOutcome: TypeAlias = Literal["problem", "no-problem", "contradictory", "refused", "empty"]
"""What a critique comes to. Only the first two are verdicts on the response."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One round: the principle drawn, what the critic said, what the response became.

    critique, outcome: None for a direct revision. response: what the reviser wrote, as it wrote it;
    None where the round left the text alone. stripped: the same without an opening such as "Here is
    the revised response:" and a closing remark such as "I removed the rude part.", where it had
    one. guards: the reasons that keep the text that stands after this round out of the data.
    """

    round: int
    principle_id: str
    principle_version: str
    critique: Generation | None
    outcome: CritiqueOutcome | None
    response: Generation | None
    guards: tuple[str, ...] = ()
    stripped: str | None = None

    @property
    def found_problem(self) -> bool:
        """Whether the round had a reason to revise: a problem was named, or none was asked for."""
        return self.outcome in ("problem", None)

    @property
    def text(self) -> str | None:
        """The revised response that is learned; None where the round left the text alone."""
        return self.response.text if self.stripped is None and self.response else self.stripped


@dataclass(frozen=True, slots=True)
class Check:
    """The final check: under one principle, the log-probability that nothing is wrong."""

    principle_id: str
    scores: Scores


@dataclass(frozen=True, slots=True)
class Judgement:
    """One principle's verdict on a pair: probability that the first response is the better one.

    letters: `p_first` with the responses in order, `p_first_swapped` with (A) and (B) exchanged
    (None where only one order was asked). pointwise: `p_first` alone, since no order is asked.
    """

    principle_id: str
    principle_version: str
    p_first: float
    p_first_swapped: float | None
    scores: tuple[Scores, ...]
    reasoning: tuple[Generation, ...] = ()

    @property
    def mass(self) -> float:
        """Probability that the judge gave to the options it was scored by, a mean over questions.

        letters: of "A" and "B", near 1 for a judge that answers as it is asked. pointwise: of the
        sentences for "no problem", over both responses; low where both have problems, and near 0
        on every pair for a critic that never says such a sentence.
        """
        return math.fsum(s.mass for s in self.scores) / len(self.scores) if self.scores else 0.0

    @property
    def method(self) -> str:
        """How a model server was asked for the probabilities; "" where they were computed here."""
        return self.scores[0].method if self.scores else ""

    @property
    def flipped(self) -> bool:
        """Whether the verdict depends on the order in which the responses were shown."""
        return (
            self.p_first_swapped is not None
            and (self.p_first - 0.5) * (self.p_first_swapped - 0.5) < 0
        )


@dataclass(frozen=True, slots=True)
class Label:
    """What the judge made of a trace: probability that its final response is better than its first.

    judgements, p_ab, p_ba: as in a comparison whose first response is the final one.
    """

    probability: float
    judgements: tuple[Judgement, ...]
    p_ab: float | None = None
    p_ba: float | None = None

    @property
    def mass(self) -> float | None:
        """The judgements' mean mass; None where nothing was judged."""
        return _mean_mass(self.judgements)

    @property
    def method(self) -> str:
        """How a model server was asked for the probabilities; "" where they were computed here."""
        return _method(self.judgements)


def _method(judgements: tuple[Judgement, ...]) -> str:
    return ", ".join(sorted({j.method for j in judgements} - {""}))


def _mean_mass(judgements: tuple[Judgement, ...]) -> float | None:
    return math.fsum(j.mass for j in judgements) / len(judgements) if judgements else None


@dataclass(frozen=True, slots=True)
class Withheld:
    """What a guard sent in the place of a trace's final response, and the reason."""

    text: str
    reason: str


DocumentKind: TypeAlias = Literal["question", "essay", "dialogue", "example"]
"""A question with its answer, an essay, two people talking, or a good and a bad answer compared."""


@dataclass(frozen=True, slots=True)
class ExplainedPrinciple:
    """What a document is about: a trace whose response is a text to learn, and answers nobody.

    principle_digest: as in `Principle`, so without the reason. with_why: whether the writer was
    shown the principle's reason. guards: the faults that keep the document out of the data.
    """

    principle_id: str
    principle_version: str
    principle_digest: str
    kind: DocumentKind
    with_why: bool
    guards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """All that happened to one prompt in the supervised stage, or to one request of a guard's.

    label: what the judge makes of the final response beside the first; None where it wasn't asked.
    withheld: None where the final response was sent, and in a build. explained: where the prompt is
    the request for a document and the response is the document, the principle that it explains.
    """

    id: str
    prompt: Prompt
    response: Generation
    revisions: tuple[Revision, ...] = ()
    checks: tuple[Check, ...] = ()
    label: Label | None = None
    withheld: Withheld | None = field(default=None, metadata={"digest": "where set"})
    explained: ExplainedPrinciple | None = field(default=None, metadata={"digest": "where set"})

    @property
    def texts(self) -> tuple[str, ...]:
        """The response as it stood at first and after each round (rounds + 1 texts)."""
        out = [self.response.text]
        for r in self.revisions:
            out.append(out[-1] if r.text is None else r.text)
        return tuple(out)

    @property
    def final(self) -> str:
        """The response after the last round."""
        return self.texts[-1]


@dataclass(frozen=True, slots=True)
class ContrastPair:
    """How a pair was made whose label is by construction (Yang et al. 2023, section 3).

    The first response was written under the instruction to follow the principle, the second under
    the instruction to do the opposite. asked: the user's last turn of each, as the generator read
    it. guards: the reasons why the texts don't differ as they were asked to.
    """

    principle_id: str
    principle_version: str
    asked: tuple[str, str]
    guards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt and what the judge made of them.

    `probability` is that the first response is better: the judgements' logits averaged by weight.
    `p_ab` and `p_ba` are the same from one order alone, before the clamp: the first response shown
    first, and shown second; None where that order was not asked. With `contrast` no judge was
    asked, and the probability is 1.
    """

    id: str
    prompt: Prompt
    pair: int
    responses: tuple[Generation, Generation]
    judgements: tuple[Judgement, ...]
    probability: float
    mode: Literal["letters", "pointwise", "contrast"]
    p_ab: float | None = None
    p_ba: float | None = None
    contrast: ContrastPair | None = field(default=None, metadata={"digest": "where set"})

    @property
    def principle_ids(self) -> tuple[str, ...]:
        """The principles that judged the pair, or the one that it was made under; each once."""
        if self.contrast is not None:
            return (self.contrast.principle_id,)
        return tuple(dict.fromkeys(j.principle_id for j in self.judgements))

    @property
    def mass(self) -> float | None:
        """The judgements' mean mass; None where nothing was judged."""
        return _mean_mass(self.judgements)

    @property
    def method(self) -> str:
        """How a model server was asked for the probabilities; "" where they were computed here."""
        return _method(self.judgements)


@dataclass(frozen=True, slots=True)
class SftExample:
    """One row of SFT data: the conversation, its last message the aligned response."""

    messages: Messages
    prompt_id: str
    trace_id: str
    principle_ids: tuple[str, ...]
    round: int
    split: Split


@dataclass(frozen=True, slots=True)
class DocumentExample:
    """One row of SFT data that is a document: a text to learn as it stands, without a prompt.

    request_digest: of the messages that asked for it, so that an edited principle, reason or
    template shows. seed: of its sampling.
    """

    text: str
    explained: ExplainedPrinciple
    prompt_id: str
    trace_id: str
    request_digest: str
    seed: int


@dataclass(frozen=True, slots=True)
class Preference:
    """One row of preference data.

    probability: that `chosen` is the better response. origin: `contrast` for a pair whose label is
    by construction. judge_mass: how much probability the judge gave to the options it was scored
    by, None where no judge was asked. judge_method: how a model server was asked for the judge's
    probabilities, "" for a judge that ran here. chosen_reasoning, rejected_reasoning: what the
    model thought before each response.
    """

    prompt: Messages
    chosen: str
    rejected: str
    probability: float
    origin: Literal["comparison", "revision", "contrast"]
    origin_id: str
    prompt_id: str
    principle_ids: tuple[str, ...]
    split: Split
    p_ab: float | None = None
    p_ba: float | None = None
    judge_mass: float | None = None
    judge_method: str = ""
    chosen_reasoning: str = ""
    rejected_reasoning: str = ""


@dataclass(frozen=True, slots=True)
class LabelledResponse:
    """One row of labelled data: a response, and whether a critic finds no problem with it.

    desirable: whether it finds none under every principle. probability: of "no problem" under the
    principle that gives it the least. no_problem: that of every principle, by id. part: of a
    trace its `final` or `first` response, of a comparison `a` or `b`. principle_ids: those that are
    broken; of a desirable response, all that were asked. judge_method: as in `Preference`.
    reasoning: what the model thought before the response.
    """

    prompt: Messages
    response: str
    desirable: bool
    probability: float
    no_problem: tuple[tuple[str, float], ...]
    part: Literal["final", "first", "a", "b"]
    origin_id: str
    prompt_id: str
    principle_ids: tuple[str, ...]
    split: Split
    judge_method: str = ""
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class SetAside:
    """An input row, or a task, that could not be used: kept, with where it stands and why."""

    source: str
    reason: str
    excerpt: str = ""
