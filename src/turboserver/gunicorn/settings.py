"""What each of gunicorn's settings means to the worker.

Job: the table, and the check of a configuration against it. Every setting of gunicorn stands
in exactly one of the four groups below (tests/test_gunicorn.py fails for one that does not);
what is refused is said when gunicorn starts, and nothing is ignored that somebody asked for.

What may not live here: how a setting is honoured (worker.py, requests.py).
"""

# The worker does what these say.
HONOURED = {
    "worker_connections": "turbo_max_connections, for each listener",
    "threads": "if above 1, the most threads for each listener; by default as many as handlers block",
    "max_requests": "the worker drains and ends, and the master starts another one",
    "max_requests_jitter": "as above",
    "timeout": "the main thread beats; a handler that takes long is no reason to kill a worker",
    "graceful_timeout": "how long requests in hand may take when the worker is to end",
    "keepalive": "turbo_idle_timeout; with 0 connections end with their first answer",
    "limit_request_line": "turbo_max_request_line; 0 is 65,536",
    "limit_request_fields": "turbo_max_headers",
    "limit_request_field_size": "turbo_max_header_line; all fields together may have 65,536, or this if it is more",
    "sendfile": "without it wsgi.file_wrapper is gunicorn's, which reads",
    "secure_scheme_headers": "wsgi.url_scheme, from addresses in forwarded_allow_ips",
    "forwarded_allow_ips": "addresses, networks, *; whoever comes by a Unix socket is trusted",
    "forwarder_headers": "SCRIPT_NAME and PATH_INFO; no others",
    "header_map": "drop and dangerous; not refuse",
    "accesslog": "log.access() after each answer, and only if somebody wants it",
    "access_log_format": "all atoms of the default logger",
    "logger_class": "its access() is called for each answer",
    "errorlog": "wsgi.errors, and the exceptions of applications",
    "statsd_host": "log.access()",
    "raw_env": "os.environ; SCRIPT_NAME there is the application's root",
    "pre_request": "with an object that has method, uri, path, query, headers, version, scheme",
    "post_request": "after the answer, with environ, and an object that has status, sent, headers",
    "keyfile": "TLS", "certfile": "TLS",
    "cert_reqs": "TLS", "ca_certs": "TLS", "ciphers": "TLS", "suppress_ragged_eofs": "TLS",
    "ssl_context": "called once a worker, not once a connection",
    "reload": "the worker ends and is replaced",
    "workers": "wsgi.multiprocess, if above 1",
}

# gunicorn's master, its logger, and the base class of all workers do what these say.
GUNICORNS = frozenset("""
    config wsgi_app bind backlog worker_class reload_engine reload_extra_files spew check_config
    print_config preload_app reuse_port chdir daemon pidfile worker_tmp_dir user group umask initgroups
    disable_redirect_access_to_syslog loglevel capture_output logconfig logconfig_dict logconfig_json
    syslog_addr syslog syslog_prefix syslog_facility enable_stdio_inheritance dogstatsd_tags statsd_prefix
    enable_backlog_metric proc_name default_proc_name pythonpath paste raw_paste_global_conf
    on_starting on_reload when_ready pre_fork post_fork post_worker_init worker_int worker_abort pre_exec
    child_exit worker_exit nworkers_changed on_exit
    dirty_apps dirty_workers dirty_timeout dirty_threads dirty_graceful_timeout on_dirty_starting
    dirty_post_fork dirty_worker_init dirty_worker_exit
    control_socket control_socket_mode control_socket_disable
""".split())

# Nothing to do: of ASGI, of protocols that are refused below, or without a meaning to gunicorn itself.
MEANINGLESS = frozenset("""
    asgi_loop asgi_lifespan asgi_disconnect_grace_period websocket_max_message_size root_path
    http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size http2_max_header_list_size
    proxy_allow_ips uwsgi_allow_ips http_parser tmp_upload_dir ssl_version do_handshake_on_connect
    permit_unconventional_http_method
""".split())

_STRICT = "turboserver reads requests in one, strict way"

# name: (values that can be served, why no others)
REFUSED = {
    "proxy_protocol": ((False, "off"), "the PROXY protocol is not spoken"),
    "protocol": (("http",), "only HTTP is spoken"),
    "http_protocols": (("h1", ["h1"]), "HTTP/2 is not spoken"),
    "http2_cleartext": ((False, "off"), "HTTP/2 is not spoken"),
    "permit_obsolete_folding": ((False,), _STRICT),
    "strip_header_spaces": ((False,), _STRICT),
    "permit_unconventional_http_version": ((False,), _STRICT),
    "casefold_http_method": ((False,), _STRICT),
}


class Unservable(RuntimeError):
    """A setting asks for what the worker cannot do. gunicorn shows the message and ends."""


def check(cfg):
    """Raise Unservable if cfg (gunicorn.config.Config) asks for what cannot be done.

    Returns a list of str, what an operator should be told: settings that this version of
    turboserver does not know and that somebody has set.
    """
    for name, (possible, why) in REFUSED.items():
        setting = cfg.settings.get(name)
        if setting is not None and setting.get() not in possible:
            raise Unservable(f"{name} = {setting.get()!r} cannot be honoured by turboserver.gunicorn.Worker: {why}")
    others = set(cfg.forwarder_headers) - {"SCRIPT_NAME", "PATH_INFO"}
    if others:
        raise Unservable(f"forwarder_headers = {cfg.forwarder_headers!r} cannot be honoured by "
                         "turboserver.gunicorn.Worker: of names with an underscore only SCRIPT_NAME and "
                         "PATH_INFO are told apart from those with a hyphen")
    if cfg.header_map == "refuse":
        raise Unservable("header_map = 'refuse' cannot be honoured by turboserver.gunicorn.Worker: "
                         "field names with an underscore are dropped, or kept with 'dangerous'")
    return [f"turboserver.gunicorn.Worker does not know the setting {name}; it is left to gunicorn"
            for name, setting in cfg.settings.items()
            if group_of(name) is None and setting.get() != type(setting)().get()]


def group_of(name):
    """The group that a setting stands in: "honoured", "gunicorn's", "meaningless", "refused"; None: in none."""
    for group, names in (("honoured", HONOURED), ("gunicorn's", GUNICORNS), ("meaningless", MEANINGLESS),
                         ("refused", REFUSED)):
        if name in names:
            return group
    return None


def is_set(cfg, name):
    """Whether a hook is another one than gunicorn's own, which does nothing."""
    return cfg.settings[name].get() is not type(cfg.settings[name])().get()
