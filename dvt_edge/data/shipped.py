"""Files that come with the package, or a user's own in their place."""

from __future__ import annotations

from pathlib import Path

from dvt_edge.errors import SchemaError

ZOO = Path(__file__).parents[1] / "zoo"  # trained cascades, and images of their tasks
CLONES = {"dvt_grocery": "https://github.com/marcusklasson/GroceryStoreDataset"}  # where the package ships no images


def shipped(folder: Path, suffix: str = ".json") -> dict[str, Path]:
    """The files that the package ships in `folder`, by name, sorted."""
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}"))}


def shipped_or_given(folder: Path, name: str | Path, what: str) -> Path:
    """The shipped JSON file of that name, or `name` as a path. Raises SchemaError where there is neither."""
    known = shipped(folder)
    path = known.get(str(name), Path(name))
    if not path.is_file():
        raise SchemaError(f"{name}: no such {what}; shipped are {', '.join(known)}, or give a JSON file")
    return path


def with_clone(cascade: str, option: str) -> str:
    """`option` with the data set that a cascade of the zoo is of, fetched before; "" where the package has images."""
    if cascade not in CLONES:
        return ""
    url = CLONES[cascade]
    return f"git clone --depth 1 {url}, then {option} {url.rpartition('/')[2]}"
