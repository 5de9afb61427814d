#!/usr/bin/env python3
"""Hold the rooms of src/ to their order: a file may include files of its own room and of rooms on lower storeys, nothing else.

Also checks that every room has a README.md and that none is missing from the table below, which is the one in docs/architecture.md.
"""
import pathlib
import re
import sys

STOREY = {
    "base": 0,
    "text": 1, "grammar": 1, "tensor": 1,
    "backend": 2, "checkpoint": 2,
    "model": 3,
    "engine": 4,
    "store": 5, "hub": 5,
    "chat": 6,
    "workspace": 7,
    "api": 8,
    "server": 9,
    "cli": 10,
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def problems_of(path: pathlib.Path, src: pathlib.Path) -> list[str]:
    room = path.relative_to(src).parts[0]
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        where = f"{path.relative_to(src.parent)}:{number}"
        target = match.group(1)
        other = target.split("/")[0]
        if target.endswith(".inc") and "/" not in target:
            continue  # made at build time
        if other not in STOREY:
            found.append(f'{where}: "{target}" is not named from src/; write "room/file.h"')
        elif other != room and STOREY[other] >= STOREY[room]:
            found.append(f"{where}: {room} (storey {STOREY[room]}) may not include {other} (storey {STOREY[other]})")
        elif not (src / target).exists():
            found.append(f'{where}: "{target}" does not exist')
        elif target == "base/testing.h" and not path.name.endswith(("_test.cc", "testing.h")):
            found.append(f"{where}: {target} is for tests only")
    return found


def main() -> int:
    src = pathlib.Path(__file__).resolve().parent.parent / "src"
    found = []
    for room in sorted(p.name for p in src.iterdir() if p.is_dir()):
        if room not in STOREY:
            found.append(f"src/{room}: a room without a storey; add it to scripts/check_layers.py")
            continue
        if not (src / room / "README.md").exists():
            found.append(f"src/{room}: has no README.md")
        for path in sorted((src / room).rglob("*")):
            if path.suffix in (".h", ".cc"):
                found += problems_of(path, src)
    print("\n".join(found) if found else f"layers: {len(STOREY)} rooms in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
