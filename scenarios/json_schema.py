"""The JSON Schema of ``scenario.toml``, for editors; committed beside this module.

``python -m scenarios.json_schema`` writes it anew; a test compares it with the model.
"""

from __future__ import annotations

import json
from pathlib import Path

from scenarios.model import ScenarioFile

SCHEMA_FILE = Path(__file__).parent / "scenario.schema.json"


def schema_text() -> str:
    """Give the JSON Schema as text."""
    schema = ScenarioFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "gridpact scenario.toml"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
