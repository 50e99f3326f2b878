# make demo    set everything up, run the documents' clusters on this machine, show what happens
# make test    set everything up, run every test
# make unit    the tests that need neither root nor packages, in less than a minute
# make test-one T=tests/...::name    one test, one file or one folder, with its output
# make lint    ruff and mypy; clang-format and clang for BPF
# make bench   what the data plane costs per packet     (BENCH=name runs one)
# make install the program and its systemd units        (make uninstall takes them away)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OBJECT := src/pointsman/dataplane/xdp/director.bpf.o
BENCH  ?= all
JOBS   ?= 4
UNIT_JOBS ?= auto

.PHONY: demo test test-one unit lint bench setup install uninstall clean

demo: setup
	@$(BIN)/pointsman lab demo

# The long ones first, several files at once: most of them wait for somebody.
ALL_TESTS := -n $(JOBS) --dist loadfile --no-loadscope-reorder $(addprefix tests/,guest lab interop bpf machines property unit)

test: setup build/guest/.ready
	@$(BIN)/pytest $(or $(TESTS),$(ALL_TESTS))

test-one: setup
	@[ -n "$(T)" ] || { echo "Say which: make test-one T=tests/unit/house/test_imports.py" >&2; exit 1; }
	@$(BIN)/pytest -vv -s "$(T)"

unit: $(VENV)/.ready
	@$(BIN)/pytest -n $(UNIT_JOBS) -m "not root and not slow" $(addprefix tests/,unit property machines)

lint: build/.packages $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory -C bpf lint

bench: setup build/guest/.ready
	@$(BIN)/python -m benchmarks $(BENCH)

# One after the other, with -j too: the environment and the object are made with what the packages bring.
setup: root build/.packages
	@$(MAKE) --no-print-directory $(VENV)/.ready $(OBJECT)

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "This needs root (network namespaces, BPF): run it as 'sudo make $(MAKECMDGOALS)'." >&2; exit 1; }

build/.packages: scripts/packages
	@mkdir -p build
	@scripts/packages
	@touch $@

# Tests and measurements in guests skip themselves, and say so, where this cannot be had.
build/guest/.ready: scripts/guest-kernels | build/.packages
	@scripts/guest-kernels && touch $@ || echo "==> no kernels for guests: tests/guest will be skipped"

$(VENV)/.ready: pyproject.toml
	@echo "==> Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(OBJECT): $(wildcard bpf/*.c bpf/*.h bpf/Makefile)
	@echo "==> BPF object"
	@$(MAKE) --no-print-directory -C bpf

install: root
	@scripts/packages program
	@$(MAKE) --no-print-directory -C bpf
	@scripts/install

uninstall:
	@scripts/install --uninstall

clean:
	rm -rf build $(VENV) .nox $(OBJECT) .mypy_cache .ruff_cache .pytest_cache .hypothesis
