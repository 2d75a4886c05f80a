"""What the blocks of docs/deploy.md have to do. Tools from PyPI are those of `make docs` (build/docs-env)."""
import configparser
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys

import pytest

from support import connect, wait_until

from .blocks import DOCS_ENV
from .certificates import authority, certificate, write_pair
from .checks import APPLICATION, Checks, check_line, lines
from .stage import need

checks = Checks("docs/deploy.md")


def docs_tool(name):
    """A program of build/docs-env; the test is skipped without it."""
    path = os.path.join(DOCS_ENV, "bin", name)
    if not os.path.exists(path):
        pytest.skip("build/docs-env is not there (make docs)")
    return path


def package(stage, below=""):
    """The application that the page deploys."""
    stage.write(f"{below}package/__init__.py", "")
    stage.write(f"{below}package/module.py", APPLICATION)


# ---- systemd ------------------------------------------------------------------------

def units(stage, *names):
    """Units as files, with /srv/app in the folder; returns that. systemd finds nothing wrong with them."""
    need("systemd-analyze")
    root = stage.folder / "srv"
    stage.paths["/srv/app"] = root
    package(stage, "srv/")
    (root / ".venv/bin").mkdir(parents=True)
    os.symlink(stage.environment()["PATH"].split(os.pathsep)[0] + "/turboserver", root / ".venv/bin/turboserver")
    for name in names:
        stage.write(name)
    said = stage.run(f"systemd-analyze verify --man=no ./{' ./'.join(names)}")
    assert not [line for line in said.splitlines() if any(name in line for name in names)], said
    return root


def service_of(stage):
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(stage.folder / "app.service")
    return parser["Service"]


@checks("app.socket", "app.service", "systemctl")
def systemd(stage):
    """systemd calls it well protected, too, and its own activator serves by what the units say."""
    root = units(stage, "app.socket", "app.service")
    score = stage.run("systemd-analyze security --offline=yes --threshold=25 ./app.service")
    assert "app.service" in score
    if stage.block.name == "systemctl":
        for line in lines(stage.block):
            words = shlex.split(line, comments=True)
            assert words[0] == "systemctl" and words[1] in ("enable", "reload"), line
            assert {word for word in words[2:] if word != "--now"} <= {"app.socket", "app.service"}
    if stage.block.name == "app.socket":
        activator = need("systemd-socket-activate")
        port = stage.port()
        stage.start(f"{activator} -l 127.0.0.1:{port} --setenv=PATH --setenv=PYTHONPATH --setenv=PWD "
                    f"env -C {root} {service_of(stage)['ExecStart']}")
        assert stage.curl("http://127.0.0.1:8000/there") == "/there"


@checks("behind.service")
def behind(stage):
    """What it starts is started by tests/test_deploy_notify.py."""
    units(stage, "behind.service")


# ---- gunicorn -----------------------------------------------------------------------

@checks("gunicorn", "gunicorn.conf.py")
def gunicorn(stage):
    pytest.importorskip("gunicorn", reason="gunicorn is not installed (turboserver[gunicorn])")
    package(stage)
    command = stage.named("gunicorn").text.split("#")[0].strip()
    if stage.block.name == "gunicorn":
        check_line(stage, stage.block.text.split("#")[1].strip())
        started = stage.start(f"{command} -b 127.0.0.1:8000")
    else:
        stage.write("gunicorn.conf.py")
        started = stage.start("gunicorn package.module:app")
    assert stage.curl("http://127.0.0.1:8000/there") == "/there"
    assert "Worker" in started.said()


# ---- containers -----------------------------------------------------------------------

def instructions(stage):
    """[{instruction, value}, ...] of the Dockerfile, by a parser of Dockerfiles."""
    done = subprocess.run(
        [docs_tool("python"), "-c", "import json, sys, dockerfile_parse\n"
         "print(json.dumps(dockerfile_parse.DockerfileParser(fileobj=open(sys.argv[1], 'rb+')).structure))",
         str(stage.write("Dockerfile"))], capture_output=True, text=True, check=True)
    return [(entry["instruction"], entry["value"]) for entry in json.loads(done.stdout)]


