"""An independent implementation of the paper's equations, in NumPy and float64, for one image.

It is written from the paper alone and shares no code with the package. It uses explicit loops and
sums over pixels instead of matrix products, normalised exponentials instead of a softmax, and
computes each gate of an LSTM separately.
"""

import math
from decimal import Decimal
from typing import Any

import numpy as np

Weights = dict[str, np.ndarray]


def sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def window(params: np.ndarray, height: int, width: int, n: int) -> tuple[float, ...]:
    """Compute the window: g_x, g_y, delta, sigma^2 and gamma (eqs. 21-24)."""
    g_x_tilde, g_y_tilde, log_sigma2, log_delta_tilde, log_gamma = params
    g_x = (width + 1) / 2 * (g_x_tilde + 1)
    g_y = (height + 1) / 2 * (g_y_tilde + 1)
    intervals = n - 1 if n > 1 else 1
    delta = (max(width, height) - 1) / intervals * math.exp(log_delta_tilde)
    return g_x, g_y, delta, math.exp(log_sigma2), math.exp(log_gamma)


def filterbank(g: float, delta: float, sigma2: float, n: int, size: int) -> np.ndarray:
    """Compute the filters of one axis, with pixels counted from 1 (eqs. 19, 20, 25, 26)."""
    F = np.zeros((n, size))
    for i in range(1, n + 1):
        mu = g + (i - n / 2 - 0.5) * delta
        for a in range(1, size + 1):
            F[i - 1, a - 1] = math.exp(-((a - mu) ** 2) / (2 * sigma2))
        F[i - 1] /= F[i - 1].sum()
    return F


def read(image: np.ndarray, params: np.ndarray, n: int) -> np.ndarray:
    """Read a patch of an image [C, H, W] (eq. 27)."""
    C, H, W = image.shape
    g_x, g_y, delta, sigma2, gamma = window(params, H, W, n)
    F_x, F_y = filterbank(g_x, delta, sigma2, n, W), filterbank(g_y, delta, sigma2, n, H)
    patch = np.zeros((C, n, n))
    for c in range(C):
        for j in range(n):
            for i in range(n):
                patch[c, j, i] = gamma * (np.outer(F_y[j], F_x[i]) * image[c]).sum()
    return patch


def write(patch: np.ndarray, params: np.ndarray, height: int, width: int) -> np.ndarray:
    """Write a patch [C, N, N] (eq. 29)."""
    C, n, _ = patch.shape
    g_x, g_y, delta, sigma2, gamma = window(params, height, width, n)
    F_x, F_y = filterbank(g_x, delta, sigma2, n, width), filterbank(g_y, delta, sigma2, n, height)
    image = np.zeros((C, height, width))
    for c in range(C):
        for j in range(n):
            for i in range(n):
                image[c] += patch[c, j, i] * np.outer(F_y[j], F_x[i]) / gamma
    return image


