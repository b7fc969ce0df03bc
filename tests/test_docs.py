"""The book says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from kennel.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
TABLES = [
    (name, field.encode_name)
    for name, shape in [("", Settings)]
    + [
        (f.name, f.type)
        for f in msgspec.structs.fields(Settings)
        if isinstance(f.type, type) and issubclass(f.type, msgspec.Struct)
    ]
    for field in msgspec.structs.fields(shape)
]


@pytest.mark.parametrize(("table", "key"), TABLES)
def test_every_key_of_kennel_toml_is_in_the_book(table: str, key: str) -> None:
    text = (DOCS / "configuration.md").read_text()
    section = text.partition(f"## [{table}]")[2].partition("\n## ")[0] if table else text
    assert f"`{key}`" in section or f"[{key}" in text


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
