"""What a report of agreement counts, and how it is shown."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from cai.audit.agreement import Agreement, Auditor, Group, report
from cai.audit.items import AuditItem, ItemKind
from cai.audit.sign import review
from cai.cli.agreement_text import as_json, as_text
from cai.data.verdicts import Decision, Verdict
from cai.stats import Proportion
from cai.types import Message


def item(
    key: str,
    *,
    kind: ItemKind = "trace",
    judge: bool | None = True,
    principles: tuple[str, ...] = ("harm",),
    flags: tuple[str, ...] = (),
) -> AuditItem:
    prompt = (Message("user", "How?"),)
    return AuditItem(key, kind, f"id-{key}", "p-1", prompt, principles, flags, 0.0, judge, {})


def said(
    author: str, decisions: dict[str, Decision], *, minute: int = 0, flagged: bool = False
) -> list[Verdict]:
    at = f"2026-11-24T10:{minute:02}:00+00:00"
    return [
        Verdict(key, f"id-{key}", "r-1", decision, author, at, flagged)
        for key, decision in decisions.items()
    ]


def only(agreement: Agreement) -> Auditor:
    (auditor,) = agreement.auditors
    return auditor


TITLES = {"honesty": "Be honest", "harm": "Avoid harm"}


class TestReport:
    def test_counts(self) -> None:
        """Five items; ann judges four of them, ben three. Both judge 1, 2 and 3, and agree on 1
        and 2: accept and reject. 3 is accepted by ann alone, 4 is unsure."""
        items = [
            item("1", principles=("harm", "honesty"), flags=("F02",)),
            item("2", flags=("F01", "F02")),
            item("3"),
            item("4", principles=("respect",)),
            item("5", principles=()),
        ]
        verdicts = [
            *said("ann", {"1": "accept", "2": "reject", "3": "accept", "4": "unsure"}),
            *said("ben", {"1": "accept", "2": "reject", "3": "reject"}),
        ]
        found = report(iter(items), verdicts, TITLES)
        assert (found.items, found.judged, found.unknown, found.shared) == (5, 4, 0, 3)
        counts = [(a.name, a.accept, a.reject, a.unsure) for a in found.auditors]
        assert counts == [("ann", 2, 1, 1), ("ben", 1, 2, 0)]
        assert found.principles == (
            Group("honesty", "Be honest", 1, Proportion(1, 1)),
            Group("harm", "Avoid harm", 3, Proportion(1, 3)),
            Group("respect", "respect", 1, Proportion(0, 1)),
            Group("", "", 1, Proportion(0, 0)),
        )
        assert found.flags == (
            Group("F01", "changed without cause", 1, Proportion(0, 1)),
            Group("F02", "not revised", 2, Proportion(1, 2)),
            Group("", "", 3, Proportion(0, 2)),
        )
        accepted = review([i.key for i in items], verdicts, None).share
        assert accepted == Proportion(1, 4), "a sign-off counts the same"

    def test_two_auditors(self) -> None:
        """accept accept, accept reject, reject reject, unsure unsure: p_o = 3/4, p_c = (2·1 + 1·2 +
        1·1) / 16 = 5/16, κ = (7/16) / (11/16) = 7/11. Of the eight labels three are accept, three
        reject, two unsure: α = 1 − 7 · 2 / (64 − 22) = 2/3. The fifth item is ann's alone."""
        keys = "12345"
        verdicts = [
            *said("ben", dict(zip(keys, ("accept", "reject", "reject", "unsure"), strict=False))),
            *said("ann", dict(zip(keys, ("accept", "accept", "reject", "unsure", "accept"),
                                  strict=True))),
        ]  # fmt: skip
        found = report(map(item, keys), verdicts, TITLES)
        (pair,) = found.pairs
        assert (pair.a, pair.b) == ("ann", "ben")
        assert pair.match.agree == Proportion(3, 4)
        assert pair.match.kappa == pytest.approx(7 / 11)
        assert found.shared == 4
        assert found.alpha == pytest.approx(2 / 3)

    def test_three_auditors_who_share_in_twos(self) -> None:
        verdicts = [
            *said("ann", {"1": "accept", "2": "reject"}),
            *said("ben", {"2": "reject", "3": "accept"}),
            *said("cleo", {"3": "accept"}),
        ]
        found = report(map(item, "123"), verdicts, TITLES)
        assert [(p.a, p.b, p.match.agree) for p in found.pairs] == [
            ("ann", "ben", Proportion(1, 1)),
            ("ben", "cleo", Proportion(1, 1)),
        ]
        assert found.alpha == 1

    @pytest.mark.parametrize("kind", ["trace", "comparison"])
    def test_beside_the_judge(self, kind: ItemKind) -> None:
        """The judge says yes to 1, 2, 3, 4 and no to 5, 6, 7, 8; ann accepts 1, 2, 3, 5, 6.

        Of a trace ann's label is yes where she accepts: she agrees on 1, 2, 3, 7 and 8. She says
        yes to five, the judge to four of eight: p_o = 5/8, p_c = 1/2, κ = 1/4.

        Of a comparison she agrees wherever she accepts: on 1, 2, 3, 5 and 6. She takes the first
        response on 1, 2, 3 (accepted) and on 7, 8 (rejected, where the judge took the second): five
        of eight again, p_o = 5/8, p_c = 1/2, κ = 1/4.

        9 is not decided by the judge, of 0 ann is unsure.
        """
        judged = {**dict.fromkeys("12340", True), **dict.fromkeys("5678", False), "9": None}
        items = [item(key, kind=kind, judge=judge) for key, judge in judged.items()]
        accepted = dict.fromkeys("123569", "accept")
        rejected = dict.fromkeys("478", "reject")
        verdicts = said("ann", {**accepted, **rejected, "0": "unsure"})  # type: ignore[dict-item]
        found = only(report(items, verdicts, TITLES))
        match, other = (
            (found.traces, found.comparisons)
            if kind == "trace"
            else (found.comparisons, found.traces)
        )
        assert match.agree == Proportion(5, 8)
        assert match.kappa == pytest.approx(1 / 4)
        assert other.agree == Proportion(0, 0)

    def test_traces_and_comparisons_mean_other_things(self) -> None:
        """All accepted, the judge of two minds. Of comparisons that is agreement on both sides,
        κ = 1; of traces the auditor says fine to all, and agrees on half: κ = 0."""
        items = [
            item(f"{kind}{n}", kind=kind, judge=n % 2 == 0)
            for kind in ("trace", "comparison")
            for n in range(10)
        ]
        found = only(report(items, said("ann", {i.key: "accept" for i in items}), TITLES))
        assert (found.comparisons.agree, found.comparisons.kappa) == (Proportion(10, 10), 1)
        assert (found.traces.agree, found.traces.kappa) == (Proportion(5, 10), 0)

    def test_rollouts_have_no_judge(self) -> None:
        found = only(
            report([item("1", kind="rollout", judge=None)], said("ann", {"1": "accept"}), {})
        )
        assert found.accept == 1
        assert found.traces.agree.n == found.comparisons.agree.n == 0

    def test_no_verdicts(self) -> None:
        found = report([item("1"), item("2")], [], TITLES)
        assert (found.items, found.judged, found.auditors, found.pairs) == (2, 0, (), ())
        assert math.isnan(found.alpha)
        assert found.principles == (Group("harm", "Avoid harm", 2, Proportion(0, 0)),)
        assert "0 of 2 items are judged" in as_text(found)

    def test_no_items(self) -> None:
        found = report([], said("ann", {"1": "accept", "2": "unsure"}), TITLES)
        assert (found.items, found.judged, found.unknown, found.auditors) == (0, 0, 2, ())
        assert "2 verdicts on items that are not among them" in as_text(found)

    def test_one_auditor(self) -> None:
        found = report(map(item, "12"), said("ann", {"1": "accept", "2": "reject"}), TITLES)
        assert (found.pairs, found.shared) == ((), 0)
        assert math.isnan(found.alpha) and math.isnan(found.interval[0])
        assert "No item was judged by two auditors" in as_text(found)

    def test_everything_the_same(self) -> None:
        """Agreement is whole, and beyond chance undefined: nothing but accept was ever said."""
        said_by = [said(name, dict.fromkeys("123", "accept")) for name in ("ann", "ben")]
        found = report(map(item, "123"), list(itertools.chain(*said_by)), TITLES)
        (pair,) = found.pairs
        assert pair.match.agree == Proportion(3, 3)
        assert math.isnan(pair.match.kappa) and math.isnan(found.alpha)
        assert found.shared == 3
        assert "–" in as_text(found)

    def test_unsure_only(self) -> None:
        said_by = [said(name, dict.fromkeys("12", "unsure")) for name in ("ann", "ben")]
        found = report(map(item, "12"), list(itertools.chain(*said_by)), TITLES)
        assert [(a.accept, a.reject, a.unsure) for a in found.auditors] == [(0, 0, 2)] * 2
        assert found.pairs[0].match.agree == Proportion(2, 2)
        assert all(a.traces.agree.n == 0 for a in found.auditors)
        assert found.principles[0].accepted == Proportion(0, 2)

    def test_only_the_last_word_counts(self) -> None:
        """1 is taken back, of 2 ann thinks better, 3 is taken back but marked to come back to."""
        verdicts = [
            *said("ann", {"1": "none", "2": "accept"}, minute=2),
            *said("ann", {"3": "none"}, minute=2, flagged=True),
            *said("ann", {"1": "reject", "2": "reject", "3": "reject"}, minute=1),
        ]
        found = report(map(item, "123"), verdicts, TITLES)
        assert (only(found).accept, only(found).reject) == (1, 0)
        assert (found.judged, found.unknown) == (1, 0)
        assert found.principles[0].accepted == Proportion(1, 1)
        assert report(map(item, "123"), verdicts[0:1] + verdicts[3:4], TITLES).auditors == ()

    def test_unknown_items(self) -> None:
        """Two verdicts stand on an item that is not here, one on it was taken back."""
        verdicts = [
            *said("ann", {"1": "accept", "x": "accept"}),
            *said("ben", {"x": "reject"}),
            *said("cleo", {"x": "none"}, flagged=True),
        ]
        found = report([item("1")], verdicts, TITLES)
        assert found.unknown == 2
        assert found.auditors == (only(found),) and only(found).accept == 1
        assert found.pairs == ()

    def test_orders_play_no_part_and_an_item_counts_once(self) -> None:
        rng = random.Random(5)
        keys = [str(n) for n in range(60)]
        items = [item(k, flags=rng.choice([("F01",), ()])) for k in keys]
        options: list[Decision] = ["accept", "reject", "unsure"]
        verdicts = []
        for name in ("ann", "ben", "cleo"):
            verdicts += said(name, {k: rng.choice(options) for k in keys})
        first = report(items, verdicts, TITLES)
        assert not math.isnan(first.interval[0])
        rng.shuffle(items)
        rng.shuffle(verdicts)
        assert report(items * 2, verdicts, TITLES) == first


