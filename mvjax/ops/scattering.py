"""Scattering of images: moduli of wavelets, averaged (Bruna and Mallat, TPAMI 2013).

The numbers are those of kymatio 0.2.1 (Andreux et al., JMLR 2020), which the released
MV-MR uses: its Morlet filters (with 3.1415 for pi), its padding, its order of channels.

For J scales and L angles, `x` an image, psi the wavelets and phi a Gaussian:
S0 = x * phi, S1[j, t] = |x * psi[j, t]| * phi, and, for j2 > j1,
S2[j1, t1, j2, t2] = ||x * psi[j1, t1]| * psi[j2, t2]| * phi, all kept at every 2^J-th
pixel. Wavelets are applied by Fourier transforms. The Gaussian, which is separable, is
applied together with the thinning by two small matrix products, where kymatio transforms
each modulus forth and back; it is the larger part of the work.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mvjax.core import errors
from mvjax.core import precision
from mvjax.ops import fourier

_PI = 3.1415  # Of the filters' norm alone, as in kymatio.
_PERIODS = 2  # Copies of a filter on each side that are folded into the grid.
_NEGLIGIBLE = 41.0  # exp(-this) is below the last place of float64.


@dataclasses.dataclass(frozen=True)
class Bank:
    """The filters of one size of images; equal ones are built once.

    Args:
      scales: J, at least 1; the output is 2^J times smaller than the image.
      angles: L, at least 1.
      shape: Height and width of the images, above 2^J.

    Raises:
      UserError: The image is too small for the scales, or there are none.
    """

    scales: int
    angles: int
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.scales < 1 or self.angles < 1:
            raise errors.UserError(
                "Scattering takes at least one of scales and angles, not "
                f"{self.scales} and {self.angles}."
            )
        smallest = min(self.shape)
        if 2**self.scales >= smallest:
            most = max(0, (smallest - 1).bit_length() - 1)
            choices = f"1 to {most}" if most else "none: take larger images"
            raise errors.UserError(
                f"Scattering at scales={self.scales} needs images of more than "
                f"{2**self.scales} pixels (2**scales) a side, not "
                f"{self.shape[0]} x {self.shape[1]}. Choices of scales: {choices}."
            )

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the grid that the filters live on."""
        step = 2**self.scales
        return tuple(((side + step) // step + 1) * step for side in self.shape)

    @property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """Pixels before and behind, in height and in width."""
        return tuple(
            ((whole - side) // 2, (whole - side + 1) // 2)
            for whole, side in zip(self.padded, self.shape, strict=True)
        )

    def wavelets(self, resolution: int = 0) -> np.ndarray:
        """Transforms of the wavelets, which are real.

        Args:
          resolution: They are for maps that are 2^this times smaller.

        Returns:
          `[J, L, H', W']` float32.
        """
        return _wavelets(self, resolution)

    def gaussian(self, resolution: int = 0) -> np.ndarray:
        """Transform of the Gaussian for maps 2^`resolution` times smaller, float32."""
        rows, columns = (_lowpass(self, axis, resolution) for axis in (0, 1))
        return np.outer(rows, columns).astype(np.float32)

    def means(self, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """What averages maps 2^`resolution` times smaller, thins and cuts the border off.

        Returns:
          Two matrices, `[H // 2^J, H']` and `[W // 2^J, W']` float32: S = A U B^T.
        """
        rows, columns = (_means(self, axis, resolution) for axis in (0, 1))
        return rows, columns


def channels(scales: int, angles: int, order: int = 2) -> int:
    """Number K of maps for each channel of an image."""
    pairs = scales * (scales - 1) // 2 if order == 2 else 0
    return 1 + scales * angles + pairs * angles**2


def scatter(
    images: jax.Array, *, scales: int = 2, angles: int = 8, order: int = 2
) -> jax.Array:
    """Scattering coefficients of every channel; no gradients pass.

    Args:
      images: `[B, H, W, C]`, any float type.
      scales: J, at least 1; with 1 there is no second order.
      angles: L, at least 1.
      order: 1, or 2 for the moduli of moduli, too.

    Returns:
      `[B, H // 2^J, W // 2^J, C * K]` float32, K of `channels`: for each channel S0, all
      S1 (scale, then angle), all S2 (first scale and angle, then second).

    Raises:
      UserError: 2^J is not smaller than the image, or a setting is out of its range.
    """
    if order not in (1, 2):
        raise errors.UserError(f"Scattering has the orders 1 and 2, not {order}.")
    bank = Bank(scales, angles, tuple(images.shape[1:3]))
    x = jnp.moveaxis(images.astype(jnp.float32), 3, 1)  # [B, C, H, W]
    x = jnp.pad(x, ((0, 0), (0, 0), *bank.padding), mode="reflect")
    spectrum = fourier.fft2(x)

    def second(modulus: jax.Array, scale: int) -> list[jax.Array]:
        """S2 `[B, C, L, h, w]` of one first modulus, for each larger scale."""
        if order == 1 or scale == scales - 1:
            return []
        filters = bank.wavelets(scale)
        inner = fourier.fft2(modulus)[:, :, None]
        maps = []
        for larger in range(scale + 1, scales):
            step = 2 ** (larger - scale)
            moduli = _filtered(inner, jnp.asarray(filters[larger]), step)
            maps.append(_averaged(moduli, bank, larger))
        return maps

    def first(wavelet: jax.Array, scale: int) -> tuple[jax.Array, list[jax.Array]]:
        """S1 `[B, C, h, w]` of one wavelet, and S2 behind it."""
        modulus = _filtered(spectrum, wavelet, 2**scale)
        return _averaged(modulus, bank, scale), second(modulus, scale)

    ones, twos = [], []
    for scale in range(scales):
        # One angle after the other, as all at once take L times the memory.
        one, two = jax.lax.map(
            functools.partial(first, scale=scale), jnp.asarray(bank.wavelets()[scale])
        )
        ones.append(jnp.moveaxis(one, 0, 2))  # [B, C, L, h, w]
        if two:
            two = jnp.moveaxis(
                jnp.concatenate(two, axis=3), 0, 2
            )  # [B, C, L, .., h, w]
            twos.append(two.reshape(*two.shape[:2], -1, *two.shape[4:]))
    maps = [_averaged(x, bank, 0)[:, :, None], *ones, *twos]
    maps = jnp.concatenate(maps, axis=2)  # [B, C, K, h, w]
    maps = maps.reshape(len(maps), -1, *maps.shape[3:])
    return jnp.moveaxis(maps, 1, 3)


def _filtered(spectrum: jax.Array, wavelet: jax.Array, step: int) -> jax.Array:
    """Modulus of the filtered map at every `step`-th pixel, `[..., H', W']`."""
    real, imaginary = (
        _thinned(part, wavelet, step) for part in (spectrum.real, spectrum.imag)
    )
    found = fourier.ifft2(jax.lax.complex(real, imaginary))
    # Without the care that `jnp.abs` takes of the largest and the smallest numbers.
    return jnp.sqrt(found.real**2 + found.imag**2)


def _thinned(spectrum: jax.Array, wavelet: jax.Array, step: int) -> jax.Array:
    """Spectrum of the filtered map at every `step`-th pixel: a mean of its parts."""

    def parts(x: jax.Array) -> list[jax.Array]:
        *lead, height, width = x.shape
        x = x.reshape(*lead, step, height // step, step, width // step)
        return [x[..., i, :, j, :] for i in range(step) for j in range(step)]

    products = zip(parts(spectrum), parts(wavelet / step**2), strict=True)
    return sum(part * weight for part, weight in products)


def _averaged(maps: jax.Array, bank: Bank, resolution: int) -> jax.Array:
    """Averages maps `[..., H', W']` that are 2^`resolution` times smaller."""
    rows, columns = bank.means(resolution)
    maps = precision.einsum("...hw,vw->...hv", maps, columns)
    return precision.einsum("...hv,uh->...uv", maps, rows)


def _gabor(
    shape: tuple[int, int], sigma: float, theta: float, xi: float, slant: float
) -> np.ndarray:
    """A wave under a Gaussian, centred on pixel (0, 0) of a periodic grid, complex.

    Its quadratic form is R diag(1, slant^2) R^-1 / (2 sigma^2), R a turn by `theta`.
    """
    turn = np.array(
        [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]], np.float64
    )
    curve = turn @ np.diag([1, slant**2]) @ turn.T / (2 * sigma**2)
    reach = int(np.sqrt(2 * _NEGLIGIBLE) * sigma / min(1, slant)) + 1
    x, y = (
        np.arange(
            max(-reach, -_PERIODS * side), min(reach, (_PERIODS + 1) * side - 1) + 1
        )
        for side in shape
    )
    a, b = x[:, None], y[None]
    form = curve[0, 0] * a * a + 2 * curve[0, 1] * a * b + curve[1, 1] * b * b
    wave = np.exp(-form + 1j * xi * (a * np.cos(theta) + b * np.sin(theta)))
    folded = np.zeros(shape, np.complex128)
    np.add.at(folded, (a % shape[0], b % shape[1]), wave)
    return folded / (2 * _PI * sigma**2 / slant)


def _shrunk(transform: np.ndarray, resolution: int, axis: int) -> np.ndarray:
    """A filter's transform for maps 2^`resolution` times smaller along `axis`.

    The upper frequencies are left out, and the rest is folded.
    """
    if not resolution:
        return transform
    side = transform.shape[axis]
    kept = side >> resolution
    place = np.arange(side)
    low = (place < kept // 2) | (place >= side - kept + kept // 2)
    parts = np.moveaxis(transform, axis, -1) * low
    parts = parts.reshape(*parts.shape[:-1], side // kept, kept).sum(axis=-2)
    return np.moveaxis(parts, -1, axis)


@functools.lru_cache(maxsize=64)
def _wavelets(bank: Bank, resolution: int) -> np.ndarray:
    """See `Bank.wavelets`."""
    slant, filters = 4 / bank.angles, []
    for scale in range(bank.scales):
        sigma, xi = 0.8 * 2**scale, 3 / 4 * np.pi / 2**scale
        for angle in range(bank.angles):
            theta = (int(bank.angles - bank.angles / 2 - 1) - angle) * np.pi
            theta /= bank.angles
            wave = _gabor(bank.padded, sigma, theta, xi, slant)
            hill = _gabor(bank.padded, sigma, theta, 0, slant)
            morlet = wave - wave.sum() / hill.sum() * hill  # Its mean is zero.
            transform = np.fft.fft2(morlet).real
            for axis in (0, 1):
                transform = _shrunk(transform, resolution, axis)
            filters.append(transform.astype(np.float32))
    filters = np.stack(filters)
    return filters.reshape(bank.scales, bank.angles, *filters.shape[1:])


def _lowpass(bank: Bank, axis: int, resolution: int) -> np.ndarray:
    """Transform of the Gaussian along one axis, float64; the product of both is phi."""
    sigma = 0.8 * 2 ** (bank.scales - 1)
    side = bank.padded[axis]
    # A Gaussian over a product of lines: one pixel wide, its norm is a root.
    line = np.arange(-_PERIODS * side, (_PERIODS + 1) * side)
    hill = np.exp(-(line**2) / (2 * sigma**2)).reshape(-1, side).sum(axis=0)
    transform = np.fft.fft(hill / np.sqrt(2 * _PI * sigma**2)).real
    return _shrunk(transform, resolution, 0)


@functools.lru_cache(maxsize=64)
def _means(bank: Bank, axis: int, resolution: int) -> np.ndarray:
    """See `Bank.means`."""
    kernel = np.fft.ifft(_lowpass(bank, axis, resolution)).real
    side = len(kernel)
    step = 2 ** (bank.scales - resolution)
    # The first and the last of the thinned pixels lie in the padding.
    kept = np.arange(1, side // step - 1) * step
    return kernel[(kept[:, None] - np.arange(side)) % side].astype(np.float32)
