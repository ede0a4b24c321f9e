# Everything needs Node 20 or newer, npm, git and Python 3 with venv, the tests Go; the Node that runs the project comes with `make setup`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
NODE := node --disable-warning=ExperimentalWarning
UNIT_TESTS := $(shell git ls-files -co --exclude-standard '*.test.ts' ':!e2e')
E2E_TESTS := $(shell git ls-files -co --exclude-standard 'e2e/*.test.ts' ':!e2e/cluster')
CLUSTER_TESTS := $(shell git ls-files -co --exclude-standard 'e2e/cluster/*.test.ts')
# Only end-to-end tests leave sockets open; forced, a file of quick tests would end before its last results are reported.
E2E := $(NODE) --test --test-force-exit

.PHONY: help setup check test e2e cluster bundle demo bench soak generate generate-catalog verify format

help: ## What there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

node_modules/.setup: package.json package-lock.json $(wildcard */package.json)
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or newer' >&2; exit 1; }
	@# Not `npm ci`: it refuses a lockfile that lacks an optional binary of another platform, which a registry may not have.
	npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

build/python/.setup: recording/python/requirements.txt e2e/requirements.txt
	@command -v python3 >/dev/null || { echo 'python3 is missing: the second verifier, which the tests compare with, needs it' >&2; exit 1; }
	python3 -m venv build/python
	build/python/bin/pip install --quiet --disable-pip-version-check -r recording/python/requirements.txt -r e2e/requirements.txt
	@touch $@

setup: node_modules/.setup build/python/.setup ## Install what the other targets need

demo: node_modules/.setup ## Show the main job on real parts, in under a minute
	@$(NODE) e2e/demo/demo.ts

check: node_modules/.setup ## Types, lint, format, unused code
	tsc -p tsconfig.json
	oxlint --type-aware --deny-warnings
	oxfmt --check
	knip

format: node_modules/.setup ## Format the code
	oxfmt

test: setup ## All tests, on real parts; with Go: the first time it builds a kube-apiserver, in five minutes
	$(NODE) e2e/cluster/prepare.ts
	$(NODE) --test $(UNIT_TESTS)
	$(E2E) --test-timeout=600000 $(E2E_TESTS)

e2e: setup ## All of it on a real Kubernetes (kind's, or one that this makes): with Go and root; 18 minutes the first time, then 10
	$(NODE) e2e/cluster/run.ts $(E2E) $(CLUSTER_TESTS)

cluster: setup ## The same cluster, until Ctrl-C; e2e/cluster/enter.sh runs a command in it
	$(NODE) e2e/cluster/run.ts

bundle: node_modules/.setup ## What the image holds, in build/image
	$(NODE) scripts/bundle.ts

generate: node_modules/.setup ## Types from the CRD and the event schema
	$(NODE) scripts/generate.ts

generate-catalog: node_modules/.setup ## The list of pg_catalog's functions, from a real server
	$(NODE) scripts/generate-catalog-functions.ts

verify: node_modules/.setup ## Is what is generated fresh?
	$(NODE) scripts/generate.ts --check

bench: setup ## Speed, as ratios to a direct connection and to peers, in one run; the last part on a real Kubernetes, as for make e2e
	$(NODE) e2e/bench/bench.ts
	$(NODE) e2e/bench/kubernetes.ts
	$(NODE) e2e/cluster/run.ts $(NODE) e2e/bench/exec.ts

soak: setup ## The long form of the random tests
	SOAK=1 $(NODE) --test $(UNIT_TESTS)
	SOAK=1 $(E2E) --test-timeout=3600000 $(E2E_TESTS)
