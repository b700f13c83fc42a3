"""The dataset card of an export: `README.md` as dataset hubs read it, written for auditors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cai.data.counts import NEAR_TIE, NO_SIGNAL, RunCounts
from cai.data.documents import is_documents
from cai.data.documents_card import documents_columns, documents_head, documents_section
from cai.data.markdown import cell
from cai.data.served import is_served
from cai.decoding import in_words
from cai.store.records import Run
from cai.text.terminal import visible

_TABLES = (
    ("sft", "a conversation whose last message is the response to learn"),
    ("preferences", "a prompt with a chosen and a rejected response"),
    ("labels", "a prompt with a response, and whether a critic finds no problem with it"),
)


def card(
    run: Run,
    counts: RunCounts,
    rows: Mapping[str, int],
    licence: str,
    examination: Mapping[str, Any] | None = None,
) -> str:
    """The text of the card. rows: file name → number of rows. examination: see `Manifest`."""
    made = provenance(run, counts, examination)
    if is_served(run.config):
        return "\n".join([_served_head(run, counts), made, _tracing()])
    if is_documents(run.config):
        head = documents_head(run, _title(run))
        parts = [_front_matter(run, rows, licence), head, made, documents_columns(), _tracing()]
        return "\n".join(parts)
    parts = [
        _front_matter(run, rows, licence),
        _head(run),
        _files(rows),
        made,
        _columns(),
        _tracing(),
    ]
    return "\n".join(parts)


def provenance(run: Run, counts: RunCounts, examination: Mapping[str, Any] | None = None) -> str:
    """The sections on how the data was made and what was left out, as Markdown."""
    if is_documents(run.config):
        return "\n".join([documents_section(run, counts), _models(run), _exclusions(counts)])
    parts = [
        _constitution(run, counts),
        _models(run),
        _examination(examination, compared=asks_judge(run)),
        _critiques(counts),
        _labels(counts),
        _contrasts(run, counts),
    ]
    return "\n".join(part for part in (*parts, _exclusions(counts)) if part)


def _front_matter(run: Run, rows: Mapping[str, int], licence: str) -> str:
    """YAML for the hub; a file without rows is left out, since no loader can read its columns."""
    lines = [
        "---",
        f"pretty_name: {_quoted(_title(run))}",
        f"license: {_quoted(licence)}",
        "tags:",
        "- constitutional-ai",
        "- synthetic",
    ]
    tables = [t for t, _ in _TABLES if any(rows.get(f"{n}.jsonl") for n in (t, f"{t}.test"))]
    if tables:
        lines.append("configs:")
    for table in tables:
        lines += [f"- config_name: {table}", "  data_files:"]
        for split, name in (("train", table), ("test", f"{table}.test")):
            if rows.get(f"{name}.jsonl"):
                lines += [f"  - split: {split}", f"    path: {name}.jsonl"]
    return "\n".join([*lines, "---", ""])


def _title(run: Run) -> str:
    return f"{run.constitution.get('title') or run.constitution['id']} ({run.id})"


def _quoted(text: str) -> str:
    return json.dumps(visible(text), ensure_ascii=False)


def _head(run: Run) -> str:
    config = run.config
    prompts = config.get("prompts", {}).get("count", "?")
    return (
        f"# {cell(_title(run))}\n\n"
        "Training data made by AI feedback under written principles (Constitutional AI, "
        "arXiv:2212.08073). Responses, critiques, revisions and judgements are all a model's; "
        "no person has read them all, and prompts and rejected responses may be offensive.\n\n"
        f"Run `{run.id}`, seed {run.seed}, {prompts} prompts. `manifest.json` holds the whole "
        "configuration and the digest of every file; `constitution.json` every principle's text.\n"
    )


def _served_head(run: Run, counts: RunCounts) -> str:
    guard = run.config["guard"]
    return (
        f"# {cell(_title(run))}\n\n"
        "Answers that `cai guard` gave to users, each revised, chosen or filtered under written "
        "principles. What users wrote is in the store beside this folder: treat it as theirs. None "
        "of it is made into training data.\n\n"
        f"Run `{run.id}`, seed {run.seed}, mode {guard['mode']}: {counts.traces} answers when this "
        "was written. `manifest.json` holds the whole configuration, `constitution.json` every "
        "principle's text, `set_aside.jsonl` the requests that got no answer.\n"
    )


def _files(rows: Mapping[str, int]) -> str:
    lines = [f"| `{name}` | {n} |" for name, n in sorted(rows.items())]
    what = "\n".join(f"- `{table}`: {meaning}." for table, meaning in _TABLES)
    return (
        "## Files\n\n| file | rows |\n|---|---|\n" + "\n".join(lines) + f"\n\n{what}\n"
        "- Each prompt is in only one of the files of `sft` and `preferences`; those of `labels` "
        "have responses to the prompts of both. `set_aside.jsonl` has the invalid input rows.\n"
    )


def _constitution(run: Run, counts: RunCounts) -> str:
    constitution = run.constitution
    header = (
        "| principle | version | critiques | problems | no verdict | revised | guarded | judged "
        "| flips | remaining |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for principle in constitution.get("principles", []):
        c = counts.principles.get(principle["id"])
        cells: Iterable[Any] = (
            (c.critiques, c.problems, c.no_verdict, c.revised, c.guarded, c.judged)
            if c is not None
            else (0,) * 6
        )
        flips = f"{c.flipped} ({c.flipped / c.swapped:.0%})" if c and c.swapped else "–"
        remaining = f"{c.remaining} of {c.checked}" if c and c.checked else "–"
        name = f"`{principle['id']}` {cell(principle.get('title', ''))}"
        counted = " | ".join(map(str, cells))
        lines.append(f"| {name} | {principle['version']} | {counted} | {flips} | {remaining} |")
    return (
        f"## Constitution\n\n`{constitution['id']}` {constitution.get('version', '')}, digest "
        f"`{constitution.get('digest', '')}`.\n\n" + header + "\n".join(lines) + "\n\n"
        "critiques: rounds of critique; problems: critiques that named a problem; no verdict: "
        "critiques that refuse, contradict themselves or are empty; revised: revisions; guarded: "
        "responses kept out of the data; judged: verdicts on pairs; flips: verdicts that depend on "
        "the order of the two responses (position bias); remaining: final responses in which the "
        "final check still finds a problem.\n"
    )


def _models(run: Run) -> str:
    models = run.config.get("models", {})
    lines = [
        f"| {role} | {cell(model['name'])} | `{model['fingerprint'][:16]}` |"
        for role, model in sorted(models.items())
    ]
    text = "## Models\n\n| role | model | fingerprint |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    served = {
        f"{model['name']} was served by {place}"
        for model in models.values()
        if (place := served_by(model))
    }
    text += "".join(f"\n{cell(line)}.\n" for line in sorted(served))
    sampling = sampling_lines(models)
    text += "".join(f"\nSampling{line}.\n" for line in sampling)
    if len(models) > 1 and len({m["fingerprint"] for m in models.values()}) == 1:
        text += f"\n{one_model(run)}\n"
    return text


def asks_judge(run: Run) -> bool:
    """Whether the run has labels by a judge: of pairs of responses, or of revisions."""
    by_contrast = run.constitution.get("feedback", {}).get("mode") == "contrast"
    judged = not by_contrast or run.config.get("judge_revisions", False)
    return bool(judged and run.config.get("pairs", 0) > 0)


def one_model(run: Run) -> str:
    """The note on a run in which one model has every role."""
    does = "writes, critiques and judges" if asks_judge(run) else "writes and critiques"
    return f"One model {does}: it may miss its own faults."


def served_by(model: Mapping[str, Any]) -> str:
    """Software, version and addresses (or the name that stands for them) of the server of a model,
    from a run's record; empty where it was loaded from files."""
    server = model.get("server")
    if not server:
        return ""
    software = " ".join(filter(None, (server.get("software"), server.get("version"))))
    place = server.get("address") or ()
    places = place if isinstance(place, str) else ", ".join(place)
    return f"{software or 'unknown software'} at {places}"


