#!/bin/sh
# The service of the revision before this one, if there is any.
[ -f /run/hello.pid ] || exit 0
kill "$(cat /run/hello.pid)" 2>/dev/null || true
rm -f /run/hello.pid
