"""Counterpart of the standard library's package `wsgiref`; `simple_server` is in it."""
