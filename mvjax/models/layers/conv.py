"""2-D convolution with PyTorch's default initialisation, formulated for XLA's CPU too.

On GPU and TPU `conv2d` is `jax.lax.conv_general_dilated`. On CPU that function is near
the machine's peak forwards, but three cases are 10 to 1000 times slower than need be, and a fourth up to 7 times:

- The weight gradient becomes a convolution whose kernel is as large as the image, or, of
  strides, one between transposed arrays. `_factors_of_shifts` and
  `_factors_of_patches` are those of matrix products instead.
- Maps of a few pixels, 1x1 kernels and float64, in both directions: `_matmul_conv2d`.
- One kernel for each channel: `depthwise.py`.
- The input's gradient of strides where there are few channels: `_input_gradient`.

`upsampled_conv2d` saves 5 of 9 products of a convolution behind an enlargement, on CPU.
The results are those of `conv_general_dilated` up to the order of summation. Forward-mode
differentiation does not pass through the first case, nor through the third at stride 1.
"""

import functools
import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from mvjax.models.layers import chunks as chunks_lib
from mvjax.models.layers import depthwise
from mvjax.models.layers import initializers
from mvjax.models.layers import late
from mvjax.models.layers import linear
from mvjax.models.layers import taps as taps_lib

Padding = taps_lib.Padding

# Maps of at most this many pixels a side are multiplied as matrices of patches. Their
# patches are small, and below the kernel's size XLA's CPU convolution is a plain loop.
SMALL_SIDE = 4
# XLA's gradient of the input of a convolution with strides is slow up to this many
# channels, times the share of products with zeros by which `_input_gradient` has more.
_FEW_CHANNELS = 64


