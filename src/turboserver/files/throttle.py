"""Guessing is slowed down: how long an address has to wait that failed too often.

The first FREE failures cost nothing: people mistype. Each one after that doubles the time for which nothing of this
address is looked at, right or wrong, so a guess cannot be hurried by asking more at once. What is remembered is
forgotten when FORGET seconds went by without a failure; a success does not do that, or who has an account could go on
guessing for another.

Invariants: attempts that have not ended count as if they had failed, so that requests at the same time do not all
pass for the first; and MAX_PENDING is how many there are. The table has MAX_ADDRESSES at most; the one that tried
longest ago goes first. IPv6 counts by /64: that many addresses a client has.

Any thread; nobody sleeps here, the caller is told a number. What may not live here: passwords.
"""

import collections
import ipaddress
import math
import threading
import time

__all__ = ["Throttle"]

FREE = 5                    # failures without delay
FIRST_DELAY = 1.0           # seconds after the next one
LONGEST_DELAY = 60.0        # somebody else may be behind the same address
FORGET = 900.0              # seconds; more than the longest delay
MAX_ADDRESSES = 4096
MAX_PENDING = 16            # attempts of one address at the same time: more than a browser has connections


class Throttle:
    """Failures by address (text). clock: seconds, never backwards."""

    def __init__(self, *, free=FREE, first_delay=FIRST_DELAY, longest_delay=LONGEST_DELAY, forget=FORGET,
                 max_addresses=MAX_ADDRESSES, max_pending=MAX_PENDING, clock=time.monotonic):
        self._free, self._first, self._longest, self._forget = free, first_delay, longest_delay, forget
        self._max, self._max_pending, self._clock = max_addresses, max_pending, clock
        self._lock = threading.Lock()
        # key: [failures, time of the last one, attempts that have not ended]; who tried longest ago is the first.
        self._entries = collections.OrderedDict()

    def attempt(self, address):
        """Somebody is about to try: seconds to wait before that will be looked at; 0.0 for now, and then
        ended() has to be called."""
        key, now = _key(address), self._clock()
        with self._lock:
            entry = self._entry(key, now)
            failures, last, pending = entry
            wait = last + self._delay(failures + pending) - now
            if wait <= 0 and pending >= self._max_pending:
                wait = self._first
            if wait <= 0:
                entry[2] += 1
                self._keep(key, entry)
            return max(wait, 0.0)

    def ended(self, address, right):
        """An attempt has ended, and was right or not. Seconds that the next one will have to wait."""
        key, now = _key(address), self._clock()
        with self._lock:
            entry = self._entry(key, now)
            entry[2] = max(entry[2] - 1, 0)
            if not right:
                entry[0] += 1
                entry[1] = now
            if entry[0] or entry[2]:
                self._keep(key, entry)
            else:
                self._entries.pop(key, None)
            return max(entry[1] + self._delay(entry[0]) - now, 0.0)

    def _entry(self, key, now):
        """What is known of an address; failures that are to be forgotten are."""
        entry = self._entries.get(key) or [0, -math.inf, 0]
        if now - entry[1] >= self._forget:
            entry[:2] = 0, -math.inf
        return entry

    def _keep(self, key, entry):
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._max:
            self._entries.popitem(last=False)

    def __len__(self):
        return len(self._entries)

    def _delay(self, count):
        if count <= self._free:
            return 0.0
        # 2.0**1024 is no float.
        return min(self._first * 2.0 ** min(count - self._free - 1, 64), self._longest)


def _key(address):
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
