"""The search of a kernel problem: a look at widths and strengths on some rows, steps on a part of
the rows, the last steps on all. f has plateaus where a width is 0 or everything, so that a start is
never taken for an optimum because f is flat there."""

from dataclasses import replace
from functools import partial

import numpy as np

from fasthoag.hypergradient import Accuracy
from fasthoag.null import weighted_quantile
from fasthoag.outer import TRIALS
from fasthoag.outer.loop import From, Until, minimise
from fasthoag.outer.minima import Minimum, distinct
from fasthoag.outer.rules import Box
from fasthoag.outer.start import LOOSE
from fasthoag.outer.tolerance import Tolerance
from fasthoag.outer.trials import Tree

EXACT = Accuracy(1e-8, 1e-8)  # of a trial
LOOK_ROWS = 256  # of the looks at widths and strengths
# All rows over those of the pilots, which cost a 64th and an 8th of one step on all: their optima
# come near that of all, and save two steps on all rows of five.
PILOTS = 4, 2
PILOT_TOL = 0.01
# log units of the first step on more rows: the valley is known, but f is not convex around it
NEAR = 1.0
WIDTHS = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])  # log units about the middle distance
STRENGTHS = np.array([-9.0, -6.0, -3.0, 0.0, 3.0])
MOST_VALLEYS = 3  # of the look that steps are taken in
# λ over the mean of the diagonal of K and the sum of the weights: below it is lost in rounding
LEAST, MOST = 2.0**16 * np.finfo(np.float64).eps, 1e3


class Scale:
    """Where widths and strengths of a problem are: the logarithm of the width at which the middle
    pair of rows has s = 1, (D,), and of the mean of the diagonal of K there."""

    def __init__(self, rows):
        rank = np.random.default_rng(0).permutation(rows.n)
        some = np.sort(rank[:LOOK_ROWS])
        samples, weight = rows.samples.few(some), rows.weights[some]
        self.total, self.n_widths = rows.weights.sum(), samples.n_widths
        width = np.zeros(self.n_widths)
        if self.n_widths > 1:  # each in the unit of its own feature
            mean = np.average(samples.X, axis=0, weights=weight)
            spread = np.average(abs(samples.X - mean) ** 2, axis=0, weights=weight) ** 0.5
            power = 1.0 if samples.kernel.pair == "distances" else 2.0
            width = -power * np.log(np.where(spread > 0, spread, 1.0))
        if self.n_widths:
            width = width - np.log(middle_pair(samples, np.exp(width), weight))
        self.width = width
        diagonal = matrix_of(samples, np.exp(width)).diagonal()
        diagonal = np.average(diagonal, weights=weight)
        self.diagonal = np.log(diagonal) if diagonal > 0 else 0.0

    def theta(self, width, strength):
        """θ at so many log units from there."""
        return np.append(self.width + width, self.diagonal + strength)

    def box(self):
        """Bounds beyond which nothing changes, or λ is lost in rounding."""
        low = np.append(self.width - 16.0, self.diagonal + np.log(LEAST * self.total))
        return Box(low, np.append(self.width + 9.0, self.diagonal + np.log(MOST * self.total)))


def matrix_of(samples, widths):
    """The lower triangle of K."""
    return samples.pairs().at(widths).matrix(np.zeros((samples.n, samples.n)))


def middle_pair(samples, widths, weight):
    """The median of s over pairs of rows; of inner products, over rows with themselves. A weight
    counts as copies of its row."""
    identity = replace(samples.kernel, shape="power", shift=0.0, degree=1.0)
    s, weights = matrix_of(replace(samples, kernel=identity), widths), np.outer(weight, weight)
    if samples.kernel.pair == "products":
        s, weights = s.diagonal(), weight
    else:
        pairs = np.tril_indices(len(s), -1)
        s, weights = s[pairs], weights[pairs]
    return weighted_quantile(s[s > 0], weights[s > 0], 0.5) if (s > 0).any() else 1.0


