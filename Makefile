# `make help` lists the targets. Each of them sets the project up first, if need be (.ci/setup).

READY := .venv/.ready
JOBS ?= 2
LIBRARIES := build/libraries
USERS := sim,host,notebook,exchange,keras,study,sklearn

# A simulator's own make must not inherit this one's flags.
# The shell's PWD, not make's CURDIR: in a recipe, what a folder's name holds would be taken for shell.
IN_VENV := env -u MAKEFLAGS -u MFLAGS PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: help setup train test test-long test-libraries test-oldest test-newest mutations benchmark bitstream-ecp5 notebooks docs lint clean

help: ## show this list
	@sed -n 's/^\([a-z0-9 -]*\):.*## /\1\t/p' Makefile | expand -t 26

setup: $(READY) ## check for system programs, create .venv, install everything into it

$(READY): requirements.lock pyproject.toml setup.py .ci/setup
	.ci/setup

train: $(READY) ## train a small network on the simulated accelerator, checked bit for bit against the golden model
	$(IN_VENV) bnnedge train --data digits --network digits --device rtl --check --reference --out runs/digits

test: $(READY) ## run the tests, but for the long ones
	$(IN_VENV) pytest -n $(JOBS) --dist worksteal tests

test-long: $(READY) ## run the long tests; what they print is kept in docs/evidence.txt
	$(IN_VENV) pytest -n $(JOBS) --dist worksteal -m long -rA tests

test-libraries: $(LIBRARIES)/.ready ## run the tests with Larq (TensorFlow), Brevitas and PyTorch, about 3 GB, in build/libraries
	$(LIBRARIES)/bin/python -m pytest -rA tests/host/importer/test_larq.py tests/host/importer/test_brevitas.py tests/sim/test_arrays.py tests/sim/test_precision.py tests/sim/test_golden_*.py tests/benchmarks

# They need a newer protobuf than pynq's gRPC allows: so they have an environment of their own.
$(LIBRARIES)/.ready: tests/host/importer/requirements.txt pyproject.toml setup.py
	python3 -m venv $(LIBRARIES)
	$(LIBRARIES)/bin/pip install -r tests/host/importer/requirements.txt -e '.[host]'
	touch $@

test-oldest test-newest: test-%: build/%/.ready ## run the tests of host and sim with the oldest and newest libraries allowed; notebooks are stored with the locked ones
	PATH="$(CURDIR)/build/$*/bin:$$PATH" build/$*/bin/python -m pytest -n $(JOBS) --dist worksteal tests/host tests/sim tests/system/test_situations.py --ignore tests/host/test_notebooks.py

build/oldest/.ready: CONSTRAINT := -c tests/oldest.txt
build/oldest/.ready: tests/oldest.txt
build/%/.ready: pyproject.toml setup.py
	python3 -m venv build/$*
	build/$*/bin/pip install $(CONSTRAINT) -e '.[$(USERS)]' pytest sybil pytest-xdist hypothesis jax array-api-strict nbclient
	touch $@

mutations: $(READY) ## which mutations of the hardware (tests/hardware_mutants.py) the tests notice; half an hour, resumable
	$(IN_VENV) python tests/mutations.py

benchmark: $(READY) ## print accuracy against float32 (MNIST, Fashion-MNIST: BNNEDGE_DATA), device cycles, the golden model's speed
	$(IN_VENV) PYTHONPATH=tests python tests/benchmarks/cycles.py --config pynq-z2
	$(IN_VENV) PYTHONPATH=tests python tests/benchmarks/cycles.py --config pynq-z2-x64
	$(IN_VENV) PYTHONPATH=tests python tests/benchmarks/cycles.py --config pynq-z2-lean
	$(IN_VENV) python tests/benchmarks/golden.py --threads 1
	$(IN_VENV) python tests/benchmarks/seeds.py
	$(IN_VENV) python tests/benchmarks/accuracy.py fashion-mnist --grad-planes 8 4
	$(IN_VENV) python tests/benchmarks/accuracy.py mnist --grad-planes 8 4

bitstream-ecp5: $(READY) ## place and route a small core for an ECP5-85 with open tools, in build/ecp5: its frequency
	$(IN_VENV) python -m bnnedge.boards.ecp5 build/ecp5

notebooks: $(READY) ## run the notebooks, and store them with what they print and draw now
	$(IN_VENV) python docs/notebooks.py

docs: $(READY) ## build the documentation as a site, in build/docs, and look for dead links
	$(IN_VENV) python docs/build.py build/docs

lint: $(READY) ## check style and types
	@$(IN_VENV) sh -c 'status=0; ruff check . || status=1; ruff format --check . || status=1; python .ci/typecheck || status=1; exit $$status'

clean: ## delete whatever the targets created
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist runs sim_build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
