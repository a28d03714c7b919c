"""What models are compared on, in words."""

from probes.convergence.members import Gallery
from probes.draw import kind_of
from probes.parts import parts_of

VIEWS = {"episodes": "frames", "images": "captions"}


def samples_are(data: str, gallery: Gallery, views: int) -> str:
    """What each sample is: the end of a sentence.

    Args:
        data: folder of shards.
        gallery: the samples.
        views: rows of one that were asked for.
    """
    kind = kind_of(data)
    held = "" if _seen_in_training(data, gallery) else "held-out "
    one = f"another {held}image" if kind == "images" else "of another held-out episode"
    if views == 1:
        return f"each {one}"
    return (
        f"each {one}, whose features are the mean over those of up to {views} {VIEWS[kind]} ({gallery.rows:.1f} on "
        "average), scaled to norm 1"
    )


def minded(data: str, gallery: Gallery, views: int) -> list[str]:
    """One sentence for each thing that is to be minded about the samples."""
    said = []
    if _seen_in_training(data, gallery):
        said.append(
            f"{data} holds nothing out: all of its images are compared, and encoders that were trained on these shards "
            "have seen them; jepa-wm shards split holds some out"
        )
    if views > 1 and gallery.rows == 1:
        kind = kind_of(data)
        said.append(f"views: got {views}, and none of the {len(gallery)} {kind} has more than one: nothing was pooled")
    return said


def _seen_in_training(data: str, gallery: Gallery) -> bool:
    """Whether some of the samples are of the split that encoders are trained on."""
    return kind_of(data) == "images" and any(
        part.shards.split == "train" for split, part in parts_of(data).items() if split in gallery.splits
    )
