"""Count the lines of Python by folder, and the files that are very small or very large.

    python benchmarks/house.py                          # this checkout
    git worktree add ../before COMMIT && python benchmarks/house.py ../before

The product consists of echorl_vl/, eval/ and geometry3k/. Comments and blank lines count.
"""

from __future__ import annotations

import argparse
from pathlib import Path

PRODUCT = ("echorl_vl", "eval", "geometry3k")
FOLDERS = ("echorl_vl/core", "echorl_vl/config", "echorl_vl/engines", "tests", "benchmarks")
SMALL, LARGE = 40, 400


def lines_of(checkout: Path, *folders: str) -> dict[str, int]:
    """Return path -> number of lines of every Python file below the folders, sorted."""
    files = sorted(path for folder in folders for path in (checkout / folder).rglob("*.py"))
    return {str(path.relative_to(checkout)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--list", action="store_true", help="name the small and the large files")
    options = parser.parse_args()
    product = lines_of(options.checkout, *PRODUCT)
    if not product:
        parser.error(f"{options.checkout}: expected a checkout of this project, with {', '.join(PRODUCT)}")
    modules = {path: lines for path, lines in product.items() if not path.endswith("__init__.py")}
    small = [path for path, lines in modules.items() if lines < SMALL]
    large = [path for path, lines in modules.items() if lines > LARGE]
    print(f"{sum(product.values()):>7,}  lines of product")
    for folder in FOLDERS:
        print(f"{sum(lines_of(options.checkout, folder).values()):>7,}  lines of {folder}/")
    print(f"{len(modules):>7,}  modules of product, and {len(product) - len(modules)} __init__.py")
    for files, what in ((small, f"under {SMALL}"), (large, f"over {LARGE}")):
        print(f"{len(files):>7,}  of them {what} lines")
        if options.list:
            print("".join(f"{modules[path]:>13,}  {path}\n" for path in files), end="")


if __name__ == "__main__":
    main()
