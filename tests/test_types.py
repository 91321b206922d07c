"""Public names say the types of what they take and give. (That these are right is for `make lint`,
which checks tests/typed_use.py with them.)"""

import inspect

import pytest

import fasthoag
from fasthoag import datasets, plots
from fasthoag.criteria import BoundCriterion, Criterion
from fasthoag.design.rows import Design, Rows
from fasthoag.losses import Loss
from fasthoag.outer.rules import StepRule
from fasthoag.penalties import Penalty, Shape
from fasthoag.tuned import Tuned

PROTOCOLS = [Criterion, Design, Penalty, Rows, Shape, StepRule, Tuned]
PUBLIC = [getattr(fasthoag, name) for name in fasthoag.__all__] + [BoundCriterion, Loss, *PROTOCOLS]
PUBLIC += [getattr(module, name) for module in (datasets, plots) for name in module.__all__]


def functions_of(public):
    """A function itself; of a class its public methods and properties."""
    if inspect.isfunction(public):
        return [public]
    ours = [cls for cls in public.__mro__ if cls.__module__.startswith("fasthoag")]
    members = [value for cls in ours for name, value in vars(cls).items() if name[0] != "_"]
    members = [one.fget if isinstance(one, property) else one for one in members]
    return [one for one in members if inspect.isfunction(one)]


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_every_public_function_is_annotated(public):
    for function in functions_of(public):
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, function
        parameters = [one for one in signature.parameters.values() if one.name != "self"]
        assert all(one.annotation is not one.empty for one in parameters), function
