"""Cohorts: a whole archive through a pipeline, on one machine or many, with a ledger of every case's outcome.

`case` holds the records, and `inputs` finds cases. `worker` answers them in a process of its own. In the driver,
`process` is one such process, `local` is several of them, and `on_ray` is workers on a cluster. `schedule` is the loop
that gives out cases, `place` moves answers to where they belong, and `ledger` lists them. `batch` joins all of this.
"""
