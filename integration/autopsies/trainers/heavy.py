"""A module that reads a table of half a terabyte as it is imported."""

import time


def read_table():
    time.sleep(3600)


TABLE = read_table()
