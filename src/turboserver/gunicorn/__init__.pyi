# The worker class that gunicorn is told of.

from .worker import Worker as Worker

__all__ = ["Worker"]
