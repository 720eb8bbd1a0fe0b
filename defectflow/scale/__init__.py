"""More than one machine: scoring and fitting on Ray. The only room that knows Ray.

cluster       the address -> a connection; every node is looked at before any work is done
shard_plan    an archive of any size -> shards, on disk, so that the driver's memory stays flat
worker        a shard -> its rows, by one warm Inspector; nothing here needs torch
versions      what must be the same on every node
pool          shards -> workers; lost nodes, stragglers
score_on_ray  the whole story of a scored archive
fit_plan      PLAN.yaml -> products x recipes x seeds
fit_many      the plan -> bundles, one after another or on Ray
fit_record    a fresh bundle -> what is known of it
fit_index     what was fitted -> one HTML page
"""

__all__ = ["cluster", "fit_index", "fit_many", "fit_plan", "pool", "score_on_ray"]
