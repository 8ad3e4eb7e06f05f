"""Workdirs whose checkpoints are damaged, gone, foreign or left half written."""

from collections.abc import Iterator
import json
import os
import pathlib
import shutil

from fuzzing import case
from fuzzing import workdirs_base as base

LAST = "checkpoints/6"
STATE = f"{LAST}/state"


def flip(pattern: str) -> base.Edit:
    """One bit of a file is another."""

    def edit(workdir: pathlib.Path) -> None:
        path = sorted(p for p in workdir.glob(pattern) if p.is_file())[0]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)

    return edit


def unsigned(*edits: base.Edit) -> base.Edit:
    """The same without the digests of the last checkpoint."""
    return base.both(base.gone(f"{LAST}/digest.json"), *edits)


def renamed(old: str, new: str) -> base.Edit:
    return lambda workdir: (workdir / old).rename(workdir / new)


def emptied(name: str) -> base.Edit:
    return base.both(base.gone(name), lambda workdir: (workdir / name).mkdir())


def digest(content: str) -> base.Edit:
    return base.text(f"{LAST}/digest.json", content)


def edited_digest(workdir: pathlib.Path) -> None:
    """A digest of a file that is not there."""
    path = workdir / LAST / "digest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"../../config.json": "0" * 64}))


# What is wrong with step 6, and how it is told; step 3 is sound.
STEPS = {
    "flip-arrays": (flip(f"{STATE}/d/*"), "state/d/.* is not what was written"),
    "flip-process": (flip(f"{STATE}/ocdbt.process_0/d/*"), "is not what was written"),
    "flip-manifest": (flip(f"{STATE}/manifest.ocdbt"), "state/manifest.ocdbt is not"),
    "flip-metadata": (flip(f"{STATE}/_METADATA"), "state/_METADATA is not what"),
    "flip-sharding": (flip(f"{STATE}/_sharding"), "state/_sharding is not what"),
    "flip-meta": (flip(f"{LAST}/meta/metadata"), "meta/metadata is not what"),
    "flip-metrics": (flip(f"{LAST}/metrics/metrics"), "metrics/metrics is not what"),
    "flip-about": (flip(f"{LAST}/_CHECKPOINT_METADATA"), "_CHECKPOINT_METADATA is not"),
    "flip-digest": (flip(f"{LAST}/digest.json"), ""),
    "cut-arrays": (base.cut(f"{STATE}/_METADATA"), "state/_METADATA is not what"),
    "no-arrays": (base.gone(STATE), "state/.* is missing"),
    "no-manifest": (base.gone(f"{STATE}/manifest.ocdbt"), "manifest.ocdbt is missing"),
    "no-metadata": (base.gone(f"{STATE}/_METADATA"), "state/_METADATA is missing"),
    "no-meta": (base.gone(f"{LAST}/meta"), "meta/.* is missing"),
    "no-metrics": (base.gone(f"{LAST}/metrics"), "metrics/.* is missing"),
    "no-commit": (base.gone(f"{LAST}/commit_success.txt"), "commit_success.txt"),
    "no-about": (base.gone(f"{LAST}/_CHECKPOINT_METADATA"), "_CHECKPOINT_METADATA"),
    "digest-empty": (digest(""), "digest.json is not readable"),
    "digest-list": (digest("[]"), "digest.json is not readable"),
    "digest-number": (digest('{"meta/metadata": 3}'), "digest.json is not readable"),
    "digest-other": (digest('{"meta/metadata": "00"}'), "meta/metadata is not what"),
    "digest-of-nobody": (digest('{"a": "00"}'), "a is missing"),
    "digest-elsewhere": (edited_digest, "config.json"),
    "digest-folder": (base.folder(f"{LAST}/digest.json"), "digest.json"),
    "step-empty": (emptied(LAST), "_CHECKPOINT_METADATA is missing"),
    "arrays-empty": (unsigned(emptied(STATE)), "state/_METADATA is missing"),
    "arrays-file": (unsigned(base.file(STATE)), "state/_METADATA is missing"),
    "unsigned-cut": (unsigned(base.cut(f"{STATE}/_METADATA")), "_METADATA is not read"),
    "unsigned-no-manifest": (
        unsigned(base.gone(f"{STATE}/manifest.ocdbt", f"{STATE}/ocdbt.process_0")),
        "files are not what was written",
    ),
    "unsigned-no-data": (unsigned(base.gone(f"{STATE}/d")), "not what was written"),
    "unsigned-metadata-list": (
        unsigned(base.text(f"{STATE}/_METADATA", "[]")),
        "_METADATA is not readable",
    ),
    "unsigned-metadata-other": (
        unsigned(base.text(f"{STATE}/_METADATA", '{"tree_metadata": {}}')),
        "files are not what was written",
    ),
    "unsigned-about-list": (
        unsigned(base.text(f"{LAST}/_CHECKPOINT_METADATA", "[]")),
        "_CHECKPOINT_METADATA is not readable",
    ),
    "unsigned-meta-cut": (
        unsigned(base.cut(f"{LAST}/meta/metadata")),
        "meta/metadata is not readable",
    ),
}
# Folders of checkpoints without a step that could be read.
FOLDERS = {
    "gone": (base.gone("checkpoints"), "toy holds no checkpoints yet"),
    "empty": (emptied("checkpoints"), "holds no complete checkpoint"),
    "file": (base.file("checkpoints"), "checkpoints"),
    "dangling": (base.link("checkpoints", "gone"), "checkpoints"),
    "looping": (base.link("checkpoints", "checkpoints"), "checkpoints"),
    "unfinished": (
        base.both(
            base.gone("checkpoints/3"),
            renamed(LAST, f"{LAST}.orbax-checkpoint-tmp-0"),
        ),
        "holds no complete checkpoint",
    ),
    "named": (
        base.both(renamed(LAST, "checkpoints/last"), base.gone("checkpoints/3")),
        "holds no complete checkpoint",
    ),
    "workdir-in-workdir": (
        lambda folder: (
            shutil.copytree(folder, folder / "toy"),
            base.gone("checkpoints", "config.json")(folder),
        ),
        "config.json is missing",
    ),
}


