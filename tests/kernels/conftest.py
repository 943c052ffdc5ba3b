"""Fixtures for the tests of the fused engine."""

import pytest

from draw.kernels import dispatch, self_check


@pytest.fixture(autouse=True)
def _fresh_log():
    """Forget which reasons have been logged."""
    dispatch._log_once.cache_clear()


@pytest.fixture
def fresh_self_check():
    """Repeat the self-check in this test, and again after it."""
    self_check._failure.cache_clear()
    yield
    self_check._failure.cache_clear()
