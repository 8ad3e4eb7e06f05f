"""Which code holds which factor: probes for every pair, beside chance and no training.

Each code is asked for each factor by logistic regression (L2, C = 1) and by five nearest
neighbours, both on standardised codes, and, with the probe "mlp", by a network of one
hidden layer: what it finds beyond the logistic regression is there but not linear. Codes
of untrained encoders already tell colours and many shapes apart, so an accuracy means
little without theirs beside it.
"""

from collections.abc import Collection, Sequence
import dataclasses
import math
import warnings

import numpy as np

from mvjax.core import errors
from mvjax.core import limits
from mvjax.evaluators import knn
from mvjax.evaluators import linear_probe
from mvjax.evaluators.common import features as features_lib
from mvjax.evaluators.common import metrics
from mvjax.evaluators.common import offer as offer_lib
from mvjax.evaluators.common import probe

PROBES = ("logistic", "knn", "mlp")


def standardise(
    rows: np.ndarray, test_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shifts and scales `[M, D]` and `[N, D]` by mean and deviation of the first."""
    from sklearn import preprocessing

    scaler = preprocessing.StandardScaler().fit(rows)
    return scaler.transform(rows), scaler.transform(test_rows)


def classify_mlp(
    rows: np.ndarray,
    classes: np.ndarray,
    test_rows: np.ndarray,
    *,
    hidden: int = 100,
    epochs: int = 20,
    seed: int = 0,
) -> np.ndarray:
    """Trains a network with one hidden layer (ReLU) and labels the test rows.

    Cross entropy, Adam at 1e-3, batches of 256. SDIM's diagnostic classifiers have
    hidden layers of 15 and K units, which train slowly without their batch norm, and
    scikit-learn has none.

    Args:
      rows: Training samples, `[M, D]`; their mean and deviation standardise both sets.
      classes: Their classes, `[M]`, of at least two kinds.
      test_rows: Samples to label, `[N, D]`.
      hidden: Units of the hidden layer.
      epochs: Passes over the training samples.
      seed: Of initialisation and order.

    Returns:
      Predicted classes, `[N]`.
    """
    from sklearn import exceptions
    from sklearn import neural_network

    rows, test_rows = standardise(rows, test_rows)
    model = neural_network.MLPClassifier(
        (hidden,),
        alpha=0.0,
        batch_size=min(256, len(rows)),
        learning_rate_init=1e-3,
        max_iter=epochs,
        n_iter_no_change=epochs,  # All of them.
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        model.fit(rows, classes)
    return model.predict(test_rows)


def chance_rate(classes: np.ndarray, test_classes: np.ndarray) -> float:
    """Accuracy on `[N]` of always saying the most frequent class of `[M]`.

    Among equally frequent classes the smallest is said.
    """
    return float(np.mean(test_classes == np.argmax(np.bincount(classes))))


def above_chance(accuracy: float, chance: float) -> float:
    """Accuracy on the scale on which chance is 0 and all right is 1."""
    return (accuracy - chance) / (1 - chance)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Accuracy on `test` of probes fitted on `train`, for each code and factor.

    With `wanted`, `disentanglement` is the mean over the wanted pairs minus the mean
    over all other pairs of the accuracy above chance, by the first probe: 1 if each
    code holds what it should and nothing else. Codes that owe nothing to training
    (`raw`, `untrained:...`) do not count.
    """

    features: limits.Names = ("shared",)
    factors: limits.AnyNames = ()  # (): all that the data know.
    wanted: limits.AnyNames = ()  # "expression:factor"; (): no score.
    probes: limits.some(limits.one_of(*PROBES), distinct=True) = ("logistic", "knn")
    k: limits.Count = 5  # Neighbours that vote.
    strength: limits.Positive = 1.0  # Inverse weight of the L2 penalty.
    steps: limits.Count = 2000  # Most steps of L-BFGS.
    hidden: limits.Size = 100  # Units of the network.
    epochs: limits.Count = 20  # Of its training.
    train: limits.Text = "train"
    test: limits.Text = "test"
    train_limit: limits.Natural = 0  # Most training samples, drawn at random; 0: all.
    baseline: bool = True  # Also the same codes of untrained variables.
    seed: limits.Natural = 0

    def check(self, offer: offer_lib.Offer) -> list[str]:
        """Names of the scores.

        Raises:
          UserError: Unknown split, probe, feature, factor or wanted pair, or a code
            without a column.
        """
        offer.check_splits(self.train, self.test)
        factors = self.factors or offer.factors
        learned = [e for e in self._codes if features_lib.is_learned(*offer.expand(e))]
        self._check_settings(learned, factors)
        names = []
        for expression in self._with_baselines(learned):
            offer.columns(expression)
            for factor in factors:
                place = f"{expression}/{factor}"
                with offer.leaving_out(place):
                    offer.check_factor(factor, least=2)
                    names += self._names(offer, place)
        for prefix in self._prefixes if self.wanted else ():
            name = f"{prefix}all codes/disentanglement"
            with offer.leaving_out(name):
                self._refuse_gaps(prefix, learned, factors, names)
                names.append(name)
        return names

    def _names(self, offer: offer_lib.Offer, place: str) -> list[str]:
        """Names of the scores of a code and a factor."""
        names = []
        for name in self.probes:
            with offer.leaving_out(f"{place}/{name}"):
                if name == "knn":
                    offer.check_size(
                        self.train,
                        self.k,
                        f"{self.k} neighbours",
                        limit=self.train_limit,
                    )
                names.append(f"{place}/{name}")
        return [*names, f"{place}/chance"]

    def run(self, features: features_lib.Features) -> dict[str, float]:
        """Returns `<expression>/<factor>/<score>`, scores being probes and `chance`.

        With `baseline`, also the same below `untrained:<expression>`; with `wanted`,
        `all codes/disentanglement` and its value without training.

        Raises:
          UserError: See `check`.
        """
        factors = self.factors or tuple(features.factor_names(self.train))
        learned = [
            e
            for e in self._codes
            if features_lib.is_learned(*features.expand(self.train, e))
        ]
        self._check_settings(learned, factors)
        result = {}
        for expression in self._with_baselines(learned):
            for factor in factors:
                place = f"{expression}/{factor}"
                with features.leaving_out(place):
                    scores = self._scores(features, expression, factor)
                    result |= {f"{place}/{k}": v for k, v in scores.items()}
        for prefix in self._prefixes if self.wanted else ():
            name = f"{prefix}all codes/disentanglement"
            with features.leaving_out(name):
                self._refuse_gaps(prefix, learned, factors, result)
                pairs = [(e, f) for e in learned for f in factors]
                result[name] = self._disentanglement(result, prefix, pairs)
        return result

    @property
    def _codes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.features))

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return ("", features_lib.UNTRAINED) if self.baseline else ("",)

    def _with_baselines(self, learned: Sequence[str]) -> list[str]:
        """All codes, then the learned ones of untrained variables."""
        untrained = [features_lib.UNTRAINED + e for e in learned if self.baseline]
        return list(dict.fromkeys([*self._codes, *untrained]))

    def _refuse_gaps(
        self,
        prefix: str,
        learned: Sequence[str],
        factors: Sequence[str],
        known: Collection[str],
    ) -> None:
        """Raises `Insufficient` if a pair that the mean is over has no score."""
        for expression in learned:
            for factor in factors:
                name = f"{prefix}{expression}/{factor}/{self.probes[0]}"
                if name not in known:
                    raise features_lib.Insufficient(f"It needs {name}.")

    def _check_settings(self, learned: Sequence[str], factors: Sequence[str]) -> None:
        """Refuses what makes no sense for any data with these codes and factors."""
        if not self.probes:
            raise errors.UserError(f"probes is empty. Choices: {', '.join(PROBES)}.")
        for name in self.probes:
            if name not in PROBES:
                raise errors.unknown("probe", name, PROBES)
        self._check_wanted([f"{e}:{f}" for e in learned for f in factors])

    def _check_wanted(self, pairs: list[str]) -> None:
        """Refuses wanted pairs that are not measured, and a score without contrast."""
        for pair in self.wanted:
            if pair not in pairs:
                raise errors.unknown("wanted pair", pair, pairs)
        if self.wanted and not set(pairs) - set(self.wanted):
            raise errors.UserError(
                "Every measured pair of code and factor is wanted, so there is nothing "
                "to compare with: add codes or factors, or leave `wanted` empty."
            )

    def _scores(
        self, features: features_lib.Features, expression: str, factor: str
    ) -> dict[str, float]:
        """Accuracies of the probes and of chance for one code and factor."""
        classes = features.factor(self.train, factor)
        chosen = self._chosen(len(classes))
        classes, rows = classes[chosen], features.get(self.train, expression)[chosen]
        test_classes = features.factor(self.test, factor)
        test_rows = features.get(self.test, expression)
        for split, values in ((self.train, classes), (self.test, test_classes)):
            if len(np.unique(values)) < 2:
                raise features_lib.Insufficient(
                    f"Factor {factor!r} has one class only in the {len(values)} samples "
                    f"of split {split!r}."
                )
        if not rows.shape[1]:
            raise errors.UserError(f"Feature {expression!r} has no columns.")
        scores = {}
        for name in self.probes:
            with features.leaving_out(f"{expression}/{factor}/{name}"):
                guess = self._classify(name, rows, classes, test_rows)
                scores[name] = metrics.accuracy(test_classes, guess)
        return scores | {"chance": chance_rate(classes, test_classes)}

    def _chosen(self, size: int) -> np.ndarray:
        """Positions of the training samples that are used; equal for all codes."""
        if self.train_limit < 0:
            raise errors.UserError(f"train_limit must be >= 0, not {self.train_limit}.")
        share = min(1.0, self.train_limit / size) if self.train_limit else 1.0
        return probe.subset(size, share, self.seed)

    def _classify(
        self, name: str, rows: np.ndarray, classes: np.ndarray, test_rows: np.ndarray
    ) -> np.ndarray:
        """Classes of the test rows, `[N]`, as one probe guesses them."""
        if name == "logistic":  # Standardises by itself.
            return linear_probe.classify(
                rows, classes, test_rows, strength=self.strength, steps=self.steps
            )
        if name == "mlp":
            options = {"hidden": self.hidden, "epochs": self.epochs, "seed": self.seed}
            return classify_mlp(rows, classes, test_rows, **options)
        rows, test_rows = standardise(rows, test_rows)
        return knn.classify(rows, classes, test_rows, k=self.k, metric="euclidean")

    def _disentanglement(
        self, result: dict[str, float], prefix: str, pairs: list[tuple[str, str]]
    ) -> float:
        """Mean of the wanted pairs minus mean of the others, above chance."""
        values: dict[bool, list[float]] = {True: [], False: []}
        for expression, factor in pairs:
            place = f"{prefix}{expression}/{factor}"
            accuracy, chance = result[f"{place}/{self.probes[0]}"], f"{place}/chance"
            is_wanted = f"{expression}:{factor}" in self.wanted
            values[is_wanted].append(above_chance(accuracy, result[chance]))
        # fsum, so that the order of the codes cannot even change the last bit.
        wanted, others = (math.fsum(v) / len(v) for v in values.values())
        return wanted - others