UNEXAMINED = (
    "Nothing is known of the judge: no principle that judges has a `prefers` test, and none has a"
    " theme with neutral pairs"
)
"""The note on a judge that could not be examined."""


def _examination(examination: Mapping[str, Any] | None, *, compared: bool) -> str:
    """The accuracy of the critic and the judge on cases with a known answer."""
    head = "## Examination\n\n"
    if examination is None:
        return head + "Critic and judge were not examined.\n"
    shares = {
        "judge: pairs of the principles' own tests": examination["prefers"],
        "judge: neutral pairs": examination["neutral"],
        "judge: all pairs": examination["judge"],
        "critic: the principles' own tests": examination["critic"],
    }
    shares |= {f"judge: neutral pairs, {t}": share for t, share in examination["themes"].items()}
    lines = [
        f"| {cell(what)} | {share['right']} of {share['asked']} | {share['interval'][0]:.2f} to "
        f"{share['interval'][1]:.2f} |"
        for what, share in shares.items()
        if share["asked"]
    ]
    unknown = f"{UNEXAMINED}.\n" if compared and not examination["judge"]["asked"] else ""
    if not lines:
        return head + (unknown or "No principle has tests to examine the critic by.\n")
    text = (
        head + "Before the build, the models were asked about cases with a known answer, in both "
        "orders where two responses are shown; a tie is wrong.\n\n"
        "| cases | right | 95 % interval |\n|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    if unknown:
        text += f"\n{unknown}"
    if examination["first_place"] is not None:
        text += (
            f"\nPosition bias: the judge gave {examination['first_place']:.2f} on average to the "
            "response that was shown first (0.50: no bias).\n"
        )
    if examination["judge"]["asked"] and examination["judge"]["interval"][0] <= 0.5:
        text += "\n**On these pairs the judge is not measurably better than chance.**\n"
    return text


_OUTCOMES = {
    "problem": "names a problem",
    "no-problem": "finds none",
    "contradictory": "finds none and names one",
    "refused": "refuses to critique",
    "empty": "is empty",
}


def _critiques(counts: RunCounts) -> str:
    """The outcomes of the critiques, and the number of revisions with a preamble."""
    if not counts.critiques:
        return ""
    lines = [
        f"| {description} | {counts.critiques[name]} |" for name, description in _OUTCOMES.items()
    ]
    return (
        "## Critiques\n\n| the critique | count |\n|---|---|\n" + "\n".join(lines) + "\n\n"
        "Only the first two are verdicts. A response without a verdict is guarded as `unreviewed` "
        'unless a later round rewrote it. Revisions with a preamble that was removed ("Here is '
        f'the revised response:"): {counts.announced}.\n'
    )


def _labels(counts: RunCounts) -> str:
    """How much probability the judge gave to its answers, with a warning if it is low."""
    signal = counts.signal
    if signal.mean_mass is None:
        return ""
    text = (
        f"## Labels\n\nPairs judged: {signal.labels}. Of {counts.comparisons} pairs of "
        f"responses {counts.near_ties} have a label within {NEAR_TIE:g} of one half. The judge "
        f"gave {signal.mean_mass:.3g} of probability, on average, to the answers that it was "
        f"scored by (column `judge_mass`), and less than {NO_SIGNAL:g} on {signal.weak} pairs.\n"
    )
    for method, count in sorted(signal.methods.items()):
        estimated = method == "sampling"
        text += (
            f"\nProbabilities of {count} labels came from a model server, by `{method}`"
            f"{': an estimate from sampled answers' if estimated else ''} (column"
            " `judge_method`).\n"
        )
    if lacking := signal.lacking():
        text += f"\n**These labels carry no signal: {lacking}.**\n"
    return text


def _contrasts(run: Run, counts: RunCounts) -> str:
    """The pairs whose label is by construction, by principle."""
    if not counts.contrasts:
        return ""
    lines = [
        f"| `{principle['id']}` | {c.contrasted} |"
        for principle in run.constitution.get("principles", [])
        if (c := counts.principles.get(principle["id"])) and c.contrasted
    ]
    return (
        "## Contrast pairs\n\n"
        f"Pairs without a judge: {counts.contrasts}. One response was written under the "
        "instruction to follow a principle, the other under the instruction to do the opposite "
        "(RLCD, arXiv:2307.12950). The first is chosen, with probability 1: the label is right "
        "where the model did as it was told. Rows have the plain prompt, without the "
        "instruction.\n\n"
        "| principle | pairs |\n|---|---|\n" + "\n".join(lines) + "\n"
    )


def sampling_lines(models: Mapping[str, Any]) -> list[str]:
    """The sampling settings of each role, from a run's record; one line if all are equal."""
    descriptions = {
        role: in_words(model["sampling"], model["sampling_from"])
        for role, model in sorted(models.items())
        if "sampling" in model  # not in runs of earlier versions
    }
    if len(set(descriptions.values())) == 1:
        return [f": {next(iter(descriptions.values()))}"]
    return [f" ({role}): {words}" for role, words in descriptions.items()]


def _exclusions(counts: RunCounts) -> str:
    sections = (
        ("Rows that were not made", "reason", counts.left_out),
        ("Guards that revisions tripped", "guard", counts.guards),
        ("Invalid rows (set aside)", "reason", counts.set_aside),
    )
    text = "## What was left out\n"
    for title, column, counter in sections:
        if counter:
            lines = [f"| {cell(name)} | {n} |" for name, n in sorted(counter.items())]
            text += f"\n{title}:\n\n| {column} | count |\n|---|---|\n" + "\n".join(lines) + "\n"
    return text if any(c for _, _, c in sections) else text + "\nNothing.\n"


def _columns() -> str:
    return (
        "## Columns\n\n"
        "- `messages`, or `prompt`, `chosen`, `rejected`, `completion`: lists of `{role, content}`."
        "\n"
        "- `probability`: that `chosen` is the better response, by the judge. For "
        "`origin: revision`, where the last revision is chosen over the first response, it is 1 "
        "unless the judge was asked (`judge_mass` says whether); for `origin: contrast` it is 1, "
        "by construction.\n"
        "- `p_ab`, `p_ba`: the same, where `chosen` was shown first, and second; empty where that "
        "order was not asked.\n"
        "- `judge_mass`: how much probability the judge gave to the answers that it was scored by; "
        "near 0, it answered something else, and `probability` says little. Empty where no judge "
        "was asked.\n"
        "- `judge_method`: how a model server was asked for the judge's probabilities; absent for "
        "a judge that ran here.\n"
        "- `label`: whether the critic finds no problem with the `completion` under any principle: "
        "each gives that a probability of one half or more (`no_problem`). `probability` is then "
        "the lowest of them, and `principle_ids` are those that are broken, or all.\n"
        "- `round`: how many rounds of critique the response has been through.\n"
        "- `principle_ids`: the principles that the row was made under.\n"
        "- `id`, `trace_id`, `comparison_id`, `prompt_id`: for tracing.\n"
    )


def _tracing() -> str:
    return (
        "## Tracing a row\n\n"
        "`cai trace ID`, with any id of a row, shows its label, principles, critiques and the "
        "exact prompt of each model. `cai verify FOLDER` recomputes every digest.\n"
    )
