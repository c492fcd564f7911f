#!/bin/sh
# The service must answer with the revision that was deployed.
wanted="$(cat /opt/hello/REVISION)"
for attempt in $(seq 50); do
  answer="$(python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8080/", timeout=2).read().decode())' 2>/dev/null)"
  case "$answer" in *"revision $wanted,"*) echo "$answer"; exit 0 ;; esac
  sleep 0.1
done
echo "no answer with revision $wanted; the last one was: $answer" >&2
cat /var/log/hello.log >&2
exit 1
