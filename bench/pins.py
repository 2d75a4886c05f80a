"""The versions that are measured. Only dict literals: environment.py installs what stands here."""

#: What the command itself needs, from PyPI.
TOOLS = {
    "rich": "15.0.0",
    "matplotlib": "3.11.2",
    "httptools": "0.9.0",
}

#: server -> what it consists of, from PyPI. The first is the server.
PEERS = {
    "bjoern": {"bjoern": "3.2.2"},
    "fastwsgi": {"fastwsgi": "0.0.9", "setuptools": "80.9.0"},  # it imports pkg_resources
    "granian": {"granian": "2.8.7"},
    "gunicorn": {"gunicorn": "27.0.1"},
    "waitress": {"waitress": "3.0.2"},
    "cheroot": {"cheroot": "11.1.2"},
    "uvicorn": {"uvicorn": "0.54.0", "httptools": "0.9.0", "uvloop": "0.23.0"},
    "werkzeug": {"werkzeug": "3.1.9"},
}

#: framework whose hello application is served -> what it consists of, from PyPI.
FRAMEWORKS = {
    "flask": {"flask": "3.1.3"},
    "django": {"django": "5.2.19"},
}

#: program -> the Debian package that has it (Debian 12).
DEBIAN_PROGRAMS = {
    "wrk": {"wrk": "4.1.0-3+b2"},
    "nginx": {"nginx": "1.22.1-9+deb12u11"},
}

#: Header and library that bjoern is compiled with.
DEBIAN_LIBEV = {"libev-dev": "1:4.33-1", "libev4": "1:4.33-1"}

#: Library that a program was linked with -> the Debian packages that have it; taken only where the system has none.
DEBIAN_LIBRARIES = {
    "libluajit-5.1.so.2": {"libluajit-5.1-2": "2.1.0~beta3+git20220320+dfsg-4.1+deb12u1"},
    "libpcre2-8.so.0": {"libpcre2-8-0": "10.42-1+deb12u2"},
    "libcrypt.so.1": {"libcrypt1": "1:4.4.33-2"},
    "libssl.so.3": {"libssl3": "3.0.22-1~deb12u2"},
    "libcrypto.so.3": {"libssl3": "3.0.22-1~deb12u2"},
    "libz.so.1": {"zlib1g": "1:1.2.13.dfsg-1"},
}