def lstm(
    weights: Weights, name: str, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Update an LSTM; the rows of the weights are the input, forget, cell and output gates."""
    a = (
        weights[f"{name}.weight_ih"] @ x
        + weights[f"{name}.bias_ih"]
        + weights[f"{name}.weight_hh"] @ h
        + weights[f"{name}.bias_hh"]
    )
    k = len(h)
    i, f, g, o = (
        sigmoid(a[:k]),
        sigmoid(a[k : 2 * k]),
        np.tanh(a[2 * k : 3 * k]),
        sigmoid(a[3 * k :]),
    )
    c = f * c + i * g
    return o * np.tanh(c), c


def linear(weights: Weights, name: str, h: np.ndarray) -> np.ndarray:
    return weights[f"{name}.weight"] @ h + weights[f"{name}.bias"]


def classify(weights: Weights, x: np.ndarray, glimpses: int, n: int) -> np.ndarray:
    """Compute the logits of an image [C, H, W] after each glimpse (section 4.1)."""
    h, c = weights["h_0"], weights["c_0"]
    logits = []
    for _ in range(glimpses):
        r = read(x, linear(weights, "read_window", h), n).ravel()
        h, c = lstm(weights, "cell", r, h, c)
        logits.append(linear(weights, "head", h))
    return np.array(logits)


def bernoulli(x: np.ndarray, c: np.ndarray) -> float:
    """Compute log D(x | c) of eq. 9."""
    p = sigmoid(c)
    return float((x * np.log(p) + (1 - x) * np.log(1 - p)).sum())


def discretised_logistic(x: np.ndarray, c: np.ndarray) -> float:
    """Compute log D(x | c) with 256 levels (Salimans et al. 2017).

    c has shape [2C, H, W], or [9, H, W] if the three channels of x are coupled. The function uses
    decimal numbers, because a mass can be smaller than the smallest float64.
    """

    def logistic(v: float) -> Decimal:
        return 1 / (1 + Decimal(-v).exp())

    nats = 0.0
    for index in np.ndindex(*x.shape):
        channel, *pixel = index
        mu = 0.5 + c[index] / 4
        if len(c) == 9:
            a, b, g = (math.tanh(c[(6 + i, *pixel)] / 4 + 0.5) for i in range(3))
            red, green = (x[(i, *pixel)] - np.clip(0.5 + c[(i, *pixel)] / 4, 0, 1) for i in (0, 1))
            mu += (0, a * red, b * red + g * green)[channel]
        stretch = c[(len(x) + channel, *pixel)]
        s = 0.1 * math.exp(stretch / (1 + abs(stretch) / 7))
        k = round(255 * x[index])
        low, high = ((k - 0.5) / 255 - mu) / s, ((k + 0.5) / 255 - mu) / s
        if k == 0:
            mass = logistic(high)
        elif k == 255:
            mass = logistic(-low)
        elif low < 0:
            mass = logistic(high) - logistic(low)
        else:  # mirror the bin at the location, so that no digits cancel
            mass = logistic(-low) - logistic(-high)
        nats += float(mass.ln())
    return nats


def mean(c: np.ndarray, likelihood: str) -> np.ndarray:
    """Return the mean picture of a canvas."""
    if likelihood == "bernoulli":
        return np.asarray(sigmoid(c))
    return np.clip(0.5 + c[: 3 if len(c) == 9 else len(c) // 2] / 4, 0, 1)


def draw(
    weights: Weights,
    x: np.ndarray,
    eps: np.ndarray,
    read_n: int | None,
    write_n: int | None,
    likelihood: str = "bernoulli",
) -> dict[str, Any]:
    """Run the network on an image [C, H, W] with noise [T, Z] (eqs. 1-12)."""
    _, H, W = x.shape
    c = weights["canvas_0"]
    h_enc, c_enc = weights["h_enc_0"], weights["c_enc_0"]
    h_dec, c_dec = weights["h_dec_0"], weights["c_dec_0"]
    canvases, loss_z, log_ratio = [], [], 0.0
    for e in eps:
        x_hat = (1 if likelihood == "bernoulli" else 8) * (x - mean(c, likelihood))
        if read_n is None:
            r = np.concatenate([x.ravel(), x_hat.ravel()])
        else:
            params = linear(weights, "read_window", h_dec)
            r = np.concatenate(
                [read(x, params, read_n).ravel(), read(x_hat, params, read_n).ravel()]
            )
        h_enc, c_enc = lstm(weights, "encoder", np.concatenate([r, h_dec]), h_enc, c_enc)
        mu, log_sigma = np.split(linear(weights, "posterior", h_enc), 2)
        z = mu + np.exp(log_sigma) * e
        kl = 0.0
        for m, s in zip(mu, np.exp(log_sigma), strict=True):
            kl += 0.5 * (m**2 + s**2 - math.log(s**2) - 1)
        loss_z.append(kl)
        log_q = (-0.5 * e**2 - log_sigma - 0.5 * math.log(2 * math.pi)).sum()
        log_p = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum()
        log_ratio += log_p - log_q
        h_dec, c_dec = lstm(weights, "decoder", z, h_dec, c_dec)
        w = linear(weights, "patch", h_dec)
        if write_n is None:
            c = c + w.reshape(c.shape)
        else:
            params = linear(weights, "write_window", h_dec)
            c = c + write(w.reshape(len(c), write_n, write_n), params, H, W)
        canvases.append(c)
    log_likelihood = (bernoulli if likelihood == "bernoulli" else discretised_logistic)(x, c)
    return {
        "canvas": canvases[-1],
        "canvases": np.array(canvases),
        "kl": np.array(loss_z),
        "log_likelihood": log_likelihood,
        "elbo": log_likelihood - sum(loss_z),
        "log_weight": log_likelihood + log_ratio,
    }
