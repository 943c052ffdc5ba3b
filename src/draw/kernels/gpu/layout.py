"""The sizes and offsets that the kernels are compiled for, and their launch options."""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from draw.kernels.classifier import Shape as ClassifierShape
from draw.kernels.gpu import precision
from draw.kernels.layout import Shape

# Chosen by calculation for 132 multiprocessors and 128 rows. Autotuning would block the GPU and
# could choose differently on another day. A program of a product computes 32 rows and 32 columns,
# or 64 columns that are the four gates of 16 units: 8 to 68 programs, each loading 10 to 260 KB.
BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_GATES = tl.constexpr(32), tl.constexpr(32), tl.constexpr(64)
BLOCK_TERMS = tl.constexpr(64)  # terms of a sum per load; four stages are in flight

# With 248 registers per thread, a multiprocessor runs one image at a time.
CANVAS_OPTIONS = {"num_warps": 8, "maxnreg": 248, "num_stages": 1, "enable_fp_fusion": True}
PRODUCT_OPTIONS = {"num_warps": 4, "num_stages": 4, "enable_fp_fusion": True}


class Layout(NamedTuple):
    """The sizes of a network, and offsets in the rows of two tensors, in floats.

    X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}] holds the inputs of both LSTMs side by side, and
    out_t = [patch | write window | read window] the outputs of the decoder from h_dec_t.
    """

    C: int  # as in a `Shape`
    K: int
    H: int
    W: int
    hidden: int
    Z: int
    n_read: int
    n_write: int
    clamped: bool
    error_scale: int
    precision: str  # "ieee" (float32) or "tf32", for the factors of products
    z: int
    h_dec: int
    r: int
    h_enc: int
    row: int  # length of a row of X, padded at both ends so that h_dec is aligned
    write: int
    read: int
    out: int  # length of a row of out
    image: int  # length of an image
    canvas: int
    enc_inputs: int  # columns of X that the encoder reads, from h_dec
    dec_inputs: int  # columns of X that the decoder reads, from z

    @classmethod
    def of(cls, shape: Shape) -> "Layout":
        pixels, hidden = shape.H * shape.W, shape.hidden
        h_dec = _padded(shape.Z)
        r = h_dec + hidden
        h_enc = r + shape.C * (2 * shape.n_read**2 or pixels)  # without attention, x is in b_enc
        row = _padded(h_enc + hidden)
        write = shape.K * (shape.n_write**2 or pixels)
        read = write + (5 if shape.n_write else 0)
        out = read + (5 if shape.n_read else 0)
        sizes = (shape.C, shape.K, shape.H, shape.W, hidden, shape.Z, shape.n_read, shape.n_write)
        offsets = (h_dec - shape.Z, h_dec, r, h_enc, row, write, read, out)
        lengths = (shape.C * pixels, shape.K * pixels, h_enc + hidden - h_dec, shape.Z + hidden)
        return cls(*sizes, shape.clamped, shape.error_scale, precision(), *offsets, *lengths)


class ClassifierLayout(NamedTuple):
    """The sizes of a classifier, with the names of `Layout`; its LSTM is the encoder.

    X_t = [r_t | h_{t-1}] holds the inputs of the LSTM, and out_t is the read window.
    """

    C: int
    H: int
    W: int
    hidden: int
    n_read: int
    precision: str
    h: int
    row: int
    out: int
    image: int
    enc_inputs: int

    @classmethod
    def of(cls, shape: ClassifierShape) -> "ClassifierLayout":
        r, hidden, pixels = shape.C * shape.n**2, shape.hidden, shape.H * shape.W
        sizes = (shape.C, shape.H, shape.W, hidden, shape.n)
        row = _padded(r + hidden)
        return cls(*sizes, precision(), r, row, 5, shape.C * pixels, r + hidden)


def _padded(n: int) -> int:
    return -(-n // 16) * 16


def grid(rows: int, columns: int, block: Any = BLOCK_COLUMNS) -> tuple[int, int]:
    """Return the number of programs that cover a number of columns and rows."""
    return triton.cdiv(columns, block), triton.cdiv(rows, BLOCK_ROWS)
