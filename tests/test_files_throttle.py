"""turboserver.files.throttle: how long somebody has to wait who guesses."""
import pytest

from turboserver.files import throttle
from turboserver.files.throttle import Throttle

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
st = hypothesis.strategies
ADDRESS = "192.0.2.1"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def guess(throttle, address=ADDRESS, right=False):
    """Seconds to wait, or None if it was looked at."""
    wait = throttle.attempt(address)
    if wait:
        return wait
    throttle.ended(address, right)
    return None


def test_the_delay_grows():
    clock = Clock()
    guesses = Throttle(free=3, first_delay=1, longest_delay=10, clock=clock)
    assert [guess(guesses) for _ in range(5)] == [None, None, None, None, 1.0]
    for delay in (1, 2, 4, 8, 10, 10, 10):
        assert guess(guesses) == delay and guess(guesses, right=True) == delay
        clock.now += delay - 0.5
        assert guess(guesses) == 0.5            # asking does not lengthen it
        clock.now += 0.5
        assert guess(guesses) is None


def test_a_success_costs_nothing_and_excuses_nothing():
    clock = Clock()
    guesses = Throttle(free=3, first_delay=1, clock=clock)
    for _ in range(100):
        assert guess(guesses, right=True) is None
    assert len(guesses) == 0
    for _ in range(4):
        assert guess(guesses) is None
    clock.now += 1
    for _ in range(100):
        assert guess(guesses, right=True) is None
    assert guess(guesses) is None and guess(guesses) == 2


def test_failures_are_forgotten():
    clock = Clock()
    guesses = Throttle(free=1, first_delay=1, longest_delay=50, forget=100, clock=clock)
    for _ in range(20):
        guess(guesses)
        clock.now += 50
    assert guess(guesses) is None and guess(guesses) == 50
    clock.now += 100
    assert [guess(guesses) for _ in range(3)] == [None, None, 1]


def test_guesses_at_the_same_time():
    guesses = Throttle(free=3, first_delay=1, max_pending=10, clock=Clock())
    for _ in range(3):
        guess(guesses)
    assert [guesses.attempt(ADDRESS) for _ in range(3)] == [0.0, 1.0, 1.0]
    fresh = Throttle(free=3, first_delay=1, max_pending=10, clock=Clock())
    assert [fresh.attempt(ADDRESS) > 0 for _ in range(13)] == [False] * 10 + [True] * 3
    for _ in range(10):
        fresh.ended(ADDRESS, True)
    assert len(fresh) == 0 and fresh.attempt(ADDRESS) == 0.0


def test_addresses_are_apart_and_networks_are_not():
    guesses = Throttle(free=0, first_delay=1, clock=Clock())
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "", "unix", "fe80::1%eth0"):
        assert guess(guesses, address) is None and guess(guesses, address) == 1
    for same in ("::ffff:192.0.2.1", "2001:db8::2", "2001:db8::ffff:0:0:1", "2001:0DB8::1", "fe80::2%eth1"):
        assert guess(guesses, same) == 1


def test_the_table_has_a_bound():
    guesses = Throttle(free=0, first_delay=1, max_addresses=10, clock=Clock())
    for number in range(100):
        assert guess(guesses, f"192.0.2.{number}") is None
        assert len(guesses) <= 10
    assert guess(guesses, "192.0.2.99") == 1 and guess(guesses, "192.0.2.0") is None
    assert len(throttle._key("x" * 10**6)) <= 100


def test_an_attempt_whose_address_was_dropped_meanwhile():
    guesses = Throttle(free=0, first_delay=1, max_addresses=1, clock=Clock())
    guesses.attempt("192.0.2.1")
    guesses.attempt("192.0.2.2")
    assert guesses.ended("192.0.2.1", True) == 0.0 and guesses.ended("192.0.2.2", False) == 1.0


class Model:
    """One address, in the plainest words: a list of the times of failures."""

    def __init__(self):
        self.times = []

    def wait(self, now):
        recent = []
        for at in self.times:
            if recent and at - recent[-1] >= 900:
                recent = []
            recent.append(at)
        if not recent or now - recent[-1] >= 900 or len(recent) <= 5:
            return 0.0
        return max(0.0, recent[-1] + min(2 ** (len(recent) - 6), 60) - now)


@hypothesis.settings(max_examples=400, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 1, 5, 30, 60, 899, 900, 2000]), st.booleans()), max_size=40))
def test_delays_as_the_model_has_them(steps):
    clock, model = Clock(), Model()
    guesses = Throttle(clock=clock)
    for pause, right in steps:
        clock.now += pause
        expected = model.wait(clock.now)
        assert guesses.attempt(ADDRESS) == expected
        if expected == 0:
            if not right:
                model.times.append(clock.now)
            assert guesses.ended(ADDRESS, right) == model.wait(clock.now)
