"""What a handler meets when the rest of its request cannot be had."""

__all__ = ["BodyError"]


class BodyError(ConnectionError):
    """The body of the request is malformed, too long, too slow, or cut short by the end
    of the stream. `status` (int) is what answers it: a handler that has not begun an
    answer may let this out, then that answer is sent and the connection closed."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status
