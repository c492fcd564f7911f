"""One driver per client; each answers `call(service, operation, parameters, keys)` in Python's terms."""
