"""Writes docs/plugin-api.md from the docstrings of the plugin API: `python scripts/plugin_api.py`.

A test compares the two, so the book cannot fall behind the code.
"""

import ast
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "docs" / "plugin-api.md"

INTRODUCTION = """\
# Plugin API

What a plugin may import: `kennel.plugin`, `kennel.domain`, `kennel.errors`, and `kennel.testing`
in its tests. This page is written from their docstrings. [How to write a plugin](plugins.md) is
the place to start.

This is version 1, in Kennel since 0.1. A hook may be given another argument (a plugin takes only
those it names), a class another method that is not abstract; neither loses one without a new
version.
"""

CHAPTERS = {
    "Hooks": ["kennel/plugin/hookspecs.py"],
    "Providers": ["kennel/plugin/ports.py", "kennel/plugin/command.py"],
    "Settings": ["kennel/plugin/settings.py"],
    "Threads": ["kennel/plugin/threads.py"],
    "Errors": ["kennel/errors.py"],
    "Values": [
        f"kennel/domain/{name}.py"
        for name in (
            "tenant",
            "secret",
            "environment",
            "unit",
            "route",
            "event",
        )
    ],
    "Names": ["kennel/domain/names.py"],
}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Function = ast.FunctionDef | ast.AsyncFunctionDef


def book() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(_chapter(title) for title in CHAPTERS)])


def _chapter(title: str) -> str:
    parts = [f"## {title}\n"]
    for path in CHAPTERS[title]:
        module = ast.parse((ROOT / path).read_text())
        if len(CHAPTERS[title]) == 1:
            parts.append(f"{_doc(module)}\n")
        parts += _entries(module)
    return "\n".join(part for part in parts if part)


def _doc(node: ast.Module | Definition) -> str:
    return cleandoc(ast.get_docstring(node) or "")


def _entries(module: ast.Module) -> Iterator[str]:
    for at, node in enumerate(module.body):
        if isinstance(node, Definition):
            yield _entry(node)
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
            shown = f"```python\n{ast.unparse(node)}\n```\n"
            yield f"### `{ast.unparse(node.target)}`\n\n{shown}\n{_below(module, at)}\n"


def _entry(node: Definition) -> str:
    if node.name.startswith("_"):
        return ""
    lines = [f"### `{node.name}`\n", f"```python\n{_head(node)}\n```\n"]
    if doc := _doc(node):
        lines.append(f"{doc}\n")
    if isinstance(node, ast.ClassDef):
        lines += [f"{item}\n" for item in _members(node)]
    return "\n".join(lines)


def _head(node: Definition) -> str:
    """Return how it is declared, without what it does."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{word} {node.name}({ast.unparse(node.args)}){answer}"


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Yield the fields of a class, each with the text below it, and its methods."""
    for at, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign | ast.Assign):
            yield _item(ast.unparse(item), _below(node, at))
        elif isinstance(item, Function) and not _private(item.name):
            yield _item(_declaration(item), _doc(item))


def _private(name: str) -> bool:
    return name.startswith("_") and name not in {"__aenter__", "__aexit__"}


def _declaration(node: Function) -> str:
    marks = {ast.unparse(decorator) for decorator in node.decorator_list}
    shown = [f"@{mark}" for mark in sorted(marks & {"property", "classmethod", "abstractmethod"})]
    return " ".join([*shown, _head(node)])


def _below(node: ast.Module | ast.ClassDef, at: int) -> str:
    """Return the string that stands alone below a field."""
    below = node.body[at + 1] if at + 1 < len(node.body) else None
    if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
        return cleandoc(str(below.value.value))
    return ""


def _item(declared: str, text: str) -> str:
    return f"* `{declared}`" + (f"\n\n{indent(text, '  ')}" if text else "")


if __name__ == "__main__":
    BOOK.write_text(book())
