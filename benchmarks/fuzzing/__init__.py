"""Wrong input by the million: one target for each place where somebody else's text comes in.

A target takes bytes and says whether they were accepted or refused; it raises only when a promise
is broken. Tests feed it what hypothesis makes up, `fuzzing.fuzzer` what a coverage-guided fuzzer
finds, with examples of the documentation and the tests to begin with.
"""
