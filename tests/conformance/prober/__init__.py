"""A conformance prober made from the models: every implemented operation is sent what its model forbids, and
what its model just allows, over every protocol that the model lists.

`model` reads models/ by code of its own; `strings` makes texts for a pattern and against it; `inputs` builds the
smallest input around one probed place; `codecs` puts inputs on the wire, well or badly formed; `oracle` says what
the answer must be, in AWS's words; `probes` makes the probes, `client` sends them, `report` tells what came.
"""
