"""The constitution as a reward: a frozen judge reads each response under every principle.

The score of a response is the mean of its principles' logits of "no problem", each capped softly,
by the weights of the constitution: what pointwise judging compares in AI feedback
(`cai.pipeline.pointwise`), and a rubric whose items are the principles (Gunjal et al. 2025, arXiv
2507.17746, equation 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from cai.backends.base import Backend
from cai.errors import CaiError, PromptError, TrainingError
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask, Tally, Unstored, drive
from cai.pipeline.pointwise import capped_logit, no_problem_scores
from cai.pipeline.steps import Ask, Draws, Steps, ask_scores
from cai.training.judges import FrozenJudge
from cai.training.processes import world
from cai.training.rollout import Response
from cai.training.score_parts import Scored, ScorePart, WeightedSum
from cai.training.scoring import PartedScorer
from cai.types import Constitution, Member, Prompt

_ROUND_TRIP = 8  # tokens by which a text may grow when it is encoded again
PrincipleLogits: TypeAlias = list[float]
"""The capped logit of "no problem" under each principle, in order."""
_Text: TypeAlias = tuple[str, str]  # of a response: the id of its prompt, and the text


class ConstitutionScorer(PartedScorer):
    """Scores responses under a constitution; its parts are the principles that judge.

    judge: the frozen model that reads. normalise: divide each principle's logits by their standard
    deviation at the start, so that one which varies more does not count more. seed,
    max_reasoning_tokens: of a judge that reasons before it answers.
    """

    def __init__(
        self,
        constitution: Constitution,
        judge: FrozenJudge,
        *,
        normalise: bool = False,
        seed: int = 0,
        max_reasoning_tokens: int = 1024,
    ) -> None:
        self.constitution = constitution
        self.members = constitution.phase("rl")
        self.name = constitution.id
        self._frozen = judge
        self._judge: Backend | None = None
        self._longest: Member | None = None
        """The member with the longest request."""
        self._draws = Draws(seed=seed, max_reasoning_tokens=max_reasoning_tokens)
        self.sum = WeightedSum(normalise)

    @property
    def judge(self) -> Backend:
        """The model that judges; made when it is first needed."""
        if self._judge is None:
            self._judge = self._frozen.make()
        return self._judge

    def scored(self, responses: Sequence[Response], calibrate: bool = False) -> Scored:
        """As in `PartedScorer`; a part's values are capped logits of "no problem".

        Raises `TrainingError` for a response that the judge can't read, and what a judge raises.
        """
        prompts = {_key(r): Prompt(r.prompt.id, r.prompt.messages) for r in responses}
        verdicts = self._shared([(prompt, key[1]) for key, prompt in prompts.items()])
        by_text = dict(zip(prompts, verdicts, strict=True))
        total = sum(member.weight for member in self.members)
        parts = [
            ScorePart(
                member.principle.id,
                [by_text[_key(response)][number] for response in responses],
                member.weight / total,
                principle_id=member.principle.id,
            )
            for number, member in enumerate(self.members)
        ]
        return self.sum(parts, calibrate)

    def room(self, prompt: Prompt) -> int | None:
        """Tokens that the judge has left for a response; None where its context is unknown here."""
        backend = self.judge
        context = getattr(backend, "context", None)
        if context is None:
            return None

        def tokens(member: Member) -> int:
            (request,) = no_problem_scores(prompt, self.constitution, (member,), "")
            return len(backend.prepare(request).payload.encoded.ids)

        try:
            if self._longest is None:  # of all: the others' requests differ by the same texts
                self._longest = max(self.members, key=tokens)
            return int(context) - tokens(self._longest) - _ROUND_TRIP
        except PromptError:  # there is no room for its answer
            return 0

    def _shared(self, texts: Sequence[tuple[Prompt, str]]) -> list[PrincipleLogits]:
        """Verdicts on texts: each process asks for its share.

        Under sharded weights all ask for all of them: every pass needs all processes anyway.
        """
        here = world()
        if here.size == 1 or here.sharded:
            return self._verdicts(texts)
        own: list[PrincipleLogits] = []
        failure: CaiError | None = None
        try:
            own = self._verdicts(texts[here.rank :: here.size])
        except CaiError as error:
            failure = error
        shares = here.gather((own, failure and (failure.message, failure.hint)))
        for _, failed in shares:
            if failed:
                raise failure or TrainingError(failed[0], hint=failed[1])
        return [shares[i % here.size][0][i // here.size] for i in range(len(texts))]

    def _verdicts(self, texts: Sequence[tuple[Prompt, str]]) -> list[PrincipleLogits]:
        """Verdicts on texts, in order; nothing is stored."""
        found: dict[str, PrincipleLogits] = {}
        models = Models.all(self.judge)

        def finish(task: PromptTask[PrincipleLogits], verdict: PrincipleLogits) -> None:
            found[task.name] = verdict

        def fail(task: PromptTask[PrincipleLogits], error: CaiError) -> None:
            raise TrainingError(
                f"The judge can't read the response to {task.prompt.id}: {error.message}",
                hint="Lower --max-new-tokens, leave out long prompts, or name a --judge with a"
                " longer context.",
            ) from error

        draws = replace(self._draws, reasoners=models.reasoners)
        tasks = (
            PromptTask(str(number), prompt, self._ask(prompt, text, draws))
            for number, (prompt, text) in enumerate(texts)
        )
        drive(
            tasks, models.by_role, Unstored(), Tally(total=len(texts)), finish=finish,
            give_up=fail, task_errors=PromptError,
        )  # fmt: skip
        return [found[str(number)] for number in range(len(texts))]

    def _ask(self, prompt: Prompt, text: str, draws: Draws) -> Steps[PrincipleLogits]:
        requests = no_problem_scores(prompt, self.constitution, self.members, text)
        scores, _ = yield from ask_scores(Ask("judge", "judgement", requests), prompt, draws, text)
        return [capped_logit(score.mass) for score in scores]


def _key(response: Response) -> _Text:
    """What a verdict is about; no encoder takes a NUL."""
    return response.prompt.id, response.text.replace("\0", "\ufffd")
