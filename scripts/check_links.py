#!/usr/bin/env python3
"""Check that what Markdown files link to is there: files, folders, and headings of files.

usage: check_links.py [FOLDER]      (default: the repository)
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"^[a-z]+:")  # https:, mailto:
NOT_OURS = {"build", "dist", "node_modules", ".git"}


def anchors(path: pathlib.Path) -> set[str]:
    """What a file's headings are called, as code hosts make it of their text."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: pathlib.Path) -> list[str]:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = []
    for link in LINK.findall(text):
        if ELSEWHERE.match(link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    files = [path for path in sorted(root.rglob("*.md")) if not NOT_OURS & set(path.relative_to(root).parts)]
    lines = [f"{path.relative_to(root)}: there is no {link}" for path in files for link in broken(path)]
    print("\n".join(lines) if lines else f"check_links: {len(files)} files, every link leads somewhere")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