class TestShown:
    def agreement(self, name: str = "ann") -> Agreement:
        keys = [str(n) for n in range(40)]
        kinds: tuple[ItemKind, ItemKind] = ("trace", "comparison")
        items = [
            item(k, kind=kinds[n % 2], judge=n % 3 > 0, flags=("F10",) * (n < 9))
            for n, k in enumerate(keys)
        ]
        ann = said(name, {k: "reject" if n % 4 == 0 else "accept" for n, k in enumerate(keys)})
        ben = said(
            "ben", {k: "reject" if n % 5 == 0 else "accept" for n, k in enumerate(keys[:30])}
        )
        return report(items, [*ann, *ben], TITLES)

    def test_text(self) -> None:
        """Both judge 30 items. Ann rejects 0 4 8 … 28, eight; ben 0 5 … 25, six; both 0 and 20.
        They agree on 2 + 30 − 12 = 20: p_o = 2/3, p_c = (8·6 + 22·24) / 900 = 0.64, κ = 0.074. Of
        all 40 ann rejects ten, so 40 − (10 + 6 − 2) = 26 are accepted by all."""
        text = as_text(self.agreement())
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert lines[0] == "40 of 40 items are judged."
        assert "ann 30 10 0" in lines and "ben 24 6 0" in lines
        (pair,) = (line for line in lines if line.startswith("ann, ben"))
        assert pair.startswith("ann, ben 30 67% (49%–81%) 0.07 (")
        assert any(line.startswith("ann, traces 20 ") for line in lines)
        assert any(line.startswith("harm Avoid harm 40 40 65% (50%–78%)") for line in lines)
        assert any(line.startswith("F10 near tie 9 9 ") for line in lines)
        assert "'unsure' is a label like the others" in text

    def test_names_can_not_steer_the_terminal(self) -> None:
        text = as_text(self.agreement("\x1b[2J\u202eann\n" + "x" * 9_000))
        assert "\x1b" not in text and "\u202e" not in text
        assert "␛[2J<U+202E>ann␊" in text
        assert max(map(len, text.splitlines())) < 200

    def test_ids_and_titles_can_not_either(self) -> None:
        found = report(
            [item("1", principles=("\x1bid",), flags=("\x1bcode",))],
            said("ann", {"1": "accept"}),
            {"\x1bid": "\x1btitle"},
        )
        assert "\x1b" not in as_text(found)

    def test_json(self) -> None:
        values = as_json(self.agreement())
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert values["pairs"][0] | {"interval": None} == {
            "auditors": ["ann", "ben"],
            "items": 30,
            "agree": 20,
            "agree_share": 0.6667,
            "agree_interval": [0.4878, 0.8077],
            "kappa": 0.0741,
            "interval": None,
        }
        assert values["auditors"][0]["judge"]["traces"]["items"] == 20

    def test_json_of_what_is_undefined(self) -> None:
        values = as_json(report([item("1")], said("ann", {"1": "unsure"}), TITLES))
        json.dumps(values, allow_nan=False)
        assert values["alpha"] == {"items": 0, "alpha": None, "interval": None}
        traces = values["auditors"][0]["judge"]["traces"]
        assert traces["kappa"] is None and traces["agree_share"] is None
        json.dumps(as_json(report([], [], {})), allow_nan=False)
