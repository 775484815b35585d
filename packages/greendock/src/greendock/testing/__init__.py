"""For tests of your own application: load that counts what is lost."""
