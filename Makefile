# make serve   builds turboserver and serves the current folder (PORT=8000)
# make test    sets up what the tests need and runs them
# make test-all  what hangs on the interpreter, by nox, on each Python of 3.11 and newer that is
#              here, in development mode, with assertions, and without the engine
#              (NOX_ARGS="-s tests-3.13 -- tests/test_ends.py")
# make bench   every scenario beside every rival (BENCH_ARGS=--quick for two minutes)
# make micro   the stages alone, in nanoseconds
# make count   instructions for each request, against the committed figures
# make fuzz    each fuzz target for a minute (FUZZ=seconds for another time)
# make soak    a mixed load of good and hostile clients for 3 minutes (SOAK=minutes)
# make frameworks  Django, Flask, Falcon, bottle, Pyramid and middlewares on the WSGI server,
#              and the tests of their own (needs PyPI)
# make field   programs that nobody here wrote, from PyPI: that they work, and how fast; writes
#              docs/field.md (needs PyPI and wrk)
# make browser  the folder page in Chromium (needs PyPI and chromium); pictures of it are in
#              build/browser then
# make docs    builds docs/ into build/docs, warnings being errors (needs PyPI)
# make wheel   the source archive and a wheel for each Python here, installed and tested
#              (PYTHONS='python3.13 ...' for those, WHEEL_CHROOT=1 also in a Debian without
#              a compiler; needs PyPI), into build/wheels/dist
# make sanitize  the Python tests under sanitizers (SANITIZE=thread for the other ones)
# make types   mypy, pyright (needs node) and stubtest over the stubs and tests/typing (needs PyPI;
#              TYPES_ARGS=--short for mypy and stubtest alone)
# make model   checks the models of the leader hand-over and of who owns a connection
#              (needs spin)
# make clean   removes what the above have made
#
# All that is needed is Python 3.11 or newer, its venv module and a C compiler.
# PYTHON chooses the interpreter, VENV the folder of its environment.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
PYTEST_ARGS ?=
NOX_ARGS ?=
SOAK ?= 3
FUZZ ?= 60
SANITIZE ?= address,undefined
BENCH_ARGS ?=
TYPES_ARGS ?=
FIELD_ARGS ?=
PYTHONS ?=
WHEEL_CHROOT ?=

PY = $(VENV)/bin/python
PIP = $(PY) -m pip --disable-pip-version-check --quiet
# Python's arguments to print what pyproject.toml has under these keys, a line each: for pip.
requirements = -c 'import functools, sys, tomllib; print(*functools.reduce(dict.get, sys.argv[1:], \
  tomllib.load(open("pyproject.toml", "rb"))), sep="\n")' $(1)
