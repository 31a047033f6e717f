"""Many workers of several hosts on one budget and one PostgreSQL, for ``benchmarks/fleet.py``.

`experiment` starts hosts and reckons up what they wrote in their logs (`log`); `host` is what one
of them does, a process, and `worker` what each of its workers does, a few coroutines. `rush` asks
for leases as fast as it goes; `plan` says how many of all this.
"""
