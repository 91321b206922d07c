"""Coefficients without a penalty, of which the rows of every fold must tell everything: where they
cannot, a coefficient is taken out of that fold, or there is no finite one and that is an error."""

from dataclasses import dataclass, replace

import numpy as np

from fasthoag.design.rows import HELD_OUT, TRAIN, to_host
from fasthoag.null import row_weights

MOST = 1 << 23  # numbers in a block of columns
MOST_ALIASED = 4e9  # products of numbers with which combinations of columns are sought
MOST_SEPARATED = 2_000_000  # numbers of different rows up to which a linear program is solved
ALIASED = 1e-10  # of a column, what others leave of it


@dataclass(frozen=True, eq=False)
class Free:
    """Features without a penalty (k,) and their columns on the host, (n_rows, k), less what a
    design beside an intercept subtracts from them."""

    features: np.ndarray
    columns: np.ndarray


def free_features(penalty, n_features):
    """Features that no class penalises, (k,)."""
    strengths = penalty.strengths(penalty.start(0.0, n_features), n_features)
    return np.flatnonzero((strengths if strengths.ndim == 1 else strengths.max(axis=1)) <= 0)


def free_columns(design, features):
    """The `Free` of these features in the rows of a design."""
    xp, k = design.xp, len(features)
    unit = np.zeros((design.shape[1] + design.has_intercept, k))
    unit[numbers_of_user(design, features), np.arange(k)] = 1.0
    V = design.encode(unit)
    if design.has_intercept:
        V = xp.concat([V[:-1, :], xp.zeros((1, k))], axis=0)
    return Free(features, to_host(design.matvec(V)))


def numbers_of_user(design, features):
    """What the user calls these features of an inner problem."""
    return features if design.compression is None else design.compression.kept[features]


