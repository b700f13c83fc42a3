"""Test results of principles as JUnit XML, which CI systems read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from cai.authoring.expectations import expectation_texts
from cai.authoring.testing import CaseResult, counts
from cai.text.terminal import visible


def as_junit(results: Sequence[CaseResult]) -> str:
    """One suite per principle, one case per test. Characters that XML can't hold are escaped."""
    root = ElementTree.Element("testsuites", _attributes(results))
    by_principle = groupby(results, key=lambda result: result.case.principle.id)
    for name, some in ((name, list(group)) for name, group in by_principle):
        suite = ElementTree.SubElement(root, "testsuite", {"name": name, **_attributes(some)})
        for result in some:
            _case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _attributes(results: Sequence[CaseResult]) -> dict[str, str]:
    by_status = counts(results)
    return {
        "tests": str(len(results)),
        "failures": str(by_status["failed"]),
        "errors": "0",
        "skipped": str(by_status["skipped"]),
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
        lines = [f"expected: {', '.join(expectation_texts(result.case.test))}"]
        lines += [f"{label}: {text}" for label, text in result.output]
        failure.text = "\n".join(visible(part) for line in lines for part in line.splitlines())
