#!/usr/bin/env bash
# safetensors.numpy raises AttributeError for a file with float8 tensors, a type that
# the format defines: its table asks NumPy for a type that NumPy lacks. A reader that
# catches SafetensorError only lets a traceback through.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder/x.safetensors" <<'PYTHON'
import json, struct, sys
import numpy, safetensors
from safetensors import numpy as reader

about = {"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
header = json.dumps(about).encode()
header += b" " * (-len(header) % 8)
with open(sys.argv[1], "wb") as stream:
    stream.write(struct.pack("<Q", len(header)) + header + bytes([0x38, 0x40]))
print("safetensors", safetensors.__version__, "numpy", numpy.__version__)
with safetensors.safe_open(sys.argv[1], "numpy") as file:
    assert file.get_slice("w").get_dtype() == "F8_E4M3"  # The file is sound.
try:
    reader.load_file(sys.argv[1])
except AttributeError as error:
    print("seen: AttributeError:", error)
else:
    sys.exit("changed: the file was read")
PYTHON
