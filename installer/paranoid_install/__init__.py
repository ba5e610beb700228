"""Turns a blank disk into an amnesiac, locked-down NixOS machine."""

__version__ = "0.1.0"
