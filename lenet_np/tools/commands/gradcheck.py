"""The command ``python -m lenet_np gradcheck``: the package checks itself."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; status 0 all is right, 1 a check failed, 2 usage, 130 interrupted."""
    from lenet_np.tools.cli.parser import Parser, at_least
    from lenet_np.tools.cli.screen import fail

    parser = Parser(
        prog="python -m lenet_np gradcheck",
        description="Check the gradients of lenet_np itself: operations, losses, LeNet-5, the "
        "four routes, and the estimators against the exact gradient. For layers of your own see "
        "docs/gradcheck.md.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="of inputs, upstream gradients and noise (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments.json, arguments.seed)
    except KeyboardInterrupt:
        return fail(parser.prog, 130, "interrupted")


def _run(as_json: bool, seed: int) -> int:
    import json

    from lenet_np.threads import one_blas_thread
    from lenet_np.tools.cli.screen import say
    from lenet_np.tools.proof import FALSE_ALARM, Row, prove

    rows: list[Row] = []
    if not as_json:
        say(f"{'':34} {'shapes':38} {'worst':>8} {'entries':>7} {'kinks':>5} {'s':>5}")
    with one_blas_thread():
        for row in prove(seed):
            rows.append(row)
            if not as_json:
                error = f"|z| {row.error:.1f}" if row.limit > 1 else f"{row.error:.1e}"
                say(
                    f"{row.name:34} {row.shapes:38} {error:>8} {row.checked:7} {row.excluded:5} "
                    f"{row.seconds:5.2f}  {'passed' if row.passed else 'FAILED'}"
                )
    failed = [row for row in rows if not row.passed]
    if as_json:
        say(json.dumps([row._asdict() for row in rows], indent=1))
        return 1 if failed else 0
    for row in failed:
        say(f"\n{row.name}: {row.text}")
    z_limit = max(row.limit for row in rows)
    say(
        f"\nGradients: relative error by norms, at most {rows[0].limit:g}. Estimators: distance "
        f"of the mean\nfrom the exact gradient in standard errors, at most {z_limit:.1f}; right "
        f"ones fail by chance with\nprobability {FALSE_ALARM:g}."
    )
    say(f"{len(rows) - len(failed)} of {len(rows)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
