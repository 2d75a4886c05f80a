# Types of the worker. gunicorn's own are those of the distribution types-gunicorn, where it is installed.

from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker as BaseWorker

__all__ = ["Worker"]

class Worker(BaseWorker):
    limited: bool
    @classmethod
    def check_config(cls, cfg: Config, log: Logger) -> None: ...
    def count_request(self) -> None: ...
