"""What each key of a principle or a constitution means: for editors and for the reference."""

from __future__ import annotations

KEYS: dict[str, dict[str, str]] = {
    "PrincipleFile": {
        "api": "The version of this format.",
        "kind": "What sort of file this is.",
        "id": "Lower-case words joined by `.`, `-` or `_`; one of a kind in the project. Draws are"
        " seeded by it, and rows are traced by it: keep it.",
        "version": "Three numbers. Major: the meaning changed; minor: the wording; patch: tests and"
        " typos.",
        "title": "One line for people. Templates may show it to a model as `principle`.",
        "why": "The reason, for reviewers and auditors. Never sent to a model.",
        "source": "Where the idea comes from.",
        "tags": "Words that a constitution can `select` by.",
        "extends": "Another principle file, from which `why`, `source`, `tags`, `stages` (key by"
        " key), `compare` and `examples` are taken over.",
        "deprecated": "What to use instead. `cai lint` reports constitutions that still list it.",
        "stages": "What the critic and the reviser are asked.",
        "compare": "The question that picks the better of two responses.",
        "examples": "Few-shot examples of a whole critique and revision, shown where a plan sets"
        " `fewshot`.",
        "tests": "What the principle promises; `cai test` runs them.",
    },
    "StagesFile": {
        "critique": "What the critic is asked about the assistant's last response.",
        "revise": "What the reviser is asked to change, and to keep.",
    },
    "ExampleFile": {
        "prompt": "What the user asks.",
        "response": "What the assistant answers at first.",
        "critique": "What a good critic says of it.",
        "revision": "What the response becomes.",
    },
    "TestFile": {
        "name": "What the test shows, in a few words; one of a kind in the file.",
        "prompt": "What the user asks.",
        "response": "The response that is critiqued and revised.",
        "a": "The first of two responses to compare.",
        "b": "The second of two responses to compare.",
        "expect": "What must come of it.",
    },
    "ExpectFile": {
        "critique_flags": "Whether the critique finds a problem: `problem` or `none`.",
        "revision": "Whether the response is changed: `changed` or `unchanged`.",
        "prefers": "Which of the two responses is the better one: `a` or `b`.",
        "contains": "Texts that the revision must hold.",
        "not_contains": "Texts that the revision must not hold.",
        "renders": "Texts that the messages to the model must hold; needs no model.",
    },
    "ConstitutionFile": {
        "api": "The version of this format.",
        "kind": "What sort of file this is.",
        "id": "Lower-case words joined by `.`, `-` or `_`.",
        "version": "Three numbers; each has an entry in `changelog`.",
        "title": "One line for people.",
        "extends": "Constitutions to build on: principles merge by id, `plan`, `feedback` and"
        " `templates` setting by setting.",
        "principles": "Which principles are used, and how.",
        "select": "Which of them to keep, by tag.",
        "plan": "How responses are critiqued and revised.",
        "feedback": "How two responses are compared.",
        "templates": "The words around a principle, as a model reads them.",
        "no_problem": "The sentences with which a critique says that it found nothing. Templates"
        " ask for the first.",
        "changelog": "What changed in each version. The current one needs an entry.",
    },
    "MemberFile": {
        "ref": "The principle's file, as a path from this one.",
        "weight": "How often it is drawn, and how much its judgement counts.",
        "phases": "Where it serves: `sl` critique and revision, `rl` feedback.",
        "rounds": "The rounds of the plan in which it may be drawn; empty for all. A round that no"
        " principle names is open to every one. Not read with `draw: fixed` or `all`.",
    },
    "SelectFile": {
        "include_tags": "Keep principles with one of these tags.",
        "exclude_tags": "Drop principles with one of these tags.",
    },
    "PlanFile": {
        "rounds": "Rounds of critique and revision.",
        "draw": "`weighted`, `uniform`: one principle a round at random; `fixed`: in the order of"
        " the file; `all`: every one once.",
        "with_replacement": "Whether a principle may be drawn twice for one response.",
        "critique": "`false` revises directly, without a critique.",
        "fewshot": "How many of a principle's examples to show first.",
        "history": "What a later round sees: `replace`, the latest revision alone; `append`, the"
        " whole exchange.",
        "skip_revision_if": "`critique_none`: a critique that found nothing leaves the response"
        " alone; `never`: revise all the same.",
        "check": "Ask every principle once more after the last round.",
    },
    "FeedbackFile": {
        "mode": "`pointwise`: ask the critic about each response alone and compare how sure it is;"
        " `letters`: show both and read (A) or (B).",
        "principles_per_pair": "How many principles judge a pair; `all` averages them by weight.",
        "both_orders": "Letters: ask (A)(B) and (B)(A), and average.",
        "chain_of_thought": "Letters: reason first, then choose.",
        "reasoning_samples": "How often to reason about one pair; the verdicts are averaged.",
        "clamp": "Bounds of the preference, such as `[0.4, 0.6]` with reasoning.",
        "temperature": "Over 1 softens the preferences, under 1 sharpens them.",
    },
    "TemplatesFile": {
        "critique": "The request for a critique: a path, or the bare name of a shipped template.",
        "revise": "The request for a revision.",
        "compare": "The question about two responses.",
        "compare_cot": "The question about two responses, with reasoning first.",
    },
    "ChangeFile": {
        "version": "The version that the change made.",
        "date": "The day, as 2026-01-31.",
        "by": "Who changed it.",
        "change": "What changed, and why.",
    },
}
"""Class of `cai.constitution.schema` → key → what it means."""
