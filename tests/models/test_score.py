"""Scores equal naive full forwards, and do not depend on what else is scored."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from cai.errors import ModelError
from cai.models import score
from cai.models.rows import projected
from cai.models.score import OptionScorer, ScoringTask, common_length
from tests.models.tiny import ARCHITECTURES, VOCABULARY, tiny


@torch.inference_mode()
def naive(task: ScoringTask, name: str = "llama") -> list[float]:
    """Full forwards, full logits, a row an option."""
    out = []
    for option in task.options:
        logits = tiny(name)(torch.tensor([list(option)])).logits[0].double().log_softmax(dim=-1)
        places = range(task.start, len(option))
        out.append(sum(float(logits[p - 1, option[p]]) for p in places))
    return out


def group(seed: int = 0, shared: int = 40, prompts: int = 6, letters: int = 1) -> list[ScoringTask]:
    """Prompts that begin alike, each with three options of `letters` tokens or a few more."""
    rng = random.Random(seed)

    def ids(n: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(n)]

    prefix = ids(shared)
    out = []
    for _ in range(prompts):
        prompt = prefix + ids(rng.randint(1, 12))
        options = [prompt + ids(letters + k * (letters > 1)) for k in range(3)]
        out.append(ScoringTask.of(prompt, options))
    return out


def close(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> bool:
    return all(a == pytest.approx(b, abs=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", [*ARCHITECTURES, "mamba"])
@pytest.mark.parametrize("letters", [1, 4])
def test_scores_are_those_of_full_forwards(name: str, letters: int) -> None:
    tasks = group(letters=letters)
    assert close(OptionScorer(tiny(name)).score(tasks), [naive(t, name) for t in tasks])


def test_a_group_does_not_depend_on_other_groups() -> None:
    """The same bits, whatever was scored before."""
    fresh, busy = OptionScorer(tiny()), OptionScorer(tiny())
    for seed in range(5):
        busy.score(group(seed, shared=10 + seed))
    assert busy.score(group(9)) == fresh.score(group(9))


def test_the_shared_prefix_is_read_once() -> None:
    """40 shared tokens, 6 prompts with one-token options: a row a prompt, the prefix once."""
    tasks = group()
    scorer = OptionScorer(tiny())
    scorer.score(tasks)
    own = sum(len(t.options[0]) - 1 - 40 for t in tasks)
    assert (scorer.counts.prompt_tokens, scorer.counts.cached_tokens) == (40 + own, 5 * 40)


def test_a_single_prompt_and_nothing_shared() -> None:
    one = group(prompts=1)
    apart = [group(seed)[0] for seed in range(3)]
    scorer = OptionScorer(tiny())
    assert close(scorer.score(one), [naive(t) for t in one])
    assert close(scorer.score(apart), [naive(t) for t in apart])
    short = [ScoringTask.of([5], [[5, 6], [5, 7, 8]])]
    assert close(scorer.score(short), [naive(t) for t in short])


def test_one_prompt_inside_another() -> None:
    """A row that is a prefix of another's, and the same prompt twice with other options."""
    base = list(range(20, 50))
    tasks = [
        ScoringTask.of(base, [[*base, 3], [*base, 4]]),
        ScoringTask.of([*base, 3], [[*base, 3, 5], [*base, 3, 6, 7]]),
        ScoringTask.of(base, [[*base, 9, 8], [*base, 3]]),
    ]
    assert close(OptionScorer(tiny()).score(tasks), [naive(t) for t in tasks])


def test_options_that_merge_with_the_prompt_stay_comparable() -> None:
    """Prompt 1 2 3; option one is 1 2 9 (3 and its letter merged): both start behind the 2."""
    task = ScoringTask.of([1, 2, 3], [[1, 2, 9], [1, 2, 3, 4]])
    assert task.start == 2
    assert ScoringTask.of([1, 2, 3], [[1, 2, 3, 4], [1, 2, 3, 5, 6]]).start == 3
    with pytest.raises(ValueError, match="nothing stands before"):
        ScoringTask.of([1, 2], [[3, 4]])


def test_probabilities_sum_to_one() -> None:
    prompt = list(range(10, 20))
    task = ScoringTask.of(prompt, [[*prompt, t] for t in range(VOCABULARY)])
    (logprobs,) = OptionScorer(tiny()).score([task])
    assert float(torch.tensor(logprobs).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_out_of_memory_splits_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = group(prompts=9, letters=3)
    scorer = OptionScorer(tiny())
    expected = scorer.score(tasks)
    sizes: list[int] = []

    def tight(model: object, *args: object, **inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > limit:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return projected(model, *args, **inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(score, "projected", tight)
    limit = 5
    assert close(scorer.score(tasks), expected)
    assert max(sizes) > 5
    limit = 0
    with pytest.raises(ModelError, match="Out of memory"):
        scorer.score(tasks)


def test_batches_respect_the_token_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = group(prompts=12)
    expected = OptionScorer(tiny()).score(tasks)
    monkeypatch.setattr(score, "ROW_TOKENS", 30)
    assert close(OptionScorer(tiny()).score(tasks), expected)


def test_common_length() -> None:
    assert common_length([(1, 2, 3), (1, 2, 4), (1, 2)]) == 2
    assert common_length([(1, 2, 3)]) == 3
    assert common_length([(1,), (2,)]) == 0
