# How the body of a request is framed.

from email.message import Message

__all__ = ["BadFraming", "body_framing"]

class BadFraming(ValueError):
    status: int
    def __init__(self, message: str, status: int = 400) -> None: ...

def body_framing(headers: Message | dict[str, str], request_version: str) -> tuple[int | None, bool]: ...
