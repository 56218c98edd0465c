"""The text of a task: what it may say, and what is answered when it cannot be read."""

from __future__ import annotations

import pytest

from rulec.source import RuleError
from rulec.tasks import task_from
from rulec.tasks.call import parse_call
from rulec.tasks.functions import Functions
from rulec.tasks.registry import FAMILIES


def test_names_make_tasks_and_tasks_pass_through():
    task = task_from("functions")
    assert isinstance(task, Functions) and task_from(task) is task
    assert (task.train, task.held_out, task.name) == (("xor", "and"), ("or", "quadrant_and", "nxor"), "functions")
    chosen = task_from("functions(train=xor+and, held_out=or + nxor)")
    assert (chosen.train, chosen.held_out) == (("xor", "and"), ("or", "nxor"))


def test_recorded_names_make_the_same_task_again():
    for text in ("digits( layout = image,classes=0-4 )", " functions(held_out=or, train=circle)", "digits()"):
        name = task_from(text).name
        again = task_from(name)
        assert again.name == name and again.describe() == task_from(text).describe()


def test_calls_are_cut_at_commas_outside_quotes():
    call = parse_call('idx("a, b", size = 10, classes=0-4)')
    assert call.name.text == "idx"
    assert [value.text for value in call.positional] == ["a, b"]
    assert [(key.text, value.text) for key, value in call.keywords] == [("size", "10"), ("classes", "0-4")]
    assert [value.span.text for _, value in call.keywords] == ["10", "0-4"]


@pytest.mark.parametrize(
    ("text", "id", "line", "help"),
    [
        ("digit", "unknown-task", "^^^^^ not a task", "did you mean `digits`?"),
        ("MNIST", "unknown-task", "^^^^^ not a task", "did you mean `mnist`?"),
        ("digits(clases=0-4)", "unknown-task-option", "       ^^^^^^ not an option", "did you mean `classes`?"),
        (
            "digits(classes=0-4, classes=1-2)",
            "repeated-task-option",
            "                    ^^^^^^^ second value",
            "remove one of the two",
        ),
        ("digits(0-4)", "unexpected-value", "       ^^^ a value without a name", "name the option: `classes=0-4`"),
        (
            "digits(classes=a-e)",
            "wrong-task-value",
            "               ^^^ expected labels such as `0-4` or `0+1+7`",
            "write `classes=0-4`",
        ),
        (
            "digits(classes=4-0)",
            "wrong-task-value",
            "               ^^^ expected a range that rises",
            "write `classes=0-4`",
        ),
        (
            "digits(layout=flt)",
            "wrong-task-value",
            "              ^^^ expected `flat` or `image`",
            "write `layout=flat`",
        ),
        ("digits(classes=0+11)", "unknown-class", "               ^^^^ not a label", "choose among 0 to 9"),
        ("functions(train=xor+rng)", "unknown-planar-function", "                    ^^^ not a function", "use `xor`"),
        (
            "functions(train=xor+Nxr)",
            "unknown-planar-function",
            "                    ^^^ not a function",
            "did you mean `nxor`?",
        ),
        (
            "functions(train=xor+)",
            "wrong-task-value",
            "                ^^^^ expected names joined by `+`",
            "give a name on both sides of each `+`",
        ),
        (
            "functions(train=)",
            "malformed-task",
            "               ^ a value is expected here",
            "give a value, or remove the comma",
        ),
        ("idx(size=10)", "malformed-task", "^^^ not given", "write `idx(PATH)`"),
        ("mnist(size=ten)", "data-not-given", "", ""),
        ("digits(", "malformed-task", "      ^ opened here, never closed", "write `digits()`"),
        (
            "digits(classes=0-4) now",
            "malformed-task",
            "                   ^^^^ nothing is expected here",
            "remove `now`",
        ),
        ("digits now", "malformed-task", "       ^^^ `(` or nothing is expected here", "remove `now`"),
        ('idx("a b)', "malformed-task", "    ^ opened here, never closed", "add the other quotation mark"),
        (
            "idx(size=10, a)",
            "malformed-task",
            "             ^ its place is before the options",
            "move it to the front, or name it",
        ),
        ("  ", "malformed-task", "^^ a name is expected", "write `digits`"),
        ("", "malformed-task", "^ a name is expected", "write `digits`"),
    ],
)
def test_mistakes_are_shown_at_their_place(text, id, line, help, monkeypatch):
    monkeypatch.delenv("RULEC_DATA", raising=False)
    with pytest.raises(RuleError) as caught:
        task_from(text)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.id == id
    if line:
        assert f"  | {line}\n" in str(caught.value)
        assert diagnostic.help == help


def test_every_family_has_its_own_name_and_distinct_options():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert len({*family.positional, *family.options}) == len(family.positional) + len(family.options)


def test_importing_tasks_leaves_scikit_learn_alone():
    import os
    import subprocess
    import sys

    code = "import sys, rulec.tasks.registry; print('sklearn' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert out.stdout.strip() == "False"
