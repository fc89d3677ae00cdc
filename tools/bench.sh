#!/usr/bin/env bash
# Runs the benchmarks that docs/performance.md quotes. BENCHTIME and COUNT may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
go test -run '^$' -bench . -benchtime "${BENCHTIME:-2s}" -count "${COUNT:-3}" . ./internal/rbac ./internal/authority 2>/dev/null |
	grep -E '^(goos|goarch|pkg|cpu|Benchmark|ok)'
