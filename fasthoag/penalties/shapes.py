"""What a penalty does to coefficients of given strengths: everything that solvers, hypergradients
and searches ask of it, in one place."""

from dataclasses import dataclass
from typing import Any, Protocol

from fasthoag.types import Array, Block


class Shape(Protocol):
    """``P(w) = Σ_j λ_j ψ_j(w)``, piecewise quadratic in w: its third derivative is 0.

    P is linear in the strengths, so that a shape is told at strengths of 1 and they multiply what
    it says: ``λ * gradient(W)`` is the gradient of P, ``∂λ/∂θ * gradient(W)`` the cross-derivative
    ∂²P/∂θ∂w. A ψ_j may depend on other coefficients than w_j where these have the same strength.

    Blocks W and V are (n_coef, m), in the design's coefficients; a strength of 0, such as the
    intercept's, leaves a coefficient alone."""

    name: str
    is_smooth: bool  # else solutions may sit on kinks, where coefficients do not move: `support`

    def values(self, W: Block) -> Block: ...  # ψ_j(w) of every coefficient, (n_coef, m)
    def gradient(self, W: Block) -> Block: ...  # of Σ ψ_j, (n_coef, m); 0 on a kink
    def product(
        self, W: Block, V: Block
    ) -> Block: ...  # the Hessian of Σ ψ_j times V, off the kinks
    def diagonal(self, W: Block) -> Block | float: ...  # of that Hessian, (n_coef, m), or a number
    def prox(self, lam: Block, W: Block) -> Block: ...  # argmin_v ½ |v - w|² + P(v)
    # the coefficients that move when strengths do, (n_coef, m) of bool; None for all
    def support(self, lam: Block, W: Block) -> Block | None: ...
    # strengths of features (n_features,) at which the penalty weighs as much as the data; 0 for
    # those that tell nothing
    def scales(self, inner: Any) -> Array: ...


@dataclass(frozen=True)
class Quadratic:
    """``ψ(w) = ½ w²``: ridge.

    Examples
    --------
    >>> import numpy as np
    >>> from fasthoag.penalties import QUADRATIC
    >>> QUADRATIC.values(np.array([[3.0, 1.0]]))
    array([[4.5, 0.5]])
    """

    name = "quadratic"
    is_smooth = True

    def values(self, W: Block) -> Block:
        return 0.5 * W * W

    def gradient(self, W: Block) -> Block:
        return W

    def product(self, W: Block, V: Block) -> Block:
        return V

    def diagonal(self, W: Block) -> Block | float:
        return 1.0

    def prox(self, lam: Block, W: Block) -> Block:
        return W / (1.0 + lam)

    def support(self, lam: Block, W: Block) -> Block | None:
        return None

    def scales(self, inner: Any) -> Array:
        """The curvature of the loss at the null model."""
        return inner.curvature_scales


QUADRATIC = Quadratic()
