"""Messages of other libraries' errors, shortened to one line."""

import pytest

from draw.errors import is_out_of_memory, one_line


def test_an_error_of_another_library_becomes_one_line():
    assert one_line(ValueError("two\n\n  lines\x1b\u2028more")) == "two; lines\x1b; more"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("long " * 1_000))) == 500


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("device-side assert triggered"), False),
    ],
)
def test_out_of_memory_is_recognised_on_all_devices(error, expected):
    assert is_out_of_memory(error) == expected