class KernelSearch:
    """The searches of one call of `hoag`."""

    def __init__(self, rows, bound, record, settings, box):
        self.rows, self.bound, self.record, self.settings = rows, bound, record, settings
        self.scale = Scale(rows)
        default = self.scale.box()
        self.box, self.is_default_box = Box(*(box or default)), box is None
        self.n_iter, self.ends = 0, []

    @property
    def tol(self):
        return self.settings.tolerance.slope

    def run_from(self, theta0):
        """(best evaluation, status) from θ, or from the best of a look."""
        if theta0 is not None:
            best, status = self.minimise("all", self.bound, np.clip(theta0, *self.box))
            if status == "stopped" or not self.is_flat(best):
                return best, status
        theta, is_stopped = self.look() if self.scale.n_widths <= 1 else self.one_width()
        if is_stopped:
            found = self.bound.evaluate(theta, self.bound.start(), LOOSE, has_tangents=False)
            return found, "stopped"
        best, status = self.minimise("all", self.bound, theta, radius=NEAR)
        if status == "stopped" or not self.is_flat(best):
            return best, status
        at_most = np.append(best.theta[:-1], self.box.upper[-1])
        null, now = self.minimise("all", self.bound, at_most)
        is_better = null.is_solved and not best.value <= null.value
        return (null, now) if is_better else (best, status)

    def null(self, theta):
        """The evaluation where λ is everything, or at a θ that was given."""
        theta = self.scale.theta(0.0, np.log(MOST * self.scale.total)) if theta is None else theta
        theta = np.clip(theta, *self.box)
        return self.bound.evaluate(theta, self.bound.start(), LOOSE, has_tangents=False)

    def one_width(self):
        """(θ, whether the callback stopped): where all widths, in the units of their features, are
        the best single one. Many widths that start elsewhere end in other valleys, and on some of
        the rows they follow the noise."""
        units = np.exp(self.scale.width - self.scale.width.mean())
        rows, bound = self.rows.of_one_width(units), self.bound.of_one_width(units)

        def many(theta):
            return np.clip(np.append(np.log(units) + theta[0], theta[1]), *self.box)

        def record(phase, found, accuracy, is_accepted):
            phase = "one width" if phase == "all" else phase
            return self.record(phase, replace(found, theta=many(found.theta)), accuracy, False)

        settings = self.settings._replace(tolerance=Tolerance(max(self.tol, PILOT_TOL)))
        search = KernelSearch(rows, bound, record, settings, None)
        best, status = search.run_from(None)
        return many(best.theta), status == "stopped"

    def minimise(self, phase, bound, theta, tol=None, radius=None):
        rule, record = self.settings.new_rule(), partial(self.record, phase)
        if radius is not None and rule.wants == "hessian":
            rule.restore({"radius": radius})
        max_iter = max(1, self.settings.max_iter - self.n_iter)
        until = Until(Tolerance(self.tol if tol is None else tol), max_iter)
        begin = From(theta, bound.start())
        best, status, n_iter = minimise(bound, rule, begin, self.box, until, record)
        self.n_iter += n_iter
        if phase == "all" and status == "converged":
            self.ends.append(Minimum(best.theta, best.value))
        return best, status

    def look(self):
        """(θ, whether the callback stopped): the lowest valley on some rows, and its bottom on a
        part of the rows."""
        is_small = self.bound.folds.n_train <= 2 * LOOK_ROWS
        some = self.bound if is_small else self.bound.sample(LOOK_ROWS)
        phase = "look" if is_small else "sample"
        widths = WIDTHS if self.scale.n_widths else np.zeros(1)
        values = np.full((len(widths), len(STRENGTHS)), np.inf)
        found = {}
        for i, width in enumerate(widths):
            for j, strength in enumerate(STRENGTHS):
                theta = np.clip(self.scale.theta(width, strength), *self.box)
                one = some.evaluate(theta, some.start(), LOOSE, has_tangents=False)
                if one.is_solved:
                    values[i, j], found[i, j] = one.value, one
                    if self.record(phase, one, LOOSE, False):
                        return theta, True
        ends = []
        for place in valleys(values)[:MOST_VALLEYS]:
            best, status = self.minimise(phase, some, found[place].theta, 0.03)
            if status == "stopped":
                return best.theta, True
            if best.is_solved:
                ends.append(best)
        if not ends:
            return np.clip(self.scale.theta(0.0, 0.0), *self.box), False
        theta = min(ends, key=lambda one: one.value).theta
        for share in PILOTS:
            n_part = self.bound.folds.n_train // share
            if n_part < LOOK_ROWS:
                continue
            some = self.bound.sample(n_part)
            best, status = self.minimise("part", some, theta, PILOT_TOL, radius=NEAR)
            theta = best.theta if best.is_solved else theta
            if status == "stopped":
                return theta, True
        return theta, False

    def minima(self, best, status):
        """The ends of the searches on all rows, the best first."""
        first = [Minimum(best.theta, best.value)] if status != "inner_failed" else []
        return distinct([*first, *self.ends])

    def is_flat(self, best):
        """Whether f hardly depends on θ at an end that is no better than no features at all."""
        allowed = 10 * self.tol * self.bound.size(best.value)
        return not (best.is_solved and best.value < self.bound.null_value - allowed)


