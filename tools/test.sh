#!/usr/bin/env bash
# Runs every test of both modules. One PostgreSQL server is started for all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
go build ./...
go test "$@" ./...
(cd conformance && go test -count=1 ./...)
