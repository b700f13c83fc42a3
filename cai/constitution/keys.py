"""The meaning of each key of a principle or a constitution, for editors and docs/reference.md."""

from __future__ import annotations

KEYS: dict[str, dict[str, str]] = {
    "PrincipleFile": {
        "api": "The version of the file format.",
        "kind": "The kind of this file.",
        "id": "Lower-case words joined by `.`, `-` or `_`, unique in the project. It seeds the"
        " random draws and identifies the principle in training rows: don't change it.",
        "version": "Three numbers. Major: the meaning changed; minor: the wording; patch: tests and"
        " typos.",
        "title": "One line, for people. Templates may show it to a model as `principle`.",
        "why": "The reason, for reviewers and auditors. Critic and judge read it where the"
        " constitution sets `show_why`; `cai redteam` shows it to the model that writes attacks.",
        "source": "Where the principle comes from.",
        "tags": "Words by which a constitution can `select` principles.",
        "extends": "Another principle file, from which this one inherits `why`, `source`, `tags`,"
        " `stages` (key by key), `compare`, `contrast` and `examples`.",
        "deprecated": "What to use instead. `cai lint` reports constitutions that still list the"
        " principle.",
        "stages": "The requests to the critic and the reviser.",
        "compare": "The question to the judge, whose answer is the better of two responses.",
        "contrast": "The principle as two instructions to a generator, for `mode: contrast`."
        " Without them, the template words the two sides by the title.",
        "examples": "Few-shot examples of a critique and a revision, shown if the plan sets"
        " `fewshot`.",
        "tests": "Tests of the principle; `cai test` runs them.",
    },
    "StagesFile": {
        "critique": "What the critic should look for in the assistant's last response.",
        "revise": "What the reviser should change, and what to keep.",
    },
    "ContrastFile": {
        "follow": "The instruction to follow the principle.",
        "oppose": "The instruction to do the opposite, in words as close to `follow` as possible.",
    },
    "ExampleFile": {
        "prompt": "The user's message.",
        "response": "The assistant's first response.",
        "critique": "A good critique of it.",
        "revision": "The revised response.",
    },
    "TestFile": {
        "name": "What the test shows, in a few words; unique in the file.",
        "prompt": "The user's message.",
        "response": "The response that is critiqued and revised.",
        "a": "The first of two responses to compare.",
        "b": "The second of two responses to compare.",
        "source": "Where the test comes from, for people; for example the audited text.",
        "expect": "What must hold.",
    },
    "ExpectFile": {
        "critique_flags": "Whether the critique finds a problem: `problem` or `none`.",
        "revision": "Whether the response is changed: `changed` or `unchanged`.",
        "prefers": "Which of the two responses the judge must prefer: `a` or `b`.",
        "contains": "Texts that the revision must contain.",
        "not_contains": "Texts that the revision must not contain.",
        "renders": "Texts that the rendered messages must contain; needs no model.",
    },
    "ConstitutionFile": {
        "api": "The version of the file format.",
        "kind": "The kind of this file.",
        "id": "Lower-case words joined by `.`, `-` or `_`.",
        "version": "Three numbers; needs an entry in `changelog`.",
        "title": "One line, for people.",
        "extends": "Constitutions to inherit from: principles merge by id; `plan`, `feedback` and"
        " `templates` setting by setting.",
        "principles": "The principles, with weights, phases and rounds.",
        "select": "Which principles to keep, by tag.",
        "plan": "How responses are critiqued and revised.",
        "feedback": "How two responses are compared.",
        "templates": "The templates of the prompts around a principle.",
        "no_problem": "Sentences by which a critique says that it found no problem. Templates ask"
        " for the first.",
        "show_why": "Whether critic, reviser and judge read each principle's `why`, as the variable"
        " `why` of the templates. `false` where it is left out.",
        "changelog": "What changed in each version. The current version needs an entry.",
    },
    "MemberFile": {
        "ref": "The principle's file, as a path relative to this file.",
        "weight": "Its weight in random draws, and in the average of judgements.",
        "phases": "Where it is used: `sl` is critique and revision, `rl` is feedback.",
        "rounds": "The rounds of the plan in which it may be drawn; empty for all. In a round that"
        " no principle names, every principle may be drawn. Ignored with `draw: fixed` or `all`.",
    },
    "SelectFile": {
        "include_tags": "Keep principles with one of these tags.",
        "exclude_tags": "Drop principles with one of these tags.",
    },
    "PlanFile": {
        "rounds": "Rounds of critique and revision.",
        "draw": "`weighted` or `uniform`: one random principle per round; `fixed`: one per round,"
        " in the order of the file; `all`: every principle once.",
        "with_replacement": "Whether a principle may be drawn twice for one response.",
        "critique": "`false`: revise directly, without a critique.",
        "fewshot": "How many of a principle's few-shot examples to show.",
        "history": "What a later round sees. `replace`: only the latest revision; `append`: the"
        " whole exchange.",
        "skip_revision_if": "`critique_none`: don't revise if the critique finds no problem;"
        " `never`: always revise.",
        "check": "Run a final check of the response under every principle, after the last round.",
    },
    "FeedbackFile": {
        "mode": "`pointwise`: score each response alone by the critic's probability of no problem;"
        " `letters`: show both to the judge, and score the letters (A) and (B); `contrast`: ask no"
        " judge: write one response under the instruction to follow a principle, one under the"
        " instruction to do the opposite.",
        "principles_per_pair": "How many principles judge a pair; `all`: every one, averaged by"
        " weight. With `contrast`, one is drawn for each pair.",
        "both_orders": "With `letters`: judge both orders and average, against position bias.",
        "chain_of_thought": "With `letters`: reason before choosing.",
        "reasoning_samples": "How many chains of thought to sample per pair; the probabilities are"
        " averaged.",
        "clamp": "Lower and upper bound of the preference probability, such as `[0.4, 0.6]` with"
        " chain of thought.",
        "temperature": "Temperature of the soft labels: above 1 softens them, below 1 sharpens"
        " them.",
    },
    "TemplatesFile": {
        "critique": "The request for a critique: a path, or the name of a shipped template.",
        "revise": "The request for a revision.",
        "compare": "The question about two responses.",
        "compare_cot": "The question about two responses, with chain of thought.",
        "contrast": "The prompt with an instruction to follow a principle, or to do the opposite.",
        "teach": "The system message of the teacher in `cai train distill`.",
        "document": "The request of `cai build-documents` for a document about a principle.",
    },
    "ChangeFile": {
        "version": "The version with this change.",
        "date": "The date, such as 2026-01-31.",
        "by": "Who changed it.",
        "change": "What changed, and why.",
    },
}
"""Class of `cai.constitution.schema` → key → what it means."""
