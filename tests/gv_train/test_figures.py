import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from gv_data.pictures import sheet
from gv_train import figures
from gv_train.metric_log import Row

RED, GREEN, BLUE, BLACK = (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)


def _windows(*colours, size=64):
    return np.stack([np.broadcast_to(np.reshape(c, (3, 1, 1)), (3, size, size)) for c in colours])


def _square(size=64, low=16, high=48):
    mask = np.zeros((size, size))
    mask[low:high, low:high] = 1
    return mask


def _pixels(path):
    pixels = imread(path)[..., :3]
    return pixels / 255 if pixels.dtype == np.uint8 else pixels


def _near(pixel, colour, tolerance=0.12):
    return np.abs(np.asarray(pixel) - to_rgb(colour)).max() < tolerance


def _share(pixels, colour, tolerance=0.12):
    return (np.abs(pixels - to_rgb(colour)).max(axis=-1) < tolerance).mean()


def test_a_batch_shows_each_window_at_its_place_in_its_colours(tmp_path):
    path = tmp_path / "batch.jpg"
    figures.batch(path, _windows(RED, GREEN, BLUE, BLACK), {}, gsd_m=0.3)
    seen = _pixels(path)
    for (x, y), colour in zip(
        [(400, 480), (1200, 480), (400, 1290), (1200, 1290)], [RED, GREEN, BLUE, BLACK], strict=True
    ):
        assert _near(seen[y, x], colour)


def test_labels_are_outlined_and_further_heads_tinted(tmp_path):
    path = tmp_path / "batch.jpg"
    other = np.zeros((64, 64))
    other[:8] = 1
    heads = {"interior": _square()[None], "edge": other[None]}
    figures.batch(path, _windows(BLACK), heads, gsd_m=0.3)
    seen = _pixels(path)[96 : 96 + 1552, 24 : 24 + 1552]
    across = seen[776, :600]
    yellowness = across[:, :2].min(axis=1) - across[:, 2]
    assert abs(yellowness.argmax() - 1552 * 16 / 64) < 3
    assert (yellowness > 0.2).sum() < 8
    assert _near(seen[776, 776], (0.5, 0.5, 0.5))
    tint = (np.array([0.5, 0.5, 0.5]) + to_rgb(figures.SKY)) / 2
    assert _near(seen[90, 776], tint)


def test_pixels_without_data_are_hatched(tmp_path):
    path = tmp_path / "batch.jpg"
    valid = np.ones((4, 64, 64), bool)
    valid[3] = False
    figures.batch(path, _windows(RED, GREEN, BLUE, BLACK), {}, gsd_m=0.3, valid=valid)
    hatched = _pixels(path)[950:1600, 850:1500].reshape(-1, 3)
    assert np.ptp(hatched, axis=1).max() < 0.1
    assert np.percentile(hatched, 95) - np.percentile(hatched, 5) == pytest.approx(0.21, abs=0.06)


@pytest.mark.parametrize(("count", "bands"), [(1, 8), (2, 1), (5, 2), (20, 3)])
def test_any_number_of_windows_and_bands_is_drawn(tmp_path, count, bands):
    images = np.random.default_rng(1).normal(size=(count, bands, 32, 32)).astype(np.float32)
    images[0] = np.nan
    images[:, 0] = 7
    captions = [f"a place with a very long name {n}" for n in range(count)]
    masks = {"roof": np.zeros((count, 32, 32)), "edge": np.ones((count, 32, 32))}
    figures.batch(tmp_path / "b.jpg", images, masks, gsd_m=10, captions=captions)
    assert _pixels(tmp_path / "b.jpg").shape[1] == 1600


def test_pictures_of_noise_are_small_enough_to_be_mailed(tmp_path):
    images = np.random.default_rng(1).random((16, 3, 512, 512), dtype=np.float32)
    figures.batch(tmp_path / "b.jpg", images, {}, gsd_m=0.3)
    figures.predictions(tmp_path / "p.jpg", images, images[:, 0], images[:, 1], gsd_m=0.3)
    assert (tmp_path / "b.jpg").stat().st_size <= sheet.LARGEST_BYTES
    assert (tmp_path / "p.jpg").stat().st_size <= sheet.LARGEST_BYTES


def test_predictions_go_from_best_to_worst_and_show_what_was_hit_missed_and_false(tmp_path):
    path = tmp_path / "predictions.jpg"
    whole, none = np.ones((64, 64)), np.zeros((64, 64))
    half = whole.copy()
    half[32:] = 0
    truth = np.stack([none, half, whole])
    chance = np.stack([whole, whole, whole * 0.9])
    figures.predictions(path, _windows(RED, GREEN, BLUE), truth, chance, gsd_m=0.3)
    seen = _pixels(path)
    size, left, top = 322, 260, 112
    rows = [top + row * (size + 10) for row in range(3)]
    image, error = left + size // 2, left + 3 * (size + 10) + size // 2
    assert [np.argmax(seen[y + 160, image]) for y in rows] == [2, 1, 0]
    over = 0.15 * (0.25 + 0.2)
    for y, colour in [
        (rows[0] + 160, figures._HIT),
        (rows[1] + 80, figures._HIT),
        (rows[1] + 240, figures._FALSE),
        (rows[2] + 160, figures._FALSE),
    ]:
        assert _near(seen[y, error], 0.85 * np.array(to_rgb(colour)) + over)
    figures.predictions(path, _windows(RED), truth[2:], none[None], gsd_m=0.3)
    assert _near(_pixels(path)[272, error], 0.85 * np.array(to_rgb(figures._MISSED)) + over)


