"""The SIMD kernel of the page's affine layers, without a browser and in one."""

import math

import numpy as np
import pytest
import wasmtime

from draw.page.site import STATIC

from .helpers import finished

SOURCE, CODE = STATIC / "kernel.wat", STATIC / "kernel.wasm"


@pytest.fixture(scope="module")
def kernel() -> tuple[wasmtime.Store, wasmtime.Memory, wasmtime.Func]:
    """A store with the committed kernel's memory and function."""
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, CODE.read_bytes())
    exports = wasmtime.Instance(store, module, []).exports(store)
    return store, exports["memory"], exports["linear"]


def test_the_committed_kernel_is_assembled_from_its_source():
    assert CODE.read_bytes() == wasmtime.wat2wasm(SOURCE.read_text()), (
        "write wasmtime.wat2wasm(kernel.wat) to kernel.wasm"
    )


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 12), (28, 100)])
def test_the_kernel_computes_the_products_and_writes_nothing_else(kernel, rows, columns, batch):
    store, memory, linear = kernel
    rng = np.random.default_rng(0)
    W, bias, x = (
        rng.standard_normal(shape, np.float32)
        for shape in ((rows, columns), rows, (batch, columns))
    )
    y = np.zeros((batch, rows), np.float32)
    ends = np.cumsum([array.nbytes for array in (W, bias, x, y)]) + 16
    starts = [16, *ends[:-1]]
    guard = b"\xaa" * memory.data_len(store)
    memory.write(store, guard)
    for start, array in zip(starts, (W, bias, x), strict=False):
        memory.write(store, array.tobytes(), start)
    linear(store, *map(int, starts), rows, columns, batch)
    found = np.frombuffer(memory.read(store, starts[-1], ends[-1]), np.float32)
    np.testing.assert_allclose(found.reshape(y.shape), x @ W.T + bias, rtol=1e-5, atol=1e-5)
    assert memory.read(store, 0, 16) == guard[:16]
    assert memory.read(store, starts[0], ends[2]) == b"".join(a.tobytes() for a in (W, bias, x))
    assert memory.read(store, ends[-1]) == guard[ends[-1] :]


def test_layers_of_any_size_equal_those_in_javascript(module):
    """Layers of one kernel share its memory, which grows."""
    largest = module(
        """
        const layer = await layers.loadLayers();
        const draw = (count) => Float32Array.from({ length: count }, () => Math.random() - 0.5);
        const sizes = [[5, 16], [25, 7], [1, 1], [64, 34], [300, 200]];
        const pairs = sizes.map(([rows, columns]) => {
            const [weight, bias] = [draw(rows * columns), draw(rows)];
            return [layer(weight, bias), layers.scalarLayer(weight, bias), columns];
        });
        const differences = [1, 2, 9].flatMap((batch) =>
            pairs.flatMap(([simd, scalar, columns]) => {
                const x = draw(batch * columns);
                const [ours, theirs] = [simd(x), scalar(x)];
                if (ours.length !== theirs.length) return [Infinity];
                return Array.from(ours, (value, i) => Math.abs(value - theirs[i]));
            }));
        return Math.max(...differences);
        """
    )
    assert 0 < largest < 1e-5  # exactly zero would mean that the kernel does not run


def test_the_exponential_is_exact_to_1e_11_and_bounded(module):
    largest, ends, nan = module(
        """
        const { exp } = layers;
        const xs = Array.from({ length: 10001 }, (_, i) => (i - 5000) * 0.0174);
        const errors = xs.map((x) => Math.abs(exp(x) / Math.exp(x) - 1));
        return [Math.max(...errors), [exp(-Infinity), exp(1e30)], String(exp(NaN))];
        """
    )
    assert largest < 1e-11
    assert ends == pytest.approx([math.exp(-87), math.exp(87)], rel=1e-10)
    assert nan == "NaN"


def test_without_the_kernel_the_page_runs_in_javascript(faulty_page, without):
    page = faulty_page
    page.goto(without("kernel.wasm") + "#view=finish&seed=3")
    finished(page, "finish")
    assert page.locator("#notice").is_hidden()


def test_a_run_does_not_make_others_wait(module):
    """A short run that starts later ends first; a run that is stopped yields nothing more."""
    order = module(
        """
        const runner = new engine.Engine();
        const ended = [];
        const [stopped, running] = [new AbortController(), new AbortController()];
        const run = async (name, task, args, signal) => {
            for await (const part of runner.run(task, "attentive", args, signal));
            ended.push(name);
        };
        await runner.run("load", "attentive").next();
        const drawn = new Uint8Array(196);
        const long = { known: drawn, mask: drawn, seed: 0, count: 3000, rounds: 1 };
        const all = [
            run("stopped", "complete", long, stopped.signal),
            run("long", "complete", long, running.signal),
            run("short", "sample", { seed: 0, count: 1 }),
        ];
        stopped.abort();
        await Promise.all(all);
        return ended;
        """
    )
    assert order == ["stopped", "short", "long"]
