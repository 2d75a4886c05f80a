"""A configuration of nginx for the scenarios it can play: the fixed answer, from one process, without a log."""

CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile {many};
events {{ worker_connections {many}; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 "Hello, World!"; }}
    }}
}}
"""


def write(folder, port, many=11_000):
    """Write `folder`/nginx.conf for 127.0.0.1:`port` and `many` connections; its path."""
    path = folder / "nginx.conf"
    path.write_text(CONFIGURATION.format(folder=folder, port=port, many=many))
    return path
