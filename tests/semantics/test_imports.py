"""Imports: names arrive with what they need, and what is missing, circular or doubled is told."""

from __future__ import annotations

from pathlib import Path

from rulec.semantics.check import check_file, imported_nets, load_library
from rulec.source import Diagnostic, Diagnostics
from rulec.syntax import read_source

SGD = "rule sgd\ngenome\n  lr : positive = 0.1\nupdate\n  w -= lr * grad(loss, w)\n"


def checked(folder: Path, **files: str) -> list[Diagnostic]:
    """Write the files, each named after its keyword, and check the first one."""
    for name, text in files.items():
        (folder / f"{name}.rule").parent.mkdir(exist_ok=True)
        (folder / f"{name}.rule").write_text(text, encoding="utf-8")
    return check_file(folder / f"{next(iter(files))}.rule")[1].errors


def test_rules_nets_outers_and_presets_are_imported(tmp_path: Path):
    other = SGD + "\nnet f : 1 -> 4 -> 1\n\ngenome fast for sgd\n  lr = 1\n"
    main = "from other.rule use sgd, f, fast\n\nrule own\nupdate\n  w -= f(grad(loss, w))\n\ngenome slow for sgd\n  lr = 0.01\n"
    assert not checked(tmp_path, main=main, other=other)


def test_shipped_rules_are_found_from_anywhere(tmp_path: Path):
    assert not checked(tmp_path, main="from backprop.rule use backprop\n\ngenome slow for backprop\n  lr = 0.01\n")


def test_a_file_beside_comes_before_a_shipped_one(tmp_path: Path):
    main = "from backprop.rule use other\n\ngenome slow for other\n  lr = 0.01\n"
    assert not checked(tmp_path, main=main, backprop=SGD.replace("rule sgd", "rule other"))


def test_an_imported_rule_brings_the_nets_of_its_own_file(tmp_path: Path):
    learned = "net f : 1 -> 4 -> 1\n\nrule learned\ngenome\n  lr = 0.1\nupdate\n  w -= lr * f(grad(loss, w))\n"
    main = "from learned.rule use learned\n\nnet f : 2 -> 1\n\ngenome slow for learned\n  lr = 0.01\n"
    assert not checked(tmp_path, main=main, learned=learned)
    source, found = read_source(tmp_path / "main.rule")
    library = load_library(source, found, tmp_path)
    assert [len(net.sizes) for net in imported_nets(library, library.rules["learned"]).values()] == [3]


def test_a_net_that_a_rule_declares_itself_hides_the_file_s(tmp_path: Path):
    main = "net f : 2 -> 1\n\nrule own\ngenome\n  net f : 1 -> 1\nupdate\n  w -= f(grad(loss, w))\n"
    assert not checked(tmp_path, main=main)


def test_a_circle_is_told_where_it_closes(tmp_path: Path):
    (found,) = checked(tmp_path, a="from b.rule use s\n\n" + SGD, b="from c.rule use t\n" + SGD.replace("sgd", "s"),
                       c="from a.rule use sgd\n" + SGD.replace("sgd", "t"))  # fmt: skip
    assert found.id == "import-cycle"
    assert found.notes == ("a.rule -> b.rule -> c.rule -> a.rule",)
    assert found.span is not None
    assert Path(found.span.source.name).name == "c.rule"


def test_a_circle_that_does_not_hold_the_first_file_is_told(tmp_path: Path):
    (found,) = checked(tmp_path, a="from b.rule use s\n\n" + SGD, b="from c.rule use t\n" + SGD.replace("sgd", "s"),
                       c="from b.rule use s\n" + SGD.replace("sgd", "t"))  # fmt: skip
    assert found.notes == ("b.rule -> c.rule -> b.rule",)


def test_files_of_one_name_in_two_folders_are_no_circle(tmp_path: Path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "main.rule").write_text(SGD, encoding="utf-8")
    assert not checked(tmp_path, main="from lib/main.rule use sgd\n\ngenome slow for sgd\n  lr = 0.01\n")


def test_what_an_imported_file_imports_may_be_imported_from_it(tmp_path: Path):
    assert not checked(
        tmp_path, a="from b.rule use sgd\n\ngenome slow for sgd\n  lr = 0.01\n", b="from c.rule use sgd\n", c=SGD
    )


def test_a_name_that_is_not_there_is_told(tmp_path: Path):
    (found,) = checked(tmp_path, a="from b.rule use sdg\n\n" + SGD.replace("sgd", "own"), b=SGD)
    assert (found.id, found.help) == ("unknown-import", "did you mean `sgd`?")


def test_a_name_lost_to_a_syntax_error_is_told_there_alone(tmp_path: Path):
    found = checked(
        tmp_path, a="from b.rule use sgd\n\n" + SGD.replace("sgd", "own"), b=SGD.replace("rule sgd", "rule sgd sgd")
    )
    assert {Path(d.span.source.name).name for d in found if d.span} == {"b.rule"}


def test_a_name_imported_twice_is_told(tmp_path: Path):
    (found,) = checked(tmp_path, a="from b.rule use sgd\nfrom sgd.rule use sgd\n\n" + SGD.replace("sgd", "own"), b=SGD)
    assert found.id == "duplicate-name"


def test_a_path_that_no_file_can_have_is_told(tmp_path: Path):
    (found,) = checked(tmp_path, a=f"from {'x' * 500}.rule use sgd\n\n" + SGD)
    assert found.id == "import-not-found"


def test_an_import_inside_a_rule_counts(tmp_path: Path):
    nets = "net f : 1 -> 4 -> 1\n"
    own = "rule own\nfrom nets.rule use f\nupdate\n  w -= f(grad(loss, w))\n"
    assert not checked(tmp_path, own=own, nets=nets)
    assert [d.id for d in checked(tmp_path, own=own, nets="net g : 1 -> 1\n")] == ["unknown-import"]


def test_nothing_is_read_for_a_file_without_imports():
    found = Diagnostics()
    source, _ = read_source(Path(__file__).parents[2] / "rules" / "sgd.rule")
    assert load_library(source, found).own == ("sgd",)
    assert not len(found)