def blocks(design, features):
    """`Free` of all features in turn, as many at once as a block of columns may have."""
    step = max(1, MOST // max(1, design.shape[0]))
    for k in range(0, len(features), step):
        yield free_columns(design, features[k : k + step])


def settled(inner, beyond=None):
    """The inner problem of a criterion whose coefficients without a penalty are all determined:
    where the rows that train in a fold tell nothing of one (an empty column, a sum of others) while
    other rows do, it has a strength there, which makes it 0. `beyond` is the design of rows that
    judge and never train.

    Raises
    ------
    ValueError
        Where the rows that train in a fold determine none that is finite.
    """
    features = free_features(inner.penalty, inner.n_features)
    if len(features) == 0:
        return inner
    trains = row_weights(inner.rows) > 0
    anchors = np.zeros((inner.n_features, inner.n_folds))
    for free in blocks(inner.design, features):
        check_finite_fit(inner, free, trains)
        other = None if beyond is None else free_columns(beyond, free.features).columns
        anchors[free.features] = undetermined(inner, free, trains, other)
    if not anchors.any():
        return inner
    return replace(inner, anchors=anchors * mean_curvature(inner))


def undetermined(inner, free, trains, other):
    """Squares of the columns that a fold's training rows do not determine but others do, (k,
    n_folds), else 0."""
    columns, ones = free.columns, inner.design.has_intercept
    is_used = used(inner.rows)
    whole = [columns[is_used]] + ([] if other is None else [other])
    squares = sum((block * block).sum(axis=0) for block in whole)
    is_always = aliased(np.concatenate(whole), ones)
    found = np.stack([aliased(columns[rows], ones) & ~is_always for rows in trains.T], axis=1)
    return squares[:, None] * found


def used(rows):
    """Rows that train or judge somewhere, (n_rows,)."""
    weight = np.ones(len(rows.y)) if rows.weight is None else rows.weight
    if rows.mask is None:
        return weight > 0
    return (weight > 0) & ((rows.mask & (TRAIN | HELD_OUT)) != 0).any(axis=1)


def aliased(columns, has_intercept):
    """Whether each column is 0 or a combination of those before it and of the intercept, (k,); of
    many columns only which are 0."""
    n, k = columns.shape
    sizes = np.linalg.norm(columns, axis=0)
    found = sizes == 0
    if n * k * k > MOST_ALIASED:
        return found
    Q = np.zeros((n, k + 1))
    n_taken = int(has_intercept)
    Q[:, :n_taken] = n**-0.5 if n else 0.0
    for j in np.flatnonzero(~found):
        v = columns[:, j] / sizes[j]
        for _ in range(2):  # the second time takes away the rounding of the first
            v = v - Q[:, :n_taken] @ (Q[:, :n_taken].T @ v)
        left = np.linalg.norm(v)
        found[j] = left <= ALIASED
        if not found[j]:
            Q[:, n_taken] = v / left
            n_taken += 1
    return found


def n_determined(inner):
    """How many coefficients without a penalty the rows that train determine, the intercept's
    among them."""
    features = free_features(inner.penalty, inner.n_features)
    n_found = int(inner.design.has_intercept)
    trains = (row_weights(inner.rows) > 0)[:, 0]
    for free in blocks(inner.design, features):
        n_found += int((~aliased(free.columns[trains], inner.design.has_intercept)).sum())
    return n_found


def mean_curvature(inner):
    """Of the rows that train at the null model; 1 where there is none."""
    rows = inner.rows
    c = inner.curvature(rows.at_constant(inner.null.b)).values
    total = float(rows.reduce(lambda block, c: block.xp.sum(c), c))
    return total / max(row_weights(rows).sum(), 1e-300) / inner.loss.n_classes or 1.0


def check_finite_fit(inner, free, trains):
    """Raises ValueError where a fold's training rows drive coefficients without a penalty to
    infinity: these alone tell classes apart, or counts of 0 from others."""
    for fold in (None, *range(trains.shape[1] if inner.rows.mask is not None else 0)):
        found = separated(inner, free, trains.any(axis=1) if fold is None else trains[:, fold])
        if found is None:
            continue
        where = "" if fold is None else f" in the training part of fold {fold}"
        raise ValueError(
            f"X has features without a penalty (penalty_factor 0), {found[0]}, that separate "
            f"{found[1]} from other rows{where}, as a level does that is seen with one class only: "
            "the loss falls for ever as their coefficients grow, so that no finite ones are best. "
            "Give them a positive penalty_factor or strength, join rare levels or drop the features"
        )


def separated(inner, free, rows):
    """Which of these features tell what apart in these rows, as two phrases, or None."""
    for what, side in sides_of(inner.loss, inner.rows.y):
        args = free.columns[rows], side[rows], inner.design.has_intercept
        several = inner.loss.n_classes > 1 and what == "classes"
        direction = between_classes(*args) if several else separation(*args)
        if direction is not None:
            features = free.features[np.abs(direction) > 1e-6][:5]
            features = numbers_of_user(inner.design, features)
            return ", ".join(map(str, features)), what
    return None


def separated_at_once(inner):
    """The same of all features without a penalty and of all rows that train."""
    features = free_features(inner.penalty, inner.n_features)
    trains = (row_weights(inner.rows) > 0).any(axis=1)
    found = (separated(inner, free, trains) for free in blocks(inner.design, features))
    return next((one for one in found if one is not None), None)


def between_classes(columns, y, has_intercept):
    """The same of the multinomial loss: coefficients of every class along which no row's class
    loses to another, and some win."""
    A = np.column_stack([columns / usual_size(columns), np.ones(len(y))])
    A = A if has_intercept else A[:, :-1]
    each = np.unique(np.column_stack([y, A]), axis=0)
    label, A, K = each[:, 0].astype(int), each[:, 1:], int(y.max()) + 1
    if A.size * K * K > MOST_SEPARATED:
        return None
    A = A / np.maximum(np.abs(A).max(axis=1, keepdims=True), 1e-300)
    moves = []
    for c in range(K):
        row = np.zeros((len(A), K, A.shape[1]))
        row[np.arange(len(A)), label] += A
        row[:, c] -= A
        moves.append(row[label != c].reshape(-1, K * A.shape[1]))
    found = solve_program(np.concatenate(moves), {})
    if found is None:
        return None
    by_feature = np.abs(found.reshape(K, -1)[:, : columns.shape[1]]).max(axis=0)
    return by_feature if by_feature.max() > 1e-6 else None


def sides_of(loss, y):
    """For every way in which a loss may fall for ever, what is told apart and the sign that
    predictions would grow to in each row, (n_rows,), 0 where they must not change."""
    parts = loss.mixed or (loss,)
    is_smoothed = any((one.parameters or {}).get("smoothing", 0) for one in parts)
    if loss.n_classes > 1:
        every = [(f"class {c}", np.where(y == c, 1, -1)) for c in range(loss.n_classes)]
        return [] if is_smoothed else [*every, ("classes", y)]
    if loss.is_classification:
        has_tail = any(not (one.has_kinks or one.is_quadratic) for one in parts)
        is_smoothed &= any(one.name == "logistic" for one in parts)
        return [("the classes", np.sign(y))] if has_tail and not is_smoothed else []
    if loss.has_log_link and (y == 0).any() and (y > 0).any():
        return [("targets of 0", np.where(y == 0, -1, 0))]
    return []


def separation(columns, side, has_intercept):
    """A direction (k,) along which predictions of every row stand still or move to its side, or
    None."""
    if len(columns) == 0 or not (side != 0).any() or not columns.any():
        return None
    k = columns.shape[1]
    for j in range(k):
        sign = one_column(columns[:, j], side, has_intercept)
        if sign:
            return sign * (np.arange(k) == j)
    if k == 1:
        return None
    each = np.unique(np.column_stack([side, columns / usual_size(columns)]), axis=0)
    if each.size > MOST_SEPARATED:
        return None
    return program(each[:, 1:], each[:, 0], has_intercept)


def usual_size(columns):
    """The median of the absolute values of every column that are not 0, (k,)."""
    each = (np.abs(column[column != 0]) for column in columns.T)
    return np.array([np.median(one) if len(one) else 1.0 for one in each])


def one_column(x, side, has_intercept):
    """The sign with which one column (beside the intercept) moves rows to their sides only, or
    0."""
    up, down, still = (x[side == one] for one in (1, -1, 0))
    for sign in (1.0, -1.0):
        low = max((sign * down).max(initial=-np.inf), (sign * still).max(initial=-np.inf))
        high = min((sign * up).min(initial=np.inf), (sign * still).min(initial=np.inf))
        # a constant c with sign x - c on the side of every row; without an intercept it is 0
        moves = low <= high if has_intercept else low <= 0 <= high
        c = 0.0 if not has_intercept else low if np.isfinite(low) else high
        if moves and ((sign * up > c).any() or (sign * down < c).any()):
            return sign
    return 0.0


def program(columns, side, has_intercept):
    """The same of all columns together, by a linear program."""
    k = columns.shape[1]
    A = np.column_stack([columns, np.ones(len(side))]) if has_intercept else columns
    A = A / np.maximum(np.abs(A).max(axis=1, keepdims=True), 1e-300)  # no row is beyond the others
    moves, still = side[:, None] * A, A[side == 0]
    options = {} if not len(still) else {"A_eq": still, "b_eq": np.zeros(len(still))}
    found = solve_program(moves, options)
    return found[:k] if found is not None and np.abs(found[:k]).max() > 1e-6 else None


def solve_program(moves, options):
    """d in [-1, 1] with ``moves d >= 0`` and as large as may be in sum, or None if that is 0."""
    from scipy.optimize import linprog

    solved = linprog(
        -moves.sum(axis=0),
        A_ub=-moves,
        b_ub=np.zeros(len(moves)),
        bounds=[(-1, 1)] * moves.shape[1],
        **options,
    )
    if solved.x is None:
        return None
    margins = moves @ solved.x
    # HiGHS keeps constraints to 1e-7
    return solved.x if margins.max() > 1e-3 and margins.min() > -1e-6 else None
