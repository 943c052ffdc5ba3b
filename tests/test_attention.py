"""Attention (eqs. 19-29): against the NumPy twin, and in hand-computed and extreme cases."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from draw import attention
from draw.attention import Window
from tests import twin

numbers = st.floats(-3, 3, allow_nan=False)
five = st.lists(numbers, min_size=5, max_size=5)
sides = st.integers(2, 20)
patch_sizes = st.integers(1, 6)


def make_window(g_x: float, g_y: float, delta: float, sigma2: float, gamma: float = 1.0) -> Window:
    """Return a float64 window for a batch of one."""
    values = (g_x, g_y, delta, sigma2, gamma)
    return Window(*(torch.tensor([v], dtype=torch.float64) for v in values))


@given(five, sides, sides, patch_sizes)
def test_window_equals_the_twin(params, height, width, n):
    got = Window.from_params(torch.tensor(params, dtype=torch.float64), height, width, n)
    assert [float(v) for v in got] == pytest.approx(twin.window(params, height, width, n))


@given(five, sides, sides, patch_sizes, st.integers(1, 3), st.integers(0, 99))
def test_read_and_write_equal_the_twin(params, height, width, n, channels, seed):
    params[2] = abs(params[2])  # the twin's exponentials underflow for smaller variances
    params[3] = -abs(params[3])
    params[0], params[1] = params[0] / 3, params[1] / 3
    rng = np.random.default_rng(seed)
    image, patch = rng.random((channels, height, width)), rng.normal(size=(channels, n, n))
    window = Window.from_params(torch.tensor([params], dtype=torch.float64), height, width, n)
    got = attention.read(torch.from_numpy(image)[None], window, n)[0].numpy()
    np.testing.assert_allclose(got, twin.read(image, params, n), rtol=1e-9, atol=1e-12)
    got = attention.write(torch.from_numpy(patch)[None], window, height, width)[0].numpy()
    np.testing.assert_allclose(got, twin.write(patch, params, height, width), rtol=1e-9, atol=1e-12)


def test_pixels_are_counted_from_one():
    """N = 5 and delta = 2 around g = 10 give the centres 6, 8, 10, 12, 14 (eq. 19)."""
    F = attention.filterbank(*(torch.tensor(v) for v in (10.0, 2.0, 1e-4)), n=5, size=20)
    assert (F.argmax(-1) + 1).tolist() == [6, 8, 10, 12, 14]


def test_zero_parameters_give_a_centred_window():
    """g~ = 0 means (A + 1) / 2, so the filters are mirror images of each other (eqs. 22, 23)."""
    window = Window.from_params(torch.zeros(5, dtype=torch.float64), 12, 20, 4)
    F_x, F_y = attention.filterbanks(window, 12, 20, 4)
    torch.testing.assert_close(F_x, F_x.flip(0, 1))
    torch.testing.assert_close(F_y, F_y.flip(0, 1))


def test_a_unit_stride_parameter_spans_the_longer_side():
    """With delta~ = 1 the outermost filters lie on pixels 1 and max(A, B) (eq. 24)."""
    window = Window.from_params(torch.tensor([0.0, 0.0, -9.0, 0.0, 0.0]), 10, 28, 5)
    F_x, _ = attention.filterbanks(window, 10, 28, 5)
    assert (F_x.argmax(-1) + 1).tolist()[::4] == [1, 28]


def test_a_sharp_window_with_unit_stride_is_a_crop():
    image = torch.arange(2 * 8 * 9, dtype=torch.float64).view(1, 2, 8, 9)
    window = make_window(g_x=6, g_y=4, delta=1, sigma2=1e-3)
    torch.testing.assert_close(attention.read(image, window, 3), image[:, :, 2:5, 4:7])


def test_write_inverts_read_for_a_sharp_window():
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    window = make_window(g_x=4.5, g_y=4.5, delta=1, sigma2=1e-3)
    restored = attention.write(attention.read(image, window, 8), window, 8, 8)
    torch.testing.assert_close(restored, image)


def test_gamma_multiplies_read_and_divides_write():
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64)
    plain = make_window(3, 3, 1, 1, gamma=1)
    strong = make_window(3, 3, 1, 1, gamma=4)
    patch = attention.read(image, plain, 2)
    torch.testing.assert_close(attention.read(image, strong, 2), 4 * patch)
    torch.testing.assert_close(
        attention.write(patch, strong, 6, 6), attention.write(patch, plain, 6, 6) / 4
    )


def test_x_and_y_are_not_swapped():
    image = torch.zeros(1, 1, 5, 9, dtype=torch.float64)
    image[0, 0, 1, 7] = 1  # pixel x = 8, y = 2
    window = make_window(g_x=8, g_y=2, delta=1, sigma2=1e-3)
    assert attention.read(image, window, 1).item() == pytest.approx(1)
    written = attention.write(torch.ones(1, 1, 1, 1, dtype=torch.float64), window, 5, 9)
    torch.testing.assert_close(written, image)


@given(
    g=st.floats(-1e20, 1e20) | st.floats(-100, 100),
    delta=st.floats(0, 1e20) | st.floats(0, 30),
    log_sigma2=st.floats(-40, 40),
    n=patch_sizes,
    size=sides,
)
def test_every_filter_sums_to_one_and_has_finite_gradients(g, delta, log_sigma2, n, size):
    """Even in float32, far outside the image, or so sharp that every exponential underflows."""
    inputs = [torch.tensor(v, requires_grad=True) for v in (g, delta, math.exp(log_sigma2))]
    F = attention.filterbank(*inputs, n=n, size=size)
    torch.testing.assert_close(F.sum(-1), torch.ones(n))
    (F * torch.linspace(-1, 1, size)).sum().backward()
    assert all(torch.isfinite(v.grad) for v in inputs)


@given(
    params=st.lists(st.floats(-1e6, 1e6) | st.floats(-50, 50), min_size=5, max_size=5),
    sizes=st.sampled_from([(6, 7, 3), (6, 7, 1), (1, 1, 1), (1, 1, 3), (1, 9, 2)]),
)
def test_read_and_write_are_finite_for_any_parameters(params, sizes):
    """Even in float32, with extreme variances and strides, and centres far outside the image."""
    height, width, n = sizes
    params = torch.tensor([params], requires_grad=True)
    image, patch = torch.rand(1, 2, height, width), torch.rand(1, 2, n, n)
    window = Window.from_params(params, height, width, n)
    results = [attention.read(image, window, n), attention.write(patch, window, height, width)]
    for result in results:
        assert result.isfinite().all()
        gradients = torch.autograd.grad(result.mean(), (params,), retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_float32_is_accurate_far_from_the_image():
    """A direct (a - mu)^2 would lose its digits for a sharp window with a distant centre."""
    numbers = [torch.tensor(v, dtype=torch.float64) for v in (3000.25, 0.75, 400.0)]
    exact = attention.filterbank(*numbers, n=4, size=20)
    rounded = attention.filterbank(*(v.float() for v in numbers), n=4, size=20)
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 4, 7)])
def test_gradients_of_read_and_write(n, shape):
    torch.manual_seed(0)
    C, H, W = shape
    params = (0.3 * torch.randn(2, 5, dtype=torch.float64)).requires_grad_()
    image = torch.rand(2, C, H, W, dtype=torch.float64, requires_grad=True)
    patch = torch.rand(2, C, n, n, dtype=torch.float64, requires_grad=True)

    def read(image, params):
        return attention.read(image, Window.from_params(params, H, W, n), n)

    def write(patch, params):
        return attention.write(patch, Window.from_params(params, H, W, n), H, W)

    assert torch.autograd.gradcheck(read, (image, params))
    assert torch.autograd.gradcheck(write, (patch, params))


def test_a_single_filter_ignores_the_stride():
    image = torch.rand(1, 1, 6, 6)
    wide = Window.from_params(torch.tensor([[0.1, 0.2, 0.0, 1.0, 0.0]]), 6, 6, 1)
    narrow = Window.from_params(torch.tensor([[0.1, 0.2, 0.0, -1.0, 0.0]]), 6, 6, 1)
    assert torch.equal(attention.read(image, wide, 1), attention.read(image, narrow, 1))


@given(sides, sides, patch_sizes, st.booleans())
def test_the_full_image_window_is_centred_and_covers_every_pixel(height, width, n, for_write):
    """Every pixel of the longer side has a similar total weight."""
    window = Window.from_params(
        attention.full_image_params(height, width, n, for_write=for_write), height, width, n
    )
    left, top, right, bottom = (float(e) for e in attention.box(window, n))
    size = max(height, width)
    assert right - left == pytest.approx(size, rel=1e-4)
    assert (left + right) / 2 == pytest.approx((width + 1) / 2, rel=1e-4)
    assert (top + bottom) / 2 == pytest.approx((height + 1) / 2, rel=1e-4)
    F_x, F_y = attention.filterbanks(window, height, width, n)
    weight = (F_x if width >= height else F_y).sum(0)
    assert weight.min() > 0.2 * weight.mean()


@given(sides, sides, patch_sizes)
def test_the_full_image_window_writes_ones_as_ones_on_average(height, width, n):
    params = attention.full_image_params(height, width, n, for_write=True)
    window = Window.from_params(params, height, width, n)
    written = attention.write(torch.ones(1, n, n), window, height, width)
    assert float(written.mean()) == pytest.approx(1, rel=1e-4)
    if height == width:
        assert written.max() < 2
