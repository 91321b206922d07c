"""Where X lives. `rows` has the protocols that all designs keep, `make` chooses the design."""

from fasthoag.design.rows import (
    HELD_OUT,
    TRAIN,
    UNWEIGHTED,
    Curvature,
    LossGrad,
    RowBlock,
    is_on_device,
    to_host,
)

MAX_HOT = (
    8192  # of Design.n_hot: 20 newsgroups has 84 % of its entries in as many of 130,107 columns
)

__all__ = [
    "HELD_OUT",
    "MAX_HOT",
    "TRAIN",
    "UNWEIGHTED",
    "Curvature",
    "LossGrad",
    "RowBlock",
    "is_on_device",
    "to_host",
]
