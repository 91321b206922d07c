"""The null model: w = 0 and the intercept at its own optimum. What "no features" predicts is where
searches start, what criteria are compared with, and where the scale of a feature is measured; at
predictions of 0 all of these would depend on the units of the targets.

All losses are convex in the intercept, and no row of X is read to find it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fasthoag.design.rows import TRAIN, Curvature, to_host

RAREST = 1e-9  # of a class, and of a mean under a log link: where the best intercept is infinite
MAX_STEPS = 200
FLAT = 1e-12  # of the weight of the rows, a slope that is rounding; of a loss, its rounding


@dataclass(frozen=True, eq=False)
class Null:
    """``b`` (n_columns,): the intercepts of all columns, 0 without one; ``W`` (n_coef, n_columns):
    the same as coefficients of the design."""

    b: np.ndarray
    W: Any


def null_model(inner):
    """The `Null` of an inner problem."""
    design, m = inner.design, inner.units.n_columns
    b = best_intercepts(inner) if design.has_intercept else np.zeros(m)
    W = design.zeros(m)
    if b.any():  # 0 without an intercept
        last = design.xp.asarray(b[None, :] / design.coefficients.intercept)
        W = design.xp.concat([W[:-1, :], last], axis=0)
    return Null(b, W)


def best_intercepts(inner):
    """The minimisers of Σ s ℓ(y, offset + b), (n_columns,); where they are not unique, those next
    to the middle of the targets, and where they are infinite, far out."""
    if inner.units.n_classes > 1:
        return best_of_classes(inner)
    rows, loss = inner.rows, inner.loss
    start, spread = first_guess(loss, rows.y, row_weights(rows), rows.offset)

    def sums(order, b):
        terms = rows.terms(loss, order, TRAIN, rows.at_constant(b))
        return rows.reduce(sums_and_sizes, terms)

    b, low, high = start, np.full(len(start), -np.inf), np.full(len(start), np.inf)
    reach, is_open = np.full(len(start), spread), np.ones(len(start), bool)
    for _ in range(MAX_STEPS):
        (slope, size), (curvature, _) = sums(1, b), sums(2, b)
        is_open &= np.abs(slope) > 16 * np.finfo(np.float64).eps * size
        if not is_open.any():
            break
        high, low = np.where(slope > 0, b, high), np.where(slope < 0, b, low)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = b - slope / curvature
        is_inside = np.isfinite(newton) & (newton > low) & (newton < high)
        is_bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):
            middle = np.where(is_bounded, 0.5 * (low + high), b - np.sign(slope) * reach)
        # a Newton step may go far where the curvature is nearly 0
        is_far = ~is_bounded & (np.abs(newton - b) > reach)
        new = np.where(is_inside & ~is_far, newton, middle)
        reach = np.where(is_bounded, reach, 2 * reach)
        new = np.where(is_open, new, b)
        is_open &= np.abs(new - b) > 1e-14 * (spread + np.abs(b))
        is_open &= np.abs(new - start) < 40 * spread
        b = new
    return b


def sums_and_sizes(block, terms):
    """Sums of columns and of their absolute values, (2, m)."""
    xp = block.xp
    # a column at a time: absolute values of all would be one more array of every row and fold
    sizes = [xp.sum(xp.abs(terms[:, j])) for j in range(terms.shape[1])]
    return xp.stack([xp.sum(terms, axis=0), xp.stack(sizes)])


def row_weights(rows):
    """Weights of the rows that train, (n_rows, n_folds), on the host."""
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    if rows.mask is None:
        return weight[:, None]
    return weight[:, None] * ((rows.mask & TRAIN) != 0)


def first_guess(loss, y, weight, offset=None):
    """A first intercept for every fold and the size of a step that reaches others, both in the unit
    of the predictions."""
    total = np.maximum(weight.sum(axis=0), 1e-300)
    reach = 1.0 if offset is None else 1.0 + float(np.ptp(offset))
    if loss.is_classification:
        of_classes = (weight[side].sum(axis=0) for side in (y > 0, y <= 0))
        above, below = (np.log(np.maximum(one, RAREST * total)) for one in of_classes)
        mean = 0.0 if offset is None else offset @ weight / total
        return above - below - mean, reach  # of -y it is the negative, to the bit
    if loss.has_log_link:
        # of Poisson the best one itself
        whole = float((weight.sum(axis=1) * y).sum() / total.sum())
        means = np.maximum(y @ weight / total, RAREST * (whole or 1.0))
        return np.log(means) - log_mean_exp(offset, weight, total), reach
    y = less_offset(loss, y, offset)
    share = (loss.parameters or {}).get("quantile", 0.5)
    if loss.is_quadratic:
        guess = y @ weight / total
    else:
        guess = np.array([weighted_quantile(y, column, share) for column in weight.T])
    return guess, float(np.ptp(y)) or float(np.abs(y).max()) or 1.0


def less_offset(loss, y, offset):
    """Targets less the offset where they are in its unit: not of classes, nor under a log link."""
    is_in_unit = not (offset is None or loss.is_classification or loss.has_log_link)
    return y - offset if is_in_unit else y


def log_mean_exp(offset, weight, total):
    """log of the mean of exp(offset) in every fold: where the offset is the logarithm of an
    exposure, that of the mean exposure."""
    if offset is None:
        return 0.0
    top = float(offset.max())
    # e <= 1: never overflows
    means = (np.exp(offset - top)[:, None] * weight).sum(axis=0) / total
    return top + np.log(np.maximum(means, 1e-300))


def weighted_quantile(y, weight, share):
    """The quantile of y, a weight counting as copies of its row; between two values their middle,
    so that that of -y is the negative of another."""
    is_there = weight > 0
    if not is_there.any():
        return 0.0
    y, weight = y[is_there], weight[is_there]
    if (weight == weight[0]).all():  # no order of all is needed, which takes ten times as long
        low, high = places_at(np.arange(1.0, len(y) + 1), share)
        y = np.partition(y, (low, high))
    else:
        order = np.argsort(y, kind="stable")
        y = y[order]
        low, high = places_at(np.cumsum(weight[order]), share)
    return 0.5 * float(y[low] + y[high])


def places_at(total, share):
    """Between which values a share of the weight lies, of which these are the sums up to each."""
    at, slack, last = share * total[-1], 1e-12 * total[-1], len(total) - 1
    low = np.searchsorted(total, at - slack, side="left")
    high = np.searchsorted(total, at + slack, side="right")
    return min(low, last), min(high, last)


def best_of_classes(inner):
    """The best intercepts of all classes in every fold, (n_columns,), whose mean is 0: without an
    offset logarithms of their shares, beside one Newton's method from there, regularised by the
    slope (Li, Fukushima, Qi & Yamashita 2004), as the loss may be nearly straight far out."""
    b, rows, K = log_shares(inner), inner.rows, inner.units.n_classes
    if rows.offset is None or not rows.offset.any():
        return b
    loss, weight = inner.loss, row_weights(rows)
    total = np.maximum(weight.sum(axis=0), 1e-300)
    b = b.reshape(-1, K) - weight.T @ rows.offset / total[:, None]
    common, unit = np.full((K, K), 1 / K**2), np.eye(K)

    def value_at(b):
        values = rows.sums(loss, TRAIN, rows.at_constant(b.ravel()))
        return np.asarray(values).reshape(-1, K).sum(axis=1)

    value = value_at(b)
    for _ in range(MAX_STEPS):
        Z = rows.at_constant(b.ravel())
        slope = rows.reduce(sums_and_sizes, rows.terms(loss, 1, TRAIN, Z))[0].reshape(b.shape)
        size = np.abs(slope).max(axis=1)
        if (size <= FLAT * total).all():
            break
        hess = rows.reduce(partial(hessians, K), rows.terms(loss, 2, TRAIN, Z))
        # a constant for all classes changes nothing, and has a curvature all the same
        least = 0.1 * size + FLAT * total
        hess = hess + total[:, None, None] * common + least[:, None, None] * unit
        step = np.linalg.solve(hess, slope[:, :, None])[:, :, 0]
        share, is_lower = np.ones(len(b)), np.zeros(len(b), bool)
        for _ in range(40):
            new = b - share[:, None] * step
            found = value_at(new)
            is_lower = found <= value + FLAT * np.abs(value)  # the last steps gain rounding only
            if is_lower.all():
                break
            share = np.where(is_lower, share, 0.5 * share)
        b, value = np.where(is_lower[:, None], new, b), np.where(is_lower, found, value)
    return (b - b.mean(axis=1, keepdims=True)).ravel()


def hessians(K, block, terms):
    """Σ (diag(s p) - s p pᵀ) of every fold, (n_folds, K, K), from s p of all rows."""
    xp = block.xp
    a = xp.permute_dims(xp.reshape(terms, (terms.shape[0], -1, K)), (1, 2, 0))
    s = xp.sum(a, axis=1, keepdims=True)
    p = a / xp.where(s > 0, s, xp.ones_like(s))
    diagonal = xp.sum(a, axis=2)[:, :, None] * xp.asarray(np.eye(K))[None]
    return diagonal - a @ xp.permute_dims(p, (0, 2, 1))


def log_shares(inner):
    """Logarithms of the shares of all classes in every fold, (n_columns,); their mean is 0."""
    rows, loss, K = inner.rows, inner.loss, inner.units.n_classes
    weight = row_weights(rows)
    shares = np.stack([weight[rows.y == c].sum(axis=0) for c in range(K)], axis=1)
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)
    smoothing = (loss.parameters or {}).get("smoothing", 0.0)
    b = np.log(np.maximum((1 - smoothing) * shares + smoothing / K, RAREST))
    return (b - b.mean(axis=1, keepdims=True)).ravel()


def feature_scales(inner):
    """diag(XᵀDX) at the null model on all rows, (n_features,), that of the columns less their means
    beside an intercept: what λ is measured against, feature by feature. A constant, which the
    intercept is already, has 0.

    Where hardly a row is curved there (all within the tube of a loss, say) D is at least a tenth of
    the curvature ``ℓ'² / (2 ℓ)`` of parabolas with the same values and slopes."""
    design, whole = inner.design, inner if inner.rows.mask is None else inner.all_rows()
    rows, loss, E = whole.rows, whole.loss, design.coefficients
    Z = rows.at_constant(whole.null.b)
    c = rows.mean(whole.curvature(Z))
    if loss.n_classes == 1:
        terms = (rows.terms(loss, order, TRAIN, Z) for order in (0, 1))
        weight = row_weights(rows)[:, 0].sum()
        slopes = rows.map(chords, *terms)
        total, least = (
            float(rows.reduce(lambda block, a: block.xp.sum(a), h)) for h in (c.values, slopes)
        )
        if not total > 0.1 * least:
            factor = 0.1 * least / total if total > 1e-3 * least else 0.0
            handle = rows.map(lambda _, a, s: factor * a if factor else s, c.values, slopes)
            c = Curvature(handle)
            if least == 0:  # every row is fitted without features
                mean = weight / len(rows.y)
                c = Curvature(rows.map(lambda block, a: 0 * a + mean, c.values))
    diagonal = to_host(design.hess_diag(c))[:, 0]
    if design.has_intercept:
        sums = to_host(design.rmatvec(c.values))[:, 0]
        left = diagonal[:-1] - sums[:-1] ** 2 / max(sums[-1] / E.intercept, 1e-300)
        diagonal[:-1] = np.where(left > 1e-10 * diagonal[:-1], left, 0.0)
    return E.unspread(diagonal)[: inner.n_features]


def chords(block, value, slope):
    """s ℓ'² / (2 ℓ) from s ℓ and s ℓ'; both carry the weight once, which is left once."""
    xp = block.xp
    is_there = value > 0
    return xp.where(is_there, slope * slope / (2 * xp.where(is_there, value, 1.0 + 0 * value)), 0.0)
