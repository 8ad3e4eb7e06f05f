"""Malformed workdirs."""

from fuzzing import case


def evaluate(room):
    workdir = room.copy("toy")
    (workdir / "config.json").write_text("[]")
    return ["evaluate", f"--workdir={workdir}"]


def cases() -> list[case.Case]:
    """All cases of this kind."""
    return [
        case.Case("workdirs/config-list", evaluate, "config.json"),
        case.Case(
            "workdirs/sound",
            lambda room: [
                "evaluate",
                f"--workdir={room.copy('toy')}",
                "--allow-code=toy",
            ],
            "",
            0,
        ),
    ]
