from pipeline.sandbox.records import *
def nasty_record(rng, index, number, assignment_id, size, kinds):
    return tidy_record(rng, index, assignment_id, size)
NASTY_KINDS=()
