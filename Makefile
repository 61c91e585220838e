# masthead: build, demo, tests. `make help` lists the targets.

SHELL      := /bin/bash
GO         ?= go
BIN        := bin/masthead
# The same sources give the same binary wherever they lie: no paths, no build time, no VCS state but the version.
VERSION    ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOFLAGS    := -trimpath -buildvcs=false
LDFLAGS    := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
export CGO_ENABLED = 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/masthead, one static binary
	@mkdir -p bin
	$(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/masthead

.PHONY: demo
demo: ## build the images, boot master, backup and two diskless workers, and pull the master's plug
	@.ci/prerequisites demo
	@$(MAKE) --no-print-directory build
	$(BIN) build iso images/head.yaml -o out
	$(BIN) lab up vmtest/demo.yaml --takeover

.PHONY: test
test: ## everything: what takes seconds first, then real kernels in QEMU
	@.ci/prerequisites test
	@$(MAKE) --no-print-directory lint unit vm

.PHONY: unit
unit: ## the tests that boot nothing
	MASTHEAD_REQUIRE=1 $(GO) test -timeout 10m ./...

.PHONY: race
race: ## the unit tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...

.PHONY: lint
lint: ## formatting, vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: golden
golden: ## write the golden files of all tests anew; read the difference before you commit it
	MASTHEAD_GOLDEN=1 $(GO) test ./... -run Golden

.PHONY: vm
vm: build ## the tests that boot real kernels in QEMU; those of whole clusters last, each shown as it ends
	@set -o pipefail; export MASTHEAD_REQUIRE=1 MASTHEAD_VM=1 MASTHEAD_BIN=$(CURDIR)/$(BIN); failed=0; \
	for packages in "$$($(GO) list ./... | grep -v '/vmtest/cluster$$' | tr '\n' ' ')" ./vmtest/cluster; do \
		$(GO) test -count=1 -timeout 85m -v -run 'VM' $$packages 2>&1 | grep --line-buffered -vE '^(=== |\?|testing: warning|PASS$$)|no test files|no tests to run' || failed=1; \
	done; exit $$failed

.PHONY: long
long: build ## the same, with those that take too long for every change: install to takeover, data under each fault, thin LVM, three heads, and more that docs/lab.md names
	set -o pipefail; MASTHEAD_LONG=1 MASTHEAD_REQUIRE=1 MASTHEAD_VM=1 MASTHEAD_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -timeout 3h -v -run 'VM' ./vmtest/cluster 2>&1 | grep --line-buffered -vE '^(=== |\?|testing: warning|PASS$$)'

.PHONY: soak
soak: ## simulated clusters under random faults, each kind for SOAK=10m; a failure prints its seed
	MASTHEAD_SOAK=$(or $(SOAK),10m) $(GO) test -count=1 -timeout 0 -run TestSimulation -v ./appliance/failover/simulation
	MASTHEAD_SOAK=$(or $(SOAK),10m) $(GO) test -count=1 -timeout 0 -run TestSimulation -v ./appliance/gossip

.PHONY: faults
faults: build ## a database on replicated data, written to without a pause, under FAULTS=50 power cuts, panics, partitions and pauses of its owner; SEED=N draws them again
	MASTHEAD_REQUIRE=1 MASTHEAD_VM=1 MASTHEAD_BIN=$(CURDIR)/$(BIN) MASTHEAD_LONG=1 MASTHEAD_DATA_FAULTS=$(or $(FAULTS),50) MASTHEAD_SEED=$(SEED) $(GO) test -count=1 -timeout 6h -v -run 'TestVMData$$' ./vmtest/cluster

.PHONY: bench
bench: ## performance beside the peers a user would pick, as ratios in one run
	@.ci/prerequisites bench
	@$(MAKE) --no-print-directory build
	@mkdir -p out
	@set -eo pipefail; \
	export MASTHEAD_REQUIRE=1 MASTHEAD_BENCH=1 MASTHEAD_BIN=$(CURDIR)/$(BIN) MASTHEAD_BENCH_ROOT=$(CURDIR)/out/worker.tar; \
	$(GO) test -count 1 -run '^TestWorkerArchive$$' ./vmtest/bench | { grep -v '^ok ' || true; }; \
	for b in rootfs:Seal:3x appliance/httpboot:Chunks:20x appliance/tftp:TFTP:20x appliance/gossip:State:5x cmd/masthead:List:20x cmd/masthead:Nodes:1x builder/iso:Write:3x vmtest/bench:ISO:1x vmtest/bench:Takeover:30x vmtest/bench:Boot:1x; do \
		IFS=: read -r package name times <<<"$$b"; \
		$(GO) test -timeout 60m -v -run '^$$' -bench "^Benchmark$$name\$$" -benchtime "$$times" "./$$package" | grep -vE '^(goos:|goarch:|pkg:|cpu:|PASS$$|ok )'; \
	done

.PHONY: clean
clean: ## remove what was built here; downloads and images stay in the cache folder
	rm -rf bin out
