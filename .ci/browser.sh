#!/usr/bin/env bash
# Puts a Chromium on a Debian or Ubuntu machine that has none, for the tests of the report's page.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
sudo=()
if [ "$(id -u)" -ne 0 ]; then sudo=(sudo); fi
# A source of somebody else's that is down fails this, and need not fail what comes next.
"${sudo[@]}" apt-get update -q || true
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -qy --no-install-recommends chromium fonts-dejavu-core
