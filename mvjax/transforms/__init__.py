"""Transforms of whole batches on the device, inside the step, one file each.

A file offers a frozen dataclass `Transform` with `spec(spec)`, what leaves it, and
`transform(batch, key)`, which can be jitted; without a key it is evaluation, which draws
nothing. What is drawn for a row hangs on the key and on the row alone.
"""
