# Everything on a fresh machine with Python 3.10+ and make:
#   make demo    a site with tasks to click through, and its QStash server
#   make test    the whole suite on SQLite, and on every database in DATABASE_URLS
#   make check   format, lint, types, import contracts, migrations, docs
#   make soak    what is drawn by lot, SOAK times as much of it, from a new SEED
#   make format  format, and write anew what the docs take from the code

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Space separated, such as "postgres://u:p@localhost/db mysql://u:p@127.0.0.1/db".
DATABASE_URLS ?= $(DATABASE_URL)
# What pytest is given besides, such as PYTEST="-k chord -x".
PYTEST ?=
JOBS ?= 2
# With a Chromium on this machine, the tests that need a browser are run, too.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# make soak: how many times as much as make test draws by lot, and from which seed.
SOAK ?= 50
SEED ?= $(shell date +%s)
# Another Django than the newest that the interpreter allows, such as DJANGO="4.2.*".
DJANGO ?=

.PHONY: demo demo-check test check format bench soak clean

demo: $(VENV)/.installed
	$(BIN)/python sample_project/demo.py

demo-check: $(VENV)/.installed
	$(BIN)/python sample_project/demo.py --check

# SQLITE= leaves SQLite out.
SQLITE ?= yes
test: $(VENV)/.installed $(if $(findstring mysql:,$(DATABASE_URLS)),$(VENV)/.mysql) \
      $(if $(CHROMIUM),$(VENV)/.browser)
	$(if $(SQLITE),DATABASE_URL= $(BIN)/python -m pytest -n $(JOBS) $(PYTEST))
	for url in $(DATABASE_URLS); do \
	  DATABASE_URL=$$url $(BIN)/python -m pytest -n $(JOBS) $(PYTEST) || exit 1; \
	done

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	TESTS_OUTBOX=1 $(BIN)/python tests/manage.py makemigrations --check --dry-run
	$(BIN)/python sample_project/manage.py makemigrations --check --dry-run
	$(BIN)/python -m pytest -q tests/docs

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tests.docs.tables

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

soak: $(VENV)/.installed
	SOAK=$(SOAK) SEED=$(SEED) $(BIN)/python -m pytest -n $(JOBS) -m soak --timeout 3600 \
	  --hypothesis-seed=$(SEED) $(PYTEST)

clean:
	rm -rf $(VENV) .demo build dist

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("django-qstash needs Python 3.10 or newer; say which with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[dev-server]" --group dev $(if $(DJANGO),"django==$(DJANGO)")
	touch $@

$(VENV)/.mysql: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group mysql
	touch $@

$(VENV)/.browser: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group browser
	touch $@
