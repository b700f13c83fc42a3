"""Templates place variables into text; whatever else they try is refused before it runs."""

# ruff: noqa: E501
from __future__ import annotations

import time

import pytest

from cai.constitution import templates
from cai.constitution.templates import VARIABLES, render, source_problems, used_variables
from cai.errors import ContentError, PromptError

HOSTILE = [
    "{{ 'x' * 50000000 }}",
    "{{ x ~ x }}",
    "{{ x + x }}",
    "{{ 2 ** 99999999 }}",
    "{{ 9 // 0 }}",
    "{{ 7 % 2 }}",
    "{{ -1 }}",
    "{{ x.__class__ }}",
    "{{ x['__class__'] }}",
    "{{ x[0] }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x.format(x) }}",
    "{{ x() }}",
    "{{ range(10000000)|length }}",
    "{{ lipsum(n=1000) }}",
    "{{ cycler('a').next() }}",
    "{{ x|attr('__class__') }}",
    "{{ x|map('upper')|join }}",
    "{{ x|format(1) }}",
    "{{ x|center(100000000) }}",
    "{{ x|replace('', x) }}",
    "{{ x|indent(100000000) }}",
    "{{ x|indent(x) }}",
    "{{ x|indent(*[9999]) }}",
    "{{ x|join(x) }}",
    "{{ x|batch(1)|list }}",
    "{{ x|pprint }}",
    "{{ x|safe }}",
    "{{ x is callable }}",
    "{{ 'a' in x }}",
    "{{ [1, 2] }}",
    "{{ {'a': 1} }}",
    "{{ (1, 2) }}",
    "{% set y = x %}{{ x }}",
    "{% set y %}a{% endset %}",
    "{% include 'secret' %}",
    "{% import 'a' as b %}",
    "{% from 'a' import b %}",
    "{% extends 'a' %}",
    "{% block a %}{% endblock %}",
    "{% macro m() %}{{ m() }}{% endmacro %}",
    "{% call x() %}{% endcall %}",
    "{% filter upper %}a{% endfilter %}",
    "{% with y = 1 %}{% endwith %}",
    "{% autoescape true %}{% endautoescape %}",
    "{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in 'abc' %}{% endfor %}",
    "{% for a in x recursive %}{{ loop(a) }}{% endfor %}",
    "{% for a, b in x %}{% endfor %}",
    "{% for x in x %}{{ x }}{% endfor %}",
    "{% for loop in x %}{% endfor %}",
    "{% for a in x %}{{ loop.__class__ }}{% endfor %}",
    "{% for a in x %}{{ loop.cycle }}{% endfor %}",
    "{% for a in x %}{{ x|upper }}{% endfor %}",
    "{{ loop.index }}",
    "{{ self }}",
    "{{ caller }}",
    "{% if x %}",
    "{{ x",
    "{% do x %}",
    "{% trans %}a{% endtrans %}",
    "{{ " + "(" * 5_000 + "x" + ")" * 5_000 + " }}",
    "{{ " + "not " * 20_000 + "x }}",
    "{% if x %}" * 3_000 + "{% endif %}" * 3_000,
    "{{ " + "9" * 5_000 + " }}",
    "{{ x }}" * 5_000,
    "{{ x" + "|upper" * 400 + " }}",
    "a" * 65_000,
]


def test_the_list_is_long_enough() -> None:
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("source", HOSTILE, ids=lambda s: s[:50])
def test_hostile_templates_are_refused(source: str) -> None:
    begin = time.process_time()
    problems = source_problems(source, "t.j2", {"x"})
    assert problems
    assert all(p.file == "t.j2" and p.line >= 1 and p.column >= 1 for p in problems)
    if {p.code for p in problems} != {"C042"}:
        with pytest.raises(ContentError):
            render(source, {"x": "abc"})
    assert time.process_time() - begin < 1.0


