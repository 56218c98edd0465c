"""The syntax of `.rule` files: from text to the tree, and from the tree to canonical text."""

from rulec.syntax import ast
from rulec.syntax.formatter import format_source
from rulec.syntax.parser import parse_source
from rulec.syntax.printer import render_expression, render_module
from rulec.syntax.reading import read_source

__all__ = ["ast", "format_source", "parse_source", "read_source", "render_expression", "render_module"]
