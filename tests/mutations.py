"""Puts deliberate bugs in, one at a time, and checks that the tests see each of them.

    python -m tests.mutations [number ...]

A test is trusted once it was seen to fail.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent

# What the bug is; the file; the code; the code with the bug; the tests to run.
MUTATIONS = [
    (
        "the update of a step forgets Nesterov",
        "training/optimizer.py",
        "use_nesterov=self.nesterov",
        "use_nesterov=False",
        "tests/training/test_step.py",
    ),
    (
        "a training step draws operation by operation",
        "training/losses.py",
        "with random.fused():",
        "if True:",
        "tests/training/test_step.py",
    ),
    (
        "compiled draws of other settings",
        "layers/random.py",
        "return _compiled(draw, rest, *settings)(key)",
        "return _compiled(draw, rest, *settings)(key + uint32(1))",
        "tests/training/test_step.py",
    ),
    (
        "blur pads on the wrong side",
        "layers/blur.py",
        "(extra // 2, extra - extra // 2)",
        "(extra - extra // 2, extra // 2)",
        "tests/layers/test_smoothing.py",
    ),
    (
        "smoothing without its ReLU",
        "layers/smoothing.py",
        '"tanh": lambda x, t: ops.relu(t * ops.tanh(x / t))',
        '"tanh": lambda x, t: t * ops.tanh(x / t)',
        "tests/layers/test_smoothing.py",
    ),
    (
        "batch normalization keeps the unbiased variance",
        "layers/normalization.py",
        "variance * (1 - 1 / count)",
        "variance",
        "tests/layers/test_normalization.py",
    ),
    (
        "resized images under the numbers of others",
        "training/ood.py",
        "    return np.stack([_adapted(image, *image_shape) for image in images])",
        "    return np.stack([_adapted(i, *image_shape) for i in images[::-1]])",
        "tests/training/test_resized.py",
    ),
    (
        "signs are floats in [-1, 1]",
        "layers/random.py",
        "lambda *u: [2 * ops.right_shift(v, 15) for v in u])",
        'lambda *u: [ops.cast(v, "float32") / 32768 for v in u])',
        "tests/layers/test_variational.py",
    ),
    (
        "wrong sign in the KL divergence",
        "layers/variational.py",
        "- 2.0 * ops.log(ratio)",
        "+ 2.0 * ops.log(ratio)",
        "tests/layers/test_variational.py",
    ),
    (
        "dropout without its scale",
        "layers/dropout.py",
        "scale = 1 / (1 - random.quantize(self.rate))",
        "scale = 1",
        "tests/layers/test_dropout.py",
    ),
    (
        "every example has the same mask",
        "layers/streams.py",
        'return random.fold(key, ops.arange(num_rows, dtype="int32"))',
        'return random.fold(key, 0 * ops.arange(num_rows, dtype="int32"))',
        "tests/layers/test_dropout.py",
    ),
    (
        "batch statistics in inference",
        "zoo/posterior/prefix.py",
        'settings["training"] = False',
        'settings["training"] = True',
        "tests/zoo/test_posterior.py",
    ),
    (
        "every pass has the same key",
        "zoo/posterior/monte_carlo.py",
        "layers.random.fold(key, numbers)",
        "layers.random.fold(key, 0 * numbers)",
        "tests/zoo/test_posterior.py",
    ),
    (
        "mean of logits in place of probabilities",
        "zoo/predictive.py",
        'ops.mean(ops.softmax(ops.cast(logits, "float32"), axis=-1), axis=0)',
        'ops.softmax(ops.mean(ops.cast(logits, "float32"), axis=0), axis=-1)',
        "tests/zoo/test_predictive.py",
    ),
    (
        "wrong depth of ResNet-50",
        "zoo/resnet.py",
        '"resnet50": functools.partial(_DEEP, depths=(3, 4, 6, 3)',
        '"resnet50": functools.partial(_DEEP, depths=(3, 4, 5, 3)',
        "tests/zoo/test_models.py",
    ),
    (
        "TensorFlow's padding at a stride",
        "zoo/blocks.py",
        "    if strides > 1:\n        padding",
        "    if strides > 99:\n        padding",
        "tests/zoo/test_padding.py",
    ),
    (
        "bins of the ECE closed at the wrong end",
        "training/metrics/definitions.py",
        "xp.searchsorted(_lower_edges(xp, num_bins), values)",
        'xp.searchsorted(_lower_edges(xp, num_bins), values, "right")',
        "tests/training/test_metrics.py",
    ),
    (
        "a confidence of 0.9 is certain",
        "training/metrics/definitions.py",
        "xp.max(probs, axis=1) > CERTAIN",
        "xp.max(probs, axis=1) >= CERTAIN",
        "tests/training/test_metrics.py",
    ),
    (
        "IoU counts classes that do not occur",
        "training/metrics/definitions.py",
        "occurs = actual > 0",
        "occurs = actual + predicted > 0",
        "tests/training/test_metric_oracles.py",
    ),
    (
        "equal confidences are ranked by the order of the data",
        "training/metrics/ranking.py",
        "np.diff(confidence, prepend=np.inf)",
        "np.ones_like(confidence)",
        "tests/training/test_metric_curves.py",
    ),
    (
        "ties of out-of-distribution scores count in full",
        "training/metrics/detection.py",
        'np.searchsorted(inside, outside, side="left").sum()',
        'np.searchsorted(inside, outside, side="right").sum()',
        "tests/training/test_detection.py",
    ),
    (
        "mCE is a quotient of means, not a mean of quotients",
        "training/metrics/robustness.py",
        "100 * np.mean(sums / base)",
        "100 * np.mean(sums) / np.mean(base)",
        "tests/training/test_robustness.py",
    ),
    (
        "sums of a Keras metric lose what float32 rounds off",
        "training/metrics/keras_metrics.py",
        "self._excess.assign((after - before) - added)",
        "pass",
        "tests/training/test_keras_metrics.py",
    ),
    (
        "bins of a Keras metric have edges that are rounded up",
        "training/metrics/definitions.py",
        "np.nextafter(single, np.float32(0)), single)",
        "single, single)",
        "tests/training/test_keras_metrics.py",
    ),
    (
        "weights keyed by order",
        "zoo/weights.py",
        "for name, variable in wanted.items():",
        "for name, variable in zip(sorted(found), wanted.values(), strict=True):",
        "tests/zoo/test_weights.py",
    ),
    (
        "dropout behind the last convolution of a bottleneck",
        "zoo/resnet.py",
        '    x = parts.dropout(name=f"{name}_dropout")(x)\n'
        '    return conv_norm(x, parts, filters, 1, 1, f"{name}_3")',
        '    x = conv_norm(x, parts, filters, 1, 1, f"{name}_3")\n'
        '    return parts.dropout(name=f"{name}_dropout")(x)',
        "tests/zoo/test_models.py",
    ),
    (
        "shortcuts without weights put the zeros first",
        "zoo/resnet.py",
        "(0, 0), (0, extra))",
        "(0, 0), (extra, 0))",
        "tests/zoo/test_padding.py",
    ),
    (
        "files hold the state of random layers",
        "zoo/weights.py",
        "if keras.backend.is_float_dtype(variable.dtype):",
        "if variable.dtype:",
        "tests/zoo/test_weights.py",
    ),
    (
        "the sum of a weights file is not checked",
        "zoo/weights.py",
        "files.check(path, sha256)",
        "pass",
        "tests/zoo/test_weight_errors.py",
    ),
    (
        "files are written in place",
        "zoo/files.py",
        'temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"',
        "temporary = path",
        "tests/zoo/test_files.py",
    ),
    (
        "half of a file stays behind",
        "zoo/files.py",
        "    finally:\n        _remove(temporary)",
        "    finally:\n        pass",
        "tests/zoo/test_files.py",
    ),
    (
        "downloads are not checked",
        "zoo/download.py",
        "            _check(url, part, sha256, size)",
        "            pass",
        "tests/zoo/test_download.py",
    ),
    (
        "a download that goes on forgets what it had",
        "zoo/download.py",
        '"ab" if start and resumed else "wb"',
        '"wb"',
        "tests/zoo/test_download.py",
    ),
    (
        "without a tag the last weights are meant",
        "zoo/presets.py",
        "    for preset in own:",
        "    for preset in reversed(own):",
        "tests/zoo/test_presets.py",
    ),
    (
        "a pretrained model forgets its normalization",
        "zoo/catalog.py",
        "(preset.mean, preset.variance),",
        "None,",
        "tests/zoo/test_catalog.py",
    ),
    (
        "altered folders are packaged",
        "zoo/packaging.py",
        "        check_published(folder)",
        "        pass",
        "tests/zoo/test_package.py",
    ),
    (
        "weights are rounded whatever it costs",
        "training/rounding.py",
        "if not (changed <= tolerance",
        "if not (True or changed <= tolerance",
        "tests/training/test_rounding.py",
    ),
    (
        "results of other seeds are taken for one's own",
        "zoo/seeds.py",
        "return model in (name, parse(name).stem)",
        "return split(model)[0] in (split(name)[0], parse(name).stem)",
        "tests/zoo/test_seeds.py",
    ),
    (
        "sets in another size are averaged with the small ones",
        "zoo/results.py",
        'return [f"{base}_{kind}/{pattern}{end}" for pattern in patterns]',
        'return [f"{base}_{kind}/{pattern}" for pattern in patterns]',
        "tests/zoo/test_seeds.py",
    ),
    (
        "as good is not good enough",
        "training/question.py",
        "if values[size] <= bound",
        "if values[size] < bound",
        "tests/training/test_question.py",
    ),
    (
        "the name of a foreign file leads out of the cache",
        "zoo/download.py",
        'safe = re.sub(r"[^\\w.-]", "_", name)',
        "safe = name",
        "tests/zoo/test_remote.py",
    ),
    (
        "a resumed copy starts at the beginning",
        "zoo/remote.py",
        "file.seek(start)",
        "file.seek(0)",
        "tests/zoo/test_remote.py",
    ),
    (
        "old files stay in a repository of the hub",
        "zoo/hub.py",
        'delete_patterns="*",',
        'delete_patterns="*.none",',
        "tests/zoo/test_hub.py",
    ),
    (
        "large weights go into the package",
        "zoo/packaging.py",
        "if sizes[small] + preset.size <= PACKAGED:",
        "if preset.size <= PACKAGED:",
        "tests/zoo/test_package.py",
    ),
    (
        "replicas draw the same masks",
        "layers/streams.py",
        "return random.fold(key, context.replica_id_in_sync_group)",
        "return key",
        "tests/layers/test_backends.py",
    ),
    (
        "the metrics of a stopped epoch are forgotten",
        "training/trainer.py",
        "variable.assign(value)",
        "pass",
        "tests/training/test_trainer.py",
    ),
    (
        "the divergence is not divided by the number of examples",
        "training/losses.py",
        "(loss) / self.num_examples",
        "(loss)",
        "tests/training/test_trainer.py",
    ),
    (
        "glass shows what a neighbor was before the pass",
        "training/corruptions/blur.py",
        "origin[pixels] = following",
        "origin[pixels] = ahead",
        "tests/training/test_corruption_blurs.py",
    ),
    (
        "the weights of motion are not normalized as they come",
        "training/corruptions/common.py",
        "shares = weights / np.cumsum(weights)",
        "shares = weights / weights.sum()",
        "tests/training/test_corruption_blurs.py",
    ),
    (
        "corruptions round",
        "training/corruptions/common.py",
        "shift = _WHOLE[values.dtype] - 0.5",
        "shift = 0.0",
        "tests/training/test_corruption_oracles.py",
    ),
    (
        "fog takes the next column for the one before",
        "training/corruptions/weather.py",
        "between = centers + _previous(centers, 1)",
        "between = centers + _following(centers, 1)",
        "tests/training/test_corruption_oracles.py",
    ),
    (
        "the tables of shot noise take the wrong share",
        "training/corruptions/noise.py",
        "mass[rows, high] -= 1 - mass[rows, low]",
        "mass[rows, high] -= mass[rows, low]",
        "tests/training/test_corruption_oracles.py",
    ),
    (
        "the random field of elastic is cut at four deviations",
        "training/corruptions/digital.py",
        "radius = int(3 * sigma + 0.5)",
        "radius = int(4 * sigma + 0.5)",
        "tests/training/test_corruption_blurs.py",
    ),
    (
        "images depend on their batch",
        "training/corruptions/batch.py",
        "generator(seed, numbers[index], name, severity)",
        "generator(seed, index - start, name, severity)",
        "tests/training/test_corruptions.py",
    ),
    (
        "processes count the images of their part",
        "training/corruptions/worker.py",
        "list(numbers[start:stop])",
        "list(numbers[: stop - start])",
        "tests/training/test_corruptions.py",
    ),
    (
        "normal numbers have half of their table",
        "training/corruptions/common.py",
        "rng.integers(0, 2**16, shape, np.uint16)",
        "rng.integers(0, 2**15, shape, np.uint16)",
        "tests/training/test_corruption_oracles.py",
    ),
    (
        "enlarged flakes mix their lines the other way",
        "training/corruptions/weather.py",
        "lines[first] * (1 - share) + lines[second] * share",
        "lines[first] * share + lines[second] * (1 - share)",
        "tests/training/test_corruption_oracles.py",
    ),
    (
        "kept frost does not depend on its textures",
        "training/corrupted.py",
        'f"{_EDITION} {source} {',
        'f"{_EDITION} {',
        "tests/training/test_corrupted.py",
    ),
    (
        "every server starts from the same noise",
        "training/export.py",
        "seed=0, seed2=0)",
        "seed=1, seed2=2)",
        "tests/training/test_export.py",
    ),
    (
        "a device has one seed",
        "training/export.py",
        "predictive.probs(posterior(images, seed=seed))",
        "predictive.probs(posterior(images, seed=0 * seed))",
        "tests/training/test_export.py",
    ),
    (
        "logits are served as probabilities",
        "training/export.py",
        "    probs = predictive.probs(logits)",
        "    probs = ops.mean(logits, axis=0)",
        "tests/training/test_export.py",
    ),
    (
        "an export that differs is kept",
        "training/parity.py",
        "not (largest <= tolerance and",
        "(largest > 9 and",
        "tests/training/test_export_errors.py",
    ),
    (
        "images are translated down",
        "training/shifted.py",
        "np.roll(images, pixels, axis=2)",
        "np.roll(images, pixels, axis=1)",
        "tests/training/test_shifted.py",
    ),
    (
        "rotation fills with the nearest pixel",
        "training/shifted.py",
        "degrees, reshape=False",
        'degrees, reshape=False, mode="nearest"',
        "tests/training/test_shifted.py",
    ),
    (
        "labels of sequences are in the order of frames",
        "training/perturbed.py",
        "labels=np.repeat(data.labels, frames)",
        "labels=np.tile(data.labels, frames)",
        "tests/training/test_perturbed.py",
    ),
    (
        "frames have the random numbers of the batch",
        "training/perturbed.py",
        "name, index=first + i)",
        "name, index=i)",
        "tests/training/test_perturbed.py",
    ),
    (
        "tilt turns about one axis the other way",
        "training/warps.py",
        "[[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]",
        "[[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]",
        "tests/training/test_perturbations.py",
    ),
    (
        "records are read from the first file",
        "training/records.py",
        "found.append((number, offset, label))",
        "found.append((0, offset, label))",
        "tests/training/test_prepared.py",
    ),
    (
        "gray takes blue for red",
        "training/ood.py",
        "image @ LUMINANCE",
        "image @ LUMINANCE[::-1]",
        "tests/training/test_ood.py",
    ),
    (
        "names in the report are markup",
        "training/report/page.py",
        "autoescape=True",
        "autoescape=False",
        "tests/training/test_report_page.py",
    ),
    (
        "the report shows the smallest ensemble",
        "training/report/results.py",
        "sizes[max(sizes)]",
        "sizes[min(sizes)]",
        "tests/training/test_report_page.py",
    ),
    (
        "the better a cell of a heat map, the darker",
        "training/report/heat.py",
        "place if worse > 0 else 1 - place",
        "1 - place if worse > 0 else place",
        "tests/training/test_report_page.py",
    ),
    (
        "data sets that are put together weigh the same in each bin",
        "training/report/confidence.py",
        "weights = counts / np.where(total > 0, total, 1)",
        "weights = np.ones_like(counts) / len(counts)",
        "tests/training/test_report_predictions.py",
    ),
    (
        "the pictures are of the least confident mistakes",
        "training/report/mistakes.py",
        "key=lambda m: (-m[0], m[2])",
        "key=lambda m: (m[0], m[2])",
        "tests/training/test_report_predictions.py",
    ),
    (
        "an interrupted evaluation starts one batch late",
        "training/predictions.py",
        "done, now = first + count, time.monotonic()",
        "done, now = first + 2 * count, time.monotonic()",
        "tests/training/test_predictions.py",
    ),
    (
        "predictions of other weights are taken",
        "training/fingerprint.py",
        "            digest.update(value)",
        "            digest.update(value[:0])",
        "tests/training/test_predictions.py",
    ),
    (
        "a passed image is passed again",
        "training/predictions.py",
        'return sizes <= set(old["sizes"]) if whole else',
        'return sizes < set(old["sizes"]) if whole else',
        "tests/training/test_sweep.py",
    ),
    (
        "the energy has the wrong sign",
        "training/passes.py",
        '"energy": -means(',
        '"energy": means(',
        "tests/training/test_predictions.py",
    ),
    (
        "a temperature multiplies",
        "zoo/posterior/temperature.py",
        "return (pooled(samples) / self.temperature)[None]",
        "return (pooled(samples) * self.temperature)[None]",
        "tests/zoo/test_temperature.py",
    ),
    (
        "scaled energies are of unscaled logits",
        "training/scaling.py",
        "energy[..., None]\n            logits /= divisors",
        "0 * energy[..., None]\n            logits /= divisors",
        "tests/training/test_sweep.py",
    ),
    (
        "a random model of others runs once",
        "training/external.py",
        "bool(np.array_equal(first, second))",
        "bool(np.array_equal(first, first))",
        "tests/training/test_external.py",
    ),
    (
        "a shortcut starts in front of the normalization",
        "zoo/preresnet.py",
        'skip = downsample(x, parts, strides, f"{name}_skip")',
        'skip = downsample(skip, parts, strides, f"{name}_skip")',
        "tests/zoo/test_families.py",
    ),
    (
        "zeros around negative features that are pooled",
        "zoo/blocks.py",
        '(0, 0)), "symmetric")',
        "(0, 0)))",
        "tests/zoo/test_families.py",
    ),
    (
        "signs for the channels of one group alone",
        "layers/estimators.py",
        "inputs.shape[-1], loc.shape[-1]",
        "loc.shape[-2], loc.shape[-1]",
        "tests/layers/test_variational.py",
    ),
    (
        "wide bottlenecks are as narrow as the usual ones",
        "zoo/resnet.py",
        "widen * filters // 4, own_strides",
        "filters // 4, own_strides",
        "tests/zoo/test_counts.py",
    ),
    (
        "pre-activation networks smooth the last stage",
        "zoo/preresnet.py",
        "if stage < len(depths):",
        "if stage <= len(depths):",
        "tests/zoo/test_models.py",
    ),
    (
        "the first convolution of AlexNet pads half its kernel",
        "zoo/alexnet.py",
        "ZeroPadding2D(2,",
        "ZeroPadding2D(5,",
        "tests/zoo/test_families.py",
    ),
    (
        "NaN is no deviation from a card",
        "training/checking.py",
        "if not difference <= tolerance:",
        "if difference > tolerance:",
        "tests/training/test_checking.py",
    ),
    (
        "height and width of converted kernels are swapped",
        "zoo/convert/state.py",
        "array.transpose(2, 3, 1, 0)",
        "array.transpose(3, 2, 1, 0)",
        "tests/zoo/test_convert.py",
    ),
    (
        "mean and variance of converted normalizations are swapped",
        "zoo/convert/names.py",
        """    "moving_mean": "running_mean",
    "moving_variance": "running_var",""",
        """    "moving_mean": "running_var",
    "moving_variance": "running_mean",""",
        "tests/zoo/test_convert.py",
    ),
    (
        "the standard deviation of a source is its variance",
        "zoo/convert/source.py",
        "tuple((std**2).tolist())",
        "tuple(std.tolist())",
        "tests/zoo/test_convert.py",
    ),
    (
        "a bias before a normalization is dropped",
        "zoo/convert/state.py",
        "array - state[self.bias] if self.bias else array",
        "array",
        "tests/zoo/test_convert.py",
    ),
    (
        "recalibration leaves out how far the means of batches are apart",
        "training/recalibrate.py",
        "np.average(variances + (means - mean) ** 2, 0, counts)",
        "np.average(variances, 0, counts)",
        "tests/training/test_recalibrate.py",
    ),
    (
        "recalibration counts small batches like large ones",
        "training/recalibrate.py",
        "mean = np.average(means, 0, counts)",
        "mean = np.mean(means, 0)",
        "tests/training/test_recalibrate.py",
    ),
    (
        "recalibration takes the images in their order",
        "training/recalibrate.py",
        "np.random.default_rng(seed).permutation(len(images))",
        "np.arange(len(images))",
        "tests/training/test_recalibrate.py",
    ),
    (
        "recalibration normalizes by the old statistics",
        "training/recalibrate.py",
        "x, mean, variance, layer.axis",
        "x, layer.moving_mean, layer.moving_variance, layer.axis",
        "tests/training/test_recalibrate.py",
    ),
    (
        "as many other classes keep the head",
        "training/origin.py",
        "if same_number and not same:",
        "if False:",
        "tests/training/test_origin.py",
    ),
    (
        "a checkpoint forgets what its training started from",
        "training/trainer.py",
        '"origin": origin,',
        "",
        "tests/training/test_trainer.py",
    ),
    (
        "random parts of images lie half a pixel off",
        "training/augment.py",
        "uniform[2] + (width - 1) / 2",
        "uniform[2]",
        "tests/training/test_augment.py",
    ),
    (
        "small parts of images are as likely as if sides were uniform",
        "training/augment.py",
        "side = ops.sqrt(smallest + (1 - smallest) * uniform[0])",
        "side = smallest**0.5 + (1 - smallest**0.5) * uniform[0]",
        "tests/training/test_augment.py",
    ),
    (
        "one batch of passes has one mask",
        "layers/streams.py",
        "random.fold(key[:, None], rows)",
        "random.fold(0 * key[:, None], rows)",
        "tests/zoo/test_fast_prediction.py",
    ),
    (
        "rows of several passes are counted through",
        "layers/streams.py",
        "rows = self._rows(num_rows // ops.shape(key)[0], active.offset)",
        "rows = self._rows(num_rows // ops.shape(key)[0], 0)",
        "tests/layers/test_estimators.py",
    ),
    (
        "what a random layer changes is in the prefix",
        "zoo/posterior/prefix.py",
        "if step.draws or not random.isdisjoint(step.inputs):",
        "if step.draws:",
        "tests/zoo/test_prefix.py",
    ),
    (
        "layers that share a draw pass in one batch",
        "zoo/posterior/prefix.py",
        "self.by_row = all(step.by_row for step in late if step.draws) and all(",
        "self.by_row = all(",
        "tests/zoo/test_prefix.py",
    ),
    (
        "one kernel for all passes",
        "layers/estimators.py",
        "    noise = random.normal(key, tuple(loc.shape), loc.dtype)\n"
        "    return linear(inputs, loc + scale * noise)",
        "    noise = random.normal(0 * key, tuple(loc.shape), loc.dtype)\n"
        "    return linear(inputs, loc + scale * noise)",
        "tests/zoo/test_fast_prediction.py",
    ),
    (
        "the passes of Flipout differ in their signs alone",
        "layers/estimators.py",
        "    noise = random.normal(key, tuple(loc.shape), loc.dtype)\n    flipped",
        "    noise = random.normal(0 * key, tuple(loc.shape), loc.dtype)\n    flipped",
        "tests/zoo/test_fast_prediction.py",
    ),
    (
        "outputs have the standard deviations of their inputs added",
        "layers/estimators.py",
        "variance = linear(ops.square(inputs), ops.square(scale))",
        "variance = ops.square(linear(ops.abs(inputs), scale))",
        "tests/layers/test_estimators.py",
    ),
    (
        "all passes of a chunk are its first",
        "zoo/posterior/passes.py",
        "ops.clip(place, 0, chunk - 1)",
        "ops.clip(place, 0, 0)",
        "tests/zoo/test_fast_prediction.py",
    ),
    (
        "a stop looks at the deviation of samples in place of their mean",
        "zoo/posterior/passes.py",
        "return ops.sqrt(ops.max(variance) / ops.maximum(count, 1))",
        "return ops.sqrt(ops.max(variance))",
        "tests/zoo/test_fast_prediction.py",
    ),
]


def survives(path: str, old: str, new: str, tests: str) -> bool:
    """Returns whether the tests pass although the bug is in a copy of the code."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, "copy")
        ignored = shutil.ignore_patterns(".*", "runs", "demo", "build")
        shutil.copytree(ROOT, copy, ignore=ignored)
        text = (copy / path).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{path} has {text.count(old)} times the code {old!r}")
        (copy / path).write_text(text.replace(old, new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "", tests]
        result = subprocess.run(command, cwd=copy, capture_output=True, check=False)
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stdout.decode()[-2000:])
    return result.returncode == 0


def main(numbers: list[int]):
    """Prints a line for each bug and ends with code 1 if one was not seen."""
    survivors = 0
    for i, (bug, *mutation) in enumerate(MUTATIONS, 1):
        if numbers and i not in numbers:
            continue
        survived = survives(*mutation)
        survivors += survived
        print(f"{i:2d} {'SURVIVED' if survived else 'caught  '} {bug}", flush=True)
    sys.exit(bool(survivors))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
