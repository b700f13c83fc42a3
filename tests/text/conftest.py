"""Fixtures: one tokenizer of each family."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from tests.text.families import FAMILIES, family


@pytest.fixture(params=[name for name in FAMILIES if name != "plain"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Every family with a chat template."""
    return family(request.param)
