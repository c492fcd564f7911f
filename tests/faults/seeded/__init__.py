"""The whole journey, once per seed, while what the seed draws goes wrong.

    PYTHONPATH=tests:tests/faults python -m seeded --seed 7 [--keep] [--plan]

`plan` draws what goes wrong and when, `world` is the machine with everything that runs on it, `proxy` the network,
`clock` the time, `journey` what people do, `moments` what the plan's points in time wait for, `inject` carries the
plan out, `ledger` keeps what was acknowledged, and `verify` looks at what is left when everybody is done.
"""
