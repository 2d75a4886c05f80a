# Types of what slows guessing down.

from collections.abc import Callable
from typing import Final

__all__ = ["Throttle"]

FREE: Final[int]
FIRST_DELAY: Final[float]
LONGEST_DELAY: Final[float]
FORGET: Final[float]
MAX_ADDRESSES: Final[int]
MAX_PENDING: Final[int]

class Throttle:
    def __init__(
        self,
        *,
        free: int = ...,
        first_delay: float = ...,
        longest_delay: float = ...,
        forget: float = ...,
        max_addresses: int = ...,
        max_pending: int = ...,
        clock: Callable[[], float] = ...,
    ) -> None: ...
    def attempt(self, address: str) -> float: ...
    def ended(self, address: str, right: bool) -> float: ...
    def __len__(self) -> int: ...
