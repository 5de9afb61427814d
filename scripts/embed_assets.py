#!/usr/bin/env python3
"""Embed a folder of web files into the program: one assembly file that includes their bytes, and one C++ table of them.

usage: embed_assets.py FOLDER OUTPUT_FOLDER      writes web_assets.S, web_table.cc and *.gz beside them
"""
import gzip
import hashlib
import pathlib
import shutil
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


def symbol(assembly: list[str], name: str, path: pathlib.Path) -> None:
    assembly += [f"  .global {name}", "  .balign 16", f"{name}:", f'  .incbin "{path}"', f"  .global {name}_end", f"{name}_end:", "  .byte 0"]


def main() -> int:
    folder, output = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: "/" + p.relative_to(folder).as_posix())
    if not (folder / "index.html").exists():
        sys.exit(f"embed_assets.py: {folder} has no index.html")
    compressed = output / "gz"
    shutil.rmtree(compressed, ignore_errors=True)
    compressed.mkdir(parents=True)

    assembly = ["  .section .rodata"]
    declarations, rows = [], []
    for number, path in enumerate(files):
        content = path.read_bytes()
        if path.suffix not in TYPES:
            sys.exit(f"embed_assets.py: {path.name}: what content type is {path.suffix}? Add it to TYPES")
        name, digest = f"carronade_web_{number}", hashlib.sha256(content).hexdigest()
        assembly.append(f"# {digest}")  # so that this file changes with what it includes
        symbol(assembly, name, path)
        packed = gzip.compress(content, 9, mtime=0)
        has_gzip = len(packed) < 0.9 * len(content)
        if has_gzip:
            packed_path = compressed / f"{number}.gz"
            packed_path.write_bytes(packed)
            symbol(assembly, name + "_gzip", packed_path)
        for each in [name] + ([name + "_gzip"] if has_gzip else []):
            declarations.append(f"extern const char {each}[], {each}_end[];")
        url = "/" + path.relative_to(folder).as_posix()
        bytes_of = lambda each: f"{{{each}, static_cast<size_t>({each}_end - {each})}}"
        rows.append(f'    {{"{url}", "{TYPES[path.suffix]}", "\\"{digest[:32]}\\"", {bytes_of(name)}, '
                    f'{bytes_of(name + "_gzip") if has_gzip else "{}"}}},')
    assembly.append('  .section .note.GNU-stack,"",%progbits')

    (output / "web_assets.S").write_text("\n".join(assembly) + "\n", encoding="utf-8")
    (output / "web_table.cc").write_text(
        '// Made by scripts/embed_assets.py.\n#include "server/web_assets.h"\n\nextern "C" {\n' + "\n".join(declarations)
        + "\n}\n\nnamespace carronade {\n\nstd::span<const WebAsset> web_assets() {\n  static const WebAsset assets[] = {\n" + "\n".join(rows)
        + "\n  };\n  return assets;\n}\n\n}  // namespace carronade\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
