"""The execution of runs, leg by leg: runner, leases, checkpoints, sweep and job queue."""
