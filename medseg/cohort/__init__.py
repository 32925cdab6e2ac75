"""Cohorts: a whole archive through a pipeline, on one machine or many, with a ledger of what became of each case.

`case` holds the records, `inputs` finds cases, `worker` answers them in a process of its own, `process` and `local` are
that process and several of them as the driver sees them, `on_ray` has them on a cluster. `schedule` is the loop that
gives out cases, `place` puts answers where they belong and `ledger` lists them; `batch` is all of it together.
"""
