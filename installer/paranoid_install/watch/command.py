"""`paranoid-install watch`, without its command line: cli.py mounts `run`."""

from __future__ import annotations

import mmap
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from paranoid_install import policy
from paranoid_install.errors import CommandFailed, FindingsError, SpecError
from paranoid_install.runner import Runner
from paranoid_install.watch import kernel, processes, sources
from paranoid_install.watch.alerts import Alert, Channel, Limit, Origin, Sink
from paranoid_install.watch.cursor import Cursor
from paranoid_install.watch.export import unexported
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.rules import Rules, read
from paranoid_install.watch.sinks import File, Journal, Text, Webhook
from paranoid_install.watch.view import View
from paranoid_install.watch.watch import Watch

NOT_READ = 4
"""Exit code when files held no record at all, or more than could be read, and nothing to report."""

STREAM_ENDED = 4
"""Exit code when a live stream ends by itself: nothing was touched, but nobody watches now."""


@dataclass(frozen=True)
class WatchOptions:
    """What the operator asked of `watch`.

    `source` is `journal`, `-` (standard input) or the path of an audit log to follow; `replay` are
    files to read once, instead. `rate` is the alerts of one kind a minute, 0 for no limit; None
    takes the policy's for a live source and no limit for a file. `store_device` is the store's
    device as in PATH records (`fe:02`), None: this machine's for a live source, otherwise the
    first one seen. `prove` compares inode numbers with this machine's store (live only). `resume`
    keeps how far the journal has been read, and reading goes on from there.
    """

    source: str = "journal"
    replay: tuple[Path, ...] = ()
    allow_paths: tuple[str, ...] = ()
    allow_units: tuple[str, ...] = ()
    to_journal: bool = False
    to_file: Path | None = None
    webhook: str = ""
    webhook_token_file: Path | None = None
    rate: int | None = None
    as_json: bool = False
    quiet: bool = False
    store_device: str | None = None
    prove: bool = True
    resume: Path | None = None


