"""A configuration of nginx for the scenarios it can play, from one process: the fixed answer, or a file; without a log
or with one."""

from pathlib import Path

#: A certificate (RSA, 2048 bits) and its key, for whichever server speaks TLS.
PEM = Path(__file__).resolve().parents[2] / "tests" / "data" / "localhost.pem"

CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile {many};
events {{ worker_connections {many}; }}
http {{
    access_log {log};
    sendfile on;
    tcp_nopush on;
    {cache}
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=1024{tls};
        {certificate}
        root {folder};
        location / {{ {answer} }}
    }}
}}
"""


def write(folder, port, *, file=None, static=False, cached=False, secure=False, log=None, many=11_000):
    """Write `folder`/nginx.conf for 127.0.0.1:`port` and `many` connections; its path.

    `file` is the name of one in `folder` that is the answer to everything, `log` that of one to log to (combined). `static`:
    the files of `folder` are the answers; `cached`: with open_file_cache, which looks at them once a minute. `secure`: by TLS, with the
    certificate PEM.
    """
    answer = f"try_files /{file} =404;" if file else "" if static else 'return 200 "Hello, World!";'
    cache = "open_file_cache max=1000 inactive=600s; open_file_cache_valid 60s;" if cached else ""
    log = f"{folder}/{log} combined" if log else "off"
    path = folder / "nginx.conf"
    tls = " ssl" if secure else ""
    certificate = f"ssl_certificate {PEM}; ssl_certificate_key {PEM};" if secure else ""
    more = {"cache": cache, "tls": tls, "certificate": certificate}
    path.write_text(CONFIGURATION.format(folder=folder, port=port, many=many, answer=answer, log=log, **more))
    return path
