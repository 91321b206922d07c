"""Where blocks of rows live: in this process, or on the workers of a cluster.

A `Place` holds the blocks. What happens to them is a `Task`: a function of what is kept there,
under numbers, whose result stays under a number or is sent back. A `Store` is this side of it, and
a `Handle` what it knows of arrays that are kept.
"""

import itertools
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fasthoag.design.blocks import Each
from fasthoag.design.rows import Curvature

SOURCE = 0  # the number under which a place keeps what it was given as a block


class Ref(NamedTuple):
    """What a place keeps under this number."""

    number: int


class Task(NamedTuple):
    """A call ``f(*args)`` for every block. What is kept in `args` is there as `Ref`, what differs
    from block to block as `Each`. The result stays under the number `keeps`, or is sent back, or
    both: it is a pair then."""

    f: Any
    args: tuple
    keeps: Any = None
    is_sent: bool = False


@runtime_checkable
class Place(Protocol):
    """Where blocks live. It starts with what each is made of under the number `SOURCE`."""

    n_blocks: int
    is_here: bool  # whether a call costs nothing, so that nothing has to wait for the next one

    # What the tasks send back, a list of their results in order for every block; then the released
    # numbers are forgotten.
    def run(self, tasks, released): ...
    def beside(self, blocks): ...  # a place of the same kind with other blocks


class Shard:
    """A block where it lives: what is kept of it, by number."""

    def __init__(self, index, source):
        self.index, self.kept = index, {SOURCE: source}

    def run(self, tasks, released):
        """What is sent back, and the faults. Others of the tasks, which somebody may need later,
        have their results."""
        sent, faults = [], []
        for task in tasks:
            try:
                result = task.f(*map(self._found, task.args))
            except Exception as fault:
                faults.append(fault)
                continue
            if task.keeps is not None:
                kept, result = result if task.is_sent else (result, None)
                self.kept[task.keeps] = kept
            if task.is_sent:
                sent.append(result)
        for number in released:
            self.kept.pop(number, None)
        return sent, faults

    def _found(self, arg):
        if isinstance(arg, Each):
            return arg.values[self.index]
        if isinstance(arg, Curvature):
            return replace(arg, values=self._found(arg.values))
        return self.kept[arg.number] if isinstance(arg, Ref) else arg


def run_all(shards, tasks, released):
    """What all shards send back; raises the first fault in the end."""
    sent, faults = zip(*(shard.run(tasks, released) for shard in shards), strict=True)
    for fault in itertools.chain(*faults):
        raise fault
    return list(sent)


class HerePlace:
    """Blocks in this process."""

    is_here = True

    def __init__(self, blocks):
        self.shards = [Shard(i, block) for i, block in enumerate(blocks)]
        self.n_blocks = len(self.shards)

    def run(self, tasks, released):
        return run_all(self.shards, tasks, released)

    def beside(self, blocks):
        return HerePlace(blocks)


class Store:
    """This side of a place: hands out numbers, and calls it. Where a call costs something, what
    needs no answer waits for one that does; so do its faults, and what nobody has a handle of any
    more is forgotten then."""

    def __init__(self, place):
        self.place, self.next = place, SOURCE + 1
        self.waiting, self.released = [], []

    def keep(self, f, *args):
        """The handle of what ``f(*args)`` gives for every block."""
        handle = self._add(f, args, is_kept=True, is_sent=False)
        if self.place.is_here:
            self._run()
        return handle

    def ask(self, f, *args):
        """What ``f(*args)`` gives for every block, a list."""
        self._add(f, args, is_kept=False, is_sent=True)
        return self._run()

    def keep_and_ask(self, f, *args):
        """The handle of the first and a list of the second of two results of every block."""
        handle = self._add(f, args, is_kept=True, is_sent=True)
        return handle, self._run()

    def _add(self, f, args, is_kept, is_sent):
        number = self.next if is_kept else None
        self.waiting.append(Task(f, tuple(map(as_sent, args)), number, is_sent))
        if not is_kept:
            return None
        self.next += 1
        return Handle(self, number)

    def _run(self):
        tasks, released = self.waiting, self.released
        self.waiting, self.released = [], []
        try:
            found = self.place.run(tasks, released)
        except BaseException:
            self.released += released
            raise
        return [sent[-1] if sent else None for sent in found]


def as_sent(arg):
    """An argument as it goes to a place."""
    if isinstance(arg, Handle):
        return Ref(arg.number)
    return replace(arg, values=as_sent(arg.values)) if isinstance(arg, Curvature) else arg


class Handle:
    """Arrays that stay where their blocks live, until nobody has the handle any more. It allows no
    arithmetic: what is to be done with the arrays is a function for `Rows.map` or `Rows.reduce`.
    ``numpy.asarray`` fetches them."""

    __array_ufunc__ = None

    def __init__(self, store, number):
        self.store, self.number = store, number

    def __array_function__(self, function, types, args, kwargs):
        return NotImplemented

    def __array__(self, dtype=None, copy=None):
        return np.asarray(np.concatenate(self.store.ask(same, self)), dtype)

    def __reduce__(self):
        raise TypeError("a handle stays where it is; give it to Rows.map as an argument")

    def __del__(self):
        self.store.released.append(self.number)


def same(x):
    return x
