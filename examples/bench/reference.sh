#!/bin/bash
# What a team would write by hand: push, clone, install, test, pack, unpack on each host, stop, start, validate.
# Usage: reference.sh PROJECT BARE WORK HOST...; each HOST is FOLDER:PORT. Prints `STEP SECONDS-SINCE-EPOCH` at each step's end.
set -eu
project=$1 bare=$2 work=$3
shift 3
mark() { echo "$1 $EPOCHREALTIME"; }

mark start
git -C "$project" push --quiet "$bare" main
mark push

mkdir -p "$work"
git clone --quiet "$bare" "$work/source"
cd "$work/source"
mark source

python3 -m venv "$work/venv"
. "$work/venv/bin/activate"
pip install --quiet --no-index --find-links wheels pytest
mark install

python -m pytest -q -p no:cacheprovider --junitxml=reports/junit.xml test >"$work/test.log"
git rev-parse --short=8 HEAD >REVISION
mark build

deactivate
zip -q "$work/built.zip" appspec.yml bottle.py app.py REVISION scripts/*
mark artifacts

for host in "$@"; do
  export HOST_ROOT=${host%:*} PORT=${host##*:}
  unpacked="$work/unpacked-$PORT"
  mkdir -p "$HOST_ROOT/opt/hello" "$HOST_ROOT/run" "$HOST_ROOT/var/log"
  unzip -q "$work/built.zip" -d "$unpacked"
  "$unpacked/scripts/stop.sh"
  cp "$unpacked"/bottle.py "$unpacked"/app.py "$unpacked"/REVISION "$HOST_ROOT/opt/hello/"
  "$unpacked/scripts/start.sh"
  "$unpacked/scripts/validate.sh" >/dev/null
  mark "deploy"
done
