"""Images, noise and latents of a wrong dtype, range or shape are errors, not wrong results."""

import copy

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import draw
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.data import Images
from draw.errors import ConfigError, DataError
from draw.evaluation import check_images_fit
from draw.inputs import check_images, value_range
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig

CONFIG = DRAWConfig(height=5, width=4, glimpses=3, hidden_size=6, latent_size=2, write_size=2)
UNIT = torch.rand(6, 1, 5, 4, generator=torch.Generator().manual_seed(0))
UNIT[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
PIXELS = (255 * UNIT).round().to(torch.uint8)

WRONG = {
    "x * 255": (UNIT * 255, r"float32 and range 0 to 255; .* pass images / 255"),
    "x * 2 - 1": (UNIT * 2 - 1, r"float32 and range -1 to 1; .* pass \(images \+ 1\) / 2"),
    "x * 1000": (UNIT * 1000, r"range 0 to 1000; .* scale them to that range and pass images"),
    "half": (UNIT.half(), r"dtype float16 and range 0 to 1; .* pass images\.float\(\)"),
    "bfloat16": (UNIT.bfloat16(), r"dtype bfloat16 and range 0 to 1; .* pass images\.float\(\)"),
    "double": (UNIT.double(), r"dtype float64 and range 0 to 1; .* pass images\.float\(\)"),
    "uint8": (PIXELS, r"dtype uint8 and range 0 to 255; .* pass images\.float\(\) / 255"),
    "int64": (PIXELS.long(), r"dtype int64 and range 0 to 255; .* pass images\.float\(\) / 255"),
    "bool": (UNIT > 0.5, r"dtype bool and range 0 to 1; .* pass images\.float\(\)"),
    "complex": (UNIT.to(torch.complex64), r"dtype complex64; .* pass images\.float\(\)"),
    "NaN": (UNIT / UNIT, r"dtype float32 and contain NaN; .* replace it with torch\.nan_to_num"),
    "half x * 2 - 1": (UNIT.half() * 2 - 1, r"pass \(images\.float\(\) \+ 1\) / 2"),
}


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(0)
    return DRAW(CONFIG)


def classifier() -> GlimpseClassifier:
    return GlimpseClassifier(ClassifierConfig(height=5, width=4, glimpses=2, read_size=2))


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("wrong", WRONG)
def test_images_of_a_wrong_dtype_or_range_are_errors(model, wrong, engine, untyped):
    x, message = WRONG[wrong]
    model.engine = engine
    for run in (model, model.reconstruct, classifier()):
        with pytest.raises(DataError, match=message):
            run(x)


def test_the_dtype_of_the_model_or_of_autocast_is_required(model, untyped):
    double = copy.deepcopy(model).double()
    assert double(UNIT.double()).canvas.dtype == torch.float64
    with pytest.raises(DataError, match=r"must be float64 in \[0, 1\]: pass images\.to\(torch.flo"):
        double(UNIT)
    with torch.autocast("cpu"):
        assert elbo(model(UNIT.bfloat16())).isfinite().all()
        with pytest.raises(DataError, match="dtype float16"):
            model(UNIT.half())
        with pytest.raises(DataError, match="range 0 to 25"):
            model((255 * UNIT).bfloat16())


def test_rounding_and_empty_batches_are_allowed(model):
    assert elbo(model(UNIT * 1.0005)).isfinite().all()
    model.engine = "plain"
    assert elbo(model(UNIT[:0])).shape == (0,)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_the_check_reads_no_values_of_other_devices_or_in_traced_functions(model, monkeypatch):
    wrong = 255 * UNIT
    meta = copy.deepcopy(model).to("meta")
    meta.engine = "plain"
    assert elbo(meta(wrong.to("meta"))).shape == (6,)

    def is_checked(x: Tensor) -> Tensor:
        assert value_range(x) is None
        return x

    assert value_range(wrong) == (0, 255)
    torch.vmap(is_checked)(wrong)
    torch.func.grad(lambda x: is_checked(x).sum())(wrong)
    make_fx(is_checked, tracing_mode="real")(wrong)
    make_fx(is_checked, tracing_mode="fake")(wrong)
    torch.jit.trace(is_checked, wrong, check_trace=False)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        is_checked(wrong)
    with monkeypatch.context() as patch:
        patch.delattr(torch._C, "_are_functorch_transforms_active")
        is_checked(wrong)


def test_a_compiled_check_has_no_graph_break():
    def check(x: Tensor) -> Tensor:
        check_images(x, (1, 5, 4), torch.float32)
        return 2 * x

    compiled = torch.compile(check, fullgraph=True, backend="eager")
    assert torch.equal(compiled(255 * UNIT), 510 * UNIT)


def test_the_check_leaves_gradients_alone(model):
    x = UNIT.clone().requires_grad_()
    eps = torch.randn(model.noise_shape(6))
    elbo(model(x, eps=eps)).sum().backward()
    gradient = x.grad.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("draw.model.check_images", lambda *_: None)
        x.grad = None
        elbo(model(x, eps=eps)).sum().backward()
    assert torch.equal(x.grad, gradient)


# ---------------------------------------------------------------------- noise and latents


@pytest.mark.parametrize("engine", ["auto", "plain"])
@pytest.mark.parametrize("shape", [(3, 1, 2), (3, 6, 1), (0, 6, 2), (3, 5, 2), (3, 6, 3), (6, 2)])
@torch.no_grad()
def test_noise_and_latents_of_another_shape_are_errors(model, shape, engine, untyped):
    model.engine = engine
    message = r"has shape \(.*\); for 6 images it must be \(T, 6, 2\) with at least one glimpse"
    with pytest.raises(ConfigError, match=f"eps {message}"):
        model(UNIT, eps=torch.zeros(shape))
    with pytest.raises(ConfigError, match=f"z {message}"):
        model.generate(6, z=torch.zeros(shape))


def test_noise_and_latents_of_another_dtype_are_errors(model, untyped):
    noise = torch.zeros(3, 6, 2, dtype=torch.float64)
    message = r"has dtype float64; this model takes float32: pass \w+\.to\(torch\.float32\)"
    with pytest.raises(ConfigError, match=f"eps {message}"):
        model(UNIT, eps=noise)
    with pytest.raises(ConfigError, match=f"z {message}"):
        model.generate(6, z=noise)


def test_a_seed_is_not_a_generator(model, untyped):
    message = r"generator is 7; pass torch\.Generator\(\)\.manual_seed\(seed\)"
    for run in (model, model.reconstruct):
        with pytest.raises(ConfigError, match=message):
            run(UNIT, generator=7)
    with pytest.raises(ConfigError, match=message):
        model.generate(6, generator=7)
    with pytest.raises(ConfigError, match=message):  # even if it would not be used
        model(UNIT, eps=torch.zeros(3, 6, 2), generator=7)


@torch.no_grad()
def test_any_number_of_glimpses_is_allowed(model):
    assert model(UNIT, eps=torch.zeros(5, 6, 2)).kl.shape == (5, 6)
    assert model.generate(6, z=torch.zeros(5, 6, 2)).z.shape == (5, 6, 2)


# ---------------------------------------------------------------------- stored images


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            UNIT,
            r"float32 and range 0 to 1; .* pass \(255 \* pixels\)\.round\(\)\.to\(torch.uint8\)",
        ),
        (UNIT * 255, r"float32 and range 0 to 255; .* pass pixels\.to\(torch\.uint8\)"),
        (UNIT * 2 - 1, r"range -1 to 1; .* scale them to that range and pass pixels\.to"),
        (UNIT.half(), "dtype float16"),
        (UNIT / UNIT, r"dtype float32 and contain NaN; .* replace it with torch\.nan_to_num"),
        (PIXELS.long(), r"dtype int64 and range 0 to 255; .* pass pixels\.to\(torch\.uint8\)"),
        (PIXELS > 99, r"dtype bool and range 0 to 1; .* pass \(255 \* pixels\)"),
        (UNIT.numpy(), r"float32 \(ndarray\) .* pass \(255 \* torch\.as_tensor\(pixels\)\)"),
        (PIXELS.numpy(), r"uint8 \(ndarray\) .* pass torch\.as_tensor\(pixels\)\.to"),
        (PIXELS[:, 0], r"shape \(6, 5, 4\); it must be \(n, C, H, W\)"),
    ],
)
def test_pixels_that_are_not_uint8_images_are_errors(pixels, message, untyped):
    with pytest.raises(DataError, match=message):
        Images(pixels=pixels)


