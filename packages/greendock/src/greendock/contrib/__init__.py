"""Plugins that ship with Greendock."""
