"""Checks why a sync loss stays at chance: of the data, the examples and the training.

Each check measures one quantity and returns a `Finding`. Checks of the data need no network; checks
of the training run steps on synthetic clips, so that they do not depend on the data.
"""
