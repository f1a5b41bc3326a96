"""What layers, models and objectives do when an epoch of a training begins and ends."""

import inspect

import keras

from layers import keras_internals


class EpochEvents(keras.callbacks.Callback):
    """Tells layers when an epoch of their training begins, and when it has ended.

    What has a method `begin_epoch(epoch)`, of the model and all layers inside of it, is
    told the number of the epoch, from 0, before its first step; what has a method
    `end_epoch()`, after the last one and before anything is measured or saved. `fit` of
    the models of the zoo adds this callback by itself.

    Args:
        goes_on: Whether the first epoch is one that was stopped inside, which does not
            begin again.
    """

    def __init__(self, goes_on: bool = False):
        super().__init__()
        self.goes_on, self._is_over = goes_on, True

    def on_epoch_begin(self, epoch, logs=None):
        if not self.goes_on:
            for layer in _having(self.model, "begin_epoch"):
                layer.begin_epoch(epoch)
        self.goes_on = self._is_over = False

    def on_test_begin(self, logs=None):
        self._end()  # The validation after the epoch.

    def on_epoch_end(self, epoch, logs=None):
        self._end()

    def _end(self):
        if not self._is_over:
            for layer in _having(self.model, "end_epoch"):
                layer.end_epoch()
        self._is_over = True


def _having(model, name):
    return [
        layer for layer in keras_internals.flat_layers(model) if hasattr(layer, name)
    ]


def with_events(fit, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Returns arguments of a bound `fit` with `EpochEvents` among the callbacks.

    Where there is one already, they stay as they are. It comes first, so that other
    callbacks save what belongs to the epoch that has ended.
    """
    bound = inspect.signature(fit).bind(*args, **kwargs)
    callbacks = bound.arguments.get("callbacks") or []
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        given = callbacks.callbacks
    else:
        given = callbacks = list(callbacks)
    if not any(isinstance(callback, EpochEvents) for callback in given):
        given.insert(0, EpochEvents())
    bound.arguments["callbacks"] = callbacks
    return bound.args, bound.kwargs
