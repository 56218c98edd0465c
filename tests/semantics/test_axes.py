"""The axes of an expression, worked out a second time beside a random expression as it is made."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from rulec.semantics import typed as t
from rulec.semantics.check import check_source, load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostic, Diagnostics, Source

RULE = """rule random
index k : 2
index l : 3

genome
  lr = 0.1
  p[k] = 0
  q[k,l] = 0

neuron
  x
  a[k]
  c[k,l]

broadcast
  r
  e[l]

synapse
  w[i,j] = 0
  u[i,j,k] = 0
  v[j,i,l] = 0
  b[j] = 0

input i
  x[i] = input[i]

forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]

update i -> j
"""

LEAVES = {
    "2": "", "lr": "", "t": "", "k": "k", "p[k]": "k", "p[1]": "", "q[k,l]": "kl", "q[0,l]": "l", "loss": "n", "r": "n",
    "e[l]": "nl", "e[2]": "n", "x[i]": "ni", "x[j]": "nj", "a[i,k]": "nik", "a[j,0]": "nj", "c[j,k,l]": "njkl",
    "c[i,1,l]": "nil", "w[i,j]": "ij", "u[i,j,k]": "ijk", "u[i,j,1]": "ij", "v[j,i,l]": "ijl", "b[j]": "j",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    text: str
    axes: frozenset[str]


leaves = st.sampled_from([Made(text, frozenset(axes)) for text, axes in LEAVES.items()])


@st.composite
def pairs(draw: st.DrawFn, inner: st.SearchStrategy[Made]) -> Made:
    left, right = draw(inner), draw(inner)
    shape = draw(st.sampled_from(("({} {} {})", "{1}({0}, {2})")))
    sign = draw(st.sampled_from("+-*/")) if shape.startswith("({} ") else draw(st.sampled_from(("min", "max")))
    return Made(shape.format(left.text, sign, right.text), left.axes | right.axes)


@st.composite
def singles(draw: st.DrawFn, inner: st.SearchStrategy[Made]) -> Made:
    argument = draw(inner)
    shape = draw(st.sampled_from(("(-{})", "tanh({})", "({})^2", "sigmoid'({})", "stop({})", "where({} > 0, 1, 2)")))
    return Made(shape.format(argument.text), argument.axes)


@st.composite
def reductions(draw: st.DrawFn, inner: st.SearchStrategy[Made]) -> Made:
    argument = draw(inner.filter(lambda made: bool(made.axes)))
    letters = draw(st.lists(st.sampled_from(sorted(argument.axes)), min_size=1, unique=True))
    name = draw(st.sampled_from(("sum", "mean", "max", "min", "var", "norm", "softmax")))
    left = argument.axes if name == "softmax" else argument.axes - set(letters)
    return Made(f"{name}[{','.join(letters)}]({argument.text})", left)


expressions = st.recursive(
    leaves, lambda inner: st.one_of(pairs(inner), singles(inner), reductions(inner)), max_leaves=8
)


def typed(body: str) -> tuple[t.Rule | None, list[Diagnostic]]:
    found = Diagnostics()
    library = load_library(Source("random.rule", RULE + body), found)
    rule = check_rule(library.rules["random"], found)
    return rule, found.errors


@settings(max_examples=100, deadline=None)
@given(expressions)
def test_axes_are_those_of_the_parts(made: Made):
    rule, errors = typed(f"  y = {made.text}\n  w[i,j] = 0 * sum[n](mean[k,l](y + c[i,k,l] + x[j]))\n")
    assert not errors
    assert rule is not None
    update = rule.blocks[-1]
    assert isinstance(update, t.Block)
    assert update.body[0].value.axes == made.axes


TARGETS = {"w[i,j]": "ij", "b[j]": "j", "u[i,j,k]": "ijk", "u[i,j,0]": "ij", "v[j,i,l]": "ijl"}


@settings(max_examples=100, deadline=None)
@given(expressions, st.sampled_from(sorted(TARGETS)), st.sampled_from(("=", "+=", "-=", "*=")))
def test_what_is_left_over_is_told_and_the_help_mends_it(made: Made, target: str, sign: str):
    body = f"  {target} {sign} {made.text}\n"
    extra = made.axes - set(TARGETS[target])
    for _ in range(12):
        errors = typed(body)[1]
        assert len(errors) == (1 if extra else 0)
        if not errors:
            return
        index = "n" if "n" in extra else next(a for a in ("i", "j", "k", "l") if a in extra)
        assert errors[0].id == ("unreduced-sample" if index == "n" else "unreduced-index")
        body = pasted(RULE + body, errors[0]).removeprefix(RULE)
        _, again = typed(body)
        if index not in left_over(again):
            extra -= {index}
    raise AssertionError(body)


def left_over(errors: list[Diagnostic]) -> set[str]:
    """Read from the findings which index is not reduced yet."""
    return {"n" if d.id == "unreduced-sample" else d.message.split("`")[1] for d in errors}


def pasted(text: str, diagnostic: Diagnostic) -> str:
    """Put what the help says between backticks in the place of the carets."""
    span = diagnostic.span
    assert span is not None
    return text[: span.start] + diagnostic.help.split("`")[1] + text[span.end :]


def test_the_label_of_the_first_mistake_everybody_makes():
    source = Source("my.rule", RULE + "  w[i,j] -= lr * x[i] * c[j,0,0]\n")
    (found,) = check_source(source).errors
    assert found.span is not None
    assert found.span.text == "x[i] * c[j,0,0]"
    assert found.help == "average over the batch: `mean[n](x[i] * c[j,0,0])`"
