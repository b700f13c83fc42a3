"""What each code of a problem means: `cai lint --explain CODE` and docs/lint.md print these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A page about a kind of problem.

    title: in a few words. text: what it is, why it matters, what to do. wrong, right: a snippet
    that has the problem and one that has not; empty where none would help. fixed: `cai lint --fix`
    mends it.
    """

    title: str
    text: str
    wrong: str = ""
    right: str = ""
    fixed: bool = False


CODES: dict[str, Code] = {
    "C001": Code(
        "no such file",
        "A file can't be found or read. Check the path; a shipped constitution is named without a"
        " folder, such as `default`.",
    ),
    "C002": Code(
        "too large",
        "A file is too large: over 1 MB of YAML, 10,000 values, or 64 kB of template. Principles"
        " are short; look for data that was pasted by mistake.",
    ),
    "C003": Code(
        "not UTF-8",
        "A file is not valid UTF-8. Save it as UTF-8 in your editor; the message tells the byte.",
    ),
    "C004": Code(
        "a character that can't be seen",
        "A character that can't be seen, or that turns text around (control characters, line"
        " separators, zero-width characters, bidirectional overrides), stands in a file or in an"
        ' escape such as "\\0". A reviewer could not see what a model reads. Delete it.',
        wrong='title: "About\\u202e rude"',
        right="title: About rude",
        fixed=True,
    ),
    "C005": Code(
        "not YAML",
        "The YAML can't be read. Often a text with `: ` or ` #` in it needs quotes, or a `|` block;"
        " indent with spaces, never tabs.",
        wrong="why: Because: of rude.",
        right="why: Because of rude.",
    ),
    "C006": Code(
        "YAML that is not allowed here",
        "YAML that is allowed elsewhere and not here: anchors and aliases (&a, *a), tags"
        " (!!python/…), directives (%YAML), several documents in one file, and keys that are not"
        " text. A few bytes of them can grow into gigabytes, or build objects. Write the value"
        " out.",
        wrong="title: &name About rude",
        right="title: About rude",
    ),
    "C007": Code(
        "nested too deep",
        "Values are nested more than 32 deep. No file of this project needs that.",
    ),
    "C008": Code(
        "a key twice",
        "A key stands twice in one mapping. YAML would silently keep the last; delete one.",
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
        "A key is not known here; the message lists those that are. Keys are strict, so that a slip"
        " of the pen is not silently ignored.",
        wrong="titel: About rude",
        right="title: About rude",
    ),
    "C012": Code(
        "a value of the wrong kind",
        "A value has the wrong type or is out of range. Plain YAML numbers are numbers: write"
        " version: 1.0.0 with three parts, and put other digits that are meant as text in quotes.",
        wrong="version: 1.0",
        right="version: 1.0.0",
    ),
    "C013": Code(
        "another kind of file",
        "`api` or `kind` is not one that this version of cai reads.",
        wrong="api: cai/v9",
        right="api: cai/v1",
    ),
    "C014": Code(
        "values that contradict each other",
        "Values that contradict each other in one file, such as an example that is only half there"
        " or a test that expects nothing.",
        wrong="expect: {}",
        right="expect: {critique_flags: none}",
    ),
    "C020": Code(
        "a reference leaves the project",
        "A reference leaves the project: an absolute path, a URL, `..` out of the project's root,"
        " or a link that points out. The root is the nearest folder above that holds"
        " `constitution/` or `.cai/`. Copy the file into the project.",
        wrong="- ref: /home/us/rude.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C021": Code(
        "a reference leads nowhere",
        "A reference leads to no file, or to something that is not a file.",
        wrong="- ref: ../principles/rood.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C022": Code(
        "a circle of extends",
        "`extends` comes back to where it began. A chain of `extends` must end.",
        wrong="title: Small\nextends: ./small.yaml",
        right="title: Small",
    ),
    "C023": Code(
        "one id for two principles",
        "One principle id stands for two principles. Draws are seeded by the id and rows are traced"
        " by it, so it must be one of a kind in the project.",
        wrong="- ref: ../principles/rude.yaml\n  - ref: ../principles/rude.yaml",
        right="- ref: ../principles/rude.yaml",
    ),
    "C030": Code(
        "a phase without principles",
        "A constitution has no principle in a phase: `sl` (critique and revision) and `rl`"
        " (feedback) each need at least one.",
        wrong="- {ref: ../principles/rude.yaml, phases: [sl]}\n"
        "  - {ref: ../principles/harmful.yaml, phases: [sl]}",
        right="- ref: ../principles/rude.yaml\n  - ref: ../principles/harmful.yaml",
    ),
    "C031": Code(
        "a plan that can't be followed",
        "The plan contradicts itself or the principles: more rounds than principles where each is"
        " asked at most once, a round in which no principle serves, or `with_replacement` where"
        " nothing is drawn.",
        wrong="rounds: 9",
        right="rounds: 1",
    ),
    "C032": Code(
        "feedback that contradicts itself",
        "The feedback settings contradict each other: chain of thought belongs to `mode: letters`,"
        " reasoning samples to chain of thought; a pair can't be judged by more principles than"
        " serve in the phase `rl`.",
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
        "a tag that nothing carries",
        "`select` names a tag that no principle carries, or leaves no principle over.",
        wrong="title: Small\nselect: {include_tags: [toone]}",
        right="title: Small",
    ),
    "C040": Code(
        "not a template",
        "A template can't be read by Jinja: a bracket or a block is not closed, or not known.",
        wrong="{{ critique_request } {{ no_problem }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C041": Code(
        "not allowed in a template",
        "A template uses what templates may not: calls, arithmetic, assignment, include, import,"
        " macros, attributes, or a filter that is not on the list. Templates place variables into"
        " text; everything else is refused, so that a template can neither run code nor run away.",
        wrong="{{ critique_request.upper() }} {{ no_problem }}",
        right="{{ critique_request | upper }} {{ no_problem }}",
    ),
    "C042": Code(
        "an unknown variable in a template",
        "A template uses a variable that its stage does not have.",
        wrong="{{ critique_request }} {{ no_problem }} {{ answer }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C043": Code(
        "a template leaves a variable out",
        "A template leaves out a variable that its stage can't do without: the model would not be"
        " shown what it is asked about.",
        wrong="{{ no_problem }}",
        right="{{ critique_request }} {{ no_problem }}",
    ),
    "C050": Code(
        "no tests",
        "A principle has no tests. Two or three tell the next editor what it promises: a response"
        " that it flags, one that it leaves alone, a pair.",
    ),
    "C051": Code(
        "the same title",
        "Two principles have the same title. Titles are what auditors read; tell them apart.",
        wrong="title: About harmful",
        right="title: About rude",
    ),
    "C052": Code(
        "deprecated and in use",
        "A deprecated principle is in use. `deprecated` says what to use instead.",
        wrong="title: About rude\ndeprecated: Use harmful.",
        right="title: About rude",
    ),
    "C053": Code(
        "a note to the author",
        "A text still holds a note to its author (TODO, FIXME, TBD, XXX).",
        wrong="why: TODO say why.",
        right="why: Because of rude.",
    ),
    "C054": Code(
        "no changelog entry",
        "A constitution's changelog has no entry for its version. Say what changed, and why.",
        wrong="version: 1.1.0\ntitle: Small",
        right="version: 1.0.0\ntitle: Small",
    ),
    "C055": Code(
        "nearly the same principle twice",
        "Two principles ask the critic nearly the same. Where both are drawn, the same fault is"
        " looked for twice and another not at all; where both judge a pair, it weighs double."
        " Merge them, or say in the wording what sets them apart.",
        wrong="critique: Say what is harmful.",
        right="critique: Say what is rude.",
    ),
    "C056": Code(
        "critique and revision speak of different things",
        "The request to revise shares no word of content with the critique, the comparison or the"
        " title. The reviser would change something else than what the critic found. Name the same"
        " thing in both; where you used synonyms on purpose, name it in the title.",
        wrong="revise: Please add a list of sources.",
        right="revise: Remove what is rude.",
    ),
    "C057": Code(
        "the comparison asks for the worse response",
        "The comparison question asks which response is *more* of what the critique calls a fault,"
        " which does more of what it looks for (`reveals more`, `contains`), which shows less of"
        " what is good (`less respect`, `fails to protect`), or which is worse. The answer is taken"
        " as the better response, so every label would be upside down. Ask for the one that is less"
        " so.",
        wrong="compare: Which is more rude?",
        right="compare: Which is less rude?",
    ),
    "C058": Code(
        "a placeholder in a principle",
        "A principle's text holds `{{ … }}` or `{% … %}`. Principles are no templates: the model"
        " would read the brackets. Write the text out, or move the placeholder to a template.",
        wrong='critique: "Say what is {{ flaw }}."',
        right="critique: Say what is rude.",
    ),
    "C059": Code(
        "a principle that is never asked",
        "By the plan this principle is never drawn for critique and revision as its place says: its"
        " `rounds` lie beyond the plan's, or the order is fixed and the rounds end before it. Give"
        " it a round, or `phases: [rl]` alone.",
        wrong="- {ref: ../principles/rude.yaml, rounds: [7]}",
        right="- ref: ../principles/rude.yaml",
    ),
    "C060": Code(
        "untidy white space",
        "White space at the end of a line, lines that end in CR, or no newline at the end of the"
        " file. It makes differences that nobody can see.",
        wrong="title: About rude   ",
        right="title: About rude",
        fixed=True,
    ),
    "C061": Code(
        "a comparison without a test",
        "No test of this principle expects `prefers`, so nothing tells whether the comparison"
        " question is the right way round, or whether a judge understands it. Labels of preferences"
        " come from that question alone. Add a pair of responses and the better one of them;"
        " `cai test --model` asks a judge.",
    ),
    "C070": Code(
        "changed without a new version",
        "What a model reads has changed since the last commit, and the version has not. Runs and"
        " verdicts name principles by their version, so two texts under one version can't be told"
        " apart. Major: the meaning changed; minor: the wording; patch: tests and typos.",
    ),
    "C071": Code(
        "not what was locked",
        "What a model reads differs from the digest in `cai.lock`, and the version does not. Give"
        " the file a new version, then write the lock anew with `cai lock`.",
    ),
    "C072": Code(
        "the lock is out of date",
        "`cai.lock` does not know this file, knows another version of it, or names one that is"
        " gone. When the change is meant, write it anew with `cai lock`.",
    ),
    "C073": Code(
        "longer than the model's context",
        "What this principle adds to a prompt leaves less than half of the model's context to the"
        " conversation (asked with `cai lint --model`). Shorten it, or show fewer examples.",
    ),
}
"""Code → its page. C00x: reading; C01x: keys and values; C02x: references; C03x: plans; C04x:
templates; C05x: found by `cai lint` alone, in the content; C06x: in the layout and the tests; C07x:
against the last commit, the lock and a model."""
