#!/usr/bin/env bash
# Measures Keyreel beside Azurite on this machine, in turn, with the same client. Azurite and the Node that runs it come
# from npm, pinned in tools/peers. KEYREEL_BENCH_ROUNDS (5) and KEYREEL_BENCH_BLOBS (20000, of the listing) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$PWD/tools/peers
if ! command -v npm >/dev/null; then
	echo "bench-peers.sh needs npm: apt-get install npm" >&2
	exit 1
fi
if ! cmp -s "$peers/package-lock.json" "$peers/node_modules/.installed.json"; then
	npm ci --prefix "$peers" --ignore-scripts --no-audit --no-fund --loglevel=error
	cp "$peers/package-lock.json" "$peers/node_modules/.installed.json"
fi
KEYREEL_BENCH_PEERS=$peers go test -run '^$' -bench '^BenchmarkPeers$' -benchtime 1x -timeout 2h .
