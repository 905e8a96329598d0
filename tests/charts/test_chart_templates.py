"""The template language of the charts: what Go's text/template makes of the same text, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.charts.errors import TemplateError
from dragoman.charts.evaluation import Template, render
from dragoman.charts.parser import parse


def rendered(text: str, about: Any = None) -> str:
    body, defined = parse("test", text)
    return render(Template("test", body), about, {name: Template("test", each) for name, each in defined.items()})


@pytest.mark.parametrize(
    ("text", "about", "expected"),
    [
        ("a{{ .b }}c", {"b": "x"}, "axc"),
        ("a  {{- .b -}}  c", {"b": "x"}, "axc"),
        ("a\n  {{- /* said */ -}}\n  b", {}, "ab"),
        ("a {{/* said */}} b", {}, "a  b"),
        ("{{ `{{ raw }}` }}", {}, "{{ raw }}"),
        ('{{ "q\\"}}" }}', {}, 'q"}}'),
        ("{{ .a.b.c }}", {"a": {"b": {"c": 1}}}, "1"),
        ("{{ .none }}", {}, ""),
        ('{{ (dict "a" "b").a }}', {}, "b"),
        ("{{ if .a }}1{{ else if .b }}2{{ else }}3{{ end }}", {"b": [0]}, "2"),
        ("{{ if and .a .a.b }}1{{ else }}2{{ end }}", {"a": None}, "2"),
        ("{{ or .a .b }}", {"a": "", "b": "x"}, "x"),
        ("{{ with .a }}{{ .b }}{{ $.c }}{{ end }}", {"a": {"b": 1}, "c": 2}, "12"),
        ("{{ with .a }}1{{ else }}{{ .c }}{{ end }}", {"c": 2}, "2"),
        ("{{ with $x := .a }}{{ $x }}{{ end }}", {"a": "y"}, "y"),
        ("{{ range $k, $v := . }}{{ $k }}={{ $v }};{{ end }}", {"b": 1, "a": 2}, "a=2;b=1;"),
        ("{{ range $i, $v := .l }}{{ $i }}{{ $v }}{{ end }}", {"l": ["x", "y"]}, "0x1y"),
        ("{{ range .l }}{{ . }}{{ else }}none{{ end }}", {"l": []}, "none"),
        ("{{ $a := 1 }}{{ if true }}{{ $a = 2 }}{{ end }}{{ $a }}", {}, "2"),
        ("{{ $a := 1 }}{{ if true }}{{ $a := 2 }}{{ end }}{{ $a }}", {}, "1"),
        ('{{ define "t" }}<{{ .x }}>{{ end }}{{ include "t" . | quote }}', {"x": 1}, '"<1>"'),
        ('{{ .f.Get "n" }}', {"f": {"Get": lambda name: name * 2}}, "nn"),
        ("{{ .n }} {{ .f }}", {"n": 3.0, "f": 0.5}, "3 0.5"),
        (
            "{{ toYaml . | nindent 2 }}",
            {"b": ["*"], "a": {"x10": "yes", "x2": 1.0}},
            ("\n  a:\n    x2: 1\n    x10: \"yes\"\n  b:\n  - '*'"),
        ),
        ("{{ toYaml .t }}", {"t": {"m": "a\nb\n"}}, "m: |\n  a\n  b"),
        ('{{ printf "%s-%d-%q" "a" 1 "b" }}', {}, 'a-1-"b"'),
        ("{{ default 1 .x }}", {"x": 0}, "1"),
    ],
)
def test_renders_as_go_does(text: str, about: Any, expected: str) -> None:
    assert rendered(text, about) == expected


@pytest.mark.parametrize(
    ("text", "about", "said"),
    [
        ("a\n{{ if .a }}", {}, "test:2: no {{ end }}"),
        ("{{ end }}", {}, "unexpected {{ end }}"),
        ("a\nb {{ .c", {}, "test:2: unclosed action"),
        ('{{ lookup "v1" }}', {}, "function 'lookup' is not in the subset"),
        ("{{ .a.b }}", {}, ".b of nil"),
        ("{{ $x }}", {}, "undefined variable $x"),
        ('{{ include "t" . }}', {}, "no template 't'"),
        ('{{ define "t" }}{{ include "t" . }}{{ end }}{{ include "t" . }}', {}, "without end"),
        ("{{ .m }}", {"m": {"a": 1}}, "printed with toYaml"),
        ("{{ .n }}", {"n": 1e6}, "write `int`"),
        ("{{ range .n }}{{ end }}", {"n": "x"}, "range over 'x'"),
        ("{{ eq .n 1 }}", {"n": 1.0}, "of different types"),
        ('{{ printf "%d" .x }}', {"x": "1"}, "no whole number"),
    ],
)
def test_refuses_with_the_line(text: str, about: Any, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        rendered(text, about)
    assert said in str(refused.value)
