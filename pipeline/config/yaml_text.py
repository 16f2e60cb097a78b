"""YAML as plain values, with the line of every key, under bounds that a configuration for people never meets.

A text of a few lines may stand for more than memory holds (aliases of aliases), for a value that contains itself, or
for values that Python cannot make. Each of these is an error with its line, like any other mistake in the text.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from pipeline.errors import ConfigError

type KeyPath = tuple[str | int, ...]
"""Keys and positions that lead from the root to a value."""

MOST_LEVELS = 50
MOST_VALUES = 50_000
_LONGEST_NUMBER = 100
_LEVEL_OF_KEYS = 2  # where the root is a mapping
_TAGS = "tag:yaml.org,2002:"
_TEXT = frozenset({"str", "merge", "value"})  # the last two are "<<" and "=" where they are values
_NOUNS = {"null": "empty", "bool": "true or false", "int": "a whole number", "float": "a number", "timestamp": "a date"}
_TOO_DEEP = f"is nested deeper than {MOST_LEVELS} levels, or contains itself; write it flatter"
_TOO_MANY = f"stands for more than {MOST_VALUES:,} values, in which each use of an alias counts; write fewer"


def read_yaml(text: str, source: str) -> tuple[Any, Mapping[KeyPath, int]]:
    """Return what ``text`` stands for (an empty one for None), and the line of every key and value in it.

    Values are mappings with text as keys, lists, text, numbers, booleans and None; a date is the text of it. Raises
    ConfigError, which begins with ``source`` and the line.
    """
    node = _compose(text, source)
    values = _Values(source)
    return (values.build(node, ()) if node is not None else None), values.lines


class _BoundError(Exception):
    """A bound is exceeded: on which line, below which key of the root, and the end of the sentence."""


class _Loader(yaml.SafeLoader):
    """A loader that stops at the bounds, because composing a deep text ends Python's stack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._levels = self._nodes = 0
        self._key = ""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node; ``index`` is the node of its key, or its position."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # not in the stubs
        self._levels += 1
        self._nodes += 1
        if self._levels == _LEVEL_OF_KEYS and isinstance(index, yaml.ScalarNode):
            self._key = index.value
        if self._levels > MOST_LEVELS:
            raise _BoundError(mark.line + 1, self._key, _TOO_DEEP)
        if self._nodes > MOST_VALUES:
            raise _BoundError(mark.line + 1, self._key, _TOO_MANY)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{source}:{line}", f"not valid YAML: {error.reason}") from error
    try:
        return loader.get_single_node()
    except _BoundError as error:
        raise ConfigError(f"{source}:{error.args[0]}", *error.args[1:]) from error
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark.line if error.problem_mark else loader.line) + 1
        raise ConfigError(f"{source}:{line}", f"not valid YAML: {error.problem}") from error
    except (ValueError, OverflowError) as error:  # an escape for a character that does not exist
        raise ConfigError(f"{source}:{loader.line + 1}", "not valid YAML: there is no such character") from error
    finally:
        loader.dispose()


class _Values:
    """Makes plain values of nodes. ``lines`` are those of all keys and values made so far."""

    def __init__(self, source: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._source = source
        self._count = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return the value of a node at ``path``."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if len(path) > MOST_LEVELS:
            raise self._error(node, path[:1], _TOO_DEEP)
        if self._count > MOST_VALUES:
            raise self._error(node, path[:1], _TOO_MANY)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAGS}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAGS}seq":
            return [self.build(item, (*path, position)) for position, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise self._error(node, path, "has a tag that is not allowed here; write the value without it")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                raise self._error(key_node, path, "only plain keys are allowed here")
            own = (*path, key := self._text(key_node, path))
            if key in result:
                raise self._error(key_node, own, f"this key is given twice (first on line {self.lines[own]})")
            self.lines[own] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, own)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_TAGS)
        if kind in _TEXT:
            return self._text(node, path)
        if kind not in _NOUNS:
            raise self._error(node, path, "has a tag that is not allowed here; write the value without it")
        if kind in ("int", "float") and len(node.value) > _LONGEST_NUMBER:
            raise self._error(node, path, f"is a number of {len(node.value):,} characters; write text in quotes")
        loader = yaml.SafeLoader("")
        try:
            value = loader.construct_object(node)
        # Whatever conversions of PyYAML raise for a text that is none; its own text could be a secret.
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError, yaml.YAMLError):
            raise self._error(node, path, f"is not {_NOUNS[kind]}; write text in quotes") from None
        finally:
            loader.dispose()
        return node.value if kind == "timestamp" else value

    def _text(self, node: yaml.ScalarNode, path: KeyPath) -> str:
        """Return the text of a node. JSON writes one character as two halves, which YAML leaves apart."""
        try:
            return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._error(node, path, "holds half a character (a lone surrogate)") from None

    def _error(self, node: yaml.Node, path: KeyPath, problem: str) -> ConfigError:
        return ConfigError(f"{self._source}:{node.start_mark.line + 1}", ".".join(map(str, path)), problem)
