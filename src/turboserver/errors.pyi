# What a handler meets when the rest of its request cannot be had.

__all__ = ["BodyError"]

class BodyError(ConnectionError):
    status: int
    def __init__(self, message: str, status: int = 400) -> None: ...
