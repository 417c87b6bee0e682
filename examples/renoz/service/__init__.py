"""The demo's server: the CRM over HTTP, with keys to try it, lines to paste, and a check that calls everything.

`running` starts and stops it, `playground` makes the records that the lines are about, `lines` are the lines, `checks` calls
each function and compares what comes back.
"""
