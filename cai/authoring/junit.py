"""Results of principles' tests as JUnit XML, which CI systems read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from cai.authoring.promises import in_words
from cai.authoring.testing import CaseResult, counts
from cai.text.terminal import visible


def as_junit(results: Sequence[CaseResult]) -> str:
    """A suite a principle, a case a test. What XML can't hold is shown as visible marks."""
    root = ElementTree.Element("testsuites", _sums(results))
    by_principle = groupby(results, key=lambda result: result.case.principle.id)
    for name, some in ((name, list(group)) for name, group in by_principle):
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **_sums(some)})
        for result in some:
            _case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _sums(results: Sequence[CaseResult]) -> dict[str, str]:
    found = counts(results)
    return {
        "tests": str(len(results)),
        "failures": str(found["failed"]),
        "errors": "0",
        "skipped": str(found["skipped"]),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _case(suite: ElementTree.Element, result: CaseResult) -> None:
    case = ElementTree.SubElement(suite, "testcase", {
        "name": visible(result.case.test.name),
        "classname": result.case.principle.id,
        "file": visible(result.case.principle.path),
        "time": f"{result.seconds:.3f}",
    })  # fmt: skip
    if result.status == "skipped":
        ElementTree.SubElement(case, "skipped", {"message": visible(result.note)})
    elif result.status == "failed":
        failure = ElementTree.SubElement(
            case, "failure", {"message": visible("; ".join(result.failures))}
        )
        told = [f"expected: {', '.join(in_words(result.case.test))}"]
        told += [f"{label}: {text}" for label, text in result.came]
        failure.text = "\n".join(visible(line) for text in told for line in text.splitlines())