class KernelTrials:
    """The trials of one call of `hoag`, within 6 log units about the middle width and from
    strengths of nearly nothing to nearly everything, unless bounds are given."""

    def __init__(self, rows, bound, record, settings, box):
        self.bound, self.record, self.settings = bound, record, settings
        self.scale = Scale(rows)
        default = self.scale.theta(-3.0, STRENGTHS[0]), self.scale.theta(3.0, STRENGTHS[-1])
        self.box, self.is_default_box = Box(*(box or default)), box is None
        self.n_iter, self.lowest = 0, None

    @property
    def tol(self):
        return self.settings.tolerance.slope

    def run_from(self, theta0):
        """(best evaluation, status)."""
        method, n_trials, seed, _ = self.settings
        points, tree = TRIALS[method].points, None
        if points is None:
            tree = Tree(self.box, seed)
        every = None if points is None else points(self.box, n_trials, seed)
        n_trials = n_trials if every is None else len(every)
        for k in range(n_trials):
            [theta] = tree.ask(1) if every is None else [every[k]]
            found = self.bound.evaluate(theta, self.bound.start(), EXACT, has_tangents=False)
            if tree is not None:
                tree.tell([found.value])
            self.n_iter += 1
            is_best = found.is_solved and not (
                self.lowest is not None and self.lowest.value <= found.value
            )
            self.lowest = found if is_best or self.lowest is None else self.lowest
            if self.record("trial", found, EXACT, is_best):
                return self.lowest, "stopped"
        return self.lowest, "searched" if self.lowest.is_solved else "inner_failed"

    def null(self, theta):
        """The evaluation where λ is everything."""
        theta = self.box.upper
        return self.bound.evaluate(theta, self.bound.start(), EXACT, has_tangents=False)

    def minima(self, best, status):
        return [Minimum(best.theta, best.value)] if status != "inner_failed" else []

    def is_flat(self, best):
        allowed = 10 * self.tol * self.bound.size(best.value)
        return not (best.is_solved and best.value < self.bound.null_value - allowed)


def valleys(values):
    """Places of a table that are no higher than their neighbours, the lowest first."""
    padded = np.pad(values, 1, constant_values=np.inf)
    n, m = values.shape
    around = [padded[1 + a : 1 + a + n, 1 + b : 1 + b + m] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    lowest = np.isfinite(values) & (values <= np.min(around, axis=0))
    places = [tuple(place) for place in np.argwhere(lowest)]
    return sorted(places, key=lambda place: values[place])
