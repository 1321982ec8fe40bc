# Tollway. `make help` is the manual. Everything here needs Python >= 3.11, make and a package index; the rest it gets.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Tests that start processes are heavy; two workers suit a small machine.
JOBS   ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use

.PHONY: help
help: ## This manual
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed ## Two agents on two SDKs spend a shared budget through real Envoys, until each is refused
	@$(BIN)/tollway demo

##@ Work on it

.PHONY: test
test: $(VENV)/.installed ## All tests this machine can run; what is skipped is said loudly
	@$(BIN)/python tools/kube_binaries.py >/dev/null || [ "$$TOLLWAY_CLUSTER" != required ]
	$(BIN)/pytest -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: kube
kube: $(VENV)/.installed ## kube-apiserver, etcd, kubectl and helm for the tests: finds, downloads or builds them (6 minutes, once)
	@$(BIN)/python tools/kube_binaries.py

# However often a call can end badly, it has to add up every time.
RUNS ?= 20
.PHONY: ends
ends: $(VENV)/.installed ## 20 runs in a row of the suite of ends; RUNS=N for another number
	@for run in $$(seq $(RUNS)); do \
		echo "run $$run of $(RUNS)"; $(BIN)/pytest -q -n $(JOBS) --dist loadfile tests/ending $(ARGS) || exit 1; \
	done

.PHONY: check
check: $(VENV)/.installed lint verify ## Lint, types, import contracts, and every verify-*

.PHONY: lint
lint: $(VENV)/.installed ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: $(VENV)/.installed ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: bench
bench: $(VENV)/.installed ## Bare two-hop road and Tollway on it, side by side, and what grows; prints ratios: 6 minutes
	$(BIN)/python -m bench $(ARGS)

# One million calls, and what they leave in memory.
.PHONY: bench-memory
bench-memory: $(VENV)/.installed ## Memory of every process after 10,000, 100,000 and 1,000,000 calls: 10 to 20 minutes
	$(BIN)/python -m bench --only memory --calls 1000000 --output bench-memory.json $(ARGS)

# A real API server with 5,000 agents, and an operator that has never seen them.
.PHONY: bench-operator
bench-operator: $(VENV)/.installed ## Seconds, API requests and memory for 5,000 identities from a cold start: 3 to 5 minutes
	PYTHONPATH=tests $(BIN)/python -m bench.operator_cold_start $(ARGS)

SOAK_MINUTES ?= 30
.PHONY: soak
soak: $(VENV)/.installed ## Half of the highest rate while processes die every minute, then the books; writes docs/soak.md; SOAK_MINUTES=N
	$(BIN)/python -m bench.soak --minutes $(SOAK_MINUTES) $(ARGS)

.PHONY: model
model: $(VENV)/.installed ## 100,000 random interleavings of all ledger operations against a model, on both stores: 15 minutes
	cd tests && ../$(BIN)/python -m ledger.interleavings --runs 100000 --jobs $(JOBS) $(ARGS)

# For how long each target is fuzzed, and which (all, if none is named).
FUZZ_SECONDS ?= 600
FUZZ_TARGET  ?=
.PHONY: fuzz
fuzz: $(VENV)/.fuzzing ## Coverage-guided fuzzing of every parser, 10 minutes each; FUZZ_SECONDS=N, FUZZ_TARGET=NAME
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(addprefix --target ,$(FUZZ_TARGET))

.PHONY: bench-growth
bench-growth: $(VENV)/.installed ## That a grant does not cost more with many agents, calls and quotas; prints ratios, writes JSON
	$(BIN)/python -m bench.growth $(ARGS)

##@ Cluster

# Of images and chart alike. REGISTRY=HOST/PATH/ puts them somewhere.
VERSION      := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGES       := operator extauthz envoy
REGISTRY     ?=
PYTHON_IMAGE ?= python:3.13-slim-bookworm
DOCKER       ?= docker
HELM         ?= helm
KUBECTL      ?= kubectl
KIND         ?= kind
# SVIDs by PodCertificate need 1.37; an older one needs secretNamespaces among the values.
KIND_NODE    ?= kindest/node:v1.37.1

