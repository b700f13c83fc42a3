"""Contrast pairs: two responses whose label is by construction, for models too weak to judge.

From Yang et al. 2023 (RLCD), section 3. One response is written under the instruction to follow a
principle, the other under the instruction to do the opposite; the first is chosen. No judge is
asked: the label is right as often as the generator does what it is told. Departures:

- The paper puts its affixes before the assistant's words. Chat templates leave no room there, so
  the instruction ends the user's last turn.
- Its affixes are a fixed list; here the two sides are worded by the principle, or by the template
  `contrast` and the principle's title.
- Pairs whose sides did not come apart are marked, and the export leaves them out.
"""

from __future__ import annotations

from cai.constitution import messages
from cai.digest import digest
from cai.pipeline.guards import contrast_guards
from cai.pipeline.steps import Ask, Draws, Steps, generations
from cai.text import seeds
from cai.types import Comparison, Constitution, ContrastPair, Generate, Principle, Prompt


def contrast(
    prompt: Prompt, pair: int, constitution: Constitution, draws: Draws
) -> Steps[Comparison]:
    """Sample a response that is to follow this pair's principle, and one that is to oppose it.

    The comparison's first response is the one that was to follow.
    """
    principle = contrasted_principle(prompt, pair, constitution, draws.seed)
    conversations = [
        messages.contrast(constitution, principle, prompt.messages, follow=follow)
        for follow in (True, False)
    ]
    sides = tuple(
        Generate(conversation, draws.sampling(prompt, "pair", pair, side, principle.id))
        for side, conversation in enumerate(conversations)
    )
    followed, opposed = generations((yield Ask("generator", "pair", sides)))
    asked = (conversations[0][-1].content, conversations[1][-1].content)
    texts = (followed.text, opposed.text)
    guards = contrast_guards(prompt, principle, asked, texts, constitution.no_problem)
    return Comparison(
        id="c-" + digest([prompt.id, pair, [principle.id], [followed.key, opposed.key]])[:16],
        prompt=prompt,
        pair=pair,
        responses=(followed, opposed),
        judgements=(),
        probability=1.0,
        mode="contrast",
        contrast=ContrastPair(principle.id, principle.version, asked, guards),
    )


def contrasted_principle(
    prompt: Prompt, pair: int, constitution: Constitution, seed: int
) -> Principle:
    """The principle that a pair is made under, drawn by weight from those of the phase `rl`."""
    members = {m.principle.id: m for m in constitution.phase("rl")}
    weights = {name: m.weight for name, m in members.items()}
    return members[seeds.draw(weights, seed, prompt.id, "contrast", pair)].principle
