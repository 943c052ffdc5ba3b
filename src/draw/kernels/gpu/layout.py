"""Offsets within the GPU tensors, and the launch options of the kernels."""

from typing import Any, NamedTuple

import torch
import triton

from draw.kernels.layout import Shape

# Chosen by calculation for 132 multiprocessors and 128 rows. Autotuning would block the GPU and
# could choose differently on another day. A program of a product computes 32 rows and 32 columns,
# or 64 columns that are the four gates of 16 units: 8 to 68 programs, each loading 10 to 260 KB.
BLOCK_ROWS, BLOCK_COLUMNS, BLOCK_GATES = 32, 32, 64
BLOCK_TERMS = 64  # terms of a sum per load; four stages are in flight


class Layout(NamedTuple):
    """Offsets in the rows of two tensors, in floats.

    X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}] holds the inputs of both LSTMs side by side, and
    out_t = [patch | write window | read window] the outputs of the decoder from h_dec_t.
    """

    z: int
    h_dec: int
    r: int
    h_enc: int
    row: int  # length of a row of X, padded at both ends so that h_dec is aligned
    write: int
    read: int
    out: int  # length of a row of out

    @property
    def enc_inputs(self) -> slice:
        """The columns of X that the encoder reads."""
        return slice(self.h_dec, self.h_enc + self.r - self.h_dec)  # hidden = r - h_dec

    @property
    def dec_inputs(self) -> slice:
        """The columns of X that the decoder reads."""
        return slice(self.z, self.r)

    @classmethod
    def of(cls, shape: Shape) -> "Layout":
        pixels, hidden = shape.H * shape.W, shape.hidden
        h_dec = _padded(shape.Z)
        r = h_dec + hidden
        h_enc = r + shape.C * (2 * shape.n_read**2 or pixels)  # without attention, x is in b_enc
        write = shape.K * (shape.n_write**2 or pixels)
        read = write + (5 if shape.n_write else 0)
        return cls(
            z=h_dec - shape.Z,
            h_dec=h_dec,
            r=r,
            h_enc=h_enc,
            row=_padded(h_enc + hidden),
            write=write,
            read=read,
            out=read + (5 if shape.n_read else 0),
        )


def _padded(n: int) -> int:
    return -(-n // 16) * 16


def canvas_options(shape: Shape, at: Layout) -> dict[str, Any]:
    """Return the constants and launch options of the kernels in `canvas`."""
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
        "maxnreg": 248,  # one image per multiprocessor
        "num_stages": 1,
        "enable_fp_fusion": True,
    }


def product_options(shape: Shape, at: Layout, columns: int = BLOCK_COLUMNS) -> dict[str, Any]:
    """Return the sizes, constants and launch options that all kernels in `products` take."""
    return {
        "B": shape.B,
        "ROW": at.row,
        "HIDDEN": shape.hidden,
        "PRECISION": "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee",
        "BLOCK_B": BLOCK_ROWS,
        "BLOCK_N": columns,
        "BLOCK_K": BLOCK_TERMS,
        "num_warps": 4,
        "num_stages": 4,
        "enable_fp_fusion": True,
    }


def grid(rows: int, columns: int, block: int = BLOCK_COLUMNS) -> tuple[int, int]:
    """Return the number of programs that cover a number of columns and rows."""
    return triton.cdiv(columns, block), triton.cdiv(rows, BLOCK_ROWS)
