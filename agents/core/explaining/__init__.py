"""Why a workload got its slot, told from the rows of a run alone."""
