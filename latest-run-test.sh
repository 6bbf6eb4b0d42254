#!/usr/bin/env bash
# Does what run-test.sh does, at the tag latest: it previews the latest
# revision at its own URL, whatever its share of the traffic.
set -euo pipefail

TAG=latest
# shellcheck source=run-test.sh
. "$(dirname "$0")/run-test.sh"
