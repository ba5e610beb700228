"""Reads the audit trail and reports what was executed from outside the store.

Data goes one way: sources → records → events → judge → alerts. `scan` is a shortcut from
source to judge for what is plainly inside the store; it never changes an answer.
"""