FIELD_SHORT = web documents lines
FIELD = $(FIELD_SHORT) large patched
NATIVE = $(wildcard csrc/*.[ch] src/turboserver/*.pyx src/turboserver/*.pxd)

# Claims are checked on a smaller model than assertions are: each state counts
# several times for fairness. pan ends with 0 whatever it finds.
MODEL_SMALL ?= -DN=2 -DITEMS=2
MODEL_CC = $${CC:-cc} -O2 -w -DCOLLAPSE -DMEMLIM=4096
MODEL_RUN = run() { (cd build/model && ./pan -m1000000 "$$@") >build/model/log 2>&1; \
  grep -E 'errors:|states, stored|error|depth too small|out of memory' build/model/log; \
  grep -q 'errors: 0' build/model/log && ! grep -qE 'too small|out of memory' build/model/log; }; run

.PHONY: help serve test bench micro count soak fuzz frameworks browser docs types test-all field field-ready wheel sanitize model clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

serve: $(VENV)/.built
	@exec $(PY) -m turboserver -p $(PORT)

test: $(VENV)/.built $(VENV)/.tools-test
	@$(PY) -m pytest $(PYTEST_ARGS)

test-all: build/nox/.ready
	@build/nox/bin/python -m nox $(NOX_ARGS)

soak: $(VENV)/.built $(VENV)/.tools-test
	@$(PY) tests/soak.py --minutes $(SOAK)

sanitize: $(VENV)/.built $(VENV)/.tools-test
	@$(PY) tests/sanitize.py --sanitize=$(SANITIZE) $(PYTEST_ARGS)

fuzz: $(VENV)/.tools-fuzz
	@$(PY) tests/fuzz/fuzzing.py --seconds $(FUZZ)

frameworks: $(VENV)/.built $(VENV)/.tools-test build/frameworks/.ready build/frameworks/.suites
	@$(PY) -m pytest $(PYTEST_ARGS) tests/test_frameworks*.py tests/test_proxies.py

field: $(VENV)/.built $(VENV)/.tools-test $(FIELD:%=build/field/%/.ready) build/field/.suites
	@FIELD=whole $(PY) -m pytest $(PYTEST_ARGS) tests/test_field*.py
	@$(PY) tests/field/measure.py $(FIELD_ARGS)

# The environments of the short form, which `make test` runs where they are.
field-ready: $(FIELD_SHORT:%=build/field/%/.ready)

browser: $(VENV)/.built $(VENV)/.tools-test $(VENV)/.tools-browser
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo 'make browser needs Chromium:  apt install chromium' >&2; exit 1; }
	@$(PY) -m pytest $(PYTEST_ARGS) tests/browser

docs: $(VENV)/.built build/docs-env/.ready
	@build/docs-env/bin/python -m sphinx --quiet --fail-on-warning --keep-going \
	  --builder html --doctree-dir build/docs-trees docs build/docs
	@echo 'turboserver: build/docs/index.html'

types: $(VENV)/.built
	@$(PY) tests/typing/check.py $(TYPES_ARGS)

bench:
	@$(PYTHON) bench/run.py $(BENCH_ARGS)

micro: $(VENV)/.built
	@$(PY) bench/micro/run.py $(BENCH_ARGS)

count: $(VENV)/.built
	@$(PY) bench/instructions.py $(BENCH_ARGS)

model:
	@command -v spin >/dev/null || { \
	  echo 'make model needs spin:  apt install spin   or   brew install spin' >&2; exit 1; }
	@mkdir -p build/model
	@set -e; for model in model/*.pml; do \
	  (cd build/model && spin -a ../../$$model >spin.log); \
	  echo "== $$model: assertions, deadlocks"; \
	  $(MODEL_CC) -DSAFETY -DNOCLAIM -o build/model/pan build/model/pan.c; \
	  $(MODEL_RUN); \
	  for claim in $$(sed -n 's/^ltl \([a-z_]*\) .*/\1/p' $$model); do \
	    echo "== $$model: $$claim, under weak fairness, $(MODEL_SMALL)"; \
	    (cd build/model && spin $(MODEL_SMALL) -a ../../$$model >spin.log); \
	    $(MODEL_CC) -DNFAIR=4 -o build/model/pan build/model/pan.c; \
	    $(MODEL_RUN) -a -f -N $$claim; \
	  done; \
	done; \
	for more in "-DSTOP -DSENDS=1 -DT=1" "-DONESHOT -DSENDS=1"; do \
	  echo "== model/connection.pml: $$more"; \
	  (cd build/model && spin $$more -a ../../model/connection.pml >spin.log); \
	  $(MODEL_CC) -DSAFETY -DNOCLAIM -o build/model/pan build/model/pan.c; \
	  $(MODEL_RUN); \
	done

wheel: build/wheels-env/.ready
	@build/wheels-env/bin/python wheels/make.py $(if $(WHEEL_CHROOT),--chroot) $(PYTHONS)

clean:
	rm -rf $(VENV) .venv-ci* .nox build dist .pytest_cache src/*.egg-info
	find src tests bench wheels -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f src/turboserver/*.so

# ---- Stamps: what is up to date is not done again ----

define CHECK
import os, shlex, shutil, sys, sysconfig
def stop(text):
    sys.exit("\n  turboserver: " + text + "\n")
if sys.version_info < (3, 11):
    stop("Python 3.11 or newer is needed, and this is %d.%d. Choose another:  make PYTHON=python3.13 ..." % sys.version_info[:2])
apple = sys.platform == "darwin"
try:
    import ensurepip, venv
except ImportError:
    stop("Python's venv module is missing. Install it:  apt install python3-venv  (Debian, Ubuntu)")
cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
if not shutil.which(cc):
    stop("no C compiler (%s) was found. Install one:  " % cc + ("xcode-select --install" if apple else
         "apt install build-essential  (Debian, Ubuntu),  dnf install gcc  (Fedora),  apk add build-base  (Alpine)"))
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    stop("Python's headers (Python.h) are missing. Install them:  " + ("xcode-select --install" if apple else
         "apt install python3-dev  (Debian, Ubuntu),  dnf install python3-devel  (Fedora),  apk add python3-dev  (Alpine)"))
endef
export CHECK

$(VENV)/.tools: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  printf '\n  turboserver: %s was not found. Install Python 3.11 or newer:  apt install python3 python3-venv  or  brew install python\n\n' \
	  '$(PYTHON)' >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK"
	@echo 'turboserver: setting up $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@$(PY) $(call requirements,build-system requires) >$@.txt
	@$(PIP) install --requirement $@.txt
	@touch $@

$(VENV)/.built: $(VENV)/.tools setup.py $(NATIVE)
	@$(PYTHON) -c "$$CHECK"
	@echo 'turboserver: building'
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# What the extra names, without the package itself: to install that again would compile it again.
$(VENV)/.tools-test: $(VENV)/.built
	@$(PY) $(call requirements,project optional-dependencies test) >$@.txt
	@$(PIP) install --requirement $@.txt
	@touch $@

# The browser is the system's: Playwright is not asked for one of its own. ffmpeg makes a film for the tests.
$(VENV)/.tools-browser: $(VENV)/.built
	@$(PIP) install --only-binary :all: 'playwright>=1.50,<2' 'imageio-ffmpeg>=0.6,<1'
	@touch $@

# Without atheris the targets in Python have a random generator of their own.
$(VENV)/.tools-fuzz: $(VENV)/.built
	@$(PIP) install --only-binary :all: atheris 2>/dev/null || \
	  echo 'turboserver: no atheris for this Python: inputs for Python are random, not led by coverage'
	@touch $@

# turboserver itself is taken from src/, so this is for the Python that $(VENV) is for.
build/frameworks/.ready: $(VENV)/.tools tests/frameworks/requirements.txt
	@echo 'turboserver: setting up build/frameworks'
	@rm -rf build/frameworks
	@$(PYTHON) -m venv --without-pip build/frameworks
	@$(PIP) --python build/frameworks install --no-compile --only-binary :all: \
	  --requirement tests/frameworks/requirements.txt
	@touch $@

# The reference is read from src/, so this too is for the Python that $(VENV) is for.
build/docs-env/.ready: $(VENV)/.tools pyproject.toml
	@echo 'turboserver: setting up build/docs-env'
	@rm -rf build/docs-env
	@$(PYTHON) -m venv build/docs-env
	@$(PY) $(call requirements,dependency-groups docs) >$@.txt
	@build/docs-env/bin/python -m pip --disable-pip-version-check --quiet install --requirement $@.txt
	@touch $@

# nox makes environments by uv, which is much quicker, if it is there.
build/nox/.ready:
	@$(PYTHON) -c "$$CHECK"
	@echo 'turboserver: setting up build/nox'
	@rm -rf build/nox
	@$(PYTHON) -m venv build/nox
	@build/nox/bin/python -m pip --disable-pip-version-check --quiet install 'nox[uv]>=2025.5'
	@touch $@

build/wheels-env/.ready: pyproject.toml
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'make wheel needs Python 3.11 or newer with its venv module (PYTHON=...)' >&2; exit 1; }
	@echo 'turboserver: setting up build/wheels-env'
	@rm -rf build/wheels-env
	@$(PYTHON) -m venv build/wheels-env
	@build/wheels-env/bin/python $(call requirements,dependency-groups wheel) >$@.txt
	@build/wheels-env/bin/python -m pip --disable-pip-version-check --quiet install --requirement $@.txt
	@touch $@

# For tests/test_typing.py, which makes it by itself where it is not here.
build/types/.ready: $(VENV)/.tools pyproject.toml tests/typing/check.py
	@echo 'turboserver: setting up build/types'
	@$(PY) tests/typing/check.py --prepare
	@touch $@

# The frameworks' own tests are in their source archives alone.
build/frameworks/.suites: build/frameworks/.ready tests/frameworks/suites.txt tests/frameworks/suite-tools.txt
	@echo "turboserver: fetching the frameworks' own tests"
	@rm -rf build/frameworks/suites
	@$(PIP) --python build/frameworks install --only-binary :all: --requirement tests/frameworks/suite-tools.txt
	@FALCON_DISABLE_CYTHON=1 $(PIP) download --no-deps --dest build/frameworks/suites \
	  --no-binary $$(sed -n 's/==.*//p' tests/frameworks/suites.txt | paste -s -d , -) \
	  --requirement tests/frameworks/suites.txt
	@set -e; cd build/frameworks/suites; for archive in *.tar.gz; do tar -xzf $$archive; done
	@touch $@

# An environment for each group of the field, as above without turboserver itself.
build/field/%/.ready: tests/field/requirements/%.txt | $(VENV)/.tools
	@echo 'turboserver: setting up build/field/$*'
	@rm -rf build/field/$*
	@$(PYTHON) -m venv --without-pip build/field/$*
	@$(PIP) --python build/field/$* install --no-compile --no-deps --only-binary :all: --requirement $<
	@touch $@

build/field/.suites: tests/field/requirements/suites
	@echo "turboserver: fetching the programs' own tests"
	@rm -rf build/field/suites
	@$(PIP) download --no-deps --dest build/field/suites \
	  --no-binary $$(sed -n 's/==.*//p' $< | paste -s -d , -) --requirement $<
	@set -e; cd build/field/suites; for archive in *.tar.gz; do tar -xzf $$archive; done
	@touch $@