def run(
    options: WatchOptions,
    runner: Runner,
    *,
    out: TextIO | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Watch until the source ends or `stop` is set. Returns the exit code.

    0: nothing to report in the files, or stopped as asked; 8: they held something to report, be it
    that records were lost or auditing was switched off; 4: not all of them could be read, or the
    live stream ended by itself. Raises SpecError for a request that cannot be met.
    """
    out = out or sys.stdout
    stop = stop or threading.Event()
    rules = read(policy.load("watch")).with_allowed(options.allow_paths, options.allow_units)
    live = not options.replay
    webhook = _webhook(options, rules)
    sinks = _sinks(options, out, webhook)
    watch = _watch(options, rules, sinks, runner, live=live)
    cursor = _cursor(options)
    code = 0
    if cursor is not None and cursor.damaged:
        message = f"{options.resume} holds no place in the journal: read from the start of the boot"
        watch.tell(Alert("gap", message, 3))
    try:
        for block in _source(options, runner, stop, cursor):
            watch.feed(block)
            if cursor is not None:
                cursor.read(bytes(block), waits=watch.waits)
            if stop.is_set():
                break
        else:
            code = 0 if stop.is_set() or not live else STREAM_ENDED
    except sources.DamagedError as error:
        code = NOT_READ
        watch.tell(Alert("unread", str(error), 3))
    except CommandFailed as error:
        code = STREAM_ENDED
        watch.tell(Alert("stopped", f"the audit stream has stopped: {error}", 2))
    finally:
        watch.finish(leave=cursor is not None)
        if cursor is not None:
            cursor.stopped()
            if cursor.failed:
                print(f"{options.resume}: could not be written", file=sys.stderr)
        _end(watch, sinks, live=live, failed=code == STREAM_ENDED)
        if webhook is not None and (left := webhook.close()):
            print(f"webhook: {left} alerts could not be delivered", file=sys.stderr)
    return code if live else _answer(watch, code)


def _answer(watch: Watch, code: int) -> int:
    """The exit code for files: what was found in them goes before what could not be read."""
    if watch.judge.tally.reported or watch.lost or watch.off:
        return FindingsError.exit_code
    return NOT_READ if watch.unread else code


def _watch(
    options: WatchOptions, rules: Rules, sinks: list[Sink], runner: Runner, *, live: bool
) -> Watch:
    rate = options.rate
    if rate is None:
        rate = rules.report.per_kind if live else 0
    # What stays here is never more than the trail itself, so only repetition is left out of it.
    # What goes out has to fit through a receiver.
    here = [sink for sink in sinks if not isinstance(sink, Webhook)]
    out = [sink for sink in sinks if isinstance(sink, Webhook)]
    channels = [Channel(Limit(rate, 0), here)] if here else []
    if out:
        channels.append(Channel(Limit(rate, rules.report.all if rate else 0), out))
    given = options.store_device
    if given is not None and re.fullmatch(r"[0-9a-f]{2,}:[0-9a-f]{2,}", given) is None:
        raise SpecError(
            f"--store-device {given}", "not a device", "write it as PATH records do, like fe:02"
        )
    device = given.encode() if given is not None else None
    if not live:
        return Watch(Judge(rules, device), channels)
    mine = options.source != "-"
    if mine and device is None:
        device = processes.device(Path(os.fsdecode(rules.store)))
    proves = mine and options.prove and device is not None
    proof = processes.Proof() if proves else None
    view = View(rules.store) if proves else None
    watch = Watch(
        Judge(rules, device, proof, view),
        channels,
        clock=time.monotonic,
        origin=processes.origin if mine else lambda _pid, _ppid: Origin(),
        # The plainest program there is: seen by the same rules as any other.
        probe=(lambda: _probe(runner)) if mine else None,
        status=kernel.status if mine else None,
    )
    if view is not None and not view.able:
        message = (
            "other processes' mount namespaces cannot be seen, nor which store is theirs;"
            " run with CAP_SYS_PTRACE"
        )
        watch.tell(Alert("unseen", message, 4))
    return watch


def _probe(runner: Runner) -> None:
    runner.run("true", timeout=10.0)


def _cursor(options: WatchOptions) -> Cursor | None:
    if options.resume is None:
        return None
    if options.replay or options.source != "journal":
        raise SpecError(
            f"--resume {options.resume}",
            "only the journal can be read on from a place",
            "leave it out",
        )
    return Cursor(options.resume)


def _source(
    options: WatchOptions, runner: Runner, stop: threading.Event, cursor: Cursor | None
) -> Iterator[bytes | mmap.mmap]:
    if options.replay:
        return _replayed(options.replay)
    if options.source == "journal":
        if cursor is None:
            return sources.journal(runner, stop)
        begin = sources.BOOT if cursor.damaged else sources.NOW
        return sources.journal(runner, stop, begin, cursor.begin)
    if options.source == "-":
        return sources.descriptor(0)
    return sources.follow(Path(options.source), stop)


def _replayed(paths: tuple[Path, ...]) -> Iterator[bytes | mmap.mmap]:
    for path in paths:
        yield from unexported(sources.replay(path))
        # A last line without its end does not go on in the next file.
        yield b"\n"


def _sinks(options: WatchOptions, out: TextIO, webhook: Webhook | None) -> list[Sink]:
    sinks: list[Sink] = []
    if not options.quiet:
        sinks.append(Text(out, as_json=options.as_json))
    if options.to_journal:
        sinks.append(Journal())
    if options.to_file is not None:
        sinks.append(File(options.to_file))
    if webhook is not None:
        sinks.append(webhook)
    if not sinks:
        raise SpecError(
            "watch --quiet", "nobody would be told", "add --journal, --file or --webhook"
        )
    return sinks


def _webhook(options: WatchOptions, rules: Rules) -> Webhook | None:
    if not options.webhook:
        return None
    token = ""
    if options.webhook_token_file is not None:
        try:
            token = options.webhook_token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(
                str(options.webhook_token_file), "the token cannot be read", "check the file"
            ) from error
    return Webhook(options.webhook, spool=rules.report.spool, token=token)


def _end(watch: Watch, sinks: list[Sink], *, live: bool, failed: bool) -> None:
    """The last alert holds all counts; what sinks failed to deliver is told on the error stream."""
    totals = dict(watch.totals())
    undelivered = {
        type(sink).__name__.lower(): sink.failed
        for sink in sinks
        if isinstance(sink, Text | Journal | File | Webhook) and sink.failed
    }
    message = (
        f"{'watching ended' if live else 'end of the records'}: {totals['executions']} executions,"
        f" {totals['inside']} inside the store, {totals['accepted']} accepted,"
        f" {totals['reported']} reported, {totals['failed']} failed,"
        f" {totals['suppressed']} alerts suppressed, {totals['lost']} records lost by the kernel"
    )
    watch.tell(Alert("ended", message, 2 if failed else 5, tuple(totals.items())))
    for sink in sinks:
        if isinstance(sink, Journal):
            sink.close()
    for name, number in undelivered.items():
        print(f"{name}: {number} alerts could not be delivered", file=sys.stderr)