FINE = [
    ("{{ a }}", "one"),
    ("{{ a }}\n", "one"),
    ("{{ a }}\n\n", "one\n"),
    ("{# a note #}{{ a }}", "one"),
    ("{{ a|upper }}", "ONE"),
    ("{{ text|trim }}!", "x{{ a }}y!"),
    ("{{ text }}", " x{{ a }}y "),
    ("{{ none }}.", "."),
    ("{% if none %}A{% else %}B{% endif %}", "B"),
    ("{% if none is none and a is defined %}A{% endif %}", "A"),
    ("{% if not none or a == 'two' %}A{% endif %}", "A"),
    ("{{ 'yes' if a == 'one' else 'no' }}", "yes"),
    ("{% for i in items %}{{ loop.index }}:{{ i|title }}{{ ',' if not loop.last }}{% endfor %}", "1:X,2:Y"),
    ("{% if a %}\nline\n{% endif %}\nend", "line\nend"),
    ("{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
    ("{{ a|length }} {{ a|default('x') }} {{ a|truncate(5) }}", "3 one one"),
    ("{{ lines|indent(2) }}", "l\n  m"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), FINE)
def test_plain_templates_work(source: str, expected: str) -> None:
    values = {"a": "one", "text": " x{{ a }}y ", "none": None, "items": ["x", "y"], "lines": "l\nm"}
    assert source_problems(source, "t.j2", values) == []
    assert render(source, values) == expected


def test_text_of_models_is_never_a_template() -> None:
    """What a model wrote stays as it is, whatever it looks like."""
    text = "{{ 7 * 7 }}{% for x in y %}{# #}{{ a.__class__ }}"
    assert render("{{ a }}|{{ b }}", {"a": text, "b": "{{ a }}"}) == f"{text}|{{{{ a }}}}"


def test_unknown_variables_are_named_with_a_suggestion() -> None:
    (problem,) = source_problems(
        "one\n  {{ critique_requst }}", "t.j2", {"critique_request", "no_problem"}
    )
    assert (problem.code, problem.line, problem.column) == ("C042", 2, 6)
    assert "Did you mean `critique_request`?" in problem.hint


def test_a_variable_that_is_not_given_is_an_error() -> None:
    with pytest.raises(ContentError, match="'b' is undefined"):
        render("{{ b }}", {"a": "x"})


def test_what_is_refused_is_said_with_its_place() -> None:
    problems = source_problems("a\n{{ a|center(5) }}\n{{ a.b }}", "t.j2", {"a"})
    assert [(p.line, p.column, p.code) for p in problems] == [(2, 6, "C041"), (3, 6, "C041")]
    assert "`center`" in problems[0].message and "capitalize" in problems[0].hint


def test_output_is_bounded() -> None:
    """Ten times 200,000 characters is over a million."""
    with pytest.raises(PromptError, match="longer than 1,000,000"):
        render("{{ a }}" * 10, {"a": "x" * 200_000})
    with pytest.raises(PromptError, match="1,000,001 characters"):
        render("{{ a }}", {"a": "x" * 1_000_001})


def test_work_is_bounded() -> None:
    """Twenty `title` over 100,000 characters, a loop over 1,001 items."""
    with pytest.raises(PromptError, match="100,000 characters"):
        render("{{ a" + "|title" * 21 + " }}", {"a": "a b " * 25_000})
    with pytest.raises(PromptError, match="1,001 items"):
        render("{% for c in a %}{% endfor %}", {"a": "x" * 1_001})


def test_the_slowest_that_is_allowed_takes_about_a_second() -> None:
    begin = time.process_time()
    render("{{ a" + "|title" * 20 + " }}", {"a": "a b " * 25_000})
    body = "{% if c == 'y' or c|title == c|upper|title %}{% endif %}" * 10
    render(f"{{% for c in a %}}{body}{{% endfor %}}", {"a": "x" * 1_000})
    assert time.process_time() - begin < 2.0


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", -1.0)
    with pytest.raises(PromptError, match="took longer"):
        render("{{ a }}", {"a": "x"})


def test_used_variables() -> None:
    source = "{{ a }}{% for b in c %}{{ b }}{{ loop.index }}{% endfor %}{{ d if e }}"
    assert used_variables(source) == {"a", "c", "d", "e"}
    assert used_variables("{{ a") == frozenset()


def test_every_kind_names_variables_that_messages_give() -> None:
    for required, optional in VARIABLES.values():
        assert required and not required & optional
