# make test    every test, on whatever this machine has; says what it could not reach
# make bench   Go benchmarks, then the load generator
# make lint    go vet and golangci-lint
# make build   ./vitrine, static and stripped
# make ci      what every change must pass (.ci/run)
# make nightly the long version (.ci/nightly); writes docs/nightly.md

LINT_VERSION := v2.15.0
GOTESTSUM_VERSION := v1.13.0
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LINT := bin/golangci-lint-$(LINT_VERSION)
GOTESTSUM := bin/gotestsum-$(GOTESTSUM_VERSION)

# How `make test` runs Go's tests; .ci/run puts gotestsum in its place.
GOTEST ?= go test

.PHONY: test bench lint build ci nightly tools
.DEFAULT_GOAL := test

test:
	@eval "$$(test/reach)" && $(GOTEST) ./...

bench:
	go test -run '^$$' -bench . -benchmem ./...
	go run ./cmd/vitrine bench --self

lint: $(LINT)
	go vet ./...
	$(LINT) run ./...

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o vitrine ./cmd/vitrine

ci:
	.ci/run

nightly:
	.ci/nightly

tools: $(LINT) $(GOTESTSUM)

# Tools are built from source at a fixed version into ./bin and never enter
# go.mod. The version is in the file's name, so a new one replaces the old.
$(LINT):
	GOBIN='$(CURDIR)/bin' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/golangci-lint $@

$(GOTESTSUM):
	GOBIN='$(CURDIR)/bin' go install gotest.tools/gotestsum@$(GOTESTSUM_VERSION)
	mv bin/gotestsum $@
