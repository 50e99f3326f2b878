# make demo    set everything up, run the documents' clusters on this machine, show what happens
# make test    set everything up, run every test
# make lint    ruff and mypy; clang-format and clang for BPF
# make bench   what the data plane costs per packet     (BENCH=name runs one)
# make install the program and its systemd units        (make uninstall takes them away)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OBJECT := src/pointsman/dataplane/xdp/director.bpf.o
BENCH  ?= all
JOBS   ?= 4

.PHONY: demo test lint bench setup install uninstall clean

demo: setup
	@$(BIN)/pointsman lab demo

# The long ones first, several files at once: most of them wait for somebody.
ALL_TESTS := -n $(JOBS) --dist loadfile --no-loadscope-reorder $(addprefix tests/,guest lab interop bpf machines property unit)

test: setup build/guest/.ready
	@$(BIN)/pytest $(or $(TESTS),$(ALL_TESTS))

lint: build/.packages $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory -C bpf lint

bench: setup build/guest/.ready
	@$(BIN)/python -m benchmarks $(BENCH)

setup: root build/.packages $(VENV)/.ready $(OBJECT)

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

$(VENV)/.ready: pyproject.toml | build/.packages
	@echo "==> Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(OBJECT): $(wildcard bpf/*.c bpf/*.h bpf/Makefile) | build/.packages
	@echo "==> BPF object"
	@$(MAKE) --no-print-directory -C bpf

install: root
	@scripts/packages program
	@$(MAKE) --no-print-directory -C bpf
	@scripts/install

uninstall:
	@scripts/install --uninstall

clean:
	rm -rf build $(VENV) $(OBJECT) .mypy_cache .ruff_cache .pytest_cache .hypothesis