def test_at_most_eight_windows_the_best_median_and_worst_are_chosen():
    true = np.ones((30, 10, 10), bool)
    found = np.zeros((30, 10, 10), bool)
    for index in range(30):
        found[index].flat[: 3 * index + 1] = True
    chosen = figures._best_median_worst(true, found)
    assert [(c.name, c.index) for c in chosen] == [
        ("best", 29), ("best", 28), ("best", 27), ("median", 15), ("median", 14),
        ("worst", 2), ("worst", 1), ("worst", 0),
    ]  # fmt: skip
    assert chosen[0].score == "IoU 0.88, 1 of 30"
    few = figures._best_median_worst(true[:5], found[:5])
    assert [c.name for c in few] == ["best", "", "median", "", "worst"]


@pytest.mark.parametrize("count", [1, 9])
def test_windows_without_truth_or_data_do_not_raise(tmp_path, count):
    nothing = np.zeros((count, 16, 16))
    images = np.full((count, 3, 16, 16), np.nan)
    figures.predictions(tmp_path / "p.jpg", images, nothing, nothing, gsd_m=0.3)
    assert _pixels(tmp_path / "p.jpg").shape[1] == 1600


def _history():
    rows = []
    for step in range(1, 101):
        attempt = 1 if step <= 40 else 2
        rows.append(Row(attempt, 0, step, 0, "train", "step", "loss", 1 / step))
        rows.append(Row(attempt, 0, step, 0, "", "step", "lr-AdamW", 0.001))
        if step % 10 == 0:
            rows.append(Row(attempt, 0, step, 0, "val", "epoch", "loss", 2 / step))
            rows.append(Row(attempt, 0, step, 0, "val", "epoch", "iou", 1 - abs(step - 70) / 100))
    rows.append(Row(2, 0, 100, 0, "val", "epoch", "loss", float("nan")))
    return rows


def test_curves_show_train_validation_resumption_and_the_best_step(tmp_path):
    path = tmp_path / "curves.png"
    figures.curves(path, _history(), monitor="val_iou")
    seen = _pixels(path)
    assert seen.shape[1] == 1200
    assert path.stat().st_size <= sheet.LARGEST_BYTES
    loss, iou = seen[84:384, 120:1176], seen[418:718, 120:1176]
    assert (loss[..., 2] - loss[..., 0] > 0.3).mean() > 0.001
    assert _share(loss, figures.VERMILION) > 0.003
    best = int(1056 * 70 / 101)
    line = iou[:, best - 2 : best + 3]
    assert (line[..., 0] - line[..., 2] > 0.2).any(axis=1).mean() > 0.9
    assert _share(iou[:30, best - 8 : best + 8], figures.VERMILION) > 0.1
    resumed = int(1056 * 40 / 101)
    assert _share(iou[:, resumed - 2 : resumed + 3], figures.PALE, 0.2) > 0.05


def test_curves_of_a_loss_mark_its_smallest_value(tmp_path):
    figures.curves(tmp_path / "c.png", _history(), monitor="val_loss", mode="min")
    top = _pixels(tmp_path / "c.png")[84:384, 120:1176]
    best = int(1056 * 100 / 101)
    assert _share(top[:, best - 8 : best + 8], figures.VERMILION) > 0.02


def test_curves_before_the_first_value_say_so(tmp_path):
    figures.curves(tmp_path / "c.png", [])
    figures.curves(tmp_path / "c.png", _history()[:1])
    assert _pixels(tmp_path / "c.png").shape[1] == 1200


def test_resumed_parts_are_joined_to_one_line():
    rows = [row for row in _history() if row.name == "lr-AdamW"]
    steps, _ = figures._series(rows[::-1])
    assert steps == list(range(1, 101))
    assert figures._resumed(rows) == [40]


def test_no_display_and_no_pyplot_is_needed(tmp_path):
    code = (
        "import sys; import numpy as np; from pathlib import Path; from gv_train import figures;"
        "assert 'matplotlib' not in sys.modules;"
        "figures.curves(Path(sys.argv[1]), []);"
        "figures.batch(Path(sys.argv[2]), np.zeros((1, 3, 8, 8)), {}, gsd_m=1);"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    paths = [str(tmp_path / "c.png"), str(tmp_path / "b.jpg")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
