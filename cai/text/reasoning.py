"""Splits the reasoning that a model writes before its answer from the answer, by its own markers.

Known are tags (`<think>…</think>` of Qwen3, DeepSeek-R1, GLM and SmolLM3, `[THINK]…[/THINK]` of
Magistral) and the channels of Harmony (gpt-oss), where an `analysis` message comes before the
`final` one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers around a model's reasoning.

    open, close: what begins it, and what stands between it and the answer. inside: control tokens
    that belong to a reply and do not end it. ends: what ends a reply once the answer has begun,
    beside the model's own end tokens.
    """

    open: str
    close: str
    inside: tuple[str, ...]
    ends: tuple[str, ...] = ()

    def leaves_open(self, text: str) -> bool:
        """Whether text (a generation prompt) leaves reasoning open."""
        return text.rfind(self.open) > text.rfind(self.close)

    def split(self, text: str, opened: bool = False) -> Reply:
        """Reasoning and answer in what a model wrote.

        opened: whether the generation prompt began the reasoning already. Where the end of the
        reasoning stands several times, the last one counts; where it is begun once more behind
        that, it did not end. So no marker stays in the answer.
        """
        before, close, answer = text.rpartition(self.close)
        if self.open in answer or (opened and not close):
            return Reply("", self._bare(text), closed=False)
        return Reply(answer.strip(), self._bare(before))

    def split_message(self, text: str, opened: bool = False) -> Reply:
        """Reasoning and answer in a text that somebody else wrote, such as a training row's.

        Only a text that begins with reasoning holds some (or, `opened`, may end what the generation
        prompt begins): the markers are words like any others behind that.
        """
        body = text.strip()
        if not body.startswith(self.open):
            before, close, answer = body.partition(self.close)
            if opened and close and self.open not in before:
                return Reply(answer.strip(), before.strip())
            return Reply(body)
        before, close, answer = body.removeprefix(self.open).partition(self.close)
        return Reply(answer.strip(), before.strip(), closed=bool(close))

    def _bare(self, text: str) -> str:
        return text.replace(self.open, "").replace(self.close, "").strip()


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer and the reasoning before it. closed: whether the reasoning ended."""

    answer: str
    reasoning: str = ""
    closed: bool = True


class Harmony(Markers):
    """The channels of Harmony: `<|channel|>analysis<|message|>…<|end|>` and a `final` message."""

    def leaves_open(self, text: str) -> bool:
        """A generation prompt ends before the channel is chosen."""
        return False

    def split(self, text: str, opened: bool = False) -> Reply:
        """The `final` message is the answer; every other one is reasoning."""
        answer: list[str] = []
        reasoning: list[str] = []
        for message in text.split("<|channel|>")[1:]:
            channel, _, words = message.partition("<|message|>")
            for end in ("<|end|>", "<|start|>", "<|return|>", "<|call|>"):
                words = words.partition(end)[0]
            (answer if channel.strip().startswith("final") else reasoning).append(words.strip())
        if not answer and not reasoning:  # no channel was named: the text is all there is
            return Reply(text.strip())
        return Reply("\n\n".join(answer), "\n\n".join(reasoning), closed=bool(answer))


TAGS = (
    Markers("<think>", "</think>", ("<think>", "</think>")),
    Markers("[THINK]", "[/THINK]", ("[THINK]", "[/THINK]")),
)
HARMONY = Harmony(
    "<|channel|>analysis<|message|>",
    "<|end|><|start|>assistant<|channel|>final<|message|>",
    ("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>"),
    ("<|end|>",),
)


def markers_of(template: str) -> Markers | None:
    """The markers that a chat template knows; None for a model that does not reason."""
    if "<|channel|>" in template and "<|message|>" in template:
        return HARMONY
    return next((tags for tags in TAGS if tags.close in template), None)


def split_message(text: str, markers: Markers | None, opened: bool = False) -> Reply:
    """As `Markers.split_message`, by a model's own markers; by any tags where it knows none."""
    candidates = (markers,) if markers is not None else TAGS
    replies = (m.split_message(text, opened and markers is not None) for m in candidates)
    return next((r for r in replies if r.reasoning or not r.closed), Reply(text.strip()))


def split_reply(text: str) -> Reply:
    """Reasoning and answer in the text of a model whose template is unknown."""
    for markers in TAGS:
        if markers.close in text or markers.open in text:
            return markers.split(text)
    return Reply(text)
