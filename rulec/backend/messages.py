"""Diagnostics of compiling a rule for a network."""

from __future__ import annotations

from collections.abc import Sequence

from rulec.source import Diagnostic, Span


def cannot_map(span: Span | None, where: str, why: str) -> Diagnostic:
    return Diagnostic(
        "cannot-map",
        f"this expression cannot be computed on {where}",
        span,
        why,
        notes=(
            "on convolutions a rule acts through the three bilinear maps: `sum[i](w * x)`, `sum[j](w * d)`, `sum[n](x * d)`",
        ),
        help="write it with these maps, or use dense layers",
    )


def ambiguous_layer_value(span: Span | None, name: str, layer: str, count: int) -> Diagnostic:
    return Diagnostic(
        "ambiguous-per-layer",
        f"`{name}` has one value per connection, and {count} of them meet at layer `{layer}`",
        span,
        "which connection?",
        help="move it inside the sum over the connection's neurons",
    )


def several_connections(span: Span | None, operator: str, layer: str) -> Diagnostic:
    return Diagnostic(
        "several-connections",
        f"`{operator}` is not defined over several connections, as they meet at layer `{layer}`",
        span,
        "only `sum` adds up over connections",
        help="use `sum`, or a network whose layers have one incoming connection each",
    )


def slope_of_norm(span: Span | None, layer: str, what: str) -> Diagnostic:
    return Diagnostic(
        "no-slope",
        f"the derivative of layer `{layer}` is not one number per neuron",
        span,
        f"the layer has {what}",
        notes=("a product `act'(z) * e` is understood as the transposed Jacobian; the bare derivative is not",),
        help="multiply it with what is sent back, in one expression, or use a network without normalisation there",
    )


def prediction_reads_target(span: Span | None, rule: str) -> Diagnostic:
    return Diagnostic(
        "target-leak",
        f"the prediction of rule `{rule}` depends on the target",
        span,
        "would not be known when predicting",
        help="set `prediction` before the target enters",
    )


def no_compiler(name: str) -> Diagnostic:
    return Diagnostic(
        "no-compiler",
        f"the backend `kernel` needs the C++ compiler `{name}`, which is not there",
        help='install it (Debian: `apt install g++`), name another in the variable RULEC_CXX, or use `backend="fx"`',
    )


def compiler_failed(name: str, said: str) -> Diagnostic:
    return Diagnostic(
        "compiler-failed",
        f"{name} could not compile a generated kernel",
        notes=(said,),
        help='use `backend="fx"`, and please report the rule and the network',
    )


def no_triton() -> Diagnostic:
    return Diagnostic(
        "no-triton",
        "the backend `triton` needs Triton, which is not there",
        help="pip install 'rulec[triton]' (builds of PyTorch for CUDA bring it along), or use `backend=\"auto\"`",
    )


def triton_failed(said: str) -> Diagnostic:
    return Diagnostic(
        "triton-failed",
        "Triton could not compile a generated kernel for this GPU",
        notes=(said,),
        help='use `backend="auto"`, which does without; on a small network, please report the rule and the network',
    )


def no_kernel(rule: str, operation: str) -> Diagnostic:
    return Diagnostic(
        "no-kernel",
        f"no kernel is generated for rule `{rule}` on this network",
        notes=(f"it needs `{operation}`",),
        help='use `backend="fx"` or `backend="inductor"`',
    )


def not_an_image(span: Span | None, shape: Sequence[int]) -> Diagnostic:
    return Diagnostic(
        "not-an-image",
        "only images can be turned",
        span,
        f"an input has the shape {' x '.join(map(str, shape))}",
        help="use a network whose input has channels, rows and columns, and a task with `layout=image`",
    )
