"""Counterpart of the standard library's package `http`; `turboserver.http.server` is in it."""
