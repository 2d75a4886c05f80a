# Types of what says which lane serves a program, and why.

import socketserver
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "REACTOR",
    "BLOCKING",
    "COMPATIBLE",
    "Reason",
    "Decision",
    "decide",
    "explain",
    "environment_is_patched",
    "handler_hooks",
    "learn",
    "replaced",
]

REACTOR: Final = "reactor"
BLOCKING: Final = "blocking"
COMPATIBLE: Final = "compatible"
LANE_VARIABLE: Final = "TURBOSERVER_LANE"

_Server: TypeAlias = socketserver.BaseServer | type[socketserver.BaseServer]
_Handler: TypeAlias = Callable[..., Any]

class Reason(NamedTuple):
    name: str
    where: str
    why: str
    source: str = ""

class Decision(NamedTuple):
    lane: str
    threaded: bool
    kind: str
    handler: type | None
    handler_hooks: frozenset[str]
    server_hooks: frozenset[str]
    reasons: tuple[Reason, ...]

def learn(module_name: str) -> None: ...
def environment_is_patched() -> bool: ...
def decide(server: _Server, handler: _Handler | None = None) -> Decision: ...
def handler_hooks(handler: type) -> frozenset[str]: ...
def replaced(cls: type, steps: Mapping[str, str]) -> frozenset[str]: ...
def explain(target: _Server | _Handler, *, server: _Server | None = None) -> str: ...
