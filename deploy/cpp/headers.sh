#!/bin/sh
# headers.sh DIR: unpack ONNX Runtime's C and C++ headers from Debian's package libonnxruntime-dev into DIR, without
# installing anything; prints their folder. Debian has the package from release 13 on; an older Debian reads it from
# there. On other systems: the archives of ONNX Runtime's releases hold the headers in include/.
set -eu
[ $# -eq 1 ] || { echo "use: $0 DIR" >&2; exit 2; }
suite=trixie  # Debian 13
sources=/etc/apt/sources.list.d/debian.sources
[ -r "$sources" ] || { echo "$0: $sources is not there; this works on Debian 12 and later" >&2; exit 1; }
mkdir -p "$1/apt/lists" "$1/apt/cache" "$1/apt/parts"
cd "$1"
# The machine's own mirror, asked for that suite, with lists of its own, so that the system's stay as they are.
sed "s/^Suites:.*/Suites: $suite/" "$sources" | sed '/^$/q' >apt/parts/headers.sources
set -- -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$PWD/apt/parts" \
    -o Dir::State::Lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache" -o APT::Sandbox::User= \
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20
apt-get "$@" update >&2
apt-get "$@" download libonnxruntime-dev >&2
dpkg-deb -x libonnxruntime-dev_*.deb .
rm -rf apt libonnxruntime-dev_*.deb
echo "$PWD/usr/include/onnxruntime"
