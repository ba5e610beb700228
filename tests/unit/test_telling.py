"""The lines that a failure shows are those that say why."""

from __future__ import annotations

from paranoid_install.telling import is_progress, telling

FAILED = """\
created 26 symlinks in user environment
cc: line 2: /usr/bin/gcc: No such file or directory
error: Cannot build '/nix/store/236w-perl-env.drv'.
       Reason: builder failed with exit code 127.
       Output paths:
         /nix/store/pdjx-perl-env
error: Cannot build '/nix/store/h2vz-install-grub.sh.drv'.
       Reason: 1 dependency failed.
       Output paths:
         /nix/store/6g7p-install-grub.sh
error: Cannot build '/nix/store/ympi-nixos-system.drv'.
       Reason: 2 dependencies failed.
       Output paths:
         /nix/store/db8f-nixos-system
""".splitlines()
"""Nix 2.34 on a builder that failed, and what stood above it."""


def test_what_failed_by_itself_is_kept_and_what_followed_from_it_is_not() -> None:
    assert telling(FAILED) == FAILED[:6]


def test_other_lines_stay_as_they_are() -> None:
    lines = ["error: attribute 'x' missing", "       at /etc/nixos/configuration.nix:3:5", "more"]
    assert telling(lines) == lines


def test_a_block_that_was_cut_off_is_kept() -> None:
    assert telling(FAILED[:3]) == FAILED[:3]


def test_progress_is_what_nix_says_beside_the_failure() -> None:
    assert is_progress("copying path '/nix/store/x-less-692' to 'local'...")
    assert is_progress("building '/nix/store/x-unit.drv'...")
    assert not is_progress("building the system failed")
    assert not is_progress("error: Cannot build '/nix/store/x-unit.drv'.")
