"""`rulec check` shows findings that are no errors, and exits with 0; those that are errors make it exit with 1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rulec.cli.main import run

ROOT = Path(__file__).parents[2]
BAD = Path(__file__).parent / "bad" / "flow"


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["check", *(str(a) for a in arguments)])
        return code, *capfd.readouterr()

    return call


def test_a_warning_is_shown_and_the_file_is_fine(check):
    code, out, err = check(BAD / "dead-entry.rule")
    assert code == 0
    assert err.startswith("warning[dead-entry]: genome entry `momentum` reaches no prediction\n")
    assert out == f"{BAD / 'dead-entry.rule'}: fine\n  rule unread: w weight transport\n"


def test_an_error_makes_it_exit_with_1(check):
    code, out, err = check(BAD / "silently-first-order.rule")
    assert code == 1 and out == ""
    assert err.startswith("error[silently-first-order]: ")


def test_json_has_warnings_too(check):
    code, out, err = check("--json", BAD / "dead-entry.rule", BAD / "batch-size-dependent.rule")
    assert (code, err) == (0, "")
    records = json.loads(out)
    assert {(r["severity"], r["id"]) for r in records} == {
        ("warning", "dead-entry"),
        ("warning", "batch-size-dependent"),
    }
    assert all(record["place"] and record["help"] for record in records)


def test_nothing_is_probable_while_something_is_wrong(check, tmp_path):
    path = tmp_path / "both.rule"
    text = (BAD / "batch-size-dependent.rule").read_text()
    path.write_text(text.replace("act(z[j])", "act(q[j])"))
    code, _, err = check(path)
    assert code == 1 and "unknown-name" in err and "batch-size" not in err


def test_what_cannot_be_built_is_told_alone(check):
    code, out, err = check(ROOT / "tests" / "ir" / "bad" / "not-differentiable.rule")
    assert (code, out) == (1, "")
    assert err.startswith("error[not-differentiable]") and "warning" not in err


def test_what_an_imported_rule_says_is_told_at_home_only(check, tmp_path):
    (tmp_path / "lost.rule").write_text((BAD / "dead-entry.rule").read_text())
    path = tmp_path / "named.rule"
    path.write_text('from lost.rule use unread\n\ngenome slow for unread "Named values"\n  lr = 0.01\n')
    code, out, err = check(path)
    assert (code, err) == (0, "")
    assert "genome slow" in out


def test_outer_steps_are_checked_with_the_options_they_give(check, tmp_path):
    path = tmp_path / "chosen.rule"
    text = (BAD / "silently-first-order.rule").read_text()
    text = text.replace("\n\ngenome", "\n\noption detach = no\n\ngenome", 1)
    text = text.replace("stop(grad(loss, w))", "(stop(grad(loss, w)) if detach else grad(loss, w))")
    path.write_text(text)
    assert check(path)[0] == 0
    path.write_text(text.replace("inner stopped for", "inner stopped(detach = yes) for"))
    code, _, err = check(path)
    assert code == 1 and "silently-first-order" in err


DIVIDING = """rule shrinking "Divides its errors by their size"

option floor = 1

genome
  lr : positive = 0.1

neuron
  x
  d

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))

input i
  x[i] = input[i]

forward i -> j
  x[j] = act(sum[i](w[i,j] * x[i]))

output j
  prediction[j] = x[j]
  d[j] = x[j] - target[j]

backward i <- j
  d[i] = sum[j](w[i,j] * d[j])

update i -> j
  w[i,j] -= lr * mean[n](x[i] * d[j] / (floor + abs(d[j])))

laws
  kept : update(w) == -lr * mean[n](x[i] * d[j] / (1 + abs(d[j])))

rule still "Does next to nothing"

synapse
  w[i,j] = 0

neuron
  x

input i
  x[i] = input[i]

forward i -> j
  x[j] = sum[i](w[i,j] * x[i])

output j
  prediction[j] = x[j]

update i -> j
  w[i,j] *= 0.9

outer chosen "Gives an option"
  inner rule(floor = FLOOR) for 5 steps on support
  meta genome
  minimize loss on query
  through unroll
  by adam(lr = 0.001)
"""


def test_inner_rules_are_looked_through_with_the_options_they_are_given(check, tmp_path):
    path = tmp_path / "two.rule"
    path.write_text(DIVIDING.replace("FLOOR", "1"))
    assert check(path)[::2] == (0, "")
    path.write_text(DIVIDING.replace("FLOOR", "0"))
    code, _, err = check(path)
    assert code == 1 and "warning[division-by-zero]" in err and "error[law-refuted]" in err
    path.write_text(DIVIDING.replace("FLOOR", "still"))
    code, _, err = check(path)
    assert code == 1 and err.startswith("error[")


def test_linting_loads_nothing_heavy():
    """Neither torch nor sympy nor numpy, whatever is found."""
    code = "import sys; from rulec.cli.main import run; run(['check', *sys.argv[1:]]); print(*sorted({'torch', 'numpy', 'sympy'} & set(sys.modules)))"
    paths = [str(path) for path in sorted(BAD.glob("*.rule"))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == ""
