"""Hypothesis strategies of what can be in a folder; nothing here asserts anything."""
import os

from hypothesis import settings
from hypothesis import strategies as st

from turboserver.files.folder import BROKEN, FILE, FOLDER, OTHER, Entry

#: No speed limits: other things run on the machine.
UNHURRIED = settings(deadline=None)
#: What a file can be called: any octets but "/" and NUL.
names = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda octets: octets.replace(b"\0", b"n").replace(b"/", b"s")).map(os.fsdecode),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40))
entries = st.builds(
    Entry, names, st.sampled_from([FOLDER, FILE, FILE, OTHER, BROKEN]), st.none() | st.integers(0, 1 << 62),
    st.none() | st.integers(-1 << 62, 1 << 62), st.booleans())
