#!/bin/sh
# Makes sure of a Chromium for the test of the search page where that can be done without questions.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "facap: installing chromium for the test of the search page"
    export DEBIAN_FRONTEND=noninteractive
    if { apt-get update -q && apt-get install -q -y --no-install-recommends chromium; } >/tmp/facap-chromium.log 2>&1; then
        exit 0
    fi
    echo "facap: apt-get could not install it, see /tmp/facap-chromium.log"
fi
echo "facap: no chromium or google-chrome here, the test of the search page will be skipped"
