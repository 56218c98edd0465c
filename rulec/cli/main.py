"""The command line: what there is to say to `rulec`, and what it answers. Each command lives in a file of its own.

Exit codes: 0 fine, 1 something is wrong with a rule, a file or a setting (diagnostics say what), 2 the command line makes no
sense, 3 rulec itself is wrong, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import rulec
from rulec.cli.arguments import byte_count, chosen_options, split_outside, whole_numbers
from rulec.cli.console import forgive_encodings, say, show_diagnostics
from rulec.meta.processes import first_to_fail
from rulec.source import RuleError

app = typer.Typer(
    help="Compile learning rules, look at them, and meta-learn their genomes.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: rulec check rules/*.rule",
)


class Stage(StrEnum):
    ast = "ast"
    typed = "typed"
    ir = "ir"
    ir_opt = "ir-opt"
    passes = "passes"
    fx = "fx"
    py = "py"


class Precision(StrEnum):
    full = "full"
    tf32 = "tf32"
    bf16 = "bf16"


class Backend(StrEnum):
    auto = "auto"
    kernel = "kernel"
    fx = "fx"
    inductor = "inductor"
    triton = "triton"


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class Loss(StrEnum):
    cross_entropy = "cross_entropy"
    mse = "mse"


Files = Annotated[list[str], typer.Argument(metavar="FILE...", show_default=False)]
File = Annotated[
    str, typer.Argument(metavar="FILE[:NAME]", help="A rule file, or the name of a shipped rule.", show_default=False)
]
Settings = Annotated[
    list[str],
    typer.Option("-o", "--option", metavar="NAME=VALUE", help="Choose an option of the rule.", show_default=False),
]
Net = Annotated[str, typer.Option(metavar="SPEC", help="The network.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where files go.")]
Population = Annotated[int | None, typer.Option(min=1, metavar="P", help="Genomes side by side.")]
Query = Annotated[
    int | None, typer.Option(min=1, metavar="Q", help="Samples to be judged on.  [default: as many as in a batch]")
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of data sets (or RULEC_DATA).")]


def _version(wanted: bool) -> None:
    if wanted:
        say(f"rulec {rulec.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: rulec check rules/backprop.rule")
def check(
    files: Files, json: Annotated[bool, typer.Option("--json", help="Print the diagnostics as JSON.")] = False
) -> None:
    """Say what is wrong with rule files."""
    from rulec.cli.check import check as run_check

    raise typer.Exit(run_check(files, json))


@app.command(epilog="Example: rulec fmt --check rules/*.rule")
def fmt(
    files: Files,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if a file would change.")] = False,
) -> None:
    """Rewrite rule files in the one canonical layout."""
    from rulec.cli.fmt import fmt as run_fmt

    raise typer.Exit(run_fmt(files, check))


@app.command(epilog="Example: rulec show rules/blur.rule -o states=4 --out pictures")
def show(
    file: File,
    option: Settings = [],  # noqa: B006
    net: Net = "784-128-10",
    out: Out = Path(),
    latex: Annotated[bool, typer.Option("--latex", help="Print the equations as LaTeX, and nothing else.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Print what a step costs before and after each pass, and nothing else.")
    ] = False,
) -> None:
    """Show equations, states, locality, gradient paths, cost, and a picture."""
    options = chosen_options(option)
    if cost:
        from rulec.cli.cost import show_cost

        raise typer.Exit(show_cost(file, net, options))
    from rulec.cli.show import show as run_show

    raise typer.Exit(run_show(file, net, options, out, latex))


@app.command("compile", epilog="Example: rulec compile rules/blur.rule --net 784-128-10 --emit py")
def compile_(
    file: File,
    net: Annotated[
        str | None, typer.Option(metavar="SPEC", help="The network; the stages up to passes need none.")
    ] = None,
    option: Settings = [],  # noqa: B006
    population: Population = None,
    emit: Annotated[Stage | None, typer.Option(help="Print a stage of the compiler.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write step.py, step.pt2 and manifest.json there.")
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="How inner loops run; auto chooses by the size of the network.")
    ] = Backend.auto,
    device: Annotated[Device, typer.Option()] = Device.cpu,
    loss: Annotated[Loss, typer.Option()] = Loss.cross_entropy,
    genome: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|GENOME",
            help="Named genome values of the file; or a genome file or run, to fold its numbers in.",
        ),
    ] = None,
) -> None:
    """Compile a rule for a network to one training step."""
    options = chosen_options(option)
    from rulec.cli.compile import compile_file

    settings = {"population": population, "backend": backend.value, "device": device.value, "loss": loss.value}
    raise typer.Exit(compile_file(file, net, options, genome, emit.value if emit else None, out, settings))


@app.command(
    epilog="Example: rulec train rules/blur.rule --task digits --net 64-32-10 --steps 300 --population 8 --out runs/blur"
)
def train(
    context: typer.Context,
    file: File,
    task: Annotated[str, typer.Option(help="What to learn, such as digits.")],
    net: Net,
    out: Out,
    steps: Annotated[int | None, typer.Option(min=0, metavar="N", help="Meta-steps.  [default: the outer's]")] = None,
    outer: Annotated[
        str, typer.Option(metavar="NAME", help="The outer step: of the file, shipped, or FILE:NAME.")
    ] = "adam",
    option: Settings = [],  # noqa: B006
    outer_option: Annotated[
        list[str],
        typer.Option(
            "-O", "--outer-option", metavar="NAME=VALUE", help="Choose an option of the outer step.", show_default=False
        ),
    ] = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    seed: Annotated[int, typer.Option(metavar="S")] = 0,
    population: Population = None,
    replicas: Annotated[int | None, typer.Option(min=1, metavar="R", help="Networks per genome.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, metavar="B", help="Samples per update.")] = None,
    query: Query = None,
    inner_steps: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Updates per inner loop.  [default: the outer's]")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the outer step.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of a member's gradient.")] = None,
    data: Data = None,
    backend: Annotated[
        Backend, typer.Option(help="How inner loops run; auto chooses by the size of the network.")
    ] = Backend.auto,
    precision: Annotated[Precision, typer.Option(help="Of inner products; bf16: about 1%.")] = Precision.full,
    device: Annotated[Device, typer.Option()] = Device.cpu,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Most that inner loops keep for their way back, such as 2G."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events, too.")] = False,
) -> None:
    """Meta-learn the genome of a rule on a task, also under torchrun."""
    options = chosen_options(option)
    from rulec.cli.outers import looked_through

    rule, step = looked_through(file, options, outer, chosen_options(outer_option, "-O", "lambda=2"))
    from rulec.cli.train import train as run_train

    compiling = {
        "population": population,
        "replicas": replicas,
        "backend": backend.value,
        "precision": precision.value,
        "device": device.value,
    }
    training = {
        "steps": steps,
        "seed": seed,
        "batch": batch,
        "query": query,
        "inner_steps": inner_steps,
        "lr": lr,
        "clip": clip,
        "memory": None if memory is None else byte_count(memory, "--memory"),
        "resume": resume,
        "tensorboard": tensorboard,
    }
    raise typer.Exit(run_train(rule, task, net, options, out, step, data, compiling, training, context.obj))


@app.command("eval", epilog="Example: rulec eval runs/blur --task digits --against sgd,adam --out runs/blur/eval")
def eval_(
    genome: Annotated[
        Path,
        typer.Argument(metavar="RUN_DIR|GENOME", help="The folder of a run, or a genome file.", show_default=False),
    ],
    task: Annotated[str, typer.Option(help="What to learn, such as digits.")],
    out: Out,
    net: Annotated[
        str | None, typer.Option(metavar="SPEC", help="The network.  [default: the one it was learned on]")
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="FILE", help="The rule.  [default: the one beside the genome]")
    ] = None,
    against: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="Optimisers to compare with: sgd, momentum, adam.", show_default=False),
    ] = "",
    transfer: Annotated[
        str, typer.Option(metavar="TASK@NET,...", help="Other places to try the genome at.", show_default=False)
    ] = "",
    updates: Annotated[
        str, typer.Option(metavar="T,...", help="Numbers of updates to judge it after.")
    ] = "0,1,2,3,5,10,20,50",
    episodes: Annotated[int, typer.Option(min=1)] = 16,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="B", help="Samples per update.  [default: the task's, or 128]")
    ] = None,
    query: Query = None,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="Predict each query beside the support alone: not transductive.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="S")] = 0,
    data: Data = None,
    device: Annotated[Device, typer.Option()] = Device.cpu,
) -> None:
    """Measure how a learned genome learns, on held-out data."""
    setting = {
        "updates": whole_numbers(updates, "--updates"),
        "episodes": episodes,
        "batch": batch,
        "query": query,
        "seed": seed,
    }
    from rulec.cli.evaluate import evaluate_file

    raise typer.Exit(
        evaluate_file(
            genome,
            task,
            net,
            rule,
            split_outside(against),
            split_outside(transfer),
            out,
            data,
            device.value,
            setting,
            not one_by_one,
        )
    )


@app.command(epilog="Example: rulec prove blur_backprop --equals backprop --map synapse_gain=-lr")
def prove(
    file: File,
    equals: Annotated[
        str | None, typer.Option(metavar="FILE[:NAME]", help="Prove that both rules do the same, in two steps.")
    ] = None,
    matches: Annotated[
        str, typer.Option("--map", metavar="A=B,...", help="What of the first rule is what of the second.")
    ] = "",
    law: Annotated[
        list[str], typer.Option(metavar="LAW", help="Prove this law and not those of the file.", show_default=False)
    ] = [],  # noqa: B006
    conservative: Annotated[
        bool, typer.Option("--conservative", help="Prove that the update is the gradient of something.")
    ] = False,
    genome: Annotated[str | None, typer.Option(metavar="NAME", help="Named genome values of the file.")] = None,
    declared: Annotated[
        bool, typer.Option("--declared", help="Take the genome's numbers from the rule; by default they are arbitrary.")
    ] = False,
    at: Annotated[
        list[str], typer.Option(metavar="NAME=NUMBER", help="Set a genome entry to a number.", show_default=False)
    ] = [],  # noqa: B006
    option: Annotated[
        list[str],
        typer.Option(
            "-o",
            "--option",
            metavar="NAME=VALUE",
            help="Choose an option of the rule; equals.NAME=VALUE for the one compared with.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    activation: Annotated[
        str | None, typer.Option(metavar="NAME", help="The activation of hidden layers.  [default: any]")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Time for one proof.")] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the random numbers in trials.")] = 0,
) -> None:
    """Prove laws of a rule, or what else is asked, or refute them by numbers."""
    options = chosen_options(option)
    from rulec.cli.prove import Question
    from rulec.cli.prove import prove as run_prove

    chosen = chosen_options(at, flag="--at", example="lr=0.1")
    question = Question(
        file, equals, law, conservative, options, genome, declared, chosen, matches, activation, seconds, seed
    )
    raise typer.Exit(run_prove(question))


@app.command(epilog="Example: rulec explain dead-entry, or rulec explain runs/digits --out runs/digits/formula")
def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="ID|GENOME",
            help="The id of a finding, as in error[ID]; or a genome file, or the folder of a run.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="FILE", help="The genome's rule.  [default: the one beside the genome]")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What it is judged on.  [default: what it was learned on]")] = None,
    net: Annotated[
        str | None, typer.Option(metavar="SPEC", help="The network.  [default: the one it was learned on]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where files go.  [default: beside the genome]")
    ] = None,
    accuracy_loss: Annotated[float, typer.Option(min=0, help="How much accuracy simpler numbers may cost.")] = 0.01,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="How much, in parts, weight updates may change besides.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1)] = 8,
    seed: Annotated[int, typer.Option(metavar="S")] = 0,
    data: Data = None,
    device: Annotated[Device, typer.Option()] = Device.cpu,
) -> None:
    """Say what a finding means, or what rule a learned genome amounts to."""
    if what is not None and (what.endswith(".safetensors") or Path(what).exists()):
        from rulec.cli.formula import explain_genome

        raise typer.Exit(
            explain_genome(
                Path(what),
                rule,
                task=task,
                net=net,
                data=data,
                out=out,
                accuracy_loss=accuracy_loss,
                tolerance=tolerance,
                episodes=episodes,
                seed=seed,
                device=device.value,
            )
        )
    from rulec.cli.explain import explain as run_explain

    raise typer.Exit(run_explain(what))


# --- Running ---------------------------------------------------------------------------------


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Prints; never raises for anything but a request to exit."""
    forgive_encodings()
    try:
        typer.main.get_command(app).main(list(arguments), prog_name="rulec", obj=list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except RuleError as error:
        if first_to_fail():
            show_diagnostics(error.diagnostics, always=True)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _failed(error, arguments)
    return 0


def _failed(error: Exception, arguments: Sequence[str]) -> int:
    from rulec.cli.crash import dump
    from rulec.cli.failures import diagnosed

    known = diagnosed(error)
    speaks = first_to_fail()
    if known is not None:
        if speaks:
            show_diagnostics([known], always=True)
        return 1
    from rulec.cli.console import complain

    if speaks:
        complain(dump(error, arguments), always=True)
    return 3


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