.PHONY: images
images: $(addprefix image-,$(IMAGES)) ## Container images, with Docker: operator, extauthz, envoy
image-%:
	$(DOCKER) build --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --file images/$*/Dockerfile --tag $(REGISTRY)tollway/$*:$(VERSION) .

.PHONY: chart
chart: ## The chart as a package in dist/, with its CRDs
	$(HELM) package charts/tollway --destination dist --version $(VERSION) --app-version $(VERSION)

.PHONY: kind
kind: images ## A cluster on this machine (kind, Docker) with Tollway and an example; `kind delete cluster --name tollway` ends it
	$(KIND) get clusters | grep -qx tollway || $(KIND) create cluster --config kind-config.yaml --image $(KIND_NODE) --wait 120s
	$(KIND) load docker-image --name tollway $(foreach image,$(IMAGES),$(REGISTRY)tollway/$(image):$(VERSION))
	$(HELM) upgrade --install tollway charts/tollway --kube-context kind-tollway --namespace tollway-system --create-namespace \
		--set images.registry=$(patsubst %/,%,$(REGISTRY)) --set images.tag=$(VERSION) --wait --timeout 5m
	$(KUBECTL) --context kind-tollway apply -k examples/cluster
	@echo "put a key: see examples/cluster/secret.yaml; then: kubectl --context kind-tollway -n team-a logs deployment/researcher -f"

# On any cluster that has the images of tools/node_images.py, or with a command in TOLLWAY_E2E_LOAD that takes them.
.PHONY: e2e
e2e: $(VENV)/.installed ## Stories on the cluster that KUBECONFIG names, which they change: 5 minutes; writes docs/e2e.md
	TOLLWAY_E2E=1 $(BIN)/pytest -p no:cacheprovider tests/e2e $(ARGS)

.PHONY: e2e-node
e2e-node: $(VENV)/.installed ## The same on a node without Docker, made by TOLLWAY_CLUSTER_UP and taken down again; as root
	PYTHON=$(BIN)/python tests/e2e/on_a_node.sh $(ARGS)

##@ Generated files: each generate-x has its verify-x

.PHONY: generate verify
generate: generate-prices generate-wire generate-reference generate-golden generate-requirements ## All generated files
verify: verify-prices verify-wire verify-reference verify-requirements ## That all generated files are what their sources give

.PHONY: generate-prices verify-prices
generate-prices: $(VENV)/.installed ## Price table and model limits, from the pinned sources
	$(BIN)/python tools/generate_prices.py
verify-prices: $(VENV)/.installed ## That the price table is what the pinned source gives
	$(BIN)/python tools/generate_prices.py --check

.PHONY: generate-wire verify-wire
generate-wire: $(VENV)/.installed ## Python code of the slim Envoy messages
	$(BIN)/python tools/generate_wire.py
verify-wire: $(VENV)/.installed ## That this code is what the .proto gives
	$(BIN)/python tools/generate_wire.py --check

.PHONY: generate-reference verify-reference
generate-reference: $(VENV)/.installed ## A page for each kind in docs/resources, from the CRDs
	$(BIN)/python tools/generate_reference.py
verify-reference: $(VENV)/.installed ## That these pages are what the CRDs give
	$(BIN)/python tools/generate_reference.py --check

.PHONY: generate-golden verify-golden
generate-golden: $(VENV)/.installed ## Golden files of the tests; read the diff before you commit it
	$(BIN)/pytest -q tests/translating tests/providers --update-golden
verify-golden: $(VENV)/.installed ## That the golden files are what the code gives (part of `make test`)
	$(BIN)/pytest -q tests/translating tests/providers

.PHONY: generate-requirements verify-requirements
generate-requirements: $(VENV)/.installed ## Pins with hashes, keeping what is pinned already; UPGRADE=1 moves to the newest
	$(BIN)/python tools/generate_requirements.py $(if $(UPGRADE),--upgrade)
verify-requirements: $(VENV)/.installed ## That the pins satisfy pyproject.toml
	$(BIN)/python tools/generate_requirements.py --check

##@ Set-up

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tollway needs Python >= 3.11; set PYTHON=/path/to/python3.x" >&2; exit 2; }
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.fuzzing: $(VENV)/.installed requirements/fuzz.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/fuzz.txt
	@touch $@

.PHONY: clean
clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
