"""A worker class of one's own, over ours."""

from typing import assert_type

from turboserver.gunicorn import Worker


class Own(Worker):
    def count_request(self) -> None:
        super().count_request()

    def run(self) -> None:
        assert_type(self.limited, bool)
        self.log.info("serving, %d at the most", self.max_requests)
        super().run()
