#!/usr/bin/env bash
# Runs every test of both modules. One PostgreSQL server is started for all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

# Go tells of skipped tests with -v alone.
if ! unshare -n true 2>/dev/null && ! unshare -rn true 2>/dev/null; then
	echo "This machine gives no network namespaces: TestMetadataAddress and TestRunWithMetadataService are skipped."
fi
if [ "$(id -u)" -ne 0 ] && [ ! -w /var/opt/azcmagent/tokens ]; then
	echo "Not root: TestManagedIdentitySources leaves Azure Arc out, whose clients read /var/opt/azcmagent/tokens alone."
fi

go build ./...
go test "$@" ./...
(cd conformance && go test -count=1 -parallel 4 -timeout 20m ./...) # they wait more than they compute
