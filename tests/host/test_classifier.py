"""BNNClassifier within scikit-learn: its checks of estimators, pipelines, searches; and data that are no pixels."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import bnnedge  # noqa: E402
from bnnedge import Conv2D, Dense, Network, Settings, Trainer, load  # noqa: E402
from bnnedge.classifier import BNNClassifier  # noqa: E402
from bnnedge.rates import CONVOLUTIONAL_RATE, SMALL_DATA_RATE  # noqa: E402

RANDOM = np.random.RandomState(1)
NAMES = np.array(["elm", "fir", "oak"])
Y = NAMES[RANDOM.randint(0, 3, 300)]
X = RANDOM.randn(300, 5) * [1, 10, 0.1, 1e3, 1e-3]
X[:, 0] += 4 * (Y == "fir")
X[:, 3] += 4e3 * (Y == "oak")
SMALL = {"hidden": (32,), "epochs": 10}


@parametrize_with_checks([BNNClassifier(**SMALL)])
def test_checks_of_scikit_learn(estimator, check):
    """None is expected to fail; one is skipped: of arrays that are not NumPy's, which scikit-learn itself has switched off."""
    check(estimator)


def test_learns():
    model = BNNClassifier(32, epochs=10).fit(X[:200], Y[:200])
    assert model.score(X[200:], Y[200:]) > 0.85
    assert model.predict(X).dtype == Y.dtype
    assert model.predict_proba(X).shape == (300, 3)
    assert len(model.history_.epoch) == 10


def test_is_the_trainer_in_other_clothes():
    """On images that are bytes, X as it is gives what the trainer gives."""
    data = load("digits")
    rows, labels = data.x_train.reshape(-1, 64), data.y_train
    model = BNNClassifier((128, 128), scale=None, epochs=3, random_state=5).fit(rows, labels)
    network = Network((64,), [Dense(128), Dense(128), Dense(10)])
    trainer = Trainer(network, settings=Settings(batch=64, seed=5), rate=0.03)
    assert trainer.fit(rows, labels, epochs=3) == model.history_
    assert np.array_equal(model.predict_proba(data.x_test.reshape(-1, 64)), trainer.predict(data.x_test.reshape(-1, 64)))
    with Trainer.load(model.checkpoint_) as again:
        assert again.evaluate(data.x_test.reshape(-1, 64), data.y_test)["accuracy"] == model.score(
            data.x_test.reshape(-1, 64), data.y_test
        )


def test_begins_at_the_trainers_rate_with_convolutions():
    assert f"the rate is {SMALL_DATA_RATE:g}, and with convolutions" in str(BNNClassifier.__doc__)
    network = Network((8, 8, 1), [Conv2D(8), Dense(10)])
    data = load("digits")
    rows, labels = data.x_train[:128].reshape(-1, 64), data.y_train[:128]
    histories = [
        BNNClassifier(network=network, epochs=2, rate=rate).fit(rows, labels).history_ for rate in (None, CONVOLUTIONAL_RATE)
    ]
    assert (
        histories[0] == histories[1] != BNNClassifier(network=network, epochs=2, rate=SMALL_DATA_RATE).fit(rows, labels).history_
    )


@pytest.mark.parametrize("shape", [(64,), (8, 8)])
def test_images_for_a_network_of_convolutions(shape):
    data = load("digits")
    network = Network((8, 8), [Conv2D(8), Dense(10)])
    model = BNNClassifier(network=network, scale="all", epochs=3).fit(data.x_train.reshape(-1, *shape) / 3.0, data.y_train)
    assert model.score(data.x_test.reshape(-1, *shape) / 3.0, data.y_test) > 0.6
    assert model.n_features_in_ == 64


