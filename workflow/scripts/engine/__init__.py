"""Around the work, and no part of a result: configuration, plug-ins, digests, locks, jobs, records.

Digests of code stop here. So nothing in this room may decide what a result holds."""
