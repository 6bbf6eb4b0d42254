#!/usr/bin/env bash
# Previews the latest revision at its own URL, whatever its share of the traffic.
exec bash "$(dirname "$(readlink -f "$0")")/run-test.sh" --tag latest "$@"
