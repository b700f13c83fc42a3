"""A judge's preference between two given responses, under a constitution."""

from __future__ import annotations

from cai.backends.base import Backend
from cai.errors import PromptError
from cai.pipeline.build import BuildConfig, Models
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.given import as_prompt, compared
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
    """Which of two responses is better: asked as in a build, answered from the store if known.

    The comparison's `probability` is that of `first` being the better one (a soft label), its
    `judgements` what each principle said. config: its seed draws the principles; the default where
    None. Raises `PromptError` where the texts do not fit into the model's context, and
    `StoreError` where another process writes the store.
    """
    prompt = as_prompt(prompt) if isinstance(prompt, str) else prompt
    models = model if isinstance(model, Models) else Models.all(model)
    steps = compared(prompt, constitution, (config or BuildConfig()).draws, first, second)
    comparisons: list[Comparison] = []

    def fail(task: PromptTask[Comparison], error: PromptError) -> None:
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
