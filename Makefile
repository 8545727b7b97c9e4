# Two commands are all a user needs: `make demo` and `make test`. Both install what they use.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Functions start several times in a demo or a test: what one of them compiles serves the others.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo check test test-node test-browser lint bench scale compare chaos load day soak image fuzz audit sbom constraints settings-docs docs pictures package clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.local: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.x")'
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing the Batch Gateway into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.test: $(VENV)/.local
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(VENV)/.local ## Run two real batches through all functions, with the OpenAI SDK
	@$(BIN)/python examples/demo.py

lint: $(VENV)/.test ## Formatting, lint, types, layers and prose
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/prose.py

#: What a change is most likely to break, within a minute and a half.
QUICK = tests/unit tests/contracts/scratch tests/contracts/test_file_store.py tests/contracts/test_line_index.py \
	$(addprefix tests/integration/services/test_,plan.py assemble.py sweep.py)

check: lint ## The quick checks: lint and the fast tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not e2e and not chaos and not postgres and not s3" $(QUICK)

# Most of the time of the long tests is waiting, so three workers keep two cores at work. In the order of the
# folders the long ones come first, and the short ones fill up what is left at the end.
test: lint ## Everything: lint and all tests, on real servers
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

test-node: $(VENV)/.test ## OpenAI's Node client against the running service; Node comes from a wheel
	@$(BIN)/python tests/node/run.py $(VENV)/node

test-browser: $(VENV)/.test ## The web console in a headless Chromium, which comes from npm; SHOTS=folder keeps pictures
	@SHOTS='$(SHOTS)' $(BIN)/python tests/browser/run.py $(VENV)/browser $(SUITES)

$(VENV)/.bench: $(VENV)/.test
	@echo "Installing what drawings need into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

soak: $(VENV)/.bench ## Two hours of traffic in six minutes, drawn in benchmarks/results/soak.png
	@$(BIN)/python -m benchmarks.soak

day: $(VENV)/.bench ## A day with one batch in five minutes: what runs when, drawn in benchmarks/results/day.png
	@$(BIN)/python -m benchmarks.day

pictures: $(VENV)/.bench ## Draw the documentation's pictures anew, in ten minutes: docs/pictures
	@$(BIN)/python -m benchmarks.pictures

bench: $(VENV)/.bench ## Measure figures: make bench F=F1, or F="F1 F2", all without F; RUNS=3 for medians; benchmarks/results/table.md
	@$(BIN)/python -m benchmarks $(if $(RUNS),--runs $(RUNS)) $(F)

scale: $(VENV)/.bench ## Scale, in an hour: a million requests, 10,000 open batches, 100,000 finished ones, 1 to 8 executors
	@$(BIN)/python -m benchmarks $(if $(RUNS),--runs $(RUNS)) F15 F18 F19 F20

COMPARED = $(if $(RUNS),--runs $(RUNS)) $(if $(LINES),--lines $(LINES)) $(if $(LATENCY_MS),--latency-ms $(LATENCY_MS)) \
	$(if $(BODY_BYTES),--body-bytes $(BODY_BYTES)) $(if $(CALLS),--calls $(CALLS)) $(if $(PORT),--port $(PORT))

compare: $(VENV)/.test ## The same batch through a naive loop, this gateway and RIVALS="name=URL ...", see docs/compare.md
	@$(BIN)/python -m benchmarks.compare --rivals '$(RIVALS)' --pids '$(PIDS)' $(COMPARED)

image: ## Build the image by docker, podman or buildah: IMAGE=NAME:TAG, ENGINE=..., LOAD=kind or minikube, CLUSTER=its name
	@$(PYTHON) functions/image.py $(if $(IMAGE),--image '$(IMAGE)') $(if $(ENGINE),--engine '$(ENGINE)') $(if $(LOAD),--load '$(LOAD)') $(if $(CLUSTER),--cluster '$(CLUSTER)')

fuzz: $(VENV)/.test ## Fuzz what users and engines send, MINUTES=10 for each target; SEED=n repeats a run
	@PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(TARGETS)

audit: $(VENV)/.test ## Ask about known vulnerabilities of all pinned dependencies
	@$(BIN)/python tests/audit.py

chaos: $(VENV)/.test ## Rounds of random faults under load: SEED=7 of the first, ROUNDS=10, FAULTS=6 in each, STORES instead of drawn ones
	@PYTHONPATH=tests $(BIN)/python -m chaos --seed $(or $(SEED),1) --rounds $(or $(ROUNDS),10) --faults $(or $(FAULTS),6) $(if $(STORES),--stores $(STORES))

load: $(VENV)/.test ## Overload: 500 uploads and 200 downloads at once, slow connections, 10,000 open batches; SHARE=0.1 for a tenth
	@PYTHONPATH=tests $(BIN)/python -m chaos.load --share $(or $(SHARE),1)

sbom: $(VENV)/.test ## Write what the image is made of to build/sbom.json, as CycloneDX: versions, licences, what needs what
	@rm -rf build/image build/looking && mkdir -p build
	@$(BIN)/python functions/install.py build/image
	@$(BIN)/uv venv -q --no-project build/looking
	@echo "$(CURDIR)/build/image/site-packages" > $$(echo build/looking/lib/python*/site-packages)/image.pth
	@$(BIN)/uv tool run -q --from 'cyclonedx-bom>=7,<8' cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json build/looking
	@echo "build/sbom.json"

constraints: $(VENV)/.test ## Pin the newest versions of all dependencies
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --upgrade --no-header --no-annotate --extra test --extra bench --no-emit-package batch-gateway -o constraints.txt pyproject.toml

settings-docs: $(VENV)/.local ## Write docs/settings.md from the settings classes
	@$(BIN)/python -m batch_gateway.cli.settings > docs/settings.md.new && mv docs/settings.md.new docs/settings.md

$(VENV)/.docs: $(VENV)/.local
	@echo "Installing what the site needs into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs ## Build the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict
	@echo "build/site/index.html"

package: $(VENV)/.test ## Build wheel and source distribution in dist/, check them, and run both in clean environments
	@rm -rf dist && $(BIN)/uv build -q --out-dir dist
	@$(BIN)/uv tool run -q --from 'twine>=6,<8' twine check --strict dist/*
	$(BIN)/python -m pytest -q tests/image/test_package.py

clean: ## Remove what was installed and measured
	rm -rf $(VENV) .demo benchmarks/results build dist
