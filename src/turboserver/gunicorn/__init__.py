"""A worker class for gunicorn: `gunicorn -k turboserver.gunicorn.Worker MODULE:APP`.

gunicorn's master process binds, forks, watches and replaces the workers; in each of them the
engine serves. The files, in the order in which they are met:

    settings.py     which of gunicorn's settings mean what here, and which are refused
    worker.py       the worker's process: its servers, its main loop, its end
    requests.py     what gunicorn puts into environ, and what its hooks and its log are given

Needs gunicorn 23 or later (the extra `turboserver[gunicorn]`).
"""

from .worker import Worker

__all__ = ["Worker"]
