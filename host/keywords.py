"""What answers a keyword that a call does not know: where it belongs, or which one is meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# What other libraries call it, and what it is called here.
SAME = {
    "batch_size": "batch",
    "mini_batch_size": "batch",
    "learning_rate": "rate",
    "learning_rate_init": "rate",
    "lr": "rate",
    "lr_schedule": "schedule",
    "lr_scheduler": "schedule",
    "optimizer": "optimiser",
    "random_state": "seed",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "max_iter": "epochs",
    "verbose": "progress",
    "model": "network",
    "kernel_size": "kernel",
    "strides": "stride",
    "out_channels": "filters",
    "out_features": "units",
    "data_augmentation": "augment",
    "horizontal_flip": "flip",
    "width_shift_range": "shift",
    "height_shift_range": "shift",
    "hidden_layer_sizes": "hidden",
    "X": "x",
}

# What there is no keyword for, and why.
_BUILT_IN = "batch norm, sign and softmax are built in"
_NONE = {
    **dict.fromkeys(("activation", "use_bias", "batch_norm", "normalization"), _BUILT_IN),
    **dict.fromkeys(("kernel_initializer", "bias_initializer"), "the seed of Settings draws the weights"),
    **dict.fromkeys(("kernel_regularizer", "kernel_constraint"), "latent weights lie in [-1, 1] as it is"),
    **dict.fromkeys(("loss", "from_logits", "label_smoothing"), "the loss is cross-entropy, of labels that are whole numbers"),
    "metrics": "loss and accuracy are always told",
    "momentum": 'Settings(optimiser="sign-momentum") has one of 7/8',
    **dict.fromkeys(("class_weight", "sample_weight"), "all images weigh the same; let x hold some of them more than once"),
    "initial_epoch": "resume=True goes on where the last run was, and epochs then counts from its beginning",
    "steps_per_epoch": "an epoch is all of x; steps, instead of epochs, counts the batches of the whole run",
    **dict.fromkeys(
        ("validation_steps", "validation_batch_size", "validation_freq"), "all of validation_data is evaluated after each epoch"
    ),
    **dict.fromkeys(("workers", "use_multiprocessing", "max_queue_size"), "x and y are arrays; nothing is loaded meanwhile"),
    "return_dict": "evaluate always returns a dict",
    "pool_size": "windows are of 2 x 2: MaxPool2D()",
    "dilation_rate": "windows are dense",
    "groups": "each output channel sees all input channels",
    "data_format": "channels come last",
    "input_dim": "Network takes the shape of an image: Network(input_shape, layers)",
    "dropout": "there is none; augment varies the images",
    **dict.fromkeys(("rotation_range", "zoom_range", "vertical_flip"), "images are shifted and mirrored, and nothing else"),
    "name": "a Network has one, its layers are numbered",
    "save_best_only": "BestCheckpoint always writes the best alone",
    "save_weights_only": "a checkpoint holds all that training needs",
}

# Classes that take one argument alone, and why.
_ALONE = {"Dense": f": {_BUILT_IN}", "MaxPool2D": f": {_NONE['pool_size']}"}

# Layers of others, and why there are none here.
LAYERS = {
    **dict.fromkeys(("BatchNormalization", "BatchNorm", "Activation", "ReLU", "Softmax"), _BUILT_IN),
    **dict.fromkeys(("Dropout", "GaussianNoise"), "augment of fit varies the images instead"),
    **dict.fromkeys(("Input", "InputLayer", "Sequential", "Model"), "Network(input_shape, layers) has the shape and all layers"),
    **dict.fromkeys(("Rescaling", "Normalization"), "images are bytes, or floats in [0, 1], as they are"),
    **dict.fromkeys(("AveragePooling2D", "GlobalAveragePooling2D"), "MaxPool2D is the only pool"),
    "MaxPooling2D": "it is MaxPool2D here",
    "Convolution2D": "it is Conv2D here",
}

# Callbacks of Keras, and what takes their place.
CALLBACKS = {
    "EarlyStopping": "bnnedge.EarlyStopping, which takes the same arguments",
    "ModelCheckpoint": "bnnedge.BestCheckpoint for the best state, bnnedge.PeriodicCheckpoint for the last one",
    "BackupAndRestore": "bnnedge.PeriodicCheckpoint(filepath), then Trainer.load(filepath).fit(x, y, resume=True)",
    "CSVLogger": "bnnedge.CSVLogger, which takes the same arguments",
    "LearningRateScheduler": "Trainer(schedule=...), which takes the same function",
    "ReduceLROnPlateau": 'Trainer(schedule="plateau")',
    "ProgbarLogger": "fit(progress=True)",
    "TerminateOnNaN": "none, as sums of integers are no NaN",
}

# Methods and fields of others, and what is meant here.
METHODS = {
    "compile": "there is nothing to compile, Trainer(network, device, settings=..., rate=...) has it all",
    "add": "Network(input_shape, layers) takes all layers at once",
    **dict.fromkeys(("fit_generator", "train_on_batch"), "fit(x, y) takes arrays, and their batches by itself"),
    "predict_classes": "predict(x).argmax(1) gives them",
    "predict_proba": "predict(x) gives probabilities",
    "score": 'evaluate(x, y)["accuracy"] is it',
    **dict.fromkeys(("save_weights", "save_model", "state_dict"), "save(path) of a Trainer writes all of a training"),
    **dict.fromkeys(("load_weights", "load_model", "load_state_dict"), "Trainer.load(path) makes a trainer of a checkpoint"),
    **dict.fromkeys(("get_weights", "parameters"), "state of a Trainer holds the weights"),
    "count_params": "weights of a Network counts them",
    **dict.fromkeys(("to_json", "get_config"), "to_dict() of a Network describes it"),
    **dict.fromkeys(("train", "eval", "forward"), "fit trains, evaluate and predict do not"),
    **dict.fromkeys(("to", "cuda", "cpu"), "Trainer(network, device) says where to train"),
    **dict.fromkeys(("fit", "evaluate", "predict"), "a Trainer does that, Trainer(network).fit(x, y)"),
}

# Where a keyword belongs: filled as classes and functions are explained.
_OWNERS: dict[str, str] = {}


def meant(name: str, known: Collection[str], called: str = "") -> str:
    """What to say of a keyword that is not among the `known` ones of what is `called`."""
    same = SAME.get(name, name)
    if same in known:
        return f"did you mean `{same}`?"
    if name in _NONE:
        return _NONE[name]
    if same in _OWNERS:
        owner = _OWNERS[same]
        short = owner.rsplit(".")[-1]
        return f"did you mean {owner if called.endswith(short) else short}({same}=...)?"
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{close[0]}`?" if close else f"there are {', '.join(known) or 'none'}"


def unknown(owner: object, name: str) -> AttributeError:
    """The error of a method or field that an object has not, with what is meant if another library has it."""
    reason = f": {METHODS[name]}" if name in METHODS else ""
    return AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}{reason}", name=name, obj=owner)


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Let unknown keywords of a function, and arguments too many or too few, be a TypeError that says what would work."""
    called = function.__qualname__.removesuffix(".__init__")
    parameters = inspect.signature(function).parameters
    names = [name for name in parameters if name not in ("self", "cls")]
    places = [name for name, parameter in parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    needed = [name for name in places if parameters[name].default is inspect.Parameter.empty]
    for name in names:
        _OWNERS.setdefault(name, called)

    @functools.wraps(function)
    def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
        for name in keywords:
            if name not in names:
                raise TypeError(f"{called} has no {name!r}: {meant(name, names, called)}")
        if len(arguments) > len(places):
            others = ", ".join(f"{name}=..." for name in names if name not in places)
            first = ", ".join(name for name in places if name in names) or "nothing"
            more = f"without their names; there are, by name, {others}" if others else "and nothing else"
            raise TypeError(f"{called} takes {first} {more}{_ALONE.get(called, '')}")
        missing = [name for name in needed[len(arguments) :] if name not in keywords]
        if missing:
            shown = ", ".join(name for name in needed if name in names)
            raise TypeError(f"{called} needs {' and '.join(missing)}: {called.rsplit('.')[-1]}({shown})")
        return function(*arguments, **keywords)

    return checked


def explained_class(kind: type[T]) -> type[T]:
    """Let unknown keywords of a class's constructor be explained."""
    kind.__init__ = explained(kind.__init__)  # type: ignore[misc, method-assign]
    return kind