class Conv2D(nn.Module):
    """Convolution of `[B, H, W, C]`; kernel `[kh, kw, C / groups, features]` and bias."""

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = ((1, 1), (1, 1))
    dilation: int = 1  # Pixels from tap to tap.
    groups: int = 1  # Blocks of channels that do not see each other.
    upsample: bool = False  # Of twice the size; for 3x3, strides 1 and padding 1.
    use_bias: bool = True
    dtype: Any = jnp.float32  # Compute type; parameters are float32.
    kernel_init: nn.initializers.Initializer | None = None  # None: PyTorch's default.
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, H', W', features]`, H' = 2H with `upsample`."""
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        default = initializers.torch_uniform(shape[0] * shape[1] * shape[2])
        kernel = self.param("kernel", self.kernel_init or default, shape)
        x, cast = x.astype(self.dtype), kernel.astype(self.dtype)
        if self.upsample:
            y = upsampled_conv2d(x, cast)
        else:
            y = conv2d(
                x,
                cast,
                strides=self.strides,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
            )
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init or default, (self.features,))
        return y + bias.astype(self.dtype)


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, int],
    padding: Padding,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """Cross-correlates images with a kernel, PyTorch's `conv2d`.

    Args:
      x: Images `[B, H, W, C]`.
      kernel: Weights `[kh, kw, C / groups, D]` of the same type.
      strides: Steps down and to the right.
      padding: Zeros above and below, left and right; not negative.
      dilation: Pixels from one tap of the kernel to the next.
      groups: Blocks of channels, each with its own D / groups kernels.

    Returns:
      `[B, H', W', D]` of the same type.
    """
    strides = tuple(strides)
    padding = tuple((low, high) for low, high in padding)
    if jax.default_backend() != "cpu":
        return _lax_conv2d(x, kernel, strides, padding, dilation, groups)
    if groups > 1 and groups == x.shape[-1] == kernel.shape[-1]:
        return depthwise.conv2d(x, kernel, strides, padding, dilation)
    if strides == kernel.shape[:2] and not any(map(sum, padding)) and groups == 1:
        return _patch_conv2d(x, kernel)
    if kernel.shape[:2] == (1, 1) and max(strides) > 1 and groups == 1:
        return _pixels_conv2d(x, kernel, strides, padding)
    small = min(x.shape[1:3]) <= SMALL_SIDE or kernel.shape[:2] == (1, 1)
    if small or x.dtype == jnp.float64 or dilation > 1 or groups > 1:
        return _matmul_conv2d(x, kernel, strides, padding, dilation, groups)
    return _cpu_conv2d(x, kernel, strides, padding)


def upsampled_conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv2d` with padding 1 of images enlarged twofold, nearest neighbour.

    A 3x3 window of the enlarged image covers 2x2 pixels of the small one. Which ones, and
    which taps meet the same pixel, depends on whether the output's row and column are even
    or odd: four convolutions with 2x2 kernels of added taps.

    Args:
      x: Images `[B, H, W, C]`.
      kernel: Weights `[3, 3, C, D]` of the same type, no other size.

    Returns:
      `[B, 2H, 2W, D]` of the same type.
    """
    b, h, w, c = x.shape
    if jax.default_backend() != "cpu":
        x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
        x = x.reshape(b, 2 * h, 2 * w, c)
        return conv2d(x, kernel, strides=(1, 1), padding=((1, 1), (1, 1)))
    parts = [
        conv2d(
            x,
            _add_taps(_add_taps(kernel, axis=0, odd=i), axis=1, odd=j),
            strides=(1, 1),
            padding=((1 - i, i), (1 - j, j)),
        )
        for i in (0, 1)
        for j in (0, 1)
    ]
    y = jnp.concatenate(parts, axis=-1).reshape(b, h, w, 2, 2, -1)
    return jnp.transpose(y, (0, 1, 3, 2, 4, 5)).reshape(b, 2 * h, 2 * w, -1)


def _add_taps(kernel: jax.Array, *, axis: int, odd: int) -> jax.Array:
    """Two taps out of three: those that meet the same small pixel are added."""
    a, b, c = jnp.split(kernel, kernel.shape[axis], axis)  # Three, or an error.
    return jnp.concatenate([a + b, c] if odd else [a, b + c], axis)


def _lax_conv2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _patch_conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv2d` of patches that touch but do not overlap; a remainder is left out."""
    kh, kw, channels, features = kernel.shape
    height, width = x.shape[1] // kh, x.shape[2] // kw
    x = x[:, : height * kh, : width * kw]
    x = x.reshape(-1, height, kh, width, kw, channels)
    x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
    patches = x.reshape(-1, height, width, kh * kw * channels)
    return _product(patches, kernel.reshape(-1, features))


