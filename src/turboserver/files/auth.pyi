# Types of Basic authentication.

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

from .passwords import File, Mistake as Mistake, Single
from .throttle import Throttle

__all__ = ["Basic", "Found", "Mistake", "parse", "users_of"]

REMEMBER: Final[float]
MAX_REMEMBERED: Final[int]

class Found(NamedTuple):
    user: str | None
    status: HTTPStatus
    delay: float
    headers: tuple[tuple[str, str], ...]

def users_of(text: str, report: Callable[[str], object] | None = None) -> Single | File: ...
def parse(field: str | None) -> tuple[bytes, bytes] | None: ...

class Basic:
    challenge: tuple[str, str]
    def __init__(
        self,
        users: Single | File,
        realm: str = "files",
        *,
        throttle: Throttle | None = None,
        remember: float = ...,
        max_remembered: int = ...,
        clock: Callable[[], float] = ...,
    ) -> None: ...
    def check(self, field: str | None, address: str) -> Found: ...