@checks("Dockerfile")
def dockerfile(stage):
    """What linters of Dockerfiles ask for; its RUN is an install of this project, its ENTRYPOINT serves."""
    found = instructions(stage)
    names = [name for name, _ in found]
    only = dict(found)
    assert names[0] == "FROM" and names[-1] == "ENTRYPOINT"
    assert set(names) <= {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT"}
    image, _, tag = only["FROM"].partition(":")
    assert image == "python" and tag and tag != "latest"
    assert os.path.isabs(only["WORKDIR"]) and only["USER"] not in ("root", "0") and names.index("USER") > names.index("RUN")
    for name, value in found:
        if name == "RUN":
            assert "--no-cache-dir" in value
            check_line(stage, value)
    entry = json.loads(only["ENTRYPOINT"])      # the form of a list: no shell in between
    assert f":{only['EXPOSE']}" in entry and hasattr(signal, only["STOPSIGNAL"])
    package(stage)
    started = stage.start(shlex.join(entry))
    assert stage.curl("http://127.0.0.1:8000/there") == "/there"
    started.wait_for(lambda: '"GET /there HTTP/1.1" 200' in started.said())


@checks("docker")
def docker(stage):
    """Words of docker, a port that the image has, and a time above the server's."""
    build, run = [shlex.split(line) for line in lines(stage.block)]
    assert build[:2] == ["docker", "build"] and build[2] == "--tag" and build[4:] == ["."]
    assert run[:2] == ["docker", "run"] and run[-1] == build[3]
    options = dict(zip(run[2:-1:2], run[3:-1:2]))
    assert set(options) == {"--publish", "--stop-timeout"} and int(options["--stop-timeout"]) > 30
    assert f"EXPOSE {options['--publish'].split(':')[1]}" in stage.named("Dockerfile").text


@checks("app.yaml")
def kubernetes(stage):
    """Kubernetes' own schema takes it; the numbers fit together; its arguments are arguments of the command."""
    python = docs_tool("python")
    validate = [docs_tool("kubernetes-validate"), "--strict"]
    for text, code in ((stage.block.text, 0), (stage.block.text.replace("containerPort", "port"), 1)):
        path = stage.write("app.yaml", text)
        done = subprocess.run([*validate, str(path)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code, done.stdout
    read = subprocess.run([python, "-c", "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"],
                          input=stage.block.text, capture_output=True, text=True, check=True)
    deployment, service = json.loads(read.stdout)
    pod = deployment["spec"]["template"]
    container, = pod["spec"]["containers"]
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    graceful = int(container["args"][container["args"].index("--graceful-timeout") + 1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > waits + graceful + 6     # 2 s to end, 4 s until it is killed
    assert pod["metadata"]["labels"] == service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    port, = container["ports"]
    assert f"EXPOSE {port['containerPort']}\n" in stage.named("Dockerfile").text
    assert service["spec"]["ports"][0]["targetPort"] == container["readinessProbe"]["httpGet"]["port"] == port["name"]
    package(stage)
    entry = json.loads(stage.named("Dockerfile").text.partition("ENTRYPOINT ")[2])
    stage.start(shlex.join(entry + container["args"]))
    assert stage.curl(f"http://127.0.0.1:8000{container['readinessProbe']['httpGet']['path']}") == "/healthz"


# ---- logs, metrics, certificates ----------------------------------------------------

@checks("logs.py")
def logs(stage):
    started = stage.program()
    stage.curl("http://127.0.0.1:8000/path")
    started.wait_for(lambda: 'INFO http 127.0.0.1 "GET /path HTTP/1.1" 204 -' in started.said())


@checks("metrics.py")
def metrics(stage):
    """With prometheus_client of build/docs-env, if it is for this Python."""
    docs_tool("python")
    folder = os.path.join(DOCS_ENV, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
    if not os.path.isdir(os.path.join(folder, "prometheus_client")):
        pytest.skip("build/docs-env is for another Python")
    # Nothing but this package: the others there are not for programs.
    os.symlink(os.path.join(folder, "prometheus_client"), stage.folder / "prometheus_client")
    stage.program()
    for _ in range(2):
        stage.curl("http://127.0.0.1:8000/")
    stage.curl("-X ODD http://127.0.0.1:8000/")
    said = stage.curl("http://127.0.0.1:8000/metrics")
    assert 'http_answers_total{method="GET",status="204"} 2.0' in said
    assert 'http_answers_total{method="other",status="204"} 1.0' in said and "http_answer_seconds_count 3.0" in said


@checks("certificates.py")
def reload(stage):
    """SIGHUP: the next handshake has the new certificate, and a connection that is open stays."""
    authority_before, authority_after = (authority(stage.folder / f"{name}.pem") for name in ("before", "after"))
    write_pair(stage.folder, "server", certificate(authority_before, "localhost"))
    stage.write("index.html", "<p>the page")
    started = stage.program(port=8443)

    def connected(ca):
        context = ssl.create_default_context(cafile=stage.folder / f"{ca}.pem")
        return context.wrap_socket(connect(("127.0.0.1", stage.port(8443))), server_hostname="localhost")

    def is_new():
        try:
            connected("after").close()
        except ssl.SSLError:
            return False
        return True

    with connected("before") as kept:
        assert not is_new()
        write_pair(stage.folder, "server", certificate(authority_after, "localhost"))
        started.process.send_signal(signal.SIGHUP)
        wait_until(is_new, "the new certificate")
        kept.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        assert b"200 OK" in kept.recv(1000)


