# `make sweep` measures, `make test` tests; both set up everything they need, in .uv (if uv is missing) and .venv.
# Everything else works once one of them has run.

UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(CURDIR)/.uv/bin/uv)
BIN := .venv/bin
PARALLEL := -n 2 --dist worksteal
SYNC := $(UV) sync --locked --compile-bytecode --quiet

.PHONY: sweep plot check accuracy-smoke test test-quick test-lowest lint bench gpu-report counters setup help
.DEFAULT_GOAL := help

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

sweep: setup ## measure HVT and DeiT along five axes: reports/run.csv
	@$(BIN)/hvt-bench sweep sweeps/scaling.yaml; status=$$?; \
	echo 'To use hvt-bench by its name in this shell: source $(BIN)/activate'; exit $$status

plot: setup ## draw reports/run.csv
	$(BIN)/hvt-bench plot reports/run.csv

check: setup ## the FLOPs gate
	$(BIN)/hvt-bench check sweeps/budgets.yaml

test: setup ## all tests, slow ones too
	$(BIN)/pytest $(PARALLEL)

test-quick: setup ## the tests that take milliseconds
	$(BIN)/pytest $(PARALLEL) -m 'not slow'

test-lowest: $(UV) ## the tests with the lowest versions that pyproject.toml allows
	$(UV) venv --quiet --clear .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct --editable . --group dev
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m 'not slow' -W default

lint: setup ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict hvt_bench

accuracy-smoke: setup ## train two small networks on digits, a minute: reports/run_accuracy.csv
	$(BIN)/hvt-bench sweep sweeps/accuracy_smoke.yaml --out reports/run_accuracy.csv
	$(BIN)/hvt-bench table reports/run_accuracy.csv --columns model,macs,top1,top1_spread,total_train_macs

bench: setup ## speed and memory of hvt-bench itself
	$(BIN)/python -m tests.benchmarks

gpu-report: setup ## for a machine with a GPU, 30 minutes: its tests and sweep, checked, as reports/gpu.zip
	@$(BIN)/python -m tests.gpu_report

counters: $(UV) ## what fvcore, DeepSpeed, ptflops, thop and others say of DeiT-Ti
	UV_PROJECT_ENVIRONMENT=.venv-counters $(UV) sync --locked --quiet --no-default-groups --group counters
	.venv-counters/bin/python -m tests.benchmarks.other_counters

setup: $(UV)
	@test -d .venv || echo 'setting up .venv: about 3 GB, most of it PyTorch with CUDA'
	@$(SYNC)

$(CURDIR)/.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/python -m pip install --quiet uv==$(UV_VERSION)
