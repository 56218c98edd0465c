"""Every diagnostic about networks: one function per id, all the words in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rulec.network.graph import Shape
from rulec.source import Diagnostic, Span


def render_shape(shape: Iterable[int]) -> str:
    return "x".join(str(size) for size in shape)


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _suggest(name: str, candidates: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else otherwise


# --- The text of a spec ----------------------------------------------------------------------


def empty_spec(span: Span) -> Diagnostic:
    return Diagnostic(
        "empty-spec",
        "the network spec is empty",
        span,
        "no layers",
        help="give the input's size and the layers: `784-128-10`",
    )


def empty_layer(span: Span) -> Diagnostic:
    return Diagnostic(
        "empty-layer",
        "a layer is missing between two dashes",
        span,
        "nothing here",
        help="remove the dash, or write a layer: `784-128-10`",
    )


def malformed_layer(span: Span) -> Diagnostic:
    return Diagnostic(
        "malformed-layer",
        f"`{' '.join(span.text.split())}` is not a layer",
        span,
        "not a size, a shape or `name(settings)`",
        help="write a size as in `128`, or a name with settings as in `conv(64, stride=2)`",
    )


def malformed_argument(span: Span) -> Diagnostic:
    return Diagnostic(
        "malformed-setting",
        f"`{span.text}` is not a setting",
        span,
        "not a number, a word or `name=value`",
        help="write settings as in `conv(64, stride=2)`",
    )


def unknown_layer_kind(span: Span, name: str, kinds: Iterable[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-layer-kind",
        f"there is no layer `{name}`",
        span,
        "not known",
        notes=(f"a dense layer is its size; others are {_listing(kinds)}",),
        help=_suggest(name, kinds, "use one of these"),
    )


def unknown_activation(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    return Diagnostic(
        "unknown-activation",
        f"there is no activation `{name}`",
        span,
        "not an activation",
        notes=(f"activations are {_listing(known)}",),
        help=_suggest(name, known, "use one of these"),
    )


def missing_activation(span: Span) -> Diagnostic:
    return Diagnostic(
        "missing-activation",
        "the activation after the colon is missing",
        span,
        "nothing here",
        help="name the hidden layers' activation, as in `784-128-10:tanh`, or remove the colon",
    )


def flag_with_value(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "wrong-setting", f"`{name}` takes no value", span, "the word alone switches it on", help=f"write `{name}`"
    )


def unknown_setting(span: Span, kind: str, name: str, known: Iterable[str]) -> Diagnostic:
    known = list(known)
    note = f"its settings are {_listing(known)}" if known else f"`{kind}` takes no settings"
    return Diagnostic(
        "unknown-setting",
        f"`{kind}` has no setting `{name}`",
        span,
        "not a setting",
        notes=(note,),
        help=_suggest(name, known, "use one of these" if known else "remove it"),
    )


def unnamed_number(span: Span, kind: str, number: str, known: list[str]) -> Diagnostic:
    help = f"name it, as in `{known[1]}={number}`" if len(known) > 2 else "remove it"
    return Diagnostic(
        "unnamed-number",
        f"it is not said what `{number}` is for in `{kind}`",
        span,
        "a number without a name",
        notes=("only the first number needs no name",),
        help=help,
    )


def repeated_setting(span: Span, name: str) -> Diagnostic:
    return Diagnostic("repeated-setting", f"`{name}` is given twice", span, "given again", help="keep one of the two")


def missing_setting(span: Span, kind: str, name: str) -> Diagnostic:
    return Diagnostic(
        "missing-setting",
        f"`{kind}` needs its number of {name}",
        span,
        f"no {name}",
        help=f"write `{kind}(64)`" if name == "channels" else f"write `{kind}(4)`",
    )


def wrong_setting(span: Span, name: str, form: str) -> Diagnostic:
    expected = "one whole number" if form == "count" else "one whole number, or two as in `3x5` (height x width)"
    return Diagnostic(
        "wrong-setting", f"`{name}` cannot be `{span.text}`", span, f"expected {expected}", help=f"write `{name}=2`"
    )


def zero_size(span: Span, text: str) -> Diagnostic:
    return Diagnostic("zero-size", "a size must be at least 1", span, f"this is {text}", help="give a positive number")


def huge_size(span: Span) -> Diagnostic:
    return Diagnostic(
        "huge-size", "no network has a size of ten digits", span, "too large", help="give a smaller number"
    )


# --- The input and the outputs ---------------------------------------------------------------


def unknown_input(span: Span) -> Diagnostic:
    return Diagnostic(
        "unknown-input",
        "the size of the input is not known",
        span,
        "no input before this, and no task",
        help="begin with the input's size or shape, as in `784-...` or `1x28x28-...`",
    )


def unknown_outputs(span: Span) -> Diagnostic:
    return Diagnostic(
        "unknown-outputs",
        "the number of outputs is not known",
        span,
        "`?` takes it from the task",
        help="write the number, as in `-10`",
    )


def missing_output(span: Span) -> Diagnostic:
    return Diagnostic(
        "missing-output",
        "the network has no layer that gives the outputs",
        span,
        "the network ends here",
        notes=("the last layer is dense, or a convolution followed by `globalpool`",),
        help="append the number of outputs, as in `-10`",
    )


def misplaced_task_size(span: Span) -> Diagnostic:
    return Diagnostic(
        "misplaced-task-size",
        "`?` stands for the input or the outputs alone",
        span,
        "a hidden layer",
        help="write the layer's size, as in `128`",
    )


def shape_as_layer(span: Span) -> Diagnostic:
    return Diagnostic(
        "shape-as-layer",
        f"the shape `{span.text}` can only be the input's",
        span,
        "a layer's place",
        help="a dense layer is one number, as in `128`; a convolution is `conv(64)`",
    )


def input_with_settings(span: Span, name: str) -> Diagnostic:
    return Diagnostic(
        "input-with-settings",
        "the input takes no settings",
        span,
        "the input layer",
        notes=("the first size of a spec is the input",),
        help=f"write `{name}` alone, or put the input's size before it",
    )


def input_of_wrong_rank(span: Span | None, shape: Shape) -> Diagnostic:
    help = f"write `{render_shape((1, *shape))}`" if len(shape) == 2 else "give features, or channels, height and width"
    return Diagnostic(
        "input-rank",
        f"an input has 1 or 3 sizes, not {len(shape)}",
        span,
        "neither features nor channels x height x width" if span else "",
        help=help,
    )


def input_mismatch(span: Span, shape: Shape, task: Shape) -> Diagnostic:
    return Diagnostic(
        "input-mismatch",
        "the network's input does not fit the task",
        span,
        f"{render_shape(shape)} values",
        notes=(f"the task's inputs have shape {render_shape(task)}",),
        help=f"write `{render_shape(task)}`, or `?` for the task's shape",
    )


def output_mismatch(span: Span, size: int, task: int) -> Diagnostic:
    return Diagnostic(
        "output-mismatch",
        "the network's outputs do not fit the task",
        span,
        f"{size} outputs",
        notes=(f"the task has {task} outputs",),
        help=f"append the output layer `-{task}`, or write `?` for the task's number",
    )


# --- Shapes along a spec ---------------------------------------------------------------------


def needs_places(span: Span, shape: Shape) -> Diagnostic:
    return Diagnostic(
        "needs-places",
        f"`{span.text}` needs height and width",
        span,
        "sees features without places",
        notes=(f"the shape before it is {render_shape(shape)}",),
        help="put it before the first dense layer or `flatten`, or give the input as in `1x28x28`",
    )


def kernel_too_large(span: Span, kernel: Shape, padding: Shape, shape: Shape) -> Diagnostic:
    padded = f", padded by {render_shape(padding)}" if any(padding) else ""
    return Diagnostic(
        "kernel-too-large",
        "the kernel is larger than what it slides over",
        span,
        f"kernel {render_shape(kernel)}",
        notes=(f"the shape before it is {render_shape(shape)} (channels x height x width){padded}",),
        help="take a smaller kernel, or remove a pooling or a stride before it",
    )


def pool_padding(span: Span, padding: Shape, kernel: Shape) -> Diagnostic:
    return Diagnostic(
        "pool-padding",
        "a pooling may pad by half its kernel at most",
        span,
        f"padding {render_shape(padding)}",
        notes=(f"the kernel is {render_shape(kernel)}",),
        help=f"write `padding={render_shape(size // 2 for size in kernel)}`",
    )


def groups_do_not_divide(span: Span, groups: int, channels: int, what: str) -> Diagnostic:
    divisors = [number for number in range(1, channels + 1) if channels % number == 0]
    nearest = min(divisors, key=lambda number: abs(number - groups))
    return Diagnostic(
        "groups-do-not-divide",
        f"{groups} groups do not divide {channels} channels",
        span,
        f"{channels} {what} channels",
        notes=(f"{channels} can be cut into {', '.join(map(str, divisors))} groups",) if len(divisors) <= 12 else (),
        help=f"take a number that divides them, such as {nearest}",
    )


def stray_norm(span: Span, name: str, before: str | None) -> Diagnostic:
    where = f"it comes after `{before}`" if before else "it comes after the input"
    return Diagnostic(
        "stray-norm",
        "a normalisation belongs to a dense or convolution layer",
        span,
        "no such layer right before it",
        notes=(where, "one layer has one normalisation"),
        help=f"put it right after a layer, as in `conv(64)-{name}-pool`",
    )


def nothing_to_normalise(span: Span, shape: Shape) -> Diagnostic:
    return Diagnostic(
        "nothing-to-normalise",
        "`instancenorm` needs more than one place in each channel",
        span,
        f"shape {render_shape(shape)}",
        help="use `layernorm` or `batchnorm` here",
    )


def softmax_over_places(span: Span) -> Diagnostic:
    return Diagnostic(
        "softmax-over-places",
        "`softmax` is over the features of a dense layer",
        span,
        "a layer with height and width",
        help="put the softmax on a dense layer, as in `10(softmax)`",
    )


# --- Traced modules --------------------------------------------------------------------------


def untraceable_module(module: str, reason: str, place: str) -> Diagnostic:
    notes = (reason, place) if place else (reason,)
    return Diagnostic(
        "untraceable-module",
        f"the forward pass of {module} cannot be traced",
        notes=notes,
        help="keep decisions on values out of `forward`: what it does may depend on settings alone",
    )


def several_inputs(module: str, names: Iterable[str]) -> Diagnostic:
    return Diagnostic(
        "several-inputs",
        f"{module} takes more than one input",
        notes=(f"they are {_listing(names)}",),
        help="wrap it in a module whose `forward` takes the data alone",
    )


def not_one_output(module: str, found: str) -> Diagnostic:
    return Diagnostic(
        "several-outputs",
        f"{module} does not return one tensor",
        notes=(f"it returns {found}",),
        help="wrap it in a module whose `forward` returns the prediction alone",
    )


def no_weights(module: str) -> Diagnostic:
    return Diagnostic(
        "no-weights",
        f"{module} has no weights on the way from its input to its output",
        notes=("a rule acts on `Linear` and `Conv2d` modules",),
        help="trace the module that holds the layers, or call them in its `forward`",
    )


def unsupported_call(what: str, notes: tuple[str, ...], supported: Iterable[str], help: str) -> Diagnostic:
    return Diagnostic(
        "unsupported-call",
        f"{what} cannot be mapped to layers and connections",
        notes=(*notes, f"supported are {_listing(supported)}"),
        help=help,
    )


def unsupported_setting(what: str, reason: str, notes: tuple[str, ...], help: str) -> Diagnostic:
    return Diagnostic("unsupported-setting", f"{what} cannot be mapped: {reason}", notes=notes, help=help)


def failed_call(what: str, reason: str, shapes: Iterable[Shape], notes: tuple[str, ...]) -> Diagnostic:
    seen = ", ".join(render_shape(shape) for shape in shapes)
    return Diagnostic(
        "failed-call",
        f"{what} cannot be applied to what reaches it",
        notes=(f"it sees shape {seen}, the batch axis left out", f"torch says: {reason}", *notes),
        help="give the module's own `input_shape`, or mend the sizes along the way",
    )


def shared_weights(what: str, first: str, notes: tuple[str, ...]) -> Diagnostic:
    earlier = "the module is called twice" if what == first else f"they were first used by {first}"
    return Diagnostic(
        "shared-weights",
        f"the weights of {what} are used twice",
        notes=(earlier, "every connection of a rule has synapses of its own", *notes),
        help="give each use a module of its own",
    )


def stale_read(what: str, mutated: str, notes: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(
        "read-after-in-place",
        f"{what} reads a value that was overwritten in place",
        notes=(f"it was overwritten by {mutated}", *notes),
        help="use the result of the overwriting call, or its form with `inplace=False`",
    )


def wrong_spec_type(found: str) -> Diagnostic:
    return Diagnostic(
        "not-a-network",
        f"a network cannot be made of a value of type `{found}`",
        help="give a spec such as `784-128-10`, or a `torch.nn.Module`",
    )


def missing_input_shape(module: str) -> Diagnostic:
    return Diagnostic(
        "missing-input-shape",
        f"the shape of the input of {module} is not known",
        help="give it without the batch axis: `input_shape=(1, 28, 28)`",
    )


def foreign_module(path: str, module: str, shape: Shape) -> Diagnostic:
    return Diagnostic(
        "foreign-module",
        f"{module} has no tensor `{path}` of shape {render_shape(shape)}",
        notes=("the network was traced from another module, or comes from a spec",),
        help="give the module that the network was traced from",
    )
