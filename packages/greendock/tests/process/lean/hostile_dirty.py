"""A dirty application: see Gunicorn's documentation."""

from gunicorn.dirty.app import DirtyApp


class Dirty(DirtyApp):
    def add(self, one, two):
        return one + two
