"""placeholder"""
COPIER = "copier==9.19.1"
