"""Every operation of every service through its real clients: one table of scenarios, one driver per client."""
