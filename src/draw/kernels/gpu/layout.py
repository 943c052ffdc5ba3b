"""Where everything stands on the GPU, and how the kernels are launched."""

from typing import Any, NamedTuple

import torch
import triton

from draw.kernels.layout import Shape

# Chosen on paper for 132 multiprocessors and 128 rows, and never tuned at run time: that would wait
# for the GPU, and choose differently from day to day. A program of a product owns 32 rows and 32
# columns, or 64 that are the four gates of 16 units: 8 to 68 programs, of 10 to 260 KB each.
ROWS, COLUMNS, GATES = 32, 32, 64
TERMS = 64  # of the sums at once; four stages of them are on their way


class Layout(NamedTuple):
    """Places in the rows of two tables, in floats.

    X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}], the inputs of both cells side by side, and
    out_t = [patch | write window | read window], what the decoder emits from h_dec_t.
    """

    z: int
    h_dec: int
    r: int
    h_enc: int
    row: int  # all of X, with room at both ends so that h_dec is aligned
    write: int
    read: int
    out: int  # all of out

    @classmethod
    def of(cls, shape: Shape) -> "Layout":
        pixels, hidden = shape.H * shape.W, shape.hidden
        h_dec = _padded(shape.Z)
        r = h_dec + hidden
        h_enc = r + shape.C * (2 * shape.n_read**2 or pixels)  # without attention, x is in b_enc
        write = shape.K * (shape.n_write**2 or pixels)
        read = write + (5 if shape.n_write else 0)
        out = read + (5 if shape.n_read else 0)
        return cls(h_dec - shape.Z, h_dec, r, h_enc, _padded(h_enc + hidden), write, read, out)


def _padded(n: int) -> int:
    return -(-n // 16) * 16


def canvas_options(shape: Shape, at: Layout) -> dict[str, Any]:
    """The constants of the kernels that work on the canvas, and how they are launched."""
    return {
        "C": shape.C,
        "K": shape.K,
        "H": shape.H,
        "W": shape.W,
        "OUT": at.out,
        "ROW": at.row,
        "WRITE_AT": at.write,
        "READ_AT": at.read,
        "N_WRITE": shape.n_write,
        "N_READ": shape.n_read,
        "P_WRITE": max(16, triton.next_power_of_2(shape.n_write)),
        "P_READ": max(16, triton.next_power_of_2(shape.n_read)),
        "CLAMPED": shape.clamped,
        "num_warps": 8,
        "maxnreg": 248,  # an image has a multiprocessor to itself
        "num_stages": 1,
        "enable_fp_fusion": True,
    }


def product_options(columns: int = COLUMNS) -> dict[str, Any]:
    """Those of the kernels that are matrix products."""
    return {
        "PRECISION": "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee",
        "BLOCK_B": ROWS,
        "BLOCK_N": columns,
        "BLOCK_K": TERMS,
        "num_warps": 4,
        "num_stages": 4,
        "enable_fp_fusion": True,
    }


def grid(rows: int, columns: int, block: int = COLUMNS) -> tuple[int, int]:
    """As many programs as cover this many rows and columns."""
    return triton.cdiv(columns, block), triton.cdiv(rows, ROWS)
