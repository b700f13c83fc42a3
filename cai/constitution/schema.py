"""The schemas of both kinds of file. Unknown keys are errors.

`keys.py` and docs/reference.md explain each key. The defaults of plan and feedback are those of
`cai.types`.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from cai.types import Feedback, Phase, Plan

API = "cai/v1"
_PLAN, _FEEDBACK = Plan(), Feedback()


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _one_line(value: str) -> str:
    if "\n" in value.strip():
        raise ValueError("must be one line")
    return value.strip()


def _valid_date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError("is not a valid date") from None
    return value


def as_list(value: Any) -> Any:
    """A text as a list of one; anything else as it is."""
    return [value] if isinstance(value, str) else value


def _count_or_all(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be a number of principles, at least 1, or `all`")


def _interval(value: Any) -> Any:
    if value is None:
        return None
    numbers = isinstance(value, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) for x in value
    )
    if not numbers or len(value) != 2 or not 0 <= value[0] < value[1] <= 1:
        raise ValueError("must be null or two probabilities, the lower one first: [0.4, 0.6]")
    return [float(x) for x in value]


def _not_repeated(value: list[Any]) -> list[Any]:
    if len(set(value)) < len(value):
        raise ValueError("has a duplicate entry")
    return value


Text: TypeAlias = Annotated[str, Field(max_length=8_000), AfterValidator(_not_empty)]
Line: TypeAlias = Annotated[str, Field(max_length=200), AfterValidator(_one_line),
                            AfterValidator(_not_empty)]  # fmt: skip
Id: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=100)]
Version: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$")]
Tag: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=50)]
Tags: TypeAlias = Annotated[list[Tag], AfterValidator(_not_repeated)]
TextList: TypeAlias = Annotated[list[Text], BeforeValidator(as_list), Field(min_length=1)]
FileReference: TypeAlias = Annotated[str, Field(min_length=1, max_length=500)]


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StagesFile(StrictModel):
    """What the critic and the reviser are asked."""

    critique: Text
    revise: Text


class ExampleFile(StrictModel):
    """A few-shot example: a whole critique and revision."""

    prompt: Text
    response: Text
    critique: Text
    revision: Text


class ContrastFile(StrictModel):
    """The principle as two instructions to a generator, as alike as possible."""

    follow: Text
    oppose: Text

    @model_validator(mode="after")
    def _differ(self) -> ContrastFile:
        if self.follow.split() == self.oppose.split():
            raise ValueError("`follow` and `oppose` say the same")
        return self


class ExpectFile(StrictModel):
    """What a test expects of the models (`critique_flags`, `revision`, `prefers`, `contains` and
    `not_contains` of the revision), and of the rendered prompts (`renders`)."""

    critique_flags: Literal["problem", "none"] | None = None
    revision: Literal["changed", "unchanged"] | None = None
    prefers: Literal["a", "b"] | None = None
    contains: TextList | None = None
    not_contains: TextList | None = None
    renders: TextList | None = None


class TestFile(StrictModel):
    """One test of a principle: about a `response`, or about which of `a` and `b` is better."""

    __test__ = False  # pytest: not a class of tests

    name: Line
    prompt: Text
    response: Text | None = None
    a: Text | None = None
    b: Text | None = None
    source: Annotated[str, Field(max_length=500)] = ""
    expect: ExpectFile

    @model_validator(mode="after")
    def _fits(self) -> TestFile:
        expect = self.expect.model_dump(exclude_none=True)
        if not expect:
            raise ValueError("`expect` expects nothing")
        if (self.a is None) != (self.b is None):
            raise ValueError("`a` and `b` must be given together")
        if "prefers" in expect and self.a is None:
            raise ValueError("`prefers` needs the two responses `a` and `b`")
        of_one = expect.keys() & {"critique_flags", "revision", "contains", "not_contains"}
        if of_one and self.response is None:
            raise ValueError(f"`{min(of_one)}` needs a `response`")
        return self


class PrincipleFile(StrictModel):
    """A file of `kind: Principle`."""

    api: Literal["cai/v1"]
    kind: Literal["Principle"]
    id: Id
    version: Version
    title: Line
    why: Text
    source: str = ""
    tags: Tags = []
    extends: FileReference | None = None
    deprecated: Text | None = None
    stages: StagesFile
    compare: Text
    contrast: ContrastFile | None = None
    examples: list[ExampleFile] = []
    tests: list[TestFile] = []

    @model_validator(mode="after")
    def _names_differ(self) -> PrincipleFile:
        names = [t.name for t in self.tests]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two tests have the name `{twice[0]}`")
        return self


class MemberFile(StrictModel):
    """A principle's place in a constitution."""

    ref: FileReference
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    phases: Annotated[list[Phase], Field(min_length=1), AfterValidator(_not_repeated)] = [
        "sl",
        "rl",
    ]
    rounds: Annotated[list[Annotated[int, Field(ge=1, le=100)]], AfterValidator(_not_repeated)] = []


class SelectFile(StrictModel):
    """Which of the listed principles to keep, by tag."""

    include_tags: Tags = []
    exclude_tags: Tags = []


class PlanFile(StrictModel):
    """The supervised stage; see `cai.types.Plan`."""

    rounds: Annotated[int, Field(ge=1, le=100)] = _PLAN.rounds
    draw: Literal["weighted", "uniform", "all", "fixed"] = _PLAN.draw
    with_replacement: bool = _PLAN.with_replacement
    critique: bool = _PLAN.critique
    fewshot: Annotated[int, Field(ge=0, le=20)] = _PLAN.fewshot
    history: Literal["replace", "append"] = _PLAN.history
    skip_revision_if: Literal["critique_none", "never"] = _PLAN.skip_revision_if
    check: bool = _PLAN.check


class FeedbackFile(StrictModel):
    """The feedback stage; see `cai.types.Feedback`."""

    mode: Literal["letters", "pointwise", "contrast"] = _FEEDBACK.mode
    principles_per_pair: Annotated[Any, BeforeValidator(_count_or_all)] = (
        _FEEDBACK.principles_per_pair
    )
    both_orders: bool = _FEEDBACK.both_orders
    chain_of_thought: bool = _FEEDBACK.chain_of_thought
    reasoning_samples: Annotated[int, Field(ge=1, le=100)] = _FEEDBACK.reasoning_samples
    clamp: Annotated[list[float] | None, BeforeValidator(_interval)] = None
    temperature: Annotated[float, Field(gt=0, le=1_000)] = _FEEDBACK.temperature


class TemplatesFile(StrictModel):
    """Paths of templates (`./templates/critique.j2`), or bare names of shipped ones."""

    critique: FileReference | None = None
    revise: FileReference | None = None
    compare: FileReference | None = None
    compare_cot: FileReference | None = None
    contrast: FileReference | None = None
    teach: FileReference | None = None
    document: FileReference | None = None


class ChangeFile(StrictModel):
    """One entry of a changelog."""

    version: Version
    date: Annotated[
        str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_valid_date)
    ]
    by: Line
    change: Text


class ConstitutionFile(StrictModel):
    """A file of `kind: Constitution`."""

    api: Literal["cai/v1"]
    kind: Literal["Constitution"]
    id: Id
    version: Version
    title: Line
    extends: Annotated[list[FileReference], BeforeValidator(as_list)] = []
    principles: list[MemberFile] = []
    select: SelectFile = SelectFile()
    plan: PlanFile = PlanFile()
    feedback: FeedbackFile = FeedbackFile()
    templates: TemplatesFile = TemplatesFile()
    no_problem: TextList | None = None
    show_why: bool | None = None
    changelog: list[ChangeFile] = []
