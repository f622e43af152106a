#!/usr/bin/env python3
"""Writes Docs/formats/plugin-abi.md from Sources/CSkeinPlugin/include/skein_plugin.h, and measures the layout.

    Deploy/generate-plugin-abi.py                writes the page
    Deploy/generate-plugin-abi.py --check        fails when the page is not current, or the layout is not the golden one
    Deploy/generate-plugin-abi.py --accept-growth  the golden file too; refused unless tables only grew at their end

The layout (Tests/SkeinPluginKitTests/Golden/plugin-abi.txt) is what the C compiler says of every field that this
script finds in the header, so a field that is forgotten in abi.c is still compared. Needs cc and Python's
standard library.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "Sources/CSkeinPlugin/include/skein_plugin.h"
PAGE = ROOT / "Docs/formats/plugin-abi.md"
GOLDEN = ROOT / "Tests/SkeinPluginKitTests/Golden/plugin-abi.txt"


class Item:
    """A declaration of the header with the comment that stands above or beside it."""

    def __init__(self, kind, name, text, comment, fields=()):
        self.kind, self.name, self.text, self.comment, self.fields = kind, name, text, comment, fields


# -- Reading the header ---------------------------------------------------------------------------

def words(comment):
    """A comment's text without its stars, as one paragraph a blank line."""
    lines = [re.sub(r"^\s*\*? ?", "", line).rstrip() for line in comment.strip().splitlines()]
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    return "\n\n".join(" ".join(p.split()) for p in paragraphs).strip()


def tokens(text):
    """(kind, text, beside) in the file's order. Kind: "comment", "define", or "code": one declaration up to its semicolon.
    `beside`: this comment stands on the line of what is before it."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text.startswith("/*", at):
            end = text.index("*/", at) + 2
            before = text[:at].rstrip()
            yield "comment", text[at + 2:end - 2], bool(before) and "\n" not in text[len(before):at]
            at = end
        elif text[at] == "#":
            end = at
            while True:
                end = text.index("\n", end)
                if text[end - 1] != "\\":
                    break
                end += 1
            line = text[at:end]
            comment = line.find("/*")
            if comment >= 0 and "*/" not in line[comment:]:
                raise SystemExit(f"a comment goes on after a #: {line}")
            yield "define", line, False
            at = end
        else:
            end, depth = at, 0
            while True:
                c = text[end]
                depth += (c == "{") - (c == "}")
                if text.startswith("/*", end):
                    end = text.index("*/", end) + 2
                    continue
                end += 1
                if c == ";" and depth == 0:
                    break
                if c == "{" and text[at:end].startswith('extern "C"'):
                    break
                if c == "}" and depth < 0:
                    break
            yield "code", text[at:end], False
            at = end


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def fields_of(body):
    """(name, declaration, comment) of each field of a struct's body."""
    fields, pending = [], ""
    for kind, text, beside in tokens(body):
        if kind == "comment":
            if beside and fields:
                fields[-1][2] = " ".join(filter(None, [fields[-1][2], words(text)]))
            else:
                pending = words(text)
            continue
        declaration = " ".join(without_comments(text).split())
        pointer = re.search(r"\(\*(\w+)\)", declaration)
        names = [pointer.group(1)] if pointer else re.findall(r"(\w+)(?:\[\d+\])?\s*[,;]", declaration)
        for name in names:
            one = f"{declaration.split()[0]} {name};" if len(names) > 1 else declaration
            fields.append([name, one, pending])
            pending = ""
    return fields


def read():
    text = HEADER.read_text()
    preface, rest = re.match(r"/\*(.*?)\*/(.*)", text, flags=re.S).groups()
    sections, comment = [["", []]], ""
    for kind, body, beside in tokens(rest):
        items = sections[-1][1]
        if kind == "comment":
            title = re.match(r"\s*-{4} (.*?) -{4,}", body)
            if title:
                sections.append([title.group(1), []])
                comment = ""
            elif beside and items:
                items[-1].comment = " ".join(filter(None, [items[-1].comment, words(body)]))
            else:
                comment = words(body)
        elif kind == "define":
            define = re.match(r"#define (SKEIN_\w+)\s*(.*)", body, flags=re.S)
            if define and define.group(1) not in ("SKEIN_PLUGIN_H", "SKEIN_RETAIN"):
                value = define.group(2)
                beside_text = re.search(r"/\*(.*)\*/", value)
                own = words(beside_text.group(1)) if beside_text else ""
                value = " ".join(without_comments(value).replace("\\\n", " ").split())
                items.append(Item("constant", define.group(1), value, " ".join(filter(None, [comment, own]))))
                comment = ""
        else:
            struct = re.match(r"typedef struct (\w+) \{(.*)\} \1;", body, flags=re.S)
            if struct:
                items.append(Item("struct", struct.group(1), "", comment, fields_of(struct.group(2))))
            elif body.startswith("typedef"):
                items.append(Item("type", body.split()[-1].rstrip(";"), " ".join(body.split()), comment))
            elif "skein_plugin_entry(" in body:
                items.append(Item("function", "skein_plugin_entry", " ".join(body.split()), comment))
            comment = ""
    return words(preface.replace("\n *\n", "\n\n")), sections


# -- Measuring --------------------------------------------------------------------------------------

