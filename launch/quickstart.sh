#!/usr/bin/env bash
# Trains both stages of MRDD on real handwritten digits, evaluates them, converts the
# result to PyTorch and back, and writes a page with pictures. Safe to run twice.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
mvjax=.venv/bin/mvjax
runs=${RUNS:-runs/quickstart}
data=dataset=digits

say "Training both stages of MRDD on handwritten digits (image view, edge view)"
$mvjax chain "configs/mrdd/consistency.py:$data" "configs/mrdd/disentangle.py:$data" \
  --workdir="$runs"

say "Converting to PyTorch and back"
rm -rf "$runs/back"
$mvjax convert --to=torch --workdir="$runs/disentangle" --output="$runs/mrdd.pth"
$mvjax convert --from=torch --config="configs/mrdd/disentangle.py:$data" \
  --input="$runs/mrdd.pth" --workdir="$runs/back" | tail -n 1

say "Codes of the test digits, from the trained run and from the converted file"
# At once, because each spends its time on compiling.
$mvjax embed --workdir="$runs/back" --dataset=test --output="$runs/back.npz" >/dev/null &
$mvjax embed --workdir="$runs/disentangle" --dataset=test --output="$runs/disentangle.npz"
wait "$!"
.venv/bin/python - "$runs" <<'PYTHON'
import sys

import numpy as np

a, b = (np.load(f"{sys.argv[1]}/{name}.npz") for name in ("disentangle", "back"))
assert sorted(a) == sorted(b)
assert all(np.array_equal(a[k], b[k]) for k in a), "the conversion changed the codes"
print("The converted run gives the same codes, bit for bit.")
PYTHON

say "Done. Open $runs/report/index.html; PyTorch weights: $runs/mrdd.pth"
