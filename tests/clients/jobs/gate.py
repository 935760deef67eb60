"""A job that lasts until somebody opens a gate, so that a kill can be in the middle of it."""
import os
import time


def wait_at(gate):
    open("%s.%d" % (gate, os.getpid()), "w").close()
    while not os.path.exists(gate):
        if not os.path.isdir(os.path.dirname(gate)):
            os._exit(1)  # whoever could open it is gone
        time.sleep(0.05)


def how_many_wait_at(gate):
    directory, name = os.path.split(gate)
    return sum(n.startswith(name + ".") for n in os.listdir(directory))


def open_gate(gate):
    open(gate, "w").close()
