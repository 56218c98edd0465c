"""Every diagnostic about tasks and data: one function per id, all the words in one place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from rulec.source import RuleError, Span, fail


def _listing(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _suggest(name: str, candidates: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else otherwise


# --- The text of a task ----------------------------------------------------------------------


def malformed_task(span: Span, message: str, label: str, help: str) -> RuleError:
    return fail(
        "malformed-task",
        message,
        span=span,
        label=label,
        notes=("a task is written `name` or `name(value, option=value)`",),
        help=help,
    )


def unknown_task(span: Span, name: str, known: Sequence[str]) -> RuleError:
    return fail(
        "unknown-task",
        f"there is no task `{name}`",
        span=span,
        label="not a task",
        notes=(f"tasks are {_listing(known)}",),
        help=_suggest(name, known, f"use `{known[0]}`"),
    )


def unknown_task_option(span: Span, name: str, task: str, known: Sequence[str]) -> RuleError:
    return fail(
        "unknown-task-option",
        f"task `{task}` has no option `{name}`",
        span=span,
        label="not an option",
        notes=(f"its options are {_listing(known)}",),
        help=_suggest(name, known, "remove it"),
    )


def repeated_task_option(span: Span, name: str, first: str) -> RuleError:
    return fail(
        "repeated-task-option",
        f"the option `{name}` is given twice",
        span=span,
        label="second value",
        notes=(f"it is already `{first}`",),
        help="remove one of the two",
    )


def unexpected_value(span: Span, task: str, known: Sequence[str]) -> RuleError:
    return fail(
        "unexpected-value",
        f"task `{task}` takes no value here",
        span=span,
        label="a value without a name",
        notes=(f"its options are {_listing(known)}",),
        help=f"name the option: `{known[0]}={span.text}`" if known else "remove it",
    )


def wrong_task_value(name: str, value: str, expected: str, span: Span | None, help: str) -> RuleError:
    return fail(
        "wrong-task-value",
        f"`{name}` cannot be `{value}`",
        span=span,
        label=f"expected {expected}",
        notes=() if span else (f"expected {expected}",),
        help=help,
    )


# --- Functions of the plane ------------------------------------------------------------------


def unknown_planar_function(name: str, known: Sequence[str], span: Span | None) -> RuleError:
    return fail(
        "unknown-planar-function",
        f"there is no function `{name}`",
        span=span,
        label="not a function",
        notes=(f"functions are {_listing(known)}",),
        help=_suggest(name, known, f"use `{known[0]}`"),
    )


def overlapping_parts(names: Sequence[str]) -> RuleError:
    return fail(
        "overlapping-parts",
        f"{_listing(names)} would be both trained on and held out",
        notes=("what is held out must be new to the rule",),
        help=f"remove `{names[0]}` from `train` or from `held_out`",
    )


def empty_part(part: str) -> RuleError:
    return fail("empty-part", f"`{part}` names no function", help=f"name one: `{part}=xor`")


# --- Episodes --------------------------------------------------------------------------------


def wrong_count(name: str, value: object, least: int) -> RuleError:
    return fail(
        "wrong-count",
        f"an episode cannot have {name} = {value}",
        notes=(f"it is a whole number, {least} or more",),
        help=f"give `{name}={max(least, 1)}` or more",
    )


def part_too_small(task: str, part: str, size: int, query: int, batch: int) -> RuleError:
    room = size - batch
    half = max(size // 2, 1)
    return fail(
        "part-too-small",
        f"the {part} part of `{task}` is too small for this episode",
        notes=(
            f"it has {size} samples; {query} for the query and {batch} for a support batch are wanted, "
            "and no sample may be in both",
        ),
        help=f"ask for `query={room}` or fewer" if room > 0 else f"ask for `batch={half}` or fewer",
    )


# --- Classes of images -----------------------------------------------------------------------


def unknown_class(wanted: int, known: Sequence[int], span: Span | None) -> RuleError:
    return fail(
        "unknown-class",
        f"there is no class {wanted} in the labels",
        span=span,
        label="not a label",
        notes=(f"the labels are {', '.join(map(str, known))}",),
        help=f"choose among {known[0]} to {known[-1]}",
    )


def too_few_classes(span: Span | None, count: int) -> RuleError:
    return fail(
        "too-few-classes",
        "a classification needs two classes or more",
        span=span,
        label=f"{count} class",
        notes=() if span else (f"{count} class is left",),
        help="name another class, as in `classes=0-4`",
    )


# --- Files of images -------------------------------------------------------------------------


def data_not_given(task: str, files: str | None = None) -> RuleError:
    return fail(
        "data-not-given",
        f"the task `{task}` reads images from a folder, and no folder of data was given",
        notes=("neither a data folder nor the environment variable RULEC_DATA is set",),
        help=f"put {files or wanted_files()} into `FOLDER/{task}` and set `RULEC_DATA=FOLDER`",
    )


def data_folder_missing(folder: Path, span: Span | None, label: str = "no such folder") -> RuleError:
    return fail(
        "data-folder-missing",
        f"there is no folder `{folder}`",
        span=span,
        label=label,
        help=f"make it and put {wanted_files()} there",
    )


def data_files_missing(folder: Path, missing: str, found: Sequence[str], span: Span | None) -> RuleError:
    shown = [*found[:6], "..."] if len(found) > 6 else list(found)
    return fail(
        "data-files-missing",
        f"there is no {missing} in `{folder}`",
        span=span,
        label="looked here",
        notes=(f"it holds {_listing(shown)}",),
        help=f"put {wanted_files()} there",
    )


def data_files_ambiguous(folder: Path, found: Sequence[str], span: Span | None) -> RuleError:
    return fail(
        "data-files-ambiguous",
        f"`{folder}` holds several sets of images, and which to use is not clear",
        span=span,
        label="looked here",
        notes=(f"found {_listing(found)}",),
        help="keep one set in the folder, or one named `train-...` and one named `t10k-...` or `test-...`",
    )


def wanted_files() -> str:
    return "`t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz`"


def idx_unreadable(path: Path, reason: str) -> RuleError:
    return fail("idx-unreadable", f"`{path}` cannot be read", notes=(reason,), help="check its permissions")


def idx_corrupt(path: Path, reason: str) -> RuleError:
    return fail("idx-corrupt", f"`{path}` is not a whole gzip file", notes=(reason,), help="fetch the file once more")


def idx_wrong_magic(path: Path, found: bytes, expected: bytes, kind: str) -> RuleError:
    return fail(
        "idx-wrong-magic",
        f"`{path}` is not an IDX file of {kind}",
        notes=(f"it begins with {found.hex(' ') or 'nothing'}; {kind} begin with {expected.hex(' ')}",),
        help=f"put the IDX file of {kind} (unsigned bytes) there",
    )


def idx_truncated(path: Path, expected: int, found: int) -> RuleError:
    return fail(
        "idx-truncated",
        f"`{path}` ends too early",
        notes=(f"its header promises {expected} bytes of data; {found} are there",),
        help="fetch the file once more",
    )


def idx_trailing(path: Path, expected: int) -> RuleError:
    return fail(
        "idx-trailing",
        f"`{path}` goes on after its data",
        notes=(f"its header promises {expected} bytes of data; there are more",),
        help="fetch the file once more",
    )


def idx_empty(path: Path, kind: str) -> RuleError:
    return fail("idx-empty", f"`{path}` holds no {kind}", help=f"put a file with {kind} there")


def idx_mismatched(images: Path, image_count: int, labels: Path, label_count: int) -> RuleError:
    return fail(
        "idx-mismatched",
        f"{image_count} images have {label_count} labels",
        notes=(f"images: `{images}`", f"labels: `{labels}`"),
        help="take both files from the same set",
    )


def idx_sizes_differ(first: tuple[int, int], second: tuple[int, int]) -> RuleError:
    one, two = ("x".join(map(str, size)) for size in (first, second))
    return fail(
        "idx-sizes-differ",
        f"the training images are {one} and the test images {two}",
        notes=("both parts of a task have images of one size",),
        help="take both files from the same set",
    )


def fold_of_published_split(fold: int, folder: Path, span: Span | None) -> RuleError:
    return fail(
        "fold-of-published-split",
        f"fold {fold} asks for another split, but `{folder}` holds a training and a test part",
        span=span,
        label="these parts stay as they were published",
        help="leave `fold` out, or put the one pair of files to split into a folder of its own",
    )


def crop_too_large(crop: int, size: tuple[int, int], span: Span | None) -> RuleError:
    return fail(
        "crop-too-large",
        f"a crop of {crop} does not fit into images of {size[0]}x{size[1]}",
        span=span,
        label="larger than the images",
        help=f"give `crop={min(size)}` or less",
    )


# --- Few-shot problems -----------------------------------------------------------------------


def samples_fixed(task: str, samples: int, given: int) -> RuleError:
    return fail(
        "samples-fixed",
        f"an update on task `{task}` has {samples} samples, not {given}",
        help="leave the batch size out, or change the task: `shots`, and `ways` where it has classes",
    )


def too_few_ways(task: str, part: str, classes: int, ways: int) -> RuleError:
    return fail(
        "too-few-ways",
        f"the {part} part of task `{task}` has {classes} classes, and an episode wants {ways}",
        help=f"write `ways={classes}`, or give it more classes",
    )


def too_few_images(task: str, part: str, fewest: int, shots: int, queries: int) -> RuleError:
    return fail(
        "too-few-images",
        f"a class of the {part} part of task `{task}` has {fewest} images, and an episode wants {shots} + {queries}",
        notes=("support and query never share an image",),
        help="give `shots` and `queries` that add up to no more",
    )


def uneven_query(task: str, query: int, ways: int, queries: int) -> RuleError:
    return fail(
        "uneven-query",
        f"{query} query samples cannot be shared among the {ways} classes of task `{task}`",
        help=f"leave the query size out ({ways} x {queries}), or give a multiple of {ways} for which there are images",
    )


def unknown_alphabet(name: str, known: Sequence[str], span: Span | None) -> RuleError:
    return fail(
        "unknown-alphabet",
        f"there is no alphabet `{name}`",
        span=span,
        label="not in the archives",
        notes=(f"they have {_listing(known)}",),
        help=_suggest(name, known, f"write `held_out={known[0]}`"),
    )


def unknown_held_out(name: str, known: Sequence[str], span: Span | None) -> RuleError:
    return fail(
        "unknown-held-out",
        f"there is no class `{name}` to hold out",
        span=span,
        label="not among the images",
        notes=(f"there are {_listing(known)}",),
        help=_suggest(name, known, f"write `held_out={known[0]}`"),
    )


def omniglot_missing(folder: Path) -> RuleError:
    return fail(
        "omniglot-missing",
        f"{folder} holds no archive of Omniglot",
        notes=(
            "wanted: images_background.zip, or the parts images_background_small1.zip and images_background_small2.zip; "
            "images_evaluation.zip if you have it",
        ),
        help=f"put the archives of github.com/brendenlake/omniglot into {folder}",
    )


def archive_broken(path: Path, reason: str) -> RuleError:
    return fail("archive-broken", f"{path} cannot be read: {reason}", help="fetch it again")


def image_broken(reason: str) -> RuleError:
    return fail("image-broken", f"an image cannot be read: {reason}", help="remove the file, or fetch it again")


def no_image_classes(folder: Path, span: Span | None) -> RuleError:
    return fail(
        "no-image-classes",
        f"{folder} holds no two classes of images",
        span=span,
        label="looked here",
        notes=("a class is a folder of images: `path/class/image.png`",),
        help="put the images of each class into a folder of its own",
    )
