#!/usr/bin/env python3
"""Writes what follows from the programs' own help: Docs/cli.md, and man pages.

  Deploy/generate-cli-docs.py              writes Docs/cli.md
  Deploy/generate-cli-docs.py --check      fails when Docs/cli.md is not current
  Deploy/generate-cli-docs.py --man DIR    writes skein.1, skein-topic-create.1, ..., skeind.8

The programs are .build/release/skein and skeind, or those that SKEIN and SKEIND name.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "Docs" / "cli.md"


def program(variable, name):
    path = os.environ.get(variable) or ROOT / ".build" / "release" / name
    done = subprocess.run([path, "--experimental-dump-help"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["command"]


def shown(items):
    return [item for item in items or [] if item.get("shouldDisplay", True)]


def commands(command, path=()):
    """Every command that is shown, parents first."""
    path = (*path, command["commandName"])
    yield path, command
    for child in shown(command.get("subcommands")):
        if child["commandName"] != "help":
            yield from commands(child, path)


def names(argument):
    if argument["kind"] == "positional":
        return [f"<{argument['valueName']}>"]
    value = "" if argument["kind"] == "flag" else f" <{argument['valueName']}>"
    return [("-" if n["kind"] == "short" else "--") + n["name"] + value for n in argument["names"]]


def preferred(argument):
    if argument["kind"] == "positional":
        return names(argument)[0]
    return names({**argument, "names": [argument["preferredName"]]})[0]


def arguments(command):
    return [a for a in shown(command.get("arguments")) if a.get("valueName") not in ("help", "version")]


def describe(argument):
    text = argument.get("abstract", "")
    if "defaultValue" in argument and "default" not in text:
        text += f" Default: {argument['defaultValue']}."
    return text


def usage(path, command, common):
    """One line; what all commands share is left out."""
    words = list(path)
    for argument in arguments(command):
        if key(argument) in common:
            continue
        text = preferred(argument)
        if argument.get("isRepeating"):
            text += " ..."
        words.append(f"[{text}]" if argument.get("isOptional") else text)
    if shown(command.get("subcommands")) and not path[0] == "skeind":
        words.append("<command>")
    return " ".join(words)


def key(argument):
    return (argument["kind"], tuple(names(argument)), argument.get("abstract"))


def shared(tree):
    """Options that more than half of the commands without subcommands have, in the order of the first."""
    leaves = [c for _, c in commands(tree) if not shown(c.get("subcommands"))]
    count, first = {}, {}
    for leaf in leaves:
        for argument in arguments(leaf):
            if argument["kind"] != "positional":
                count[key(argument)] = count.get(key(argument), 0) + 1
                first.setdefault(key(argument), argument)
    return {k: first[k] for k in count if count[k] * 2 > len(leaves)}


# MARK: Markdown


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def table(rows):
    lines = ["| | |", "|---|---|"]
    for argument in rows:
        lines.append("| " + ", ".join(f"`{name}`" for name in names(argument)) + f" | {cell(describe(argument))} |")
    return lines


def markdown(trees):
    lines = [
        "# Command line", "",
        "Written by `make cli-docs` from the programs themselves; the suite `cli` holds it to them. `skein help COMMAND` says the",
        "same, `skein completion SHELL` prints completion scripts, `make man` writes man pages.", "",
    ]
    for tree in trees:
        common = shared(tree) if tree["commandName"] == "skein" else {}
        lines += [f"- [`{' '.join(path)}`](#{'-'.join(path)}): {command['abstract']}" for path, command in commands(tree)]
    for tree in trees:
        common = shared(tree) if tree["commandName"] == "skein" else {}
        for path, command in commands(tree):
            lines += ["", f"{'##' if len(path) == 1 else '###'} {' '.join(path)}", "", command["abstract"], ""]
            lines += ["```", usage(path, command, common), "```"]
            if command.get("discussion"):
                lines += ["", "```text", command["discussion"].rstrip(), "```"]
            own = [a for a in arguments(command) if key(a) not in common]
            if own:
                lines += ["", *table(own)]
            if len(path) == 1 and common:
                lines += ["", "Options of the commands, wherever they make sense:", "", *table(common.values())]
            left = [preferred(a) for k, a in common.items() if k not in {key(b) for b in arguments(command)}]
            if not shown(command.get("subcommands")) and common:
                if len(left) == len(common):
                    lines += ["", "Without the common options."]
                elif left:
                    lines += ["", "Of the common options without " + ", ".join(f"`{name}`" for name in left) + "."]
    return "\n".join(lines) + "\n"


# MARK: Man


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def man(path, command, section):
    name = "-".join(path)
    lines = [f'.TH "{name.upper()}" {section} "" "Skein" "Skein"', ".SH NAME", f"{roff(name)} \\- {roff(command['abstract'])}",
             ".SH SYNOPSIS", f".B {roff(usage(path, command, {}))}"]
    if command.get("discussion"):
        lines += [".SH DESCRIPTION", ".nf", roff(command["discussion"].rstrip()), ".fi"]
    if arguments(command):
        lines.append(".SH OPTIONS")
        for argument in arguments(command):
            lines += [".TP", ".B " + roff(", ".join(names(argument))), roff(describe(argument))]
    children = [c for c in shown(command.get("subcommands")) if c["commandName"] != "help"]
    if children:
        lines.append(".SH COMMANDS")
        for child in children:
            lines += [".TP", f".BR {roff(name)}\\-{roff(child['commandName'])} ({section})", roff(child["abstract"])]
    if path[0] == "skein":
        lines += [".SH EXIT STATUS", "0 ok, 1 failed, 2 usage, 3 refused by access, 4 unreachable."]
    if len(path) > 1:
        lines += [".SH SEE ALSO", f".BR {roff('-'.join(path[:-1]))} ({section})"]
    return "\n".join(lines) + "\n"


def main():
    trees = [program("SKEIN", "skein"), program("SKEIND", "skeind")]
    match sys.argv[1:]:
        case []:
            PAGE.write_text(markdown(trees))
            print(f"wrote {PAGE.relative_to(ROOT)}")
        case ["--check"]:
            if not PAGE.exists() or PAGE.read_text() != markdown(trees):
                sys.exit("Docs/cli.md is not current; run `make cli-docs`")
        case ["--man", folder]:
            Path(folder).mkdir(parents=True, exist_ok=True)
            count = 0
            for tree in trees:
                section = 8 if tree["commandName"] == "skeind" else 1
                for path, command in commands(tree):
                    (Path(folder) / f"{'-'.join(path)}.{section}").write_text(man(path, command, section))
                    count += 1
            print(f"wrote {count} pages to {folder}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
