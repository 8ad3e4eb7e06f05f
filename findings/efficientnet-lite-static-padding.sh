#!/usr/bin/env bash
# efficientnet-lite-pytorch pads for the size that the network is named for, whatever images
# come in. Of an image of 225 pixels TensorFlow's SAME, which the weights were trained with,
# leaves maps of 113 and at last 8 pixels; here they have 112 and 7, and their grid is shifted
# by a pixel. Nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --no-deps efficientnet-lite-pytorch==0.1.0
"$folder/env/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata

from efficientnet_lite_pytorch import EfficientNet
import torch

print("efficientnet-lite-pytorch", importlib.metadata.version("efficientnet-lite-pytorch"))
print("torch", torch.__version__)
network = EfficientNet.from_name("efficientnet-lite0").eval()
found = {}
for side in (224, 225, 240, 300):
    image = torch.zeros(1, 3, side, side)
    with torch.no_grad():
        first = network._conv_stem(image).shape[-1]
        last = network.extract_features(image).shape[-1]
    same = -(-side // 2), -(-side // 32)
    found[side] = (first, last), same
    print(f"{side} pixels: maps of {first} and {last}, by SAME {same[0]} and {same[1]}")
assert found[224][0] == found[224][1], "changed: its own size differs as well"
assert found[225] == ((112, 7), (113, 8)), "changed: 225 pixels"
assert found[240] == ((120, 7), (120, 8)), "changed: 240 pixels"
assert found[300] == ((150, 9), (150, 10)), "changed: 300 pixels"

stem = network._conv_stem
image = torch.randn(1, 3, 225, 225, generator=torch.Generator().manual_seed(0))
other = image.clone()
other[..., -1] += 10  # Another last column,
other[..., -1, :] += 10  # and another last row.
with torch.no_grad():
    assert not torch.equal(stem(image), stem(other)), "changed: the border is unseen"
    margin = torch.nn.functional.pad(image, (1, 1, 1, 1))
    same = torch.nn.functional.conv2d(margin, stem.weight, stride=2)
    assert same.shape[-1] == 113 and not torch.allclose(same[..., :112, :112], stem(image))
print("the other numbers differ, too: the grid lies elsewhere")
PYTHON
