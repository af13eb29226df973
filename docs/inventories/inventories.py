"""Write inventories of other projects, for builds without the internet. README.md in this folder explains them."""

import zlib
from pathlib import Path


def write_inventories(names: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory to `folder` for each project in `names`, and return Sphinx's ``intersphinx_mapping``."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for section in names.read_text().split("\n[")[1:]:  # the first is the comment at the top
        heading, *lines = section.splitlines()
        project, address = heading.rstrip("]").split()
        inventory = folder / f"{project}.inv"
        inventory.write_bytes(make_inventory(project, lines))
        mapping[project] = (address, str(inventory))
    return mapping


def make_inventory(project: str, lines: list[str]) -> bytes:
    """Return an inventory in version 2 of Sphinx's format: a heading in plain text, then compressed entries."""
    heading = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# The rest is compressed using zlib.\n"
    entries = []
    for line in filter(None, lines):
        role, name, page, *aliases = line.split()
        for alias in (name, *aliases):  # 1 is the priority in a search, "-" displays the name as it is
            entries.append(f"{alias} {role} 1 {page.replace('$', name)} -\n")
    return heading.encode() + zlib.compress("".join(entries).encode())