def test_pipelines_validation_and_searches():
    pipeline = make_pipeline(StandardScaler(), BNNClassifier(**SMALL))
    assert cross_val_score(pipeline, X, Y, cv=3).mean() > 0.85
    search = GridSearchCV(pipeline, {"bnnclassifier__rate": [0.0001, 0.1], "bnnclassifier__hidden": [(16,)]}, cv=2).fit(X, Y)
    assert search.best_params_["bnnclassifier__rate"] == 0.1
    assert search.predict(X[:5]).shape == (5,)


def test_copies():
    model = BNNClassifier(network=lambda features, classes: Network((features,), [Dense(16), Dense(classes)]), epochs=2)
    copy = clone(model).fit(X, Y)
    assert not hasattr(model, "classes_")
    copy.set_params(network=None)
    again = pickle.loads(pickle.dumps(copy))
    assert np.array_equal(again.predict_proba(X), copy.predict_proba(X))
    assert clone(BNNClassifier(network=Network((5,), [Dense(3)]))).fit(X, Y).score(X, Y) > 0.4


def test_few_samples_are_repeated():
    model = BNNClassifier(**SMALL).fit(X[:10], Y[:10])
    assert model.score(X[:10], Y[:10]) > 0.5
    assert model.checkpoint_.plan.samples == 70


def test_seeds():
    one, other, same = (BNNClassifier(**SMALL, random_state=s).fit(X, Y) for s in (1, 2, np.random.RandomState(3)))
    assert not np.array_equal(one.predict_proba(X), other.predict_proba(X))
    again = BNNClassifier(**SMALL, random_state=np.random.RandomState(3)).fit(X, Y)
    assert np.array_equal(same.predict_proba(X), again.predict_proba(X))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch": 100}, "batch must be a multiple of 16"),
        ({"scale": "columns"}, "scale must be 'feature', 'all' or None, not 'columns'"),
        ({"device": object()}, "device must be a name, such as 'golden'"),
        ({"device": "gpu"}, "there is no device 'gpu'"),
        ({"epochs": 0}, "epochs must be a positive whole number, not 0"),
        ({"rate": 5}, "rate must be a number in"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"scale": None}, "x must"),
        ({"network": "mlp"}, "network must be a Network, or a function of features and classes, not 'mlp'"),
        ({"network": Network((4,), [Dense(3)])}, "takes 4 features and has 3 classes, X and y have 5 and 3"),
        ({"hidden": (0,)}, "Dense needs a positive whole number of units"),
    ],
)
def test_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        BNNClassifier(**arguments).fit(X, Y)


@pytest.mark.parametrize(
    ("name", "meant"), [("hidden_layer_sizes", "hidden"), ("max_iter", "epochs"), ("learning_rate_init", "rate")]
)
def test_keywords_of_scikit_learn(name, meant):
    with pytest.raises(TypeError, match=f"BNNClassifier has no '{name}': did you mean `{meant}`"):
        BNNClassifier(**{name: 3})


def test_weights_of_samples():
    with pytest.raises(TypeError, match=r"BNNClassifier\.fit has no 'sample_weight': all images weigh the same"):
        BNNClassifier().fit(X, Y, sample_weight=np.ones(300))


def test_one_class():
    with pytest.raises(ValueError, match="y has one class only, 'elm': two are needed"):
        BNNClassifier().fit(X, np.full(300, "elm"))


def test_ranges_of_training_hold_in_prediction():
    model = BNNClassifier(**SMALL).fit(X, Y)
    beyond = X.copy()
    beyond[:, 1] = 1e9
    high = X.copy()
    high[:, 1] = X[:, 1].max()
    assert np.array_equal(model.predict_proba(beyond), model.predict_proba(high))


def test_is_quiet(capfd):
    BNNClassifier(**SMALL).fit(X, Y)
    assert capfd.readouterr() == ("", "")


def test_without_scikit_learn():
    assert bnnedge.BNNClassifier is BNNClassifier
    code = (
        "import sys; sys.modules['sklearn.base'] = None\n"
        "import bnnedge\n"
        "try: bnnedge.BNNClassifier\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("BNNClassifier needs sklearn.base, which is not installed: pip install 'bnnedge[sklearn]'")