def foreign(room: case.Room) -> None:
    """The checkpoints of another method in the toy's workdir."""
    toy, other = room.copy("toy"), room.world.get("sdim")
    shutil.rmtree(toy / "checkpoints")
    shutil.copytree(other / "checkpoints", toy / "checkpoints")


def reading() -> Iterator[case.Case]:
    """Commands that read."""
    few = ("evaluate", "convert", "embed")
    steps = {
        f"step-{name}": (edit, f"toy/checkpoints/6 is damaged: .*{says}.*--step=3")
        for name, (edit, says) in STEPS.items()
    }
    yield from base.reading(steps, few)
    folders = {f"checkpoints-{name}": damage for name, damage in FOLDERS.items()}
    yield from base.reading(folders, (*few, "report"))
    for command in ("evaluate", "convert"):

        def make(room: case.Room, command: str = command) -> list[str]:
            foreign(room)
            return [*base.READING[command], base.TRUST]

        says = r"checkpoints/\d does not fit the config: it has params/"
        yield case.Case(f"workdirs/checkpoints-foreign-{command}", make, says)
    for name, argument, says in (
        ("gone", "--step=4", "No checkpoint of step 4. Choices: 3, 6"),
        ("huge", "--step=99999999999999", "--step"),
        ("negative", "--step=-3", "--step"),
        ("text", "--step=last", "--step"),
        ("replica", "--replica=1", "No replica 1"),
        ("only-unknown", "--only=kmn", "evaluator 'kmn'. Did you mean 'knn'"),
    ):
        argv = [*base.READING["evaluate"], base.TRUST, argument]
        yield base.on(f"evaluate-{name}", argv, lambda folder: None, says)


def sound() -> Iterator[case.Case]:
    """What looks odd and is as good as new."""

    def sort(
        name: str, edit: base.Edit, command: str = "evaluate", *more: str
    ) -> case.Case:
        argv = [*base.READING[command], base.TRUST, *more]
        return base.on(f"sound-{name}", argv, edit, "", 0)

    yield sort("unsigned", unsigned())
    yield sort("never-signed", unsigned(base.gone("checkpoints/3/digest.json")))
    yield sort("damaged-but-not-asked", flip(f"{STATE}/d/*"), "convert", "--step=3")
    yield sort("older-damaged", flip("checkpoints/3/state/d/*"))
    yield sort(
        "notes",
        base.both(
            lambda folder: (folder / "notes.txt").write_text("mine"),
            lambda folder: (folder / "checkpoints/readme.md").write_text("mine"),
            lambda folder: (folder / "checkpoints/backup").mkdir(),
        ),
    )
    yield sort("half-saved", lambda f: (f / f"{LAST}.orbax-checkpoint-tmp-1").mkdir())
    yield sort(
        "half-deleted", lambda f: (f / "checkpoints/deleted/3").mkdir(parents=True)
    )
    yield sort("no-scores", base.gone("evaluation.json", "run.json", "metrics.jsonl"))
    yield sort("no-lock", base.gone(".lock"), "convert")
    yield sort("only-last", base.gone("checkpoints/3"), "convert")
    yield sort("other-lr", base.config("optim.lr", 1), "convert")
    yield sort("warm-start-gone", base.config("warm_start", {"a": {"source": "x"}}))
    yield sort("data-workers-null-limit", base.config("data.limit", None), "convert")
    yield sort(
        "linked-checkpoints",
        base.both(
            renamed("checkpoints", "there"), base.link_new("checkpoints", "there")
        ),
        "convert",
    )

    def linked(room: case.Room) -> list[str]:
        os.symlink(room.copy("toy"), room.folder / "best")
        argv = ["convert", "--to=torch", "--workdir=best/", "--output=a.pth"]
        return [*argv, base.TRUST]

    yield case.Case("workdirs/sound-linked", linked, "", 0)

    def moved(room: case.Room) -> list[str]:
        target = room.folder / "new place" / "größer"
        target.parent.mkdir()
        room.copy("toy").rename(target)
        return ["evaluate", f"--workdir={target}", base.TRUST]

    yield case.Case("workdirs/sound-moved", moved, "", 0)


def cases() -> Iterator[case.Case]:
    """All cases of this file."""
    yield from reading()
    yield from sound()
