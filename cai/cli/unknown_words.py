"""A warning with the words that the bundled miniature does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cai.cli.output import warn
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.types import Constitution

SHOWN = 12


def warn_of_unknown_words(models: Iterable[str], texts: Mapping[str, Iterable[str]]) -> None:
    """Say on stderr which words the miniature does not know, where it is among the models.

    models: names as `ModelInfo` has them. texts: what a model reads, by a name ("the prompts").
    """
    if not any(name.partition("+")[0] == "miniature" for name in models):
        return
    for what, some in texts.items():
        if message := unknown_in(what, some):
            warn(message, style="yellow", prefix="")


def unknown_in(what: str, texts: Iterable[str]) -> str:
    """The warning about some texts; empty where the miniature knows all their words."""
    from cai.miniature.known import unknown_words

    words = [visible(word) for word in unknown_words(texts)]
    if not words:
        return ""
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return (
        f"The miniature does not know words of {what}: {', '.join(words[:SHOWN])}{more}. It was "
        "made for a small world of its own; what it says and judges of them means nothing."
    )


def requests_of(constitution: Constitution) -> Iterator[str]:
    """The requests of the principles, and their reasons where models read them."""
    for principle in (member.principle for member in constitution.members):
        yield from (principle.critique_request, principle.revision_request)
        if constitution.show_why:
            yield principle.why


def contrast_requests(constitution: Constitution) -> Iterator[str]:
    """The instructions of contrast pairs, without a prompt; none where no such pairs are made."""
    from cai.constitution import messages
    from cai.types import Message

    if constitution.feedback.mode == "contrast":
        for member in constitution.phase("rl"):
            for follow in (True, False):
                yield messages.contrast(
                    constitution, member.principle, (Message("user", ""),), follow=follow
                )[-1].content