@pytest.mark.parametrize("labels", [torch.rand(6), torch.arange(5), torch.zeros(6, 1).long(), [0]])
def test_labels_that_are_not_one_integer_per_image_are_errors(labels, untyped):
    with pytest.raises(DataError, match="for 6 images they must be a tensor of 6 integers"):
        Images(pixels=PIXELS, labels=labels)


def test_an_unknown_binarisation_is_an_error(untyped):
    with pytest.raises(ConfigError, match="is 'Static'; it must be one of static, dynamic, none"):
        Images(pixels=PIXELS, binarisation="Static")


@pytest.mark.parametrize("config", [CONFIG, classifier().config], ids=["DRAW", "classifier"])
def test_images_of_another_shape_or_with_pixels_0_and_1_are_not_trained_on(config, tmp_path):
    """An image [1, 4, 5] has the same number of pixels as [1, 5, 4] and would be scrambled."""
    labels = torch.zeros(6, dtype=torch.int64)
    train = TrainConfig(model=config, data="mnist", batch_size=2, steps=1)
    for pixels, error, message in [
        (PIXELS.mT, ConfigError, r"shape .* = \(1, 4, 5\); the network takes \(1, 5, 4\)"),
        (PIXELS.clamp(max=1), DataError, r"range from 0 to 1; they must be from 0 to 255"),
    ]:
        images = Images(pixels=pixels, labels=labels)
        with pytest.raises(error, match=message):
            check_images_fit(config, images)
        with pytest.raises(error, match=message):
            next(draw.train(train, RunFolder(tmp_path / "run"), images, images))
    assert not (tmp_path / "run").exists()


def test_images_that_are_not_tensors_are_an_error(untyped):
    with pytest.raises(DataError, match=r"ndarray; pass torch\.as_tensor\(images\)"):
        DRAW(CONFIG)(UNIT.numpy())