def measure(sections):
    """The layout as text: one line a struct with its size and alignment, one a field with offset and size."""
    structs = [item for _, items in sections for item in items if item.kind == "struct"]
    lines = ["#include <stdio.h>", f'#include "{HEADER}"', "int main(void) {"]
    for item in structs:
        lines.append(f'printf("{item.name} %zu %zu\\n", sizeof({item.name}), _Alignof({item.name}));')
        for name, _, _ in item.fields:
            lines.append(
                f'printf("  {name} %zu %zu\\n", offsetof({item.name}, {name}), sizeof((({item.name} *)0)->{name}));')
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "layout.c"
        source.write_text("\n".join(lines + ["return 0; }"]))
        program = Path(folder) / "layout"
        subprocess.run(["cc", "-std=c11", "-o", program, source], check=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout


def parse_layout(text):
    layout = {}
    for line in text.splitlines():
        name, a, b = line.split()
        if line.startswith("  "):
            fields.append((name, int(a), int(b)))
        else:
            fields = []
            layout[name] = (int(a), int(b), fields)
    return layout


def only_grew(old, new):
    """Nothing, or the sentence that says why `new` is another ABI."""
    for name, (_, _, fields) in old.items():
        if name not in new:
            return f"{name} is gone"
        now = new[name][2]
        if now[:len(fields)] != fields:
            return f"a field of {name} moved, changed or went"
        if len(now) > len(fields) and not (fields and fields[0][0] == "size"):
            return f"{name} has no size in field 0 and can never grow"
    return None


# -- Writing the page -------------------------------------------------------------------------------

def cell(text):
    return text.replace("\n\n", " ").replace("|", "\\|")


def page(preface, sections, layout):
    out = [
        "# The plug-in ABI", "",
        "Generated from `Sources/CSkeinPlugin/include/skein_plugin.h` by `Deploy/generate-plugin-abi.py`; do not edit.",
        "The header is the contract; this page has every declaration of it with its offset. How to write a plug-in:",
        "[write-a-plugin.md](../plugins/write-a-plugin.md). Offsets and sizes are bytes, on 64-bit Linux (amd64 and arm64 alike).",
        "They are pinned by `Sources/CSkeinPlugin/abi.c` and by a golden file; see [Evolution](#evolution).", "", "## Rules", ""]
    out += [preface, ""]
    for title, items in sections:
        if title:
            out += [f"## {title}", ""]
        elif items:
            out += ["## Basic types", ""]
        constants = []

        def flush():
            if constants:
                out.extend(["| constant | value | meaning |", "|---|---|---|"])
                out.extend(f"| `{c.name}` | `{c.text}` | {cell(c.comment)} |" for c in constants)
                out.append("")
                constants.clear()

        for item in items:
            if item.kind == "constant":
                constants.append(item)
                continue
            flush()
            out += [f"### `{item.name}`", ""]
            if item.comment:
                out += [item.comment, ""]
            if item.kind != "struct":
                out += ["```c", item.text, "```", ""]
                continue
            size, alignment, fields = layout[item.name]
            out += [f"{size} bytes, aligned to {alignment}.", "", "| offset | size | field | meaning |", "|---|---|---|---|"]
            for (name, declaration, comment), (_, offset, length) in zip(item.fields, fields):
                meaning = comment or ("bytes of this table as its maker knows it" if name == "size" else
                                      "0" if name == "_pad" else "the instance's functions" if name == "ops" else "")
                out.append(f"| {offset} | {length} | `{declaration.rstrip(';')}` | {cell(meaning)} |")
            out.append("")
        flush()
    out += [
        "## Evolution", "",
        "- A table grows at its end only, and `SKEIN_ABI_MINOR` rises with it. Each side reads `min(size, its own size)` bytes; a "
        "function beyond that counts as absent. `skein_bytes` and `skein_instance_ops` have no `size` and never change.",
        "- Anything else (a field moved, a meaning changed) is a new id with the next major, and the host offers both for two releases.",
        "- `Deploy/generate-plugin-abi.py --check` (in `make lint`) compares the layout that the C compiler sees with "
        "`Tests/SkeinPluginKitTests/Golden/plugin-abi.txt`; a Swift test compares what Swift sees. `--accept-growth` writes the golden "
        "file, and refuses anything but growth.",
        "- What an old plug-in may rely on for ever: `get` gives the same answer each time, host tables live until the process ends, "
        "a plug-in is never unloaded.", ""]
    return "\n".join(out)


def main():
    preface, sections = read()
    text = measure(sections)
    layout = parse_layout(text)
    wanted = page(preface, sections, layout)
    golden = GOLDEN.read_text() if GOLDEN.exists() else ""
    if "--check" in sys.argv:
        failed = False
        if not PAGE.exists() or PAGE.read_text() != wanted:
            print("Docs/formats/plugin-abi.md is not current: run Deploy/generate-plugin-abi.py", file=sys.stderr)
            failed = True
        if golden != text:
            why = only_grew(parse_layout(golden), layout)
            cure = "a new id is needed" if why else "run Deploy/generate-plugin-abi.py --accept-growth and raise SKEIN_ABI_MINOR"
            print(f"the plug-in ABI is not the golden one ({why or 'it grew'}): {cure}", file=sys.stderr)
            failed = True
        sys.exit(1 if failed else 0)
    if "--accept-growth" in sys.argv:
        why = only_grew(parse_layout(golden), layout)
        if why:
            sys.exit(f"refused: {why}; that breaks plug-ins in the field. Give the changed table a new id.")
        GOLDEN.write_text(text)
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
