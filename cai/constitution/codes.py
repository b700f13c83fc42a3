"""An explanation of each lint code, printed by `cai lint --explain CODE` and docs/lint.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """The explanation of a kind of problem.

    title: in a few words. text: what it is, why it matters, what to do. wrong, right: a snippet
    with the problem and one without; empty where none would help. fixed: `cai lint --fix` fixes it.
    """

    title: str
    text: str
    wrong: str = ""
    right: str = ""
    fixed: bool = False


CODES: dict[str, Code] = {
    "C001": Code(
        "no such file",
        "A file can't be found or read. Check the path. A shipped constitution is given by its name"
        " alone, such as `default`.",
    ),
    "C002": Code(
        "too large",
        "A file is too large: over 1 MB of YAML, 10,000 values, or 64 kB of template. Principles"
        " are short: look for data that was pasted by mistake.",
    ),
    "C003": Code(
        "not UTF-8",
        "A file is not valid UTF-8. Save it as UTF-8 in your editor. The message gives the"
        " position of the first invalid byte.",
    ),
    "C004": Code(
        "an invisible character",
        'A file or an escape such as "\\0" contains a character that is invisible or that reorders'
        " text: a control character, a line separator, a zero-width character or a bidirectional"
        " override. Reviewers could not see what a model reads. Delete it.",
        wrong='title: "About\\u202e rude"',
        right="title: About rude",
        fixed=True,
    ),
    "C005": Code(
        "not YAML",
        "The file can't be parsed as YAML. Often a text that contains `: ` or ` #` needs quotes or"
        " a `|` block. Indent with spaces, never tabs.",
        wrong="why: Because: of rude.",
        right="why: Because of rude.",
    ),
    "C006": Code(
        "YAML that is not allowed here",
        "YAML features that are not allowed in content files: anchors and aliases (&a, *a), tags"
        " (!!python/…), directives (%YAML), several documents in one file, and keys that are not"
        " text. A few bytes of them can expand to gigabytes or construct objects. Write the value"
        " out.",
        wrong="title: &name About rude",
        right="title: About rude",
    ),
    "C007": Code(
        "nested too deeply",
        "Values are nested more than 32 levels deep. No content file needs that.",
    ),
    "C008": Code(
        "a duplicate key",
        "A mapping has the same key twice. YAML would silently keep the last one. Delete one of"
        " them.",
        wrong="title: Rude\ntitle: About rude",
        right="title: About rude",
    ),
    "C010": Code(
        "a key is missing",
        "A required key is missing. docs/reference.md lists the keys of both kinds of file."
        " `cai lint --fix` adds a missing `api` or `kind` line.",
        wrong="version: 1.0.0",
        right="version: 1.0.0\ntitle: About rude",
    ),
    "C011": Code(
        "an unknown key",
        "A key is not known at this place. The message lists the known ones. Unknown keys are"
        " errors, so that a typo is not silently ignored.",
        wrong="titel: About rude",
        right="title: About rude",
    ),
    "C012": Code(
        "an invalid value",
        "A value has the wrong type or is out of range. YAML reads plain digits as a number: write"
        " `version: 1.0.0` with three parts, and put other digits that are meant as text in"
        " quotes.",
        wrong="version: 1.0",
        right="version: 1.0.0",
    ),
    "C013": Code(
        "an unknown kind of file",
        "This version of cai does not support the value of `api` or `kind`.",
        wrong="api: cai/v9",
        right="api: cai/v1",
    ),
    "C014": Code(
        "values that contradict each other",
        "Values in one file contradict each other, such as a test with `a` but no `b`, or a test"
        " that expects nothing.",
        wrong="expect: {}",
        right="expect: {critique_flags: none}",
    ),
    "C020": Code(
        "a reference leaves the project",
        "A reference leads out of the project: an absolute path, a URL, a path with too many `..`,"
        " or a symbolic link to the outside. The project's root is the nearest folder above that"
        " contains `constitution/` or `.cai/`. Copy the file into the project.",
        wrong="- ref: /home/us/rude.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C021": Code(
        "a broken reference",
        "The target of a reference does not exist, or is not a file.",
        wrong="- ref: ../principles/rood.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C022": Code(
        "a circular extends",
        "A file extends itself through a chain of `extends`. Remove one of them.",
        wrong="title: Small\nextends: ./small.yaml",
        right="title: Small",
    ),
    "C023": Code(
        "a duplicate principle id",
        "Two principles have the same id, or one is listed twice. The id seeds the random draws and"
        " identifies the principle in training rows, so it must be unique in the project.",
        wrong="- ref: ../principles/rude.yaml\n  - ref: ../principles/rude.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C030": Code(
        "a phase without principles",
        "A constitution has no principle for a phase. Each of `sl` (critique and revision) and `rl`"
        " (feedback) needs at least one.",
        wrong="- {ref: ../principles/rude.yaml, phases: [sl]}\n"
        "  - {ref: ../principles/harmful.yaml, phases: [sl]}",
        right="- ref: ../principles/rude.yaml\n  - ref: ../principles/harmful.yaml",
    ),
    "C031": Code(
        "a plan that can't be followed",
        "The plan contradicts itself or the principles: more rounds than principles where each is"
        " drawn at most once, a round that no principle may be drawn in, or `with_replacement`"
        " without a random draw.",
        wrong="rounds: 9",
        right="rounds: 1",
    ),
    "C032": Code(
        "feedback that contradicts itself",
        "The feedback settings contradict each other or the principles: `chain_of_thought` needs"
        " `mode: letters`, `reasoning_samples` needs `chain_of_thought`, and `principles_per_pair`"
        " can't exceed the number of principles in the phase `rl`. `mode: contrast` asks no judge:"
        " it takes no `clamp`, no `temperature`, and one principle for each pair.",
        wrong="rounds: 1\nfeedback: {mode: pointwise, chain_of_thought: true}",
        right="rounds: 1",
    ),
    "C033": Code(
        "too few examples",
        "`plan.fewshot` asks for more examples than a principle of the phase `sl` has.",
        wrong="rounds: 1\n  fewshot: 2",
        right="rounds: 1",
    ),
    "C034": Code(
        "an unused tag in select",
        "`select` names a tag that no principle has, or it excludes every principle.",
        wrong="title: Small\nselect: {include_tags: [toone]}",
        right="title: Small",
    ),
    "C035": Code(
        "reasons that no template shows",
        "`show_why` is true, but no template of a stage in use has the variable `why`, so no model"
        " would read a reason. Templates copied from earlier versions of cai lack it. Write"
        " `{% if why %}Why: {{ why }}{% endif %}` where the model should read it, or delete"
        " `show_why`.",
    ),
    "C040": Code(
        "not a template",
        "Jinja can't parse a template: a bracket or a block is not closed, or a tag is unknown.",
        wrong="{{ critique_request } {{ no_problem }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C041": Code(
        "not allowed in a template",
        "A template uses a Jinja feature that is not allowed: calls, arithmetic, assignment,"
        " includes, imports, macros, attributes, or a filter that is not on the list. Templates"
        " only insert variables into text. Everything else is refused, so that a template can"
        " neither run code nor use unbounded time or memory.",
        wrong="{{ critique_request.upper() }} {{ no_problem }}",
        right="{{ critique_request | upper }} {{ no_problem }}",
    ),
    "C042": Code(
        "an unknown variable in a template",
        "A template uses a variable that is not available in its stage.",
        wrong="{{ critique_request }} {{ no_problem }} {{ answer }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C043": Code(
        "a missing variable in a template",
        "A template does not use a variable that its stage requires: the model would not see what"
        " it is asked about.",
        wrong="{{ no_problem }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C050": Code(
        "no tests",
        "A principle has no tests. Two or three tests document what it does: a response that it"
        " flags, one that it accepts, and a pair.",
    ),
    "C051": Code(
        "a duplicate title",
        "Two principles have the same title. Auditors see the title, so it should distinguish"
        " them.",
        wrong="title: About harmful",
        right="title: About rude",
    ),
    "C052": Code(
        "a deprecated principle in use",
        "A constitution lists a deprecated principle. `deprecated` says what to use instead.",
        wrong="title: About rude\ndeprecated: Use harmful.",
        right="title: About rude",
    ),
    "C053": Code(
        "a note to the author",
        "A text still contains a note to its author (TODO, FIXME, TBD, XXX). Finish the text, or"
        " delete the note.",
        wrong="why: TODO say why.",
        right="why: Because of rude.",
    ),
    "C054": Code(
        "no changelog entry",
        "A constitution's changelog has no entry for its version. Add one that says what changed,"
        " and why.",
        wrong="version: 1.1.0\ntitle: Small",
        right="version: 1.0.0\ntitle: Small",
    ),
    "C055": Code(
        "near-duplicate principles",
        "Two principles ask the critic for nearly the same. If both are drawn, the critic looks for"
        " the same fault twice; if both judge a pair, that fault counts double. Merge them, or make"
        " the wording say what distinguishes them.",
        wrong="critique: Say what is harmful.",
        right="critique: Say what is rude.",
    ),
    "C056": Code(
        "critique and revision are about different things",
        "The revision request shares no content word with the critique, the comparison or the"
        " title. The reviser might change something else than what the critic found. Name the same"
        " thing in both. If you use synonyms on purpose, name it in the title.",
        wrong="revise: Please add a list of sources.",
        right="revise: Remove what is rude.",
    ),
    "C057": Code(
        "the comparison asks for the worse response",
        "The answer to the comparison question is taken as the *better* response. Here it asks"
        " which response has more of what the critique calls a fault, does more of what the"
        " critique looks for (`reveals more`, `contains`), has less of something good (`less"
        " respect`, `fails to protect`), or is worse. Every preference label would be inverted."
        " Ask for the response that has less of it.",
        wrong="compare: Which is more rude?",
        right="compare: Which is less rude?",
    ),
    "C058": Code(
        "a placeholder in a principle",
        "A principle's text contains `{{ … }}` or `{% … %}`. Principles are not templates: the"
        " model would read the brackets. Write the text out, or move the placeholder to a"
        " template.",
        wrong='critique: "Say what is {{ flaw }}."',
        right="critique: Say what is rude.",
    ),
    "C059": Code(
        "a principle that is never drawn",
        "The plan never draws this principle for critique and revision: its `rounds` are beyond"
        " the plan's, or the order is fixed and there are fewer rounds than principles. Give it a"
        " round, or set `phases: [rl]`.",
        wrong="- {ref: ../principles/rude.yaml, rounds: [7]}",
        right="- ref: ../principles/rude.yaml",
    ),
    "C060": Code(
        "white space",
        "Trailing white space, lines that end in CR LF, or no newline at the end of the file. These"
        " make diffs that nobody can see.",
        wrong="title: About rude   ",
        right="title: About rude",
        fixed=True,
    ),
    "C061": Code(
        "a comparison without a test",
        "No test of this principle expects `prefers`, so nothing shows that the comparison question"
        " asks for the better response, or that a judge understands it. Preference labels depend on"
        " that question alone. Add a test with two responses, `a` and `b`, and the better one;"
        " `cai test --model` runs it on a judge.",
    ),
    "C070": Code(
        "changed without a new version",
        "What a model reads has changed since the last commit, but the version has not. Runs and"
        " verdicts refer to principles by version, so two texts with one version can't be told"
        " apart. Raise the version. Major: the meaning changed; minor: the wording; patch: tests"
        " and typos.",
    ),
    "C071": Code(
        "different from the lock",
        "What a model reads differs from the digest in `cai.lock`, but the version is the same."
        " Give the file a new version, then update the lock with `cai lock`.",
    ),
    "C072": Code(
        "the lock is out of date",
        "`cai.lock` has no entry for this file, has another version of it, or has an entry for a"
        " file that no longer exists. If the change is intended, update the lock with `cai lock`.",
    ),
    "C073": Code(
        "longer than the model's context",
        "With this principle, less than half of the model's context length is left for the"
        " conversation (measured with `cai lint --model`). Shorten the principle, or use fewer"
        " few-shot examples.",
    ),
}
"""Code → explanation. C00x: parsing; C01x: keys and values; C02x: references; C03x: plans; C04x:
templates; C05x: advice of `cai lint` on the content; C06x: on layout and tests; C07x: differences
from the last commit and the lock, and the model's context length."""
