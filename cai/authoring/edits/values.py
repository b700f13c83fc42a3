"""What `cai propose edits` found and drafted, as plain values: for `--json` and `report.json`."""

from __future__ import annotations

from typing import Any

from cai.authoring.edits.draft_tests import DraftTest, as_values
from cai.authoring.edits.proof import TextsProof
from cai.authoring.edits.readings import PrincipleReading, RejectedShare
from cai.authoring.edits.run import EditsProposed, Rejections
from cai.stats import Paired, Proportion


def _rejections(rejections: Rejections) -> dict[str, Any]:
    read = len(rejections.audited)
    rejected = sum(one.rejected for one in rejections.audited)
    return {
        "run": rejections.run,
        "items": rejections.items,
        "read": read,
        "rejected": share_values(Proportion(rejected, read)),
        "verdicts_on_other_texts": rejections.unknown,
        "principles": [_reading(one) for one in rejections.readings],
        "not_in_the_constitution": list(rejections.gone),
        "changed_since_the_build": list(rejections.changed),
    }


def edits_values(proposed: EditsProposed) -> dict[str, Any]:
    """The verdicts, the drafts, and what led to none; without the proof."""
    tests, wordings, drafts = proposed.tests, proposed.wordings, proposed.drafts
    return {
        **_rejections(proposed.rejections),
        "tests": [_test(one) for one in tests.drafts],
        "no_test": [
            {"principle": name, "reason": reason, "rejections": count}
            for (name, reason), count in tests.left_out.items()
        ],
        "wordings": [
            {
                "principle": one.principle,
                "critique": one.critique_request,
                "revise": one.revision_request,
                "compare": one.comparison_question,
                "shown": list(one.shown),
            }
            for one in wordings.drafts.values()
        ],
        "no_wording": [
            {"principle": name, "reason": reason} for name, reason in wordings.refused.items()
        ],
        "files": [
            {
                "principle": file.principle,
                "file": file.place,
                "versions": list(file.versions),
                "tests_added": file.tests,
                "reworded": file.reworded,
                "diff": file.diff(),
            }
            for file in (drafts.files if drafts else ())
        ],
        "refused": [
            {"principle": name, "reason": reason}
            for name, reason in (drafts.refused.items() if drafts else ())
        ],
        "advice": [str(problem) for problem in (drafts.advice if drafts else ())],
        "held_out_prompts": [prompt.id for prompt in proposed.prompts],
    }


def proof_values(texts: tuple[TextsProof, ...]) -> list[dict[str, Any]]:
    """How many texts of each principle are treated as they should be, before and after."""
    return [
        {"principle": one.principle, "texts": one.texts, **paired_values(one.right)}
        for one in texts
    ]


def share_values(share: Proportion) -> dict[str, Any]:
    """A share with its Wilson interval."""
    return {"hits": share.hits, "n": share.n, "share": share.share, "interval": share.interval}


def paired_values(value: Paired) -> dict[str, Any]:
    """Counts before and after, and the change with its interval."""
    return {
        "n": value.n,
        "before": value.before.hits,
        "after": value.after.hits,
        "came": value.came,
        "went": value.went,
        "change": value.change,
        "interval": value.interval,
    }


def _reading(one: PrincipleReading) -> dict[str, Any]:
    return {
        "id": one.principle,
        "responses": _rejected(one.responses),
        "labels": _rejected(one.labels),
        "faults": dict(one.faults),
        "unclear": one.unclear,
        "reasons": dict(one.reasons),
    }


def _rejected(share: RejectedShare) -> dict[str, Any]:
    return {
        "rejected": share_values(share.rejected),
        "without_the_principle": share_values(share.others),
        "p_value": share.p_value,
        "word": share.word,
    }


def _test(draft: DraftTest) -> dict[str, Any]:
    return {"principle": draft.principle, "record": draft.audited.id, **as_values(draft.test)}
