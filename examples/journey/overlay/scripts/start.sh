#!/bin/sh
set -eu
cd /opt/hello
setsid nohup python3 -m bottle --bind 0.0.0.0:8080 app:app >/var/log/hello.log 2>&1 </dev/null &
echo $! >/run/hello.pid
