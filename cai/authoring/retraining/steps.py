"""The commands of an ablation that trains, as a user would type them."""

from __future__ import annotations

from pathlib import Path

from cai.authoring.retraining.config import RetrainingConfig
from cai.authoring.retraining.data import Sides, TrainingSide
from cai.chain.step import Step


def steps_of(config: RetrainingConfig, base: str | None, sides: Sides, out: Path) -> list[Step]:
    """A training of each side with each seed, and an evaluation of each seed's models.

    base: the model to train; None where the options of the training name it. Seed by seed, so that
    more seeds add steps and change none.
    """
    steps = []
    for seed in range(config.seeds):
        steps += [_training(config, base, sides, side, seed, out) for side in sides.trained]
        steps.append(_evaluation(config, sides, seed, out))
    return steps


def trained_folder(out: Path, side: TrainingSide, seed: int) -> Path:
    """The folder of what was trained on a side."""
    return out / f"{side.name}-s{seed}"


def evaluation_folder(out: Path, seed: int) -> Path:
    """The folder of the evaluation of a seed's models."""
    return out / f"eval-s{seed}"


def _training(
    config: RetrainingConfig,
    base: str | None,
    sides: Sides,
    side: TrainingSide,
    seed: int,
    out: Path,
) -> Step:
    folder = trained_folder(out, side, seed)
    data = [word for file in sides.files(side, seed) for word in ("--data", str(file))]
    model = ("--model", base) if base else ()
    return Step(
        "train",
        ("train", str(config.train), *data, *model, "--seed", str(seed), "--out", str(folder),
         *config.words("train_options")),
        folder,
    )  # fmt: skip


def _evaluation(config: RetrainingConfig, sides: Sides, seed: int, out: Path) -> Step:
    """Of all models of a seed, the one with all principles first: it is the baseline."""
    models = [str(trained_folder(out, side, seed)) for side in sides.trained]
    folder = evaluation_folder(out, seed)
    arguments = ("eval", *models, *evaluation_options(config), "--out", str(folder))
    return Step("eval", arguments, folder)


def evaluation_options(config: RetrainingConfig) -> list[str]:
    """The options that all evaluations share."""
    judge = ("--judge", config.held_out_judge) if config.held_out_judge else ()
    suites = (word for suite in config.suites for word in ("--suite", suite))
    return [*suites, *judge, *config.words("eval_options")]
