"""Settings: defaults that hold, types, contradictions, and names that are nearly right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cai.errors import UsageError
from cai.training.config import CONFIGS, DpoConfig, PpoConfig, RewardConfig, SftConfig, build_config


@pytest.mark.parametrize("kind", CONFIGS.values())
def test_every_setting_has_a_default_and_a_line_of_help(kind: Any) -> None:
    config = kind()
    for item in dataclasses.fields(kind):
        assert item.metadata["help"].endswith((".", "]", ": q,v."))
        choices = item.metadata["choices"]
        assert not choices or getattr(config, item.name) in (*choices, None)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rte": 1.0}, "no setting 'learning_rte'.*\n.*Did you mean 'learning_rate'"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"batch_size": True}, "batch_size is True; it must be a whole number"),
        ({"packing": "yes"}, "packing is 'yes'; it must be true or false"),
        ({"batch_size": 0}, "--batch-size is 0; it must be 1 or more"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0; it must be above 0"),
        ({"warmup": 1.0}, "--warmup is 1.0; it must be 0 or more and below 1"),
        ({"schedule": "stairs"}, "--schedule is 'stairs'; it must be one of cosine, linear"),
        ({"full": True, "quantize": "4bit"}, "--full and --quantize exclude each other"),
        ({"full": True, "lora_r": 8}, "--lora-r is 8; it has no place beside --full"),
        ({"epochs": float("inf")}, "--epochs is inf; it must be a finite number"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan; it must be a finite number"),
        ({"weight_decay": -0.1}, "--weight-decay is -0.1; it must be 0 or more"),
        ({"seed": -1}, "--seed is -1; it must be 0 or more"),
        ({"seed": 2**63}, "--seed is 9223372036854775808; it must be below"),
        ({"lora_dropout": 1.0}, "--lora-dropout is 1.0; it must be 0 or more and below 1"),
        ({"lora_targets": " ,"}, "--lora-targets is ' ,'; it must name layers"),
        ({"eval_every": 0}, "--eval-every is 0; it must be 1 or more"),
    ],
)
def test_what_can_t_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        build_config(SftConfig, values, "settings.yaml")
    import re

    assert re.search(said, str(error.value), re.DOTALL)


def test_older_names_of_settings_still_work() -> None:
    config = build_config(PpoConfig, {"check": "rewards:polite"}, "x")
    assert isinstance(config, PpoConfig) and config.second_reward == "rewards:polite"
    assert build_config(SftConfig, {"learned": "all"}, "x") == SftConfig(loss_on="all")
    with pytest.raises(UsageError, match="learned is the old name of loss_on, which is set, too"):
        build_config(SftConfig, {"loss_on": "last", "learned": "all"}, "the command line")
    places = {"loss_on": "s.yaml:1:1", "learned": "the command line"}
    both = {"loss_on": "last", "learned": "all"}
    overridden = build_config(SftConfig, both, places.__getitem__)
    assert overridden == SftConfig(loss_on="all")
    with_coefficient = build_config(RewardConfig, {"centring": 0.5}, "x")
    assert isinstance(with_coefficient, RewardConfig) and with_coefficient.centering == 0.5


def test_whole_numbers_serve_for_fractions_and_nothing_for_what_is_optional() -> None:
    config = build_config(DpoConfig, {"epochs": 3, "max_steps": None, "beta": 1}, "x")
    assert isinstance(config, DpoConfig)
    assert config.epochs == 3.0 and config.max_steps is None and config.beta == 1.0


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (DpoConfig, {"beta": float("inf")}, "beta is inf; it must be a finite number"),
        (DpoConfig, {"nll": -0.1}, "nll is -0.1; it must be 0 or more"),
        (RewardConfig, {"centering": -1.0}, "centering is -1.0; it must be 0 or more"),
        (PpoConfig, {"kl_coef": float("inf")}, "kl_coef is inf; it must be a finite number"),
        (SftConfig, {"learning_rate": "fast"}, "^learning_rate is 'fast'; it must be a number"),
        (SftConfig, {"batch_size": "x"}, "^batch_size is 'x'; it must be a whole number"),
        (SftConfig, {"packing": 1}, "^packing is 1; it must be true or false"),
        (PpoConfig, {"reward": ["a"]}, "^reward is .'a'.; it must be text"),
        (PpoConfig, {"max_kl": 0.0}, "max_kl is 0.0; it must be above 0"),
    ],
)
def test_what_can_t_be_for_one_stage(kind: Any, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        kind(**values)


def test_a_template_s_variables_are_given_one_by_one() -> None:
    """As in the other commands: a value may hold commas; a file has a list, or one text."""
    values = ("identity=You are X, a helper", 'tools=["a","b"]')
    expected = (("identity", "You are X, a helper"), ("tools", ["a", "b"]))
    config = build_config(SftConfig, {"template_arg": values}, "the command line")
    assert config.template.arguments == expected
    assert build_config(SftConfig, {"template_arg": list(values)}, "a file") == config
    again = build_config(SftConfig, {"template_arg": config.template_arg}, "a file")
    assert again == config
    one = build_config(SftConfig, {"template_arg": values[0]}, "a file")
    assert one.template.arguments == expected[:1]
