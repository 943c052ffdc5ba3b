"""Models whose pixels are light: in colour, or with a logistic likelihood."""

import io
import json
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

from draw import attention, elbo
from draw.page.site import COSTS

from .conftest import CONFIGS, T
from .helpers import (
    choose_model,
    finished,
    navigate,
    pixels,
    sample_noise,
    saved,
    settings,
    slide,
    text,
    tile,
    wait,
)

PHOTOS = ("colour", "grey")
CHOSEN = {"colour": "coffee", "grey": "3"}  # the fourth example


def shown(page: Page, selector: str, config) -> np.ndarray:
    """The centres of a picture's pixels, bytes [C, H, W]."""
    seen = pixels(page, selector)
    each = seen.shape[1] // config.width
    middle = seen[each // 2 :: each, each // 2 :: each]
    if config.channels == 1:
        assert (np.ptp(middle, axis=-1) == 0).all()
    return middle.transpose(2, 0, 1)[: config.channels]


def image(page: Page, view: str, config) -> torch.Tensor:
    """The image that the network receives [1, C, H, W], in [0, 1]."""
    picture = shown(page, f"#{view} .photo", config)
    return torch.tensor(picture, dtype=torch.float32)[None] / 255


def random_picture(config) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (config.height, config.width, 3)[: 2 + (config.channels == 3)]
    return rng.integers(256, size=shape, dtype=np.uint8)


def choose_file(page: Page, view: str, picture: np.ndarray | bytes) -> None:
    if isinstance(picture, np.ndarray):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        picture = buffer.getvalue()
    with page.expect_file_chooser() as chooser:
        page.locator(f"#{view} .file").first.click()
    chooser.value.set_files({"name": "mine.png", "mimeType": "image/png", "buffer": picture})


@pytest.mark.parametrize("name", PHOTOS)
def test_the_cost_of_a_copy_equals_that_in_pytorch(go, models, noise, name):
    config = CONFIGS[name]
    page = go(f"view=look&seed=4&model={name}&photo={CHOSEN[name]}", motion="reduce")
    x = image(page, "look", config)
    with torch.no_grad():
        trace = models[name](x, eps=noise(1, 4)[:, None], record=True)
    total = -float(elbo(trace))
    names = ("bound", "latent", "pixels")  # without decimals, which would suggest precision
    bound, *parts = (int(text(page, f"#look .{name}").replace(",", "")) for name in names)
    assert bound == sum(parts) == pytest.approx(total, abs=0.51)
    per_dimension = total / (math.prod(config.image_shape) * math.log(2))
    found = re.fullmatch(r"(\d+\.\d\d) bits per dimension", text(page, "#look .per-dimension"))
    assert float(found[1]) == pytest.approx(per_dimension, abs=0.0051)
    slide(page, "#look .slider", 0)
    start = models[name].likelihood.mean(models[name].canvas_0.detach()).numpy()
    assert np.abs(shown(page, "#look .canvas", config) / 255 - start).max() < 1 / 255
    error = (1 + x[0].numpy() - start) / 2  # grey where they agree
    assert np.abs(shown(page, "#look .error", config) / 255 - error).max() < 2 / 255


def test_a_photograph_is_compared_with_validation_images(go):
    page = go("view=look&model=cifar10", motion="reduce")
    rank = text(page, "#look .rank")
    bound = text(page, "#look .bound")
    mean = json.loads((COSTS / "cifar10.json").read_text())["mean"]
    start = f"2,000 validation images cost {mean:,.0f} nats on average; yours costs {bound}, and "
    assert rank.startswith(start)
    assert re.fullmatch(r"\d+% of them cost more", rank.removeprefix(start))


def test_bernoulli_costs_are_never_called_bits_per_dimension(go):
    page = go("view=look", motion="reduce")
    assert text(page, "#look .per-dimension") == ""
    assert "per dimension" not in page.locator("#look").inner_text()


@pytest.mark.parametrize("name", PHOTOS)
def test_pictures_are_examples_or_a_file_of_the_visitor(go, models, name):
    config = CONFIGS[name]
    page = go(f"view=look&model={name}", motion="reduce")
    page.click("#look .photos button:nth-child(4)")
    finished(page, "look")
    assert settings(page)["photo"] == CHOSEN[name]
    chosen = shown(page, "#look .photo", config)
    if name == "grey":  # samples of the network
        with torch.no_grad():
            expected = models[name].generate(1, z=sample_noise(0, 3)).mean[0].numpy()
        assert np.abs(chosen / 255 - expected).max() < 1 / 255
    page.goto(page.url)
    finished(page, "look")
    assert (shown(page, "#look .photo", config) == chosen).all()
    picture = random_picture(config)
    choose_file(page, "look", picture)
    page.wait_for_url("**photo=own**")
    finished(page, "look")
    expected = picture[None] if config.channels == 1 else picture.transpose(2, 0, 1)
    assert (shown(page, "#look .photo", config) == expected).all()
    assert settings(page)["photo"] == "own"
    caption = saved(page, "look", "svg", caption=True)[1].decode()
    assert "my own picture" in caption
    assert "<a" not in caption  # a link could not show the file
    page.click("nav [data-view=glimpse]")  # other views use the same picture
    finished(page, "glimpse")
    slide(page, "#glimpse .slider", T)
    assert settings(page)["photo"] == "own"


def test_a_file_can_be_dropped_on_each_picture(go):
    page = go("view=morph&model=colour", motion="reduce")
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(10, 14);
            const context = canvas.getContext("2d");
            context.fillStyle = "rgb(10 20 30)";
            context.fillRect(0, 0, 10, 14);
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([await canvas.convertToBlob()], "mine.png"));
            const target = document.querySelector("#morph .second .photo");
            target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
        }"""
    )
    page.wait_for_url("**b=own**")
    finished(page, "morph")
    second = shown(page, "#morph .second .photo", CONFIGS["colour"])
    assert (second == np.reshape([10, 20, 30], (3, 1, 1))).all()
    assert settings(page)["a"] == "cat"  # the other one remains


def test_a_large_picture_is_cropped_and_scaled(go):
    config = CONFIGS["colour"]  # 14 rows, 10 columns
    picture = np.zeros((140, 300, 3), np.uint8)
    picture[:, 100:200] = [200, 100, 50]  # the part that remains
    page = go("view=finish&model=colour", motion="reduce")
    choose_file(page, "finish", picture)
    page.wait_for_url("**photo=own**")
    finished(page, "finish")
    expected = np.broadcast_to(np.reshape([200, 100, 50], (3, 1, 1)), (3, 14, 4))
    inner = shown(page, "#finish .photo", config)[..., 1:5]  # without the blurred edge
    assert np.abs(inner - expected).max() <= 1


@pytest.mark.parametrize("view", ["look", "morph"])
def test_a_file_that_is_no_picture_is_refused(go, view):
    page = go(f"view={view}&model=colour", motion="reduce")
    before = settings(page)
    choose_file(page, view, b"not a picture")
    page.locator(f"#{view} .status", has_text="mine.png is not a picture").wait_for()
    assert settings(page) == before


@pytest.mark.parametrize("hide", ["right", "lower", "middle"])
def test_finish_keeps_the_visible_part_of_a_photo(go, hide):
    config = CONFIGS["colour"]
    page = go(f"view=finish&model=colour&seed=3&photo=rocket&hide={hide}", motion="reduce")
    y, x = np.mgrid[:14, :10]
    hidden = {"right": x >= 5, "lower": y >= 7}.get(hide)
    if hidden is None:
        hidden = (abs(x - 4.5) < 3) & (abs(y - 6.5) < 4.2)
    photo = shown(page, "#finish .photo", config)
    proposals = [shown(page, tile("finish", i), config) for i in range(9)]
    for proposal in proposals:
        assert (proposal[:, ~hidden] == photo[:, ~hidden]).all()
    assert len({proposal[:, hidden].tobytes() for proposal in proposals}) == 9
    at = settings(page)
    assert at.items() >= {"hide": hide, "photo": "rocket"}.items()


def test_finish_fills_photos_of_a_bernoulli_model_with_the_mean(module):
    """As `draw.complete` does; samples would be black and white."""
    first = module(
        """
        const config = { height: 1, width: 2, channels: 3, glimpses: 1, latent_size: 1 };
        config.likelihood = "bernoulli";
        const seen = [];
        const network = {
            config,
            likelihood: likelihoods.LIKELIHOODS.bernoulli,
            pixels: 6,
            canvas_0: Float32Array.of(-2, -1, 0, 1, 2, 3),
            mean: (canvas) => canvas.map(layers.sigmoid),
            *forward(x) {
                seen.push([...x]);
                return { canvases: [network.canvas_0] };
            },
        };
        const known = [0, 51, 0, 0, 102, 0];
        const mask = known.map(Number);
        [...runs.complete(network, { known, mask, seed: 0, count: 1, rounds: 1 })];
        return seen[0];
        """
    )
    expected = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]).sigmoid()
    expected[1], expected[4] = 51 / 255, 102 / 255
    torch.testing.assert_close(torch.tensor(first), expected)


def test_a_glimpse_shows_colours(go, models, noise):
    config, model = CONFIGS["colour"], models["colour"]
    picture = random_picture(config)
    page = go("view=glimpse&model=colour&seed=4&t=3&stage=4")
    choose_file(page, "glimpse", picture)
    page.wait_for_url("**photo=own**")
    finished(page, "glimpse")
    slide(page, "#glimpse .slider", 3)
    x = torch.tensor(picture.transpose(2, 0, 1)[None]) / 255
    with torch.no_grad():
        trace = model(x, eps=noise(1, 4)[:, None], record=True)
    previous = shown(page, "#glimpse .before canvas", config)
    assert np.abs(previous / 255 - trace.means[1, 0].numpy()).max() < 2 / 255
    window = attention.Window(*(field[2] for field in trace.read_window))
    x_hat = x - trace.means[1]
    r, r_hat = (attention.read(image, window, 2)[0].numpy() for image in (x, x_hat))
    seen = pixels(page, "#glimpse .r-hat")[14::28, 14::28].transpose(2, 0, 1)
    r_hat = r_hat / max(1, r.max())
    assert np.abs(seen / 255 - (1 + r_hat.clip(-1, 1)) / 2).max() < 2 / 255
    change = (trace.canvases[2] - trace.canvases[1])[0, :3].numpy()
    stroke = shown(page, "#glimpse .stroke canvas", config)
    assert np.abs(stroke / 255 - (1 + change / np.abs(change).max()) / 2).max() < 2 / 255


def test_a_window_on_a_photo_can_be_opened(go):
    config = CONFIGS["colour"]
    page = go("view=look&model=colour&photo=rocket&t=3", motion="reduce")
    photo = shown(page, "#look .photo", config)
    page.locator("#look [data-window=read]").click()
    page.locator("#window").wait_for()
    at = settings(page)
    assert at["photo"] == "rocket"
    assert (on_window(page) == photo).all()
    assert np.ptp(pixels(page, "#window .patch"), axis=-1).max() > 0


def on_window(page: Page) -> np.ndarray:
    """The picture of the Window view, extended to a square by the page."""
    seen = pixels(page, "#window .image")
    each = seen.shape[1] // 14
    return seen[each // 2 :: each, each // 2 :: each].transpose(2, 0, 1)[..., :10]


def test_window_shows_pictures_for_the_kind_of_model(go):
    page = go("view=window&model=colour")
    page.wait_for_url("**photo=cat**")
    cat = on_window(page)
    page.click("#window [aria-label='A rocket']")
    assert settings(page)["photo"] == "rocket"
    assert (on_window(page) != cat).any()
    picture = random_picture(CONFIGS["colour"])
    choose_file(page, "window", b"not a picture")
    page.locator("#window .status", has_text="mine.png is not a picture").wait_for()
    choose_file(page, "window", picture)
    page.wait_for_url("**photo=own**")
    assert (on_window(page) == picture.transpose(2, 0, 1)).all()
    assert text(page, "#window .status") == ""
    assert page.locator("#window .examples").is_hidden()
    page.click("nav [data-view=look]")
    finished(page, "look")
    page.click("#look [aria-label='A cat']")
    page.wait_for_url("**photo=cat**")
    page.click("nav [data-view=window]")
    page.wait_for_url("**view=window**photo=cat**")
    assert (on_window(page) == cat).all()
    navigate(page, "view=window")
    assert "photo" not in settings(page)
    assert page.locator("#window .file").is_hidden()
    assert text(page, "#window .examples [aria-pressed=true]") == "3"


@pytest.fixture
def delayed(own_page, site):
    """A page that opens the address `view` and waits for the trace of the grey model."""
    page, held = own_page, []
    page.emulate_media(reduced_motion="reduce")
    page.route("**/traces/grey.json", lambda route: held.append(route))

    def open_view(view: str) -> tuple[Page, Callable[[], None]]:
        with page.expect_request("**/traces/grey.json"):
            page.goto(f"{site}#view={view}&model=grey")

        def release() -> None:
            for route in held:
                route.continue_()
            held.clear()

        return page, release

    return open_view


def test_tiles_are_grey_until_the_sample_trace_is_loaded(delayed):
    page, release = delayed("paint")
    page.locator("#paint .status", has_text="Loading the pictures").wait_for()
    assert (pixels(page, tile("paint", 0)) == 128).all()
    release()
    finished(page, "paint")
    assert (pixels(page, tile("paint", 0)) != 128).any()


def test_a_model_chosen_while_a_sample_trace_loads_is_shown_for_good(delayed):
    page, release = delayed("glimpse")
    choose_model(page, "attentive")
    page.wait_for_url("**ink=**")
    finished(page, "glimpse")
    before = settings(page), pixels(page, "#glimpse .after canvas")
    with page.expect_response("**/traces/grey.json"):
        release()
    page.wait_for_timeout(100)
    assert page.locator("#glimpse .again").is_enabled()
    assert text(page, "#glimpse .status") == ""
    assert settings(page) == before[0]
    assert (pixels(page, "#glimpse .after canvas") == before[1]).all()


@pytest.mark.parametrize("address", ["look", "look&photo=2"])
def test_a_file_chosen_while_a_sample_trace_loads_is_copied(delayed, address):
    page, release = delayed(address)
    assert page.locator("#look .photos button").count() == 0
    picture = random_picture(CONFIGS["grey"])
    choose_file(page, "look", picture)
    page.wait_for_timeout(100)
    release()
    finished(page, "look")
    assert settings(page)["photo"] == "own"
    assert (shown(page, "#look .photo", CONFIGS["grey"]) == picture[None]).all()


def test_pictures_of_the_model_before_cannot_be_chosen_while_a_sample_trace_loads(delayed):
    page, release = delayed("look&photo=2")
    choose_model(page, "colour")
    page.wait_for_url("**photo=cat**")
    finished(page, "look")
    page.go_back()
    page.wait_for_url("**model=grey**")
    assert page.locator("#look .photos button").count() == 0
    release()
    finished(page, "look")
    assert settings(page)["photo"] == "2"


def test_a_file_that_is_read_after_the_view_has_changed_changes_nothing(own_page, site):
    page = own_page
    page.emulate_media(reduced_motion="reduce")
    page.add_init_script(
        """const read = window.createImageBitmap;
        window.createImageBitmap = async (image) => {
            if (image instanceof File) await new Promise((resolve) => (window.goOn = resolve));
            return read(image);
        };"""
    )
    page.goto(f"{site}#view=look&model=colour")
    finished(page, "look")
    choose_file(page, "look", random_picture(CONFIGS["colour"]))
    wait(page, "window.goOn")
    page.click("nav [data-view=paint]")
    finished(page, "paint")
    page.evaluate("goOn()")
    page.wait_for_timeout(100)
    assert settings(page)["view"] == "paint"


def test_another_picture_chosen_while_the_weights_load_is_copied(own_page, site):
    page, held = own_page, []
    page.emulate_media(reduced_motion="reduce")
    page.route("**/colour/model.safetensors", lambda route: held.append(route))
    with page.expect_request("**/colour/model.safetensors"):
        page.goto(f"{site}#view=glimpse&model=colour")
    page.click("#glimpse [aria-label='A rocket']")
    page.locator("#glimpse .status", has_text="Loading the model").wait_for()
    held[0].continue_()
    finished(page, "glimpse")
    assert text(page, "#glimpse .status") == ""
    assert settings(page)["photo"] == "rocket"


@pytest.mark.parametrize("name", PHOTOS)
def test_views_speak_of_pictures_not_of_digits(go, name):
    page = go(f"view=paint&model={name}", motion="reduce")
    for view in ("glimpse", "paint", "look", "finish", "fork", "morph"):
        page.click(f"nav [data-view={view}]")
        finished(page, view)
        words = page.locator(f"#{view}").inner_text()
        assert not re.search(r"digit|\bink\b|draw(ing)? (part|your)", words, re.IGNORECASE), view
        assert "digit" not in page.title()
    choose_model(page, "attentive")
    finished(page, "morph")
    assert page.title().startswith("Change one digit into another")


def test_colour_films_are_saved_in_colour(go, models):
    page = go("view=paint&model=colour&seed=3&windows=0", motion="reduce")
    film = Image.open(io.BytesIO(saved(page, "paint", "gif")[1]))
    film.seek(film.n_frames - 1)
    frame = np.array(film.convert("RGB")).astype(int)
    config = CONFIGS["colour"]
    each = 6
    first = frame[each // 2 : 14 * each : each, each // 2 : 10 * each : each].transpose(2, 0, 1)
    difference = first - shown(page, tile("paint", 0), config)
    assert np.abs(difference).mean() < 16  # 255 colours for 24 pictures
