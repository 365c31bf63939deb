# Everything runs from .venv, which is made by the first target that needs it. See `make help`.
.DELETE_ON_ERROR:

SERVICES := $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml))
SOURCES := common/src $(addsuffix /src,$(SERVICES))
EMPTY :=
SOURCES_PATH := $(subst $(EMPTY) $(EMPTY),:,$(SOURCES))
PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
INSTALLED := .venv/.installed
TOOLS := .venv/.tools
# Tests at a time. Most of them wait most of the time: more than there are cores.
WORKERS := 4
ARGS :=

.PHONY: help demo test test-fast lint schemas faults bench bench-check soak dist clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(INSTALLED) ## a broker, every bridge, simulated devices, and commands to try (ARGS="--for 20")
	@.ci/need mosquitto mosquitto
	@.ci/need mosquitto_sub mosquitto-clients
	@.ci/need sigrok-cli sigrok-cli
	@$(PYTHON) -m busbar demo $(ARGS)

test: $(TOOLS) ## all tests (ARGS="-k name")
	@.ci/need mosquitto mosquitto
	@.ci/need mosquitto_sub mosquitto-clients
	@.ci/need openssl openssl
	@.ci/need node nodejs
	@.ci/need npm npm
	@.ci/need zsh zsh
	@.ci/need fish fish
	@.ci/need indiserver indi-bin
	@.ci/need ip iproute2
	@.ci/need unshare util-linux
	@.ci/need mbpoll mbpoll
	@.ci/need sigrok-cli sigrok-cli
	@.ci/need socat socat
	@.ci/need gcc gcc libc6-dev
	@.ci/need --header modbus/modbus.h libmodbus-dev
	$(PYTHON) -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)

FAST := tests/common tests/client tests/cli $(wildcard tests/*_bridge/test_settings.py)

test-fast: $(TOOLS) ## the library, the client, the command line, settings: the inner loop
	@.ci/need mosquitto mosquitto
	@.ci/need mosquitto_sub mosquitto-clients
	HYPOTHESIS_PROFILE=fast $(PYTHON) -m pytest --numprocesses $(WORKERS) --dist worksteal $(FAST) $(ARGS)

lint: $(TOOLS) ## ruff, mypy, import-linter, rules of our own
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	MYPYPATH=$(SOURCES_PATH) $(PYTHON) -m mypy $(SOURCES)
	$(PYTHON) .ci/imports.py
	$(PYTHON) .ci/style.py --strict

faults: $(TOOLS) ## break everything on purpose, on a real broker; writes docs/faults.md
	@.ci/need mosquitto mosquitto
	$(PYTHON) -m pytest tests/faults --write-faults $(ARGS)

bench: $(TOOLS) ## measure, as ratios in one run (ARGS="--quick NAME")
	@.ci/need mosquitto mosquitto
	$(PYTHON) -m tests.bench $(ARGS)

bench-check: $(TOOLS) ## measure and compare with the committed figures
	@.ci/need mosquitto mosquitto
	$(PYTHON) -m tests.bench --check $(ARGS)

soak: $(TOOLS) ## an hour of load with faults in between (ARGS="--minutes 25", "--hours 8")
	@.ci/need mosquitto mosquitto
	$(PYTHON) -m tests.faults.soak $(ARGS)

schemas: $(INSTALLED) ## write schemas/ again
	$(PYTHON) -m busbar.cli.schemas schemas

dist: $(TOOLS) ## wheels and sdists of all distributions into dist/, checked
	rm -rf dist
	for package in common $(SERVICES); do \
	    $(PYTHON) -m build --no-isolation --outdir dist $$package >dist.log 2>&1 || { cat dist.log; exit 1; }; \
	done
	rm -f dist.log
	$(PYTHON) -m twine check --strict dist/*

clean: ## remove .venv and everything else that was made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find common services tests -name __pycache__ -prune -exec rm -rf {} +
	rm -rf dist

# Without build isolation: one pinned hatchling for all packages, where pip would download one for each.
$(INSTALLED): common/pyproject.toml $(addsuffix /pyproject.toml,$(SERVICES)) constraints.txt Makefile
	@.ci/need --python-venv
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
	@echo "installing the packages into .venv"
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable 'common[cli,record,serial,plot]' $(addprefix --editable ,$(SERVICES))
	@touch $@

$(TOOLS): $(INSTALLED) tests/requirements.txt
	@echo "installing the test tools into .venv"
	@$(PIP) --requirement tests/requirements.txt
	@touch $@