def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`linear.product`, computed in float32 or wider."""
    wide = taps_lib.wide(x)
    return linear.product(x.astype(wide), kernel.astype(wide)).astype(x.dtype)


def _matmul_conv2d(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """`conv2d` as one product of all patches and the kernel, one for each group."""
    kh, kw, channels, features = kernel.shape  # Channels of a group.
    taps = taps_lib.take(x, (kh, kw), strides, padding, dilation)
    shape = (*taps[0].shape[:3], features)
    if groups == 1:
        patches = taps[0] if len(taps) == 1 else jnp.concatenate(taps, axis=-1)
        return _product(patches, kernel.reshape(-1, features))
    patches = jnp.stack([tap.reshape(-1, groups, channels) for tap in taps], axis=2)
    y = jnp.einsum(
        "ngtc,tcgf->ngf",
        patches,
        kernel.reshape(kh * kw, channels, groups, features // groups),
        preferred_element_type=taps_lib.wide(x),
    )
    return y.reshape(shape).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _pixels_conv2d(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding
) -> jax.Array:
    """`conv2d` with a 1x1 kernel; the pixels it reads are not kept for the way back."""
    return _matmul_conv2d(x, kernel, strides, padding)


def _pixels_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _pixels_conv2d(x, kernel, strides, padding), (x, kernel)


def _pixels_backward(
    strides: tuple[int, int],
    padding: Padding,
    residuals: tuple[jax.Array, jax.Array],
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, pull_back = jax.vjp(
        lambda x, kernel: _matmul_conv2d(x, kernel, strides, padding),
        late.wait(x, after=dy),
        kernel,
    )
    return pull_back(dy)


_pixels_conv2d.defvjp(_pixels_forward, _pixels_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cpu_conv2d(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding
) -> jax.Array:
    # XLA's calls of oneDNN (`process_settings.use_onednn`) take in a swish or an ELU that
    # follows, and then whoever else reads the output, as the way back does, gets that of
    # the activation (jaxlib 0.11.2). Behind a barrier there is none to take in.
    def convolve(x: jax.Array) -> jax.Array:
        return jax.lax.optimization_barrier(_lax_conv2d(x, kernel, strides, padding))

    pixels = math.prod(jax.eval_shape(convolve, x).shape[1:3])
    patch = math.prod(kernel.shape[:3]) * x.dtype.itemsize
    return chunks_lib.concatenate(convolve, x, pixels * patch)


def _cpu_forward(
    x: Any, kernel: Any, strides: tuple[int, int], padding: Padding
) -> tuple[jax.Array, Any]:
    y = _cpu_conv2d(x.value, kernel.value, strides, padding)
    return y, (x.value, kernel.value, late.mark(x))


def _cpu_backward(
    strides: tuple[int, int], padding: Padding, residuals: Any, dy: Any
) -> tuple[jax.Array | None, jax.Array]:
    x, kernel, wanted = residuals
    dx, dy = None, late.array(dy)
    if wanted:
        # XLA turns the kernel round for this, and would do so at the start of a step.
        dx = _input_gradient(x, late.wait(kernel, after=dy), dy, strides, padding)
    kh, kw, channels, features = kernel.shape
    # Numbers a pixel that either product needs; few channels, as images have, make few
    # numbers of patches.
    shifts, patches = kw * channels + kh * features, kh * kw * channels + features
    shifted = strides == (1, 1) and shifts <= patches
    if shifted:
        numbers, factors = x.shape[1] * dy.shape[2] * shifts, _factors_of_shifts
        turned = linear.is_tall(kw * channels, kh * features)
    else:
        numbers = dy.shape[1] * dy.shape[2] * patches
        factors = functools.partial(_factors_of_patches, strides=strides)
        turned = linear.is_tall(kh * kw * channels, features)

    def multiply(x: jax.Array, dy: jax.Array) -> jax.Array:
        a, b = factors(x, dy, size=(kh, kw), padding=padding)
        first, second = (b, a) if turned else (a, b)
        return linear.add_rows(first, second, taps_lib.wide(x))

    chunks = chunks_lib.count(x.shape[0], numbers * x.dtype.itemsize)
    # An optimiser that puts a new kernel into the old one's place must know that nobody
    # will read that one again; else XLA copies all kernels first.
    total = chunks_lib.add(multiply, x, dy, chunks, after=dx)
    if turned:
        total = linear.turn(total)
    if shifted:
        total = total.reshape(kw, channels, kh, features)
        total = jnp.transpose(total, (2, 0, 1, 3))[::-1]
    return dx, total.reshape(kernel.shape).astype(kernel.dtype)


_cpu_conv2d.defvjp(_cpu_forward, _cpu_backward, symbolic_zeros=True)


def _input_gradient(
    x: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
    strides: tuple[int, int],
    padding: Padding,
) -> jax.Array:
    """Gradient of x, of the same shape.

    XLA's for strides is slow where x has few channels. There rows and columns are taken by
    their remainder when divided by the stride: tap `m * stride + r` meets rows of remainder
    r alone, so that one convolution of stride 1 gives those of all remainders side by side.
    """
    taps = [-(-size // step) for size, step in zip(kernel.shape, strides)]
    waste = math.prod(taps) * math.prod(strides) / math.prod(kernel.shape[:2])
    if strides == (1, 1) or waste * x.shape[-1] > _FEW_CHANNELS:

        def gradient(dy: jax.Array) -> jax.Array:
            images = jax.ShapeDtypeStruct((dy.shape[0], *x.shape[1:]), x.dtype)
            pull_back = jax.linear_transpose(
                lambda x: _lax_conv2d(x, kernel, strides, padding), images
            )
            return pull_back(dy)[0]

        patch = math.prod(kernel.shape[:2]) * dy.shape[-1] * dy.dtype.itemsize
        return chunks_lib.concatenate(gradient, dy, math.prod(x.shape[1:3]) * patch)
    (s, t), (a, b), (batch, height, width, channels) = strides, taps, x.shape
    missing = [m * step - size for m, step, size in zip(taps, strides, kernel.shape)]
    kernel = jnp.pad(kernel, ((0, missing[0]), (0, missing[1]), (0, 0), (0, 0)))
    kernel = kernel.reshape(a, s, b, t, channels, -1)[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 5, 1, 3, 4).reshape(a, b, -1, s * t * channels)
    # Rows of the padded x from the first to the last, in steps of the stride.
    first = [low // step for (low, _), step in zip(padding, strides)]
    last = [
        (low + size - 1) // step
        for (low, _), size, step in zip(padding, (height, width), strides)
    ]
    margins = tuple(
        (m - 1 - begin, end + 1 - size)
        for m, begin, end, size in zip(taps, first, last, dy.shape[1:3])
    )
    dx = jax.lax.conv_general_dilated(
        dy, kernel, (1, 1), margins, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    rows, columns = dx.shape[1:3]
    dx = dx.reshape(batch, rows, columns, s, t, channels).transpose(0, 1, 3, 2, 4, 5)
    dx = dx.reshape(batch, rows * s, columns * t, channels)
    top, left = (low % step for (low, _), step in zip(padding, strides))
    return dx[:, top : top + height, left : left + width]


def _factors_of_shifts(
    x: jax.Array, dy: jax.Array, *, size: tuple[int, int], padding: Padding
) -> tuple[jax.Array, jax.Array]:
    """Factors of a stride-1 kernel's gradient, of as many rows as x has pixels.

    `kernel[i, j]` meets `x[r, c + j]` and `dy[r - i, c]`. x is shifted sideways and dy
    down, so that one product of `kw C` by `kh D` holds all taps; the `kh kw` patches of x
    would be larger and no faster.

    Args:
      x: `[B, H, W, C]`.
      dy: `[B, H', W', D]`.
      size: `(kh, kw)`.
      padding: As in `conv2d`.

    Returns:
      `[rows, kw C]` and `[rows, kh D]`; the rows of taps stand in reverse.
    """
    kh, kw = size
    height, channels = x.shape[1], x.shape[-1]
    out_height, width, features = dy.shape[1:]
    x = jnp.pad(x, ((0, 0), (0, 0), padding[1], (0, 0)))
    # Row r of x was tap i of output row r - i + top. Row r + k of the padded dy holds
    # that output row for k = kh - 1 - i, hence the reverse.
    top = kh - 1 - padding[0][0]
    bottom = height + kh - 1 - out_height - top
    zero = jnp.zeros((), dy.dtype)
    # A negative number of rows cuts them off: they met nothing but zeros.
    dy = jax.lax.pad(dy, zero, ((0, 0, 0), (top, bottom, 0), (0, 0, 0), (0, 0, 0)))
    x = jnp.concatenate([x[:, :, j : j + width] for j in range(kw)], axis=-1)
    dy = jnp.concatenate([dy[:, k : k + height] for k in range(kh)], axis=-1)
    return x.reshape(-1, kw * channels), dy.reshape(-1, kh * features)


def _factors_of_patches(
    x: jax.Array,
    dy: jax.Array,
    *,
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: Padding,
) -> tuple[jax.Array, jax.Array]:
    """Factors of a kernel's gradient with any strides: patches and dy.

    Returns:
      `[rows, kh kw C]` and `[rows, D]`, of as many rows as dy has pixels.
    """
    patches = jnp.concatenate(taps_lib.take(x, size, strides, padding, 1), axis=-1)
    return patches.reshape(-1, patches.shape[-1]), dy.reshape(-1, dy.shape[-1])
