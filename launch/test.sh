#!/usr/bin/env bash
# Own environment, install with the test extras, run the test suite.
# Arguments go to pytest: `bash launch/test.sh -m slow` runs the slow tests. WORKERS
# (2 by default) is the number of processes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test
say "Style"
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --check --quiet .
say "Tests"
.venv/bin/python -m pytest -n "${WORKERS:-2}" --dist=loadfile \
  --no-loadscope-reorder --durations=10 "$@"
say "All tests passed. Slow ones: bash launch/test.sh -m slow. Next: bash launch/quickstart.sh"
