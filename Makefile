# Keyreel. `make help` lists what there is to do.

GO     ?= go
TOOL    = $(GO) tool -modfile=tools/go.mod
PKGS    = ./...

.PHONY: help build demo test check lint fmt race bench bench-peers fuzz conformance conformance-rclone conformance-azcopy conformance-terraform deps-test deps-conformance deps-demo

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## build bin/keyreel
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/keyreel ./cmd/keyreel

demo: deps-demo build ## run the main job on a real video, step by step
	./bin/keyreel demo

test: deps-test deps-conformance ## run every test: units, contract suites on both databases, conformance with foreign clients
	./tools/test.sh

check: lint ## vet, staticcheck, gofumpt and the import table

lint:
	$(GO) vet $(PKGS)
	cd conformance && $(GO) vet ./...
	$(TOOL) staticcheck $(PKGS)
	@unformatted="$$($(TOOL) gofumpt -l .)"; if [ -n "$$unformatted" ]; then echo "not formatted (run: make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) test -count=1 ./internal/arch

fmt: ## format the code
	$(TOOL) gofumpt -w .

race: deps-test ## the tests under the race detector
	$(GO) test -race $(PKGS)

bench: deps-test ## the benchmarks that docs/performance.md quotes
	./tools/bench.sh

bench-peers: ## the same load on Azurite and on this, in turn
	./tools/bench-peers.sh

fuzz: ## fuzz every parser of foreign input for FUZZTIME each (default 1m)
	./tools/fuzz.sh $(or $(FUZZTIME),1m)

conformance: deps-test deps-conformance ## clients that others wrote against a running server: SDKs of three languages, az, web players
	cd conformance && $(GO) test -count=1 -parallel 4 -timeout 20m ./...

conformance-rclone: ## rclone against a running server; compiles rclone, which takes minutes
	GOBIN=$(CURDIR)/bin $(GO) install github.com/rclone/rclone@v1.76.0
	cd conformance && PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -tags rclone -run Rclone ./...

conformance-azcopy: build ## AzCopy through `keyreel run` against a running server; compiles AzCopy, which takes minutes
	./tools/client.sh github.com/Azure/azure-storage-azcopy/v10@v10.32.7 . azcopy
	cd conformance && PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -tags azcopy -run AzCopy ./...

conformance-terraform: build ## OpenTofu with azapi and azuread through `keyreel run`; compiles them, which takes a quarter of an hour
	./tools/client.sh github.com/opentofu/opentofu@v1.10.6 ./cmd/tofu tofu
	./tools/client.sh github.com/Azure/terraform-provider-azapi@v1.15.0 . terraform-provider-azapi
	./tools/client.sh github.com/upbound/terraform-provider-azuread@v0.0.0-20250729204552-723cf3fb6cbe . terraform-provider-azuread
	cd conformance && PATH=$(CURDIR)/bin:$$PATH $(GO) test -count=1 -timeout 30m -tags terraform -run Terraform ./...

deps-test:
	./tools/install.sh ffmpeg postgresql

deps-conformance:
	./tools/install.sh azure-cli python3-azure chromium iproute2 strace npm

deps-demo:
	./tools/install.sh ffmpeg
