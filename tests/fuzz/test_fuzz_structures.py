"""Sparse matrices whose arrays were replaced are what they claim, or refused, at every entrance."""

import io

import judges
import numpy as np
import pytest
from fuzzing import try_cases
from mutations import broken_parts


@pytest.mark.parametrize("entrance", judges.ENTRANCES)
def test_a_sparse_matrix_is_sound_or_refused(entrance):
    def broken(rng):
        content = io.BytesIO()
        np.savez(content, **broken_parts(rng))
        return content.getvalue(), entrance

    try_cases(broken, judges.structure, n_cases=60)
