"""Why a sync loss stays at chance: checks of the data, of the examples and of the training.

Each check measures one thing and says it as a `Finding`. Checks of the data need no network; those
of the training take their steps on clips made in memory, so that faulty data has no part in them.
"""
