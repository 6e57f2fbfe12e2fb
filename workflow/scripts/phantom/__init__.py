"""A digital phantom of lateral cephalograms.

`subject` draws who is imaged, `anatomy` and `cephalostat` put the person and the machine into the
beam of `rays`, and `exposure` turns what passes into the grey of a film.
"""
