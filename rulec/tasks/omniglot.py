"""The families `omniglot` and `images`: few-shot episodes from the Omniglot archives, a folder with a folder for each class, or IDX files.

Characters are split by alphabet: those of whole alphabets are held out. Images are resized by area, and dark strokes become ones.
Lake et al. 2015, "Human-level concept learning through probabilistic program induction".
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rulec.source import Span
from rulec.tasks import messages
from rulec.tasks.family import Arguments, Family
from rulec.tasks.fewshot import LABELS, FewShot, as_tensors, with_rotations
from rulec.tasks.idx import find_pairs, loaded
from rulec.tasks.pixels import Pixels, resize_area

HELD_OUT = ("Balinese", "Early_Aramaic", "Tagalog")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm")
SIZE, SHARE = 28, 5  # one class in five is held out where there are no alphabets

Key = tuple[str, str]  # group and class
Images = dict[Key, list[Callable[[], bytes]]]  # how to read each image


def _make_omniglot(arguments: Arguments) -> FewShot:
    if arguments.data is None:
        raise messages.data_not_given("omniglot", "`images_background_small1.zip` and `images_background_small2.zip`")
    folder = arguments.data / "omniglot"
    images = _from_archives(folder)
    known = sorted({alphabet for alphabet, _ in images})
    wanted = arguments.names("held_out")
    for value in wanted or ():
        if value.text not in known:
            raise messages.unknown_alphabet(value.text, known, value.span)
    held = tuple(value.text for value in wanted) if wanted else tuple(a for a in HELD_OUT if a in known)
    if not held or len(held) == len(known):
        raise messages.empty_part("held_out" if not held else "train")
    rotations = arguments.choice("rotations", ("yes", "no")) == "yes"
    pixels = _read(images, arguments, dark=True)
    return _few_shot(arguments, pixels, [key for key in images if key[0] in held], rotations, folder.name)


def _make_images(arguments: Arguments) -> FewShot:
    written = arguments.value("path")
    folder = Path(arguments.text("path") or "").expanduser()
    span = written.span if written else None
    dark = arguments.choice("strokes", ("light", "dark")) == "dark"
    if folder.is_dir() and any("idx3" in path.name for path in folder.iterdir()):
        pixels = _from_idx(folder, arguments.count("size") or SIZE, dark)
    else:
        pixels = _read(_from_folder(folder, span), arguments, dark)
    rotations = arguments.choice("rotations", ("no", "yes")) == "yes"
    return _few_shot(arguments, pixels, _held_out(arguments, list(pixels)), rotations, folder.name)


def _held_out(arguments: Arguments, keys: list[Key]) -> list[Key]:
    """Return the classes that are named, or one in five."""
    wanted = arguments.names("held_out")
    known = sorted({name for _, name in keys})
    for value in wanted or ():
        if value.text not in known:
            raise messages.unknown_held_out(value.text, known, value.span)
    named = {value.text for value in wanted or ()}
    return [key for key in keys if key[1] in named] if named else keys[::SHARE]


def _few_shot(
    arguments: Arguments, pixels: Mapping[Key, Pixels], held: Sequence[Key], rotations: bool, source: str
) -> FewShot:
    size, layout = arguments.count("size") or SIZE, arguments.choice("layout", ("image", "flat"))
    parts = [[pixels[key] for key in pixels if (key in held) == part] for part in (False, True)]
    if rotations:
        parts = [with_rotations(part) for part in parts]
    train, held_out = (as_tensors(part, layout) for part in parts)
    provenance = {
        "source": source,
        "size": size,
        "rotations": rotations,
        "held_out_groups": sorted({group or name for group, name in held}),
    }
    ways, shots = arguments.count("ways") or 5, arguments.count("shots") or 1
    fewest = min(len(part) for part in (*train, *held_out))
    queries = arguments.count("queries") or min(15, fewest - shots)
    labels = arguments.choice("labels", tuple(LABELS))
    return FewShot(arguments.name, train, held_out, ways, shots, queries, labels, provenance)


def _read(images: Images, arguments: Arguments, dark: bool) -> dict[Key, Pixels]:
    size = arguments.count("size") or SIZE
    return {key: _pixels(readers, size, dark) for key, readers in images.items()}


# --- Reading ---------------------------------------------------------------------------------


def _from_archives(folder: Path) -> Images:
    """Read `images_background*.zip`, and `images_evaluation.zip` where it is there; characters that are in several count once."""
    archives = sorted(folder.glob("images_*.zip")) if folder.is_dir() else []
    if not archives:
        raise messages.omniglot_missing(folder)
    found: Images = {}
    for archive in archives:
        try:
            opened = zipfile.ZipFile(archive)
            names = opened.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise messages.archive_broken(archive, str(error)) from None
        here: Images = {}
        for name in sorted(names):
            parts = name.split("/")
            if len(parts) == 4 and name.endswith(".png"):
                here.setdefault((parts[1], parts[2]), []).append(_member(opened, archive, name))
        for key, readers in here.items():
            found.setdefault(key, readers)
    if not found:
        raise messages.omniglot_missing(folder)
    return dict(sorted(found.items()))


def _member(opened: zipfile.ZipFile, archive: Path, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return opened.read(name)
        except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
            raise messages.archive_broken(archive, str(error)) from None

    return read


def _from_folder(folder: Path, span: Span | None) -> Images:
    """Read `class/image`, or `group/class/image`: classes by name."""
    if not folder.is_dir():
        raise messages.data_folder_missing(folder, span)
    found: Images = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        *groups, name = path.relative_to(folder).parts[:-1] or [""]
        if name:
            found.setdefault(("/".join(groups), name), []).append(path.read_bytes)
    if len(found) < 2:
        raise messages.no_image_classes(folder, span)
    return found


def _from_idx(folder: Path, size: int, dark: bool) -> dict[Key, Pixels]:
    """Read the images of IDX files, all parts together: labels are the classes."""
    found: dict[Key, list[Pixels]] = {}
    for pair in find_pairs(folder):
        images, labels = loaded(pair)
        grey = images.astype(np.float32) / np.float32(255)
        for label in np.unique(labels):
            found.setdefault(("", str(label)), []).append(resize_area(grey[labels == label], size))
    whole = {key: np.concatenate(parts) for key, parts in sorted(found.items())}
    return {key: 1 - pixels if dark else pixels for key, pixels in whole.items()}


def _pixels(readers: Iterable[Callable[[], bytes]], size: int, dark: bool) -> Pixels:
    """Return (images, size, size) from 0 to 1; with `dark`, dark strokes are ones."""
    from PIL import Image

    made = []
    for read in readers:
        try:
            with Image.open(io.BytesIO(read())) as image:
                grey = np.asarray(image.convert("L"), np.float32) / np.float32(255)
        except OSError as error:
            raise messages.image_broken(str(error)) from None
        side = min(grey.shape)
        top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
        made.append(resize_area(grey[None, top : top + side, left : left + side], size)[0])
    pixels = np.stack(made)
    return 1 - pixels if dark else pixels


_OPTIONS = ("ways", "shots", "queries", "size", "rotations", "labels", "layout")
FAMILY = Family("omniglot", _make_omniglot, (*_OPTIONS, "held_out"))
FOLDER = Family("images", _make_images, (*_OPTIONS, "strokes", "held_out"), positional=("path",))
