#!/usr/bin/env bash
# Installs what the named parts need, with apt, when it is missing: ffmpeg, postgresql.
# It says what it does, and fails with the line to run by hand where it may not.
set -euo pipefail

missing=()
for part in "$@"; do
	case $part in
	ffmpeg) command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || missing+=(ffmpeg) ;;
	postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql) ;;
	*) echo "install.sh: unknown part '$part'" >&2; exit 2 ;;
	esac
done
[ ${#missing[@]} -eq 0 ] && exit 0

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
