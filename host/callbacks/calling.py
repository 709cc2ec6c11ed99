"""The callbacks of a run: looked through before it begins, called one after the other as it goes on."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnedge.callbacks.callback import Callback
from bnnedge.keywords import CALLBACKS

if TYPE_CHECKING:
    from bnnedge.trainer import Trainer

# What `fit` calls, and the arguments.
HOOKS = {name: len(inspect.signature(method).parameters) - 1 for name, method in vars(Callback).items() if name.startswith("on_")}

# Methods of Keras's that `fit` does not call, and what is near.
_NEVER = {
    "on_train_batch_end": "did you mean on_batch_end?",
    **dict.fromkeys(("on_batch_begin", "on_train_batch_begin"), ""),
    **{f"on_{what}_{when}": "" for what in ("test", "test_batch", "predict", "predict_batch") for when in ("begin", "end")},
}


def listed(callbacks: Any) -> tuple[Any, ...]:
    """What `fit` gets as callbacks, several, one or None, in a row."""
    if callbacks is None:
        return ()
    one = isinstance(callbacks, (Callback, type, str)) or not isinstance(callbacks, Iterable)
    return (callbacks,) if one else tuple(callbacks)


class Calls:
    """Calls all callbacks of a run.

    Parameters
    ----------
    callbacks: of the run.
    trainer: whose run it is; its `stop_training` is set if one of them returns True.

    Raises
    ------
    TypeError: one of them cannot be called as `fit` would; before any is
    """

    def __init__(self, callbacks: tuple[Callback, ...], trainer: Trainer) -> None:
        self.callbacks, self._trainer = callbacks, trainer
        self._methods = [_methods(callback) for callback in self.callbacks]

    @property
    def stopped(self) -> bool:
        """Whether one of them wants the run to end."""
        return self._trainer.stop_training

    def begin(self, logs: Mapping[str, float]) -> None:
        """Tell them the trainer, and that its run begins."""
        for callback in self.callbacks:
            callback.set_trainer(self._trainer)
        self.tell("on_train_begin", logs)

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call this method of each."""
        for methods in self._methods:
            if isinstance(stop := methods[hook](*arguments), (bool, np.bool_)) and stop:
                self._trainer.stop_training = True

    def end(self, error: BaseException | None) -> None:
        """Call `on_train_end` of all, whatever one of them raises; raise the first error of theirs.

        If the run itself ended with an `error`, which says more, theirs are warnings.
        """
        first: Exception | None = None
        for callback, methods in zip(self.callbacks, self._methods, strict=True):
            try:
                methods["on_train_end"]({"failed": int(error is not None)})
            except Exception as another:
                if error is None and first is None:
                    first = another
                else:
                    text = f"on_train_end of callback {_name(callback)} failed, too: {another!r}"
                    warnings.warn(text, RuntimeWarning, stacklevel=4)
        if first is not None:
            raise first


def _methods(callback: Any) -> dict[str, Callable[..., Any]]:
    """The methods that `fit` calls, by name; TypeError if they are not such."""
    if isinstance(callback, type):
        raise TypeError(f"callbacks holds the class {callback.__name__}: make an object of it, {callback.__name__}(...)")
    if not isinstance(callback, Callback):
        keras = any(kind.__module__.split(".")[0] in ("keras", "tf_keras") for kind in type(callback).__mro__)
        if keras and type(callback).__name__ in CALLBACKS:
            raise TypeError(f"callback {_name(callback)} is one of Keras's: use {CALLBACKS[type(callback).__name__]}")
        what = "one of Keras's" if keras else "a function" if inspect.isroutine(callback) else "no bnnedge.Callback"
        like = ", whose methods have the names of Keras's" if keras else ""
        raise TypeError(
            f"callback {_name(callback)} is {what}: derive a class from bnnedge.Callback{like}, and override what you need of "
            f"{', '.join(HOOKS)}"
        )
    for name in dir(type(callback)):
        close = difflib.get_close_matches(name, HOOKS, 1, 0.8) if name.startswith("on_") and name not in HOOKS else []
        if name in _NEVER or close:
            meant = f"did you mean {close[0]}?" if name not in _NEVER else _NEVER[name] or f"it calls {', '.join(HOOKS)}"
            raise TypeError(f"callback {_name(callback)} has {name}, which fit does not call: {meant}")
    return {name: _method(callback, name) for name in HOOKS}


def _method(callback: Callback, name: str) -> Callable[..., Any]:
    """A method that takes all arguments, though it may leave out the last one."""
    method, count = getattr(callback, name), HOOKS[name]
    if not callable(method):
        raise TypeError(f"{name} of callback {_name(callback)} is no method, but {method!r:.40}")
    if inspect.iscoroutinefunction(method):
        raise TypeError(f"{name} of callback {_name(callback)} is async, and fit awaits nothing: make it a plain method")
    signature = inspect.signature(method)
    for taken in (count, count - 1):
        try:
            signature.bind(*range(taken))
        except TypeError:
            continue
        return lambda *arguments, taken=taken: method(*arguments[:taken])
    wanted = ", ".join(list(inspect.signature(getattr(Callback, name)).parameters)[1:])
    raise TypeError(f"{name} of callback {_name(callback)} takes {signature}, but fit calls it with ({wanted})")


def _name(callback: Any) -> str:
    return str(getattr(callback, "__name__", type(callback).__name__))
