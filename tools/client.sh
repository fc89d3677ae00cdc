#!/usr/bin/env bash
# Builds a program that others wrote from its Go module, as the module proxy and the checksum database have it, into bin/:
#
#	tools/client.sh MODULE@VERSION PACKAGE NAME
#
# `go install` refuses modules with replace directives, so the module is built in a copy of its own. A second build of
# the same version does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$1 package=$2 name=$3

mkdir -p bin
[ -x "bin/$name" ] && [ "$(cat "bin/.$name" 2>/dev/null)" = "$module" ] && exit 0
echo "Building $name from $module; this takes minutes."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$copy" && go mod download "$module") # which names what it lacks
dir=$(cd "$copy" && go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
cp -r "$dir/." "$copy"
chmod -R u+w "$copy"
bin=$PWD/bin
(cd "$copy" && CGO_ENABLED=0 GOFLAGS=-mod=mod nice go build -trimpath -o "$bin/$name" "$package")
echo "$module" >"bin/.$name"
