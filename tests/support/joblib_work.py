"""What workers of joblib do; they import it by name."""

from joblib import Parallel, delayed

from fasthoag import hoag
from fasthoag.threads import n_threads_of
from support.tunings import threaded_problem


def search(n_threads):
    problem, criterion = threaded_problem()
    result = hoag(problem, criterion, max_iter=3, n_threads=n_threads)
    return result.w.tobytes().hex(), result.n_passes


def default_threads():
    return n_threads_of(None)


def nested():
    """Whether workers of a worker come to an end."""
    found = Parallel(n_jobs=2)(delayed(search)(None) for _ in range(2))
    return len(found) == 2
