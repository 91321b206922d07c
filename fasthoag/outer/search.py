"""The searches of one call: where the first begins, and which others are worth their passes."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fasthoag.design.rows import HELD_OUT
from fasthoag.hypergradient import Accuracy
from fasthoag.null import row_weights
from fasthoag.outer import METHODS, krylov, start
from fasthoag.outer.loop import From, Until, minimise
from fasthoag.outer.minima import Minimum, distinct, in_other_valleys, local_minima
from fasthoag.outer.rules import Box
from fasthoag.outer.tolerance import Tolerance
from fasthoag.outer.trust_region import FEW, fitted
from fasthoag.threads import computed_once

MANY = 128  # hyperparameters from which the criterion is overfitted unless something stops it
# rows for each strength of a feature of its own below which it is too. Wine, 13 strengths and 118
# rows: the loss on unseen rows went from 4 to 39, breast cancer with 30 and 381 from 19 to 661
ROWS_EACH = 20
SHARE = 0.125  # of the rows on which strengths are looked for first
FEWEST_SAMPLED, FEWEST_OF_CLASS = 2500, 100  # of these rows
SAMPLED_HESS = 1.0  # relative error of their outer Hessian, times all rows over theirs
OF_SAMPLE, OF_FOLD = Tolerance(3e-3, 0.1), Tolerance(0.01)
FIRST_AFTER_SOME = Accuracy(0.1, 0.1, tangents=0.1)
FIRST_AFTER_FOLD = Accuracy(0.2, 0.1, tangents=0.3)
# the slope of 20 classes was off by three times its size with 0.2
FIRST_OF_CLASSES = Accuracy(0.07, 0.1, tangents=0.3)
FEWEST_ROWS = 25  # of which some are held back
RARE = 10  # rows of a class below which they tell nothing of a strength of its own
FLAT = 2.0  # log units to both sides within which the criterion changes by less than its tolerance
FAR = 6.0  # log units from the scale of the data: there a strength is everything or nothing
ROUNDS = 3  # of searches from what looks lower
ON_ALL_ROWS = Accuracy(1e-6, 1e-6)


def is_many(problem):
    """Whether there are so many hyperparameters, of a Problem or an InnerProblem, that the
    criterion is overfitted: more than `MANY`, or with few rows one for nearly every feature."""
    if problem.n_hyper > MANY:
        return True
    penalty, p = problem.penalty, problem.n_features
    k, n_sets = penalty.n_hyper(p), penalty.n_classes
    n_needed = ROWS_EACH * k * max(1.0, 0.5 * problem.loss.n_classes)
    is_fine = 2 * k > n_sets * p > 1 or penalty.is_per_class
    return is_fine and n_needed > problem.n_used >= FEWEST_ROWS


def some_of(bound):
    """The criterion of some of the rows, or None where these would tell little of all."""
    inner = bound.inner
    # of several classes vectors are the cost, and rows of one are few: on 3,000 rows of the 20
    # classes of 20 newsgroups the strength was 1.8 log units weaker than on 11,314
    if not bound.can_sample or inner.units.n_classes > 1:
        return None
    needed = FEWEST_SAMPLED / inner.n_used
    if inner.loss.is_classification:
        weight = row_weights(inner.rows).max(axis=1) > 0
        counts = np.unique(inner.rows.y[weight], return_counts=True)[1]
        needed = max(needed, FEWEST_OF_CLASS / counts.min())
    share = max(SHARE, needed)
    some = bound.sample(share) if share <= 0.5 else None
    return some if some is not None and has_every_fold(some) else None


def has_every_fold(some):
    """Whether every fold of a sample has rows that judge, and rows of every class that train."""
    rows = some.rows
    trains, judges = row_weights(rows) > 0, (rows.mask & HELD_OUT) != 0
    classes = np.unique(rows.y) if some.inner.loss.is_classification else None
    kinds = [rows.y == value for value in classes] if classes is not None else [slice(None)]
    return bool(judges.any(axis=0).all() and all(trains[one].any(axis=0).all() for one in kinds))


def of_rare_classes(inner):
    """Which hyperparameters belong to classes so rare that rows tell nothing of a strength of their
    own, (n_hyper,)."""
    is_rare = np.zeros(inner.n_hyper, bool)
    if inner.penalty.is_per_class:
        weight = row_weights(inner.rows).max(axis=1) > 0
        counts = np.bincount(inner.rows.y[weight].astype(int), minlength=inner.loss.n_classes)
        k = inner.penalty.n_hyper(inner.n_features)
        is_rare[:k] = np.repeat(counts < RARE, k // len(counts))
    return is_rare


class Settings(NamedTuple):
    """What `hoag` was asked for: the class of step rules and its schedule, the tolerance and the
    number of steps at most."""

    rule: Any
    schedule: Any
    tolerance: Tolerance
    max_iter: int

    def check(self, problem):
        """Raises ValueError for a bad schedule, before any work."""
        self.new_rule()

    def n_blocks(self, n_hyper):
        """Blocks of all folds in a linear solve: adjoint, Newton correction, tangents."""
        return 2 + (n_hyper if self.rule.wants == "hessian" else 0)

    def slope(self, bound, found):
        """What the hypergradient of an evaluation has to come down to."""
        hess = found.hess if self.rule.wants == "hessian" else None
        return self.tolerance.of_slope(bound, found, hess)

    def default_box(self, inner, scales):
        return start.default_box(inner, scales)

    def new_rule(self, seen=None):
        rule = self.rule(self.schedule)
        return rule if seen is None else fitted(rule, seen)

    def search(self, seen, whole, run, box):
        return Search(seen, whole, run, self, box)


class Search:
    """The searches of one call of `hoag`: from a first start, and from others where these promise a
    lower criterion."""

    def __init__(self, seen, whole, run, settings, box):
        self.seen, self.bound, self.whole, self.run = seen, seen.bound, whole, run
        self.settings, self.box = settings, box
        inner = self.bound.inner
        self.is_small = start.is_small(inner) and self.bound.is_exact
        # so many that they may follow the noise: they begin where a single one is best
        wants_hessian = settings.rule.wants == "hessian"
        self.is_many = inner.n_hyper > 1 and (is_many(inner) or not wants_hessian)
        self.best_single = None  # its θ and w
        self.piloted_from = None  # θ from which several were sought on one fold
        self.is_common = np.zeros(inner.n_hyper, bool)  # which keep the best single strength
        self.n_iter, self._all_rows = 0, None  # (θ, w) of all rows on the way, or None
        self.looks, self._ends = [], []  # the ends of searches on all folds that converged

    @property
    def tol(self):
        return self.settings.tolerance.slope

    @computed_once
    def some(self):
        """The criterion of some of the rows, or None: one fit of all goes from strong strengths to
        weak ones anyway."""
        found = None if self.is_small or self.bound.n_folds == 1 else some_of(self.bound)
        self.run.samples += [] if found is None else [found]
        return found

    def run_from(self, theta, W=None):
        """(best evaluation, status) from θ, and from coefficients of all folds where they are known
        there; without θ from the best of a look at strengths."""
        bound, inner, rule = self.bound, self.bound.inner, self.settings.new_rule(self.seen)
        is_tuned = inner.penalty.n_hyper(inner.n_features) > 0
        if W is not None:  # where a search ended: no plateau
            best, status = self.minimise(rule, theta, W)
            is_open = status == "inner_failed" or self.finds_nothing(best)
            return self.improved(best, status, None) if is_tuned and is_open else (best, status)
        found = self.on_curve(rule) if theta is None and not self.is_small else None
        if found is not None:
            best, status = found
            return found if status == "stopped" else self.improved(best, status, None)
        theta, W, look, is_stopped = self.begin(theta, is_tuned)
        if is_stopped:
            return look[0], "stopped"
        # what many find on one fold is its noise
        is_few = rule.wants == "hessian" and not self.is_many
        if is_few and look is None and (self.some is not None or bound.n_folds > 2):
            of_first, *_ = inner.units.split(W)
            found = self.pilot(rule, theta, self.some.inner.null.W if self.some else of_first)
        else:
            found = self.minimise(rule, theta, W)
        best, status = found
        if status == "stopped" or not is_tuned:
            return found
        return self.improved(best, status, look)

    def begin(self, theta, is_tuned):
        """(θ, w, looks or None, whether the callback stopped them): the start, from what was given
        or sought."""
        bound, inner = self.bound, self.bound.inner
        W, given = inner.null.W, theta
        if not is_tuned:
            theta = np.clip(inner.start(0.0), *self.box) if theta is None else theta
            return theta, W, None, False
        if given is None and self.is_many and bound.is_of_w:
            theta, W = self.single()
            self.run.expect_errors(W)
            self.is_common = of_rare_classes(inner)
            self.box = Box(*(np.where(self.is_common, theta, side) for side in self.box))
            return theta, W, None, False
        if given is None and not self.is_small:
            seen = self.seen if self.some is None else replace(self.seen, bound=self.some)
            wants_hessian = self.settings.rule.wants == "hessian"
            if inner.n_hyper == 1 and wants_hessian:  # weaker ones are found on the way
                ray, *_ = seen.rays
                return np.clip(ray.level(start.DECADE), *self.box), W, None, False
            ray, level, W = start.look_at_three(seen, self.box)
            return np.clip(ray.level(level), *self.box), W, None, False
        if given is not None and not (self.is_small and self.is_far(given).any()):
            return given, W, None, False
        found = []
        if given is not None:
            there = start.evaluate_loosely(bound, given, self.box, None)
            found = [] if there is None else [there]
            if there is not None and self.run.record("all", there, start.LOOSE, True):
                return there.theta, there.predict(0 * given), [there], True
        looks, is_stopped = self.look()
        found += [one.found for one in looks[:1]]
        if not found:
            theta = np.clip(inner.start(0.0), *self.box) if given is None else given
            return theta, W, looks, False
        best = min(found, key=lambda one: one.value)
        return best.theta, best.predict(0 * best.theta), [best] if is_stopped else looks, is_stopped

    def on_curve(self, rule):
        """(best evaluation, status) from the minimum of the whole curve of least squares, or None
        where there is no such curve or no such minimum; one step."""
        if not krylov.has_curve(self.bound, rule):
            return None
        found = krylov.minimum_of_curve(self.bound, self.box, self.run.is_late)
        if found is None:
            return None
        self.n_iter += 1
        rule.restore(found.state)
        return self.minimise(rule, found.theta, found.W)

    def look(self):
        """Looks at strengths on all folds, and whether the callback stopped them; one step."""
        self.n_iter += 1
        record, looks, is_stopped = partial(self.run.record, "look"), [], False
        for ray in self.seen.rays:
            args = self.bound, ray, self.box, record
            more, is_stopped = start.look_everywhere(*args) if not is_stopped else ([], True)
            looks += more
        self.looks = sorted(looks, key=lambda one: one.value)
        return self.looks, is_stopped

    def minimise(self, rule, theta, W, T=None, precond=None):
        """From θ on all folds."""
        bound, units = self.bound, self.bound.inner.units
        W = bound.inner.design.xp.concat([W] * (units.n_columns // W.shape[1]), axis=1)
        until = Until(self.settings.tolerance, max(1, self.settings.max_iter - self.n_iter))
        record, begin = partial(self.run.record, "all"), From(theta, W, T, precond)
        best, status, n_iter = minimise(bound, rule, begin, self.box, until, record)
        self.n_iter += n_iter
        if status in ("converged", "at_kink"):
            self._ends.append(Minimum(best.theta, best.value))
        return best, status

    def minima(self, best, status):
        """Every local minimum that was seen, the best first: the ends of searches and, of a single
        hyperparameter, those between looks."""
        is_end = status in ("converged", "at_kink", "at_bound")
        found = [Minimum(best.theta, best.value)] if is_end else []
        if self.run.holds_back:  # others were seen on fewer rows
            return found
        levels = sorted(self.looks, key=lambda one: float(one.found.theta[0]))
        if len(best.theta) == 1 and len(levels) > 1:
            numbers = (
                (one.theta[0], one.value, one.value_error, one.grad[0], one.grad_error)
                for one in (level.found for level in levels)
            )
            x, *seen = (np.array(column) for column in zip(*numbers, strict=True))
            found += in_other_valleys(local_minima(x, *seen), [*found, *self._ends], x)
        return distinct([*found, *self._ends])

    def pilot(self, rule, theta, W):
        """θ is found on some of the rows, where a pass costs a part of one, or on one fold; all
        join for the last steps only. Folds start from the solution on all rows: leaving rows out
        moves it little, while rows that a fold never saw would have to be unlearned (measured: 1
        Newton step each against 6 to 9)."""
        bound, inner, n_folds = self.bound, self.bound.inner, self.bound.n_folds
        first, xp, other = (
            self.some or bound.one_fold(0),
            inner.design.xp,
            self.settings.new_rule(self.seen),
        )
        found, status = self.minimise_first(first, other, theta, W)
        self.piloted_from = theta if len(theta) > 1 else None
        is_of_some = self.some is not None
        if is_of_some and status == "stopped":  # what holds for all rows was not looked at
            there = start.evaluate_loosely(bound, found.theta, self.box, None)
            if there is None:
                return found, "inner_failed"
            self.run.record("all", there, start.LOOSE, True)
            return there, status
        if status == "stopped":
            return found, status
        if is_of_some and not found.is_solved:
            return self.minimise(rule, theta, inner.null.W)
        theta, W = found.theta, found.predict(0 * found.theta)
        hess, hess_error = other.hessian(found)
        if is_of_some:  # their optimum is as far from that of all as they are few
            share = first.inner.design.n_stored / inner.design.n_stored
            hess, hess_error, T = hess / share, SAMPLED_HESS, None
            precond, mean = None, first.inner.units.fold_mean(W)
        else:  # that of all folds is some tenths of a unit away
            T = [xp.concat([t] * n_folds, axis=1) for t in found.T]
            hess, hess_error, precond, mean = n_folds * hess, 0.2, found.precond, W
        is_of_classes = inner.units.n_classes > 1
        first_of_all = FIRST_OF_CLASSES if is_of_classes else FIRST_AFTER_FOLD
        first_of_all = FIRST_AFTER_SOME if is_of_some else first_of_all
        rule.restore({"accuracy": first_of_all, "hint": (hess, hess_error), "radius": 1.0})
        whole = start.solve_all_rows(inner, theta, mean, precond)
        self._all_rows = theta, whole
        W = xp.concat(([whole] if is_of_some else [W]) + [whole] * (n_folds - 1), axis=1)
        del found, first  # large, as are those of all rows
        self.some = None
        self.run.forget_samples()
        return self.minimise(rule, theta, W, T, precond)

    def minimise_first(self, first, rule, theta, W):
        """From θ on some of the rows, or on one fold."""
        phase = "one fold" if self.some is None else "sample"
        tolerance = OF_FOLD if self.some is None else OF_SAMPLE
        until = Until(tolerance, max(1, self.settings.max_iter // 2))
        record, begin = partial(self._record_some, phase, first), From(theta, W)
        found, status, n_iter = minimise(first, rule, begin, self.box, until, record)
        self.n_iter += n_iter
        # the Hessian of one fold, well solved, serves all: theirs would need as good tangents, one
        # a fold
        _, hess_error = rule.hessian(found)
        if self.some is None and hess_error > 0.2 and status != "stopped":
            accuracy = Accuracy(0.05, 0.05, tangents=0.01)
            at = found.predict(0 * found.theta)
            found = first.evaluate(found.theta, at, accuracy, Q=found.Q, T=found.T)
            rule.restore({"hint": (found.hess, 0.0)})
            status = "stopped" if record(found, accuracy, True) else status
        return found, status

    def _record_some(self, phase, first, found, accuracy, is_accepted):
        """Notes an evaluation of a sample as what it tells of all rows."""
        if phase == "sample":
            found = start.times(found, self.bound.fold_weights.sum() / first.fold_weights.sum())
        return self.run.record(phase, found, accuracy, is_accepted)

    def single(self):
        """(θ, w) at the best single strength, the hyperparameters beside the penalty at their
        start: where many begin. On one fold where all would cost much; on all rows, also those
        that are held back."""
        best, starts = None, self.seen.single_rays
        if not self.is_small:
            ray, level, W = start.look_at_three(self.seen, self.box)
            starts = (ray,)
        for ray in starts:
            single, along = start.single_strength(self.whole, self.seen, ray)
            box = Box(*start.default_box(single.inner, ray.scales))
            if self.is_small:

                def record(found, accuracy, is_accepted, ray=ray):
                    theta = np.clip(ray.level(float(found.theta[0])), *self.box)
                    return self.run.record("look", replace(found, theta=theta), accuracy, False)

                looks, _ = start.look_everywhere(single, along, box, record)
                at = (looks[0].found.theta, looks[0].W) if looks else (None, None)
            else:
                # of one fold: no record
                single, record = single.one_fold(0), lambda *_: self.run.is_late()
                at = along.level(level), W
            if at[0] is None:
                continue
            until = Until(self.settings.tolerance, self.settings.max_iter)
            found, _, _ = minimise(single, METHODS["newton"](), From(*at), box, until, record)
            if best is None or found.value < best[1].value:
                best = ray, found
        if best is None:
            theta = self.bound.inner.start(0.0)
            return np.clip(theta, *self.box), self.bound.inner.null.W
        ray, found = best
        theta = np.clip(ray.level(float(found.theta[0])), *self.box)
        self.best_single = theta, found.predict(0 * found.theta)
        return self.best_single

    def on_all_rows(self, best, status):
        """The evaluation on all rows, also those that were held back, at the best θ or at the best
        single strength where that is lower."""
        penalty, found = self.seen.inner.penalty, []
        whole = replace(self.whole, inner=replace(self.whole.inner, penalty=penalty))
        at = [(status, best.theta, best.predict(0 * best.theta))]
        if self.best_single is not None:
            at.append(("no_better", *self.best_single))
        for now, theta, W in at:
            one = whole.evaluate(theta, W, ON_ALL_ROWS, has_tangents=False)
            self.run.record("all rows", one, ON_ALL_ROWS, False)
            found.append((one, now))
        one, now = min(found, key=lambda one: one[0].value if one[0].is_solved else np.inf)
        return one, now if one.is_solved else "inner_failed"

    def improved(self, best, status, look):
        """The best of this evaluation and of searches from what a look promises to be better; f may
        have more than one valley, and a start on a plateau is no optimum."""
        is_open = (
            self.finds_nothing(best) or status == "inner_failed" or self.is_plateau(best, status)
        )
        if look is None and (is_open or len(self.far(best))):
            look, is_stopped = self.look()
            status = "stopped" if is_stopped else status
        for one in self.of_other_rays() if best.is_solved and status != "stopped" else ():
            found, now = self.minimise(self.settings.new_rule(self.seen), one.found.theta, one.W)
            if found.is_solved and found.value < best.value:
                best, status, self._all_rows = found, now, None
        for _ in range(ROUNDS):
            before, candidates = best, self.candidates(best, look or ())
            for value, theta, W in candidates:
                if not self.is_lower(value, best) or status == "stopped":
                    continue
                found, now = self.minimise(self.settings.new_rule(self.seen), theta, W)
                is_better = found.is_solved and found.value < best.value
                if is_better or not (best.is_solved and np.isfinite(best.value)):
                    best, status, self._all_rows = found, now, None
                status = now if now == "stopped" else status
            if best is before:
                break
        return best, status

    def finds_nothing(self, best):
        """Whether f is no lower than that of the null model."""
        bound = self.bound
        return not best.value < bound.null_value - 10 * self.tol * bound.size(best.value)

    def of_other_rays(self):
        """The best look of every ray but that of the best of all: where units of strengths differ
        much these are other places, and f has other valleys there."""
        rays = [id(one.ray) for one in self.looks]
        return [one for k, one in enumerate(self.looks) if rays[k] not in rays[:k]][1:]

    def is_lower(self, value, best):
        is_known = abs(best.value) < np.inf and best.is_solved
        return not is_known or value < best.value - self.tol * self.bound.size(best.value)

    def candidates(self, best, looks):
        """(value, θ, w) that are lower than the best evaluation as far as their errors tell, the
        lowest first, the null model among them."""
        null, null_value = self.bound.inner.null, self.bound.null_value
        found = [*(one.found for one in looks), *self.far_ones(best)]
        if self.piloted_from is not None:  # what one fold made worse is not believed
            args = self.piloted_from, self.box, best
            before, self.piloted_from = start.evaluate_loosely(self.bound, *args), None
            found += [] if before is None else [before]
        found = [one for one in found if self.is_lower(one.value + one.value_error, best)]
        found = sorted(found, key=lambda one: one.value)[: start.FEW_MORE]
        found = [(one.value, one.theta, one.predict(0 * one.theta)) for one in found]
        if self.is_lower(null_value, best):
            found.append((null_value, self.box.upper, null.W))
        return sorted(found, key=lambda one: one[0])

    def is_plateau(self, best, status):
        """Whether a start at which the search ended without a step is none of a valley: f is lower,
        or the same, far to both sides."""
        if status != "converged" or self.n_iter > 0:
            return False
        ray, allowed = self.seen.rays[0], self.tol * self.bound.size(best.value)
        away = FLAT * (ray.level(1.0) - ray.level(0.0))
        found = [self.value_at(best, best.theta + sign * away) for sign in (-1, 1)]
        return min(found) < best.value - allowed or max(found) <= best.value + allowed

    def is_far(self, theta):
        """Which hyperparameters are so far from the scale of the data that f hardly depends on
        them, and not for want of room."""
        nearer = np.clip(np.clip(theta, -FAR, FAR), *self.box)
        return np.abs(nearer - theta) > FLAT

    def far(self, best):
        """The numbers of those at an evaluation, if hyperparameters are few."""
        if not (1 < len(best.theta) <= FEW and self.is_small and best.is_solved):
            return np.empty(0, int)
        return np.flatnonzero(self.is_far(best.theta))

    def value_at(self, best, theta):
        """f at θ, loosely, from an evaluation elsewhere; infinite where it is not solved."""
        found = start.evaluate_loosely(self.bound, theta, self.box, best)
        return np.inf if found is None else found.value

    def far_ones(self, best):
        """Evaluations with one of those moved back to about the scale of the data: f may be lower
        between."""
        found, record = [], partial(self.run.record, "look")
        for j in self.far(best):
            for level in np.sign(best.theta[j]) * FAR * np.array([0.0, 0.5, 0.75, 1.0]):
                theta = np.where(np.arange(len(best.theta)) == j, level, best.theta)
                one = start.evaluate_loosely(self.bound, theta, self.box, best)
                if one is not None and not record(one, start.LOOSE, False):
                    found.append(one)
        return found

    def solution_on_all_rows(self, best, W):
        """Near the solution on all rows at the best θ, whose fold solutions are `W`."""
        units = self.bound.inner.units
        if self._all_rows is None:
            return units.fold_mean(W)
        theta, W_all = self._all_rows
        for tangent, step in zip(best.T or (), best.theta - theta, strict=False):
            W_all = W_all + units.fold_mean(tangent) * float(step)
        return W_all
