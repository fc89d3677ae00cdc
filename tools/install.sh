#!/usr/bin/env bash
# Installs what the named parts need when it is missing: Debian packages with apt, and "npm" the packages from npm that
# the conformance tests run. It says what it does, and fails with the line to run by hand where it may not.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=() npm=
for part in "$@"; do
	case $part in
	ffmpeg) command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || missing+=(ffmpeg) ;;
	postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql) ;;
	azure-cli) command -v az >/dev/null || missing+=(azure-cli) ;;
	python3-azure) /usr/bin/python3 -c 'import azure.identity, azure.storage.blob, azure.keyvault.keys, azure.mgmt.media' 2>/dev/null || missing+=(python3-azure) ;;
	iproute2) command -v ip >/dev/null || missing+=(iproute2) ;;
	strace) command -v strace >/dev/null || missing+=(strace) ;;
	chromium) command -v chromium >/dev/null || missing+=(chromium) ;;
	npm)
		npm=conformance/testdata/node
		command -v npm >/dev/null || missing+=(npm)
		;;
	*) echo "install.sh: unknown part '$part'" >&2; exit 2 ;;
	esac
done

if [ ${#missing[@]} -gt 0 ]; then
	sudo=()
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "Keyreel needs: ${missing[*]}. As root, run: apt-get install -y ${missing[*]}" >&2
			exit 1
		fi
		sudo=(sudo)
	fi
	if ! command -v apt-get >/dev/null; then
		echo "Keyreel needs: ${missing[*]}. There is no apt-get here; install them with this system's packages." >&2
		exit 1
	fi
	echo "Installing with apt: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	"${sudo[@]}" apt-get update -qq
	"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# A copy of the lock file says what was installed.
if [ -n "$npm" ] && ! cmp -s "$npm/package-lock.json" "$npm/node_modules/.installed.json"; then
	echo "Installing with npm: $npm/package-lock.json"
	npm ci --prefix "$npm" --ignore-scripts --no-audit --no-fund --loglevel=error
	cp "$npm/package-lock.json" "$npm/node_modules/.installed.json"
fi
