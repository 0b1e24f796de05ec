"""The documents say what is true: links, commands, settings, rules and messages exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from agents.core.audit import RULES
from schema.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = ("schema", "storage", "fetchers", "agents", "scenarios")

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"run_cluster\.py (.+)")
_SETTING = re.compile(r"^(?:# ?)?([A-Z][A-Z_]+)=(.*)$", re.MULTILINE)

#: Places of one machine, hosts of package registries, and notes that were never carried out.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.:/])/(?:work|root|home|Users|tmp/bash\w*)/"),
    "a path out of the project": re.compile(r"\.\./shared\b"),
    "a package registry's host": re.compile(
        r"\b(?:registry\.\w+|pypi|npmjs)\.(?:org|com)\b", re.IGNORECASE
    ),
    "an unfinished note": re.compile(r"\b(?:TODO|FIXME|TBD|XXX)\b"),
    "a ticket": re.compile(r"\b(?:issue|ticket|task) #?\d", re.IGNORECASE),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- links -----------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Headings of a document as GitHub links to them."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    lost = []
    for target in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(target)
    assert lost == []


# -- commands --------------------------------------------------------------------------------


#: A command or group as Typer makes it; told apart by what they have, as Typer's classes move.
Command = Any


@cache
def command_line() -> Command:
    from run_cluster import app

    return typer.main.get_command(app)


def children(command: Command) -> dict[str, Command]:
    return getattr(command, "commands", {})


def options_of(command: Command) -> list[Any]:
    return [item for item in command.params if item.param_type_name == "option"]


def shown_commands(path: Path) -> Iterator[list[str]]:
    """Command lines in code blocks and in code within a sentence."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ").splitlines()
    lines = [*blocks, *re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))]
    for at, line in enumerate(lines):
        if match := _COMMAND.search(line):
            command, after = match[1], iter(lines[at + 1 :])
            # A statement in quotes may go on over several lines.
            while command.count('"') % 2:
                command += " " + next(after)
            # Square brackets mark what may be left out; a comment or a pipe ends the command.
            words = shlex.split(re.sub(r"[\[\]]", " ", command), comments=True)
            ends = [index for index, word in enumerate(words) if word in {"|", ">", "&&", ";", "&"}]
            yield words[: ends[0]] if ends else words


def fault_of(words: list[str]) -> str | None:
    """Say what the command line does not know; None where it knows all."""
    command, rest = command_line(), list(words)
    if rest == ["…"]:
        return None
    while children(command) and rest and not rest[0].startswith("-"):
        found = children(command).get(rest[0])
        if found is None:
            return f"no command {rest[0]!r}"
        command = found
        rest.pop(0)
    options = {
        name: option
        for option in options_of(command)
        for name in (*option.opts, *option.secondary_opts)
    }
    places = [item.nargs for item in command.params if item.param_type_name == "argument"]
    given = 0
    while rest:
        word = rest.pop(0)
        if word in {"-h", "--help"}:
            continue
        if word.startswith("-") and word != "-":
            option = options.get(word.partition("=")[0])
            if option is None:
                return f"no option {word!r}"
            if not option.is_flag and "=" not in word and rest:
                rest.pop(0)
        else:
            given += 1
    if -1 not in places and given > sum(places):
        return f"{given} arguments, takes {sum(places)}"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_shown_exists_with_its_options(path: Path) -> None:
    faults = {" ".join(words): fault_of(words) for words in shown_commands(path)}
    assert {words: fault for words, fault in faults.items() if fault} == {}


def leaves(command: Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    for name, child in children(command).items():
        yield from leaves(child, (*path, name))
    if not children(command) and not command.hidden:
        shown = [max(item.opts, key=len) for item in options_of(command) if not item.hidden]
        yield " ".join(path), shown


def test_the_reference_of_commands_lacks_no_command_and_no_option() -> None:
    shown = list(shown_commands(ROOT / "docs" / "reference" / "cli.md"))
    lacking = []
    for name, options in leaves(command_line()):
        words = name.split()
        said = {word for line in shown if line[: len(words)] == words for word in line}
        if not said:
            lacking.append(name)
        lacking += [f"{name} {option}" for option in options if option not in said | {"--help"}]
    assert lacking == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert fault_of(["inspect", "nonsense"]) == "no command 'nonsense'"
    assert fault_of(["inspect", "runs", "--nonsense"]) == "no option '--nonsense'"
    assert fault_of(["inspect", "runs", "one"]) == "1 arguments, takes 0"


# -- settings --------------------------------------------------------------------------------


def setting_names() -> dict[str, object]:
    """Every setting by its name in the environment, with its default."""
    return {
        str(getattr(info.validation_alias, "choices", [f"GRIDPACT_{field.upper()}"])[0]): (
            info.default
        )
        for field, info in Settings.model_fields.items()
    }


def test_the_example_settings_are_all_settings_with_their_defaults() -> None:
    written = dict(_SETTING.findall((ROOT / ".env.example").read_text(encoding="utf-8")))
    expected = {
        name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in setting_names().items()
    }
    assert written == expected


def settings_of_tests() -> set[str]:
    """What only tests read, such as how long a soak takes."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    return {name for text in texts for name in re.findall(r'environ\.get\("(GRIDPACT_\w+)"', text)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_setting_named_in_a_document_exists(path: Path) -> None:
    named = set(re.findall(r"\b(?:GRIDPACT|SUPABASE)_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    assert named - set(setting_names()) - settings_of_tests() == set()


# -- rules and messages ----------------------------------------------------------------------


def test_the_invariants_are_those_of_the_audit() -> None:
    text = (ROOT / "docs" / "explanation" / "market.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+?) \|", text, re.MULTILINE)
    listed = {int(number): words for number, words in rows}
    assert {number: listed.get(number) for number in RULES} == RULES


@cache
def strings_of_the_code() -> tuple[str, ...]:
    """Every string of the code, "…" for what is filled in."""
    found = []
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (
                        part.value if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(" ".join(text.split()) for text in found)


def is_message(shown: str) -> bool:
    parts = [part.strip() for part in shown.split("…")]
    pattern = re.compile(".*".join(map(re.escape, parts)))
    return any(pattern.search(text) for text in strings_of_the_code())


def test_every_message_in_troubleshooting_is_one_of_the_code() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\*\*`(.+?)`\*\*", text, re.MULTILINE)
    assert len(shown) > 20
    assert [message for message in shown if not is_message(message)] == []


def test_a_message_that_no_code_says_is_noticed() -> None:
    assert is_message("the state folder … belongs to user …, not to …")
    assert not is_message("the state folder … has gone on holiday")


# -- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / ".env.example"], ids=name_of
)
def test_no_document_speaks_of_one_machine_or_of_unfinished_work(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = {what: match[0] for what, how in FORBIDDEN.items() if (match := how.search(text))}
    assert found == {}
