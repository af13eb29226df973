"""Write Sphinx inventories of other projects from names.txt, for builds without the internet; README.md says why."""

import zlib
from pathlib import Path


def write_inventories(names: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write ``PROJECT.inv`` to `folder` for each project in `names`, and return Sphinx's ``intersphinx_mapping``."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for block in names.read_text().split("\n[")[1:]:  # what stands before the first project is a comment
        head, *lines = block.splitlines()
        project, address = head.rstrip("]").split()
        inventory = folder / f"{project}.inv"
        inventory.write_bytes(_inventory(project, [line for line in lines if line]))
        mapping[project] = (address, str(inventory))
    return mapping


def _inventory(project: str, lines: list[str]) -> bytes:
    """Return an inventory in Sphinx's format 2: four lines of text, then one line for each name, compressed.

    The 1 is the priority in the search of the site, and the dash says that a name is displayed as it is.
    """
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# The rest is compressed using zlib.\n"
    entries = []
    for line in lines:
        role, name, page = line.split()
        entries.append(f"{name} {role} 1 {page.replace('$', name)} -\n")
    return head.encode() + zlib.compress("".join(entries).encode())
