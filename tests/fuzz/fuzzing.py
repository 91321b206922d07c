"""How fuzzed tests run: cases are judged in another process, which may die, hang or ask for more
memory than there is; what it dies of is the finding."""

import multiprocessing
import os
import pathlib
import random
import resource
import tempfile
import time
import traceback

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
FOUND = HERE.parents[1] / "build" / "fuzz" / "found"

MEMORY = 2 << 30  # bytes beyond those that the process has at its start
SECONDS = 5  # of the processor, for one case
PATIENCE = 20  # seconds without an answer: it hangs, since other processes may have the processor

# `make fuzz` sets it. Without it the same few cases are tried in every run.
N_CASES = int(os.environ.get("FASTHOAG_FUZZ_EXAMPLES", "0"))


def try_cases(make, judge, n_cases):
    """Judges what `make` makes of the choices of a `random.Random`: of so many that are the same in
    every run, shrunk by hypothesis; or of as many random ones as `make fuzz` asks for, to the end
    of which the shortest case of every finding is kept."""
    worker = Worker(judge)
    try:
        if N_CASES:
            _try_at_random(make, worker)
        else:
            _try_the_same(make, worker, n_cases)
    finally:
        worker.close()


def _try_the_same(make, worker, n_cases):
    @settings(
        max_examples=n_cases,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def one(rng):
        worker(*make(rng))

    one()


def _try_at_random(make, worker):
    start = random.SystemRandom().getrandbits(40)
    findings = {}
    for seed in range(start, start + N_CASES):
        case = make(random.Random(seed))
        try:
            worker(*case)
        except Found as found:
            what = str(found).strip().splitlines()[-1][:60]
            findings[what] = min(findings.get(what, found), found, key=lambda f: len(f.content))
    for number, found in enumerate(findings.values()):
        found.keep(f"{worker.name}-{number}")
    print(f"{N_CASES} cases from seed {start}: {len(findings)} findings")
    if findings:
        raise AssertionError("\n".join(map(str, findings.values())))


class Found(AssertionError):
    """What is wrong with what becomes of a case; `content` is the case as a file."""

    def __init__(self, what, case):
        super().__init__(what)
        content = next((part for part in case if isinstance(part, bytes)), None)
        self.content = repr(case).encode() if content is None else content

    def keep(self, name):
        FOUND.mkdir(parents=True, exist_ok=True)
        (FOUND / name).write_bytes(self.content)


class Worker:
    """A forked process that judges one case after another, within limits of memory and time.

    `judge` takes a case and raises where something is wrong with what becomes of it, in a folder of
    its own. A call raises `Found` with what it raised, or the signal that it died of; that case
    lies in ``build/fuzz/found`` then.
    """

    def __init__(self, judge):
        self._judge, self.name, self._process = judge, judge.__name__, None

    def __call__(self, *case):
        if self._process is None:
            self._start()
        try:
            self._pipe.send(case)
            what = self._pipe.recv() if self._pipe.poll(PATIENCE) else "hangs"
        except (EOFError, ConnectionError):
            self._process.join()
            what = f"died, exit code {self._process.exitcode} (negative: of that signal)"
        if what:
            if self._process.exitcode is not None or what == "hangs":
                self.close()
            found = Found(what, case)
            found.keep(self.name)
            raise found

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
            self._folder.cleanup()

    def _start(self):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        fork = multiprocessing.get_context("fork")
        self._pipe, there = fork.Pipe()
        self._process = fork.Process(
            target=_serve, args=(self._judge, there, self._folder.name), daemon=True
        )
        self._process.start()
        there.close()  # so that the end of the process is the end of the pipe


def _serve(judge, pipe, folder):
    os.chdir(folder)
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        case = pipe.recv()
        before = time.process_time()
        try:
            judge(*case)
        except BaseException:
            finding = traceback.format_exc()
        else:
            seconds = time.process_time() - before
            finding = f"took {seconds:.1f} s of the processor" if seconds > SECONDS else ""
        pipe.send(finding)


def seeds(name):
    """The files of the corpus of a reader."""
    return sorted((CORPUS / name).iterdir())
