"""How much of what is drawn by lot is tried: a little in every run, the whole with ``make soak``.

A test that draws is marked ``@pytest.mark.soak``, takes ``FACTOR`` times its usual number of
rounds, and draws from :func:`drawn`. ``make soak`` runs the marked tests with a large factor and
a new seed, which the first lines of the run show; ``make soak SEED=…`` repeats it.
"""

from __future__ import annotations

import os
import random

#: How many times the usual number of rounds, or of a property's examples.
FACTOR = int(os.environ.get("SOAK") or 1)
#: What everything drawn depends on. The sample that every run tries is always the same one.
SEED = int(os.environ.get("SEED") or 1)


def drawn(*what: object) -> random.Random:
    """A source of chance that depends on the seed and on what it is for, and on nothing else."""
    return random.Random(f"{SEED}:{what!r}")
