"""Values against the schemas of `info`."""

from typing import Any

from busbar.cli.schemas.json_schema import Schema, UndecidedError, problem


class Validator:
    """Looks at many values; a schema that takes too long is given up after one."""

    def __init__(self) -> None:
        self._given_up: dict[int, Schema] = {}

    def problem(self, value: Any, schema: Schema) -> str | None:
        """Return what is wrong with a value, or that it cannot be said."""
        if id(schema) in self._given_up:
            return None
        try:
            return problem(value, schema)
        except UndecidedError as error:
            self._given_up[id(schema)] = schema
            return str(error)
