"""Programs as text: small rules, and all that is printed of them."""

from __future__ import annotations

import re

from rulec.ir.build import build
from rulec.ir.passes import optimise
from rulec.ir.printer import render_program
from rulec.semantics.check import load_library
from rulec.semantics.rules import check_rule
from rulec.source import Diagnostics, Source

HEBB = """rule hebb
index k : 2

genome
  lr : positive per layer = 0.1
  net f : 2 -> 4 -> 1 (tanh)

neuron
  x
  keep a[k]

synapse
  w[i,j] = 0

input i
  x[i] = input[i]

repeat 3:
  forward i -> j
    x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]
  a[j,1] = target[j]

update i -> j
  w[i,j] += lr * mean[n](f(x[i], x[j]) * a[j,0])
"""

SGD = "rule sgd\ngenome\n  lr : positive = 0.1\nupdate\n  w -= lr * grad(loss, w)\n"


def printed(text: str, optimised: bool = False) -> str:
    found = Diagnostics()
    library = load_library(Source("printed.rule", text), found)
    (node,) = library.rules.values()
    rule = check_rule(node, found)
    found.raise_errors()
    assert rule is not None
    program = build(rule)
    return render_program(optimise(program) if optimised else program)


def test_an_optimiser():
    assert (
        printed(SGD)
        == """program sgd
  genome lr : positive
  parameters
    %0 : [p] = state name=w side=p
    %1 : [] = genome name=lr
    %2 : [p] = grad name=w
    %3 : [p] = mul %1 %2
    %4 : [p] = sub %0 %3
    write w@p %4
"""
    )


def test_a_rule_with_everything():
    assert (
        printed(HEBB)
        == """program hebb
  index k : 2
  genome lr : positive per layer
  net f : 2 -> 4 -> 1 (tanh)
  neuron x
  neuron keep a[k]
  synapse w[i,j]
  input
    %0 : [n,i] = input letter=i
    write x@i %0
  repeat 3
    forward
      %1 : [i,j] = state name=w side=i,j
      %2 : [n,i] = state name=x side=i
      %3 : [n,i,j] = mul %1 %2
      %4 : [n,j] = reduce operator=sum indices=(i) %3
      %5 : [n,j] = act side=j %4
      write x@j %5
  output
    %6 : [n,j] = state name=x side=j
    write prediction@j %6
    %7 : [n,j,k] = state name=a side=j indices=(k)
    %8 : [n,j] = target letter=j
    %9 : [n,j,k] = insert at=((k,1)) %7 %8
    write a@j %9
  update
    %10 : [i,j] = state name=w side=i,j
    %11 : [] = genome name=lr
    %12 : [n,i] = state name=x side=i
    %13 : [n,j] = state name=x side=j
    %14 : [n,i,j] = net name=f features=(None,None) %12 %13
    %15 : [n,j] = state name=a side=j indices=(0)
    %16 : [n,i,j] = mul %14 %15
    %17 : [i,j] = reduce operator=mean indices=(n) %16
    %18 : [i,j] = mul %11 %17
    %19 : [i,j] = add %10 %18
    write w@i,j %19
"""
    )


def test_an_optimised_program_reduces_by_contraction():
    text = printed(HEBB, optimised=True)
    assert "contract indices=(i) %1 %2" in text
    assert "contract indices=(n) means=(n)" in text
    assert "reduce" not in text


def test_every_value_is_named_before_it_is_used():
    for optimised in (False, True):
        named: set[str] = set()
        for line in printed(HEBB, optimised).splitlines():
            name, _, rest = line.strip().partition(" : ") if line.strip().startswith("%") else ("", "", line)
            assert set(re.findall(r"%\d+", rest)) <= named
            named.add(name)
