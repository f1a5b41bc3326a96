"""One grammar of the names of data sets, for all who read them."""

import itertools

import pytest

from tests.helpers import reports
from training import corruptions, metrics
from training.corruptions import table
from training.data import grids
from training.evaluation import command
from training.report import boxes, heat_maps, result_set, terminal
from zoo import dataset_name
from zoo.publishing import results

# The name; its kind, the clean set, what changed, and how much.
NAMES = [
    ("fashion_mnist", "clean", "fashion_mnist", "", 0),
    ("d_size/64", "clean", "d_size/64", "", 0),
    ("d_train/5000", "clean", "d_train/5000", "", 0),
    ("path/to_c/photos", "clean", "path/to_c/photos", "", 0),
    ("d_c/fog/3", "corruption", "d", "fog", 3),
    ("d_c/fog/3_size/64", "corruption", "d_size/64", "fog", 3),
    ("d_size/64_c/fog/3", "corruption", "d_size/64", "fog", 3),
    (
        "d_rotation/30_c/jpeg_compression/5",
        "corruption",
        "d_rotation/30",
        "jpeg_compression",
        5,
    ),
    ("path/to_c/d_c/fog/3", "corruption", "path/to_c/d", "fog", 3),
    (
        "imagenet2012_corrupted/gaussian_noise_2",
        "corruption",
        "imagenet2012",
        "gaussian_noise",
        2,
    ),
    ("d_rotation/-7.5", "rotation", "d", "", -7.5),
    ("d_translation/4_size/64", "translation", "d_size/64", "", 4),
    ("d_p/gaussian_noise_2", "sequence", "d", "gaussian_noise_2", 0),
    ("d_c", "aggregate", "d", "", 0),
    ("d_c_size/64", "aggregate", "d_size/64", "", 0),
    ("d vs digits", "detection", "d", "digits", 0),
    ("d_size/64 vs noise", "detection", "d_size/64", "noise", 0),
    ("d_c/*/* (95 sets)", "corruption", "d", "*", 0),
    ("d_c/fog/*_size/64 (5 sets)", "corruption", "d_size/64", "fog", 0),
    ("d_rotation/* (1 set)", "rotation", "d", "", 0),
    ("path/photos (05 sets)", "clean", "path/photos (05 sets)", "", 0),
    ("path/photos (1 sets)", "clean", "path/photos (1 sets)", "", 0),
    ("path/photos (2 set)", "clean", "path/photos (2 set)", "", 0),
    ("path/to_c/folder", "clean", "path/to_c/folder", "", 0),
    ("d_p/brightness", "sequence", "d", "brightness", 0),
    ("d_pgd/linf/8", "attack", "d", "pgd linf", 8),
    ("d_c/fog/3_fgsm/l2/127.5", "attack", "d_c/fog/3", "fgsm l2", 127.5),
    ("d_pgd/linf", "clean", "d_pgd/linf", "", 0),
]


@pytest.mark.parametrize("name, kind, clean, change, amount", NAMES)
def test_a_name_says_what_is_done_to_which_images(name, kind, clean, change, amount):
    found = dataset_name.parse(name)
    assert str(found) == name
    said = found.kind, str(found.clean), found.change, found.amount
    assert said == (kind, clean, change, amount)
    assert found.is_mean == ("*" in name)


def test_every_name_of_a_grid_is_read_back_in_every_size():
    kinds = {"sequences": "sequence", "perturbations": "sequence", "sizes": "clean"}
    kinds |= {"rotations": "rotation", "translations": "translation"}
    for grid, end in itertools.product(grids.GRIDS, ("", "_size/64")):
        for name in grids.grid("d", grid):
            found = dataset_name.parse(name + end)
            assert str(found) == name + end
            assert found.kind == kinds.get(grid, "corruption")
            assert found.base == "d"


def test_an_evaluation_in_another_size_has_all_that_one_in_the_first_has():
    rows = reports.benchmark(corruptions=corruptions.BENCHMARK)
    pair = rows, reports.resized(rows)
    base, other = "fashion_mnist", "fashion_mnist_size/64"
    sets = [result_set.Results(each) for each in pair]
    for kind in ("clean", "corruption", "rotation", "translation", "detection"):
        assert sets[0].bases(kind) == [base], kind
        assert sets[1].bases(kind) == [other], kind
        assert len(sets[0].of_kind(kind)) == len(sets[1].of_kind(kind))
    for metric in ("accuracy", "nll", "ece"):
        assert heat_maps.heat_maps(sets[0], base, metric)
        assert heat_maps.heat_maps(sets[1], other, metric)
    assert len(boxes.charts(sets[0], base)) == len(boxes.charts(sets[1], other)) > 0
    assert terminal.by_severity(pair[0]) == terminal.by_severity(pair[1]) != []
    found = [command.aggregates(each, None) for each in pair]
    assert found[0]
    assert {row["dataset"] for row in found[1]} == {"fashion_mnist_c_size/64"}
    assert [row["value"] for row in found[0]] == [row["value"] for row in found[1]]
    assert metrics.aggregate(reports.resized(rows), None) == found[1]
    means = [results.means(each) for each in pair]
    assert [row["value"] for row in means[0]] == [row["value"] for row in means[1]]
    assert [row["dataset"].replace(" (", "_size/64 (") for row in means[0]] == [
        row["dataset"] for row in means[1]
    ]


@pytest.mark.parametrize(
    "name", ["d", "d_size/64", "path/to_train/d", "a_validation_b"]
)
def test_parts_of_the_training_images_are_named_after_their_set(name):
    for count, whole in ((None, f"{name}_validation"), (500, f"{name}_train/500")):
        assert dataset_name.part(name, count) == whole
        assert dataset_name.without_part(whole) == name
    assert dataset_name.without_part(name) == name


def test_a_mean_says_over_how_many_sets_it_is():
    names = ("d_c/*/* (95 sets)", "d_c/fog/*_size/64 (5 sets)", "d_rotation/* (1 set)")
    assert [results.num_sets({"dataset": name}) for name in names] == [95, 5, 1]
    assert results.num_sets({"dataset": "d_c/fog/3"}) == 1


def test_resized_files_in_another_order_are_told_by_the_names_of_their_sets():
    name = "cifar10_c/fog/3_size/64"
    row = {"model": "m", "dataset": name, "num_samples": 1, "metric": "nll", "value": 1}
    row |= {"num_examples": 9, "seed": 0, "source": table.OTHER_ORDER}
    (text,) = command._mixed([row])
    assert "of 'cifar10_size/64' with 'cifar10_c_size/64' image by image" in text
