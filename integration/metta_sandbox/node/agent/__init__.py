"""The agent, the hub and their wire: standard library only, Python 3.9 and later.

This package also travels as a zipapp into images and interpreters of anybody's.
"""
