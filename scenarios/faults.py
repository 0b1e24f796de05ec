"""What is wrong with a scenario folder: one value a fault, all of them in one error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schema.errors import ScenarioError

SHOWN = 40
_VALUE_WIDTH = 80


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong: which file, which field, what it holds, and what is allowed."""

    file: str
    field: str
    value: str
    allowed: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.field}" if self.field else self.file
        found = f" is {self.value}" if self.value else ""
        return f"{where}{found}: {self.allowed}"


def shown(value: object) -> str:
    """Write a value for a message: short, on one line, without secrets of its insides."""
    text = repr(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"


def scenario_error(path: str, faults: Sequence[Fault]) -> ScenarioError:
    """Put all faults of a scenario into one error; details hold them one by one."""
    lines = [f"  {fault}" for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"  … and {len(faults) - SHOWN} more")
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    first = faults[0] if faults else Fault("", "", "", "")
    return ScenarioError(
        "\n".join([f"scenario {path} has {count}:", *lines]),
        path=path,
        faults=[
            {"file": f.file, "field": f.field, "value": f.value, "allowed": f.allowed}
            for f in faults[:SHOWN]
        ],
        field=first.field,
        value=first.value,
    )


def field_path(parts: Iterable[str | int]) -> str:
    """Write the place of a pydantic error: ``organisations[0].sites[1].region_id``.

    The tag of a tagged union is no field of the file and is left out.
    """
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part in {"generated", "listed", "csv"} and text in {"workloads", "windows"}:
            continue
        else:
            text += f".{part}" if text else part
    return text
