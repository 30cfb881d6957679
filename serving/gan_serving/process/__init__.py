"""Processes: the worker's threads, deadlines and signals, the files that workers share, and the supervisor that starts
them.
"""
