"""What each code of a problem means: `cai lint --explain CODE` prints these."""

from __future__ import annotations

CODES: dict[str, str] = {
    "C001": "A file can't be found or read. Check the path; a shipped constitution is named"
    " without a folder, such as `default`.",
    "C002": "A file is too large: over 1 MB of YAML, 10,000 values, or 64 kB of template."
    " Principles are short; look for data that was pasted by mistake.",
    "C003": "A file is not valid UTF-8. Save it as UTF-8 in your editor; the message tells the"
    " byte.",
    "C004": "A character that can't be seen, or that turns text around (control characters, line"
    " separators, bidirectional overrides), stands in a file or in an escape such as"
    ' "\\0". A reviewer could not see what a model reads. Delete it.',
    "C005": "The YAML can't be read. Often a text with `: ` or ` #` in it needs quotes, or a `|`"
    " block; indent with spaces, never tabs.",
    "C006": "YAML that is allowed elsewhere and not here: anchors and aliases (&a, *a), tags"
    " (!!python/…), directives (%YAML), several documents in one file, and keys that are"
    " not text. Write the value out.",
    "C007": "Values are nested more than 32 deep. No file of this project needs that.",
    "C008": "A key stands twice in one mapping. YAML would silently keep the last; delete one.",
    "C010": "A required key is missing. docs/authoring.md lists the keys of both kinds of file.",
    "C011": "A key is not known here; the message lists those that are. Keys are strict, so that a"
    " slip of the pen is not silently ignored.",
    "C012": "A value has the wrong type or is out of range. Plain YAML numbers are numbers: write"
    " version: 1.0.0 with three parts, and put other digits that are meant as text in"
    " quotes.",
    "C013": "`api` or `kind` is not one that this version of cai reads.",
    "C014": "Values that contradict each other in one file, such as an example that is only half"
    " there or a test that expects nothing.",
    "C020": "A reference leaves the project: an absolute path, a URL, `..` out of the project's"
    " root, or a link that points out. The root is the nearest folder above that holds"
    " `constitution/` or `.cai/`. Copy the file into the project.",
    "C021": "A reference leads to no file, or to something that is not a file.",
    "C022": "`extends` comes back to where it began. A chain of `extends` must end.",
    "C023": "One principle id stands for two principles.",
    "C030": "A constitution has no principle in a phase: `sl` (critique and revision) and `rl`"
    " (feedback) each need at least one.",
    "C031": "The plan contradicts itself or the principles: more rounds than principles where"
    " each is asked at most once, a round in which no principle serves, or `with_replacement`"
    " where nothing is drawn.",
    "C032": "The feedback settings contradict each other: chain of thought belongs to `mode:"
    " letters`, reasoning samples to chain of thought; a pair can't be judged by more"
    " principles than serve in the phase `rl`.",
    "C033": "`plan.fewshot` asks for more examples than a principle of the phase `sl` has.",
    "C034": "`select` names a tag that no principle carries, or leaves no principle over.",
    "C040": "A template can't be read by Jinja: a bracket or a block is not closed, or not known.",
    "C041": "A template uses what templates may not: calls, arithmetic, assignment, include,"
    " import, macros, attributes, or a filter that is not on the list. Templates place"
    " variables into text; everything else is refused, so that a template can neither run"
    " code nor run away.",
    "C042": "A template uses a variable that its stage does not have.",
    "C043": "A template leaves out a variable that its stage can't do without: the model would"
    " not be shown what it is asked about.",
    "C050": "A principle has no tests. Two or three tell the next editor what it promises.",
    "C051": "Two principles have the same title. Titles are what auditors read; tell them apart.",
    "C052": "A deprecated principle is in use. `deprecated` says what to use instead.",
    "C053": "A text still holds a note to its author (TODO, FIXME, TBD, XXX).",
    "C054": "A constitution's changelog has no entry for its version. Say what changed, and why.",
}
"""Code → what it means and what to do. C00x: reading; C01x: keys and values; C02x: references;
C03x: plans; C04x: templates; C05x: found by `cai lint` alone."""
