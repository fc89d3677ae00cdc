#!/usr/bin/env bash
# Fuzzes every fuzz test of the module, one after the other, for the time given (default 1m).
# -fuzzminimizetime 1x: otherwise go spends the time on making inputs small and runs hardly any.
set -euo pipefail
cd "$(dirname "$0")/.."
for file in $(grep -rl --include='*_test.go' '^func Fuzz' .); do
	dir=$(dirname "$file")
	for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | cut -d' ' -f2); do
		echo "== $dir $target"
		(cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-1m}" -fuzzminimizetime 1x .)
	done
done
