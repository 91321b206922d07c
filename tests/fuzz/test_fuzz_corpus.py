"""What was found once stays found: the files of the corpus go through their readers."""

import fuzzing
import judges
import pytest

ENTRANCES = [(judges.structure, entrance) for entrance in judges.ENTRANCES]
JUDGES = {
    "compressed": [(judges.text,)],
    "text": [(judges.text,)],
    "matrix": [(judges.matrix,)],
    "labels": [(judges.labels,)],
    "model": [(judges.model,)],
    "arrays": ENTRANCES,
}
CASES = [(name, seed) for name in JUDGES for seed in fuzzing.seeds(name)]


@pytest.fixture(scope="module")
def workers():
    made = {name: [fuzzing.Worker(judge) for judge, *_ in JUDGES[name]] for name in JUDGES}
    yield made
    for each in made.values():
        for worker in each:
            worker.close()


@pytest.mark.parametrize(("name", "seed"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_file_of_the_corpus_is_read_or_refused(workers, name, seed):
    for worker, (_, *how) in zip(workers[name], JUDGES[name], strict=True):
        if name == "compressed":
            how = [seed.suffix]
        worker(seed.read_bytes(), *how)
