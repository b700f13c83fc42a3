"""The judge's preference between two responses, under a constitution."""

from __future__ import annotations

from cai.backends.base import Backend
from cai.errors import CaiError
from cai.pipeline.build import Models
from cai.pipeline.config import BuildConfig
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.fixed_texts import as_prompt, compare_texts
from cai.store.store import Store
from cai.types import Comparison, Constitution, Prompt


def judge(
    constitution: Constitution,
    prompt: Prompt | str,
    first: str,
    second: str,
    store: Store,
    model: Backend | Models,
    config: BuildConfig | None = None,
) -> Comparison:
    """Compare two responses as in a build; a stored answer is reused.

    The comparison's `probability` is the soft label, the probability that `first` is better, and
    its `judgements` are the verdicts under each principle. config: its seed draws the principles;
    the default settings if None. Raises `PromptError` when the texts exceed the model's context,
    and `StoreError` while another process writes to the store.
    """
    prompt = as_prompt(prompt) if isinstance(prompt, str) else prompt
    models = model if isinstance(model, Models) else Models.all(model)
    steps = compare_texts(prompt, constitution, (config or BuildConfig()).draws, first, second)
    comparisons: list[Comparison] = []

    def fail(task: PromptTask[Comparison], error: CaiError) -> None:
        raise error

    with store.lock():
        drive(
            iter([PromptTask(f"judge/{prompt.id}", prompt, steps)]),
            models.by_role,
            store,
            Tally(total=1),
            finish=lambda task, comparison: comparisons.append(comparison),
            give_up=fail,
            tick=lambda: None,
        )
    return comparisons[0]
