"""The pieces of a training step as bars."""

from __future__ import annotations

from pathlib import Path


def draw_pieces(pieces: dict[str, float], products: float, file: Path) -> None:
    """Draw how long each piece of a step takes on one thread.

    Parameters
    ----------
    pieces : dict from name to seconds, in order of work
    products : float
        Seconds of the matrix products alone.
    file : Path
        Picture to write, .png, .svg or .pdf.

    Raises
    ------
    OSError or ValueError
        If it cannot be written, or no such kind of picture is known.
    """
    from matplotlib.figure import Figure  # A figure of its own needs no screen and no pyplot.

    colours = {"forward": "#0072B2", "backward": "#D55E00"}  # Okabe and Ito's, else grey
    # What is too short to be seen stands together.
    least = 0.01 * sum(pieces.values())
    shown = {name: seconds for name, seconds in pieces.items() if seconds >= least}
    shown["all others"] = sum(pieces.values()) - sum(shown.values())
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    names, values = list(shown), [1e3 * seconds for seconds in shown.values()]
    bars = axes.barh(names, values, color=[colours.get(n.split()[0], "#767676") for n in names])
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set(
        xlabel="ms on one thread",
        title=f"One training step, 128 images: {1e3 * sum(pieces.values()):.1f} ms, "
        f"of which matrix products {1e3 * products:.1f} ms",
    )
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=130)
